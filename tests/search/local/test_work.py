"""Images that ask an index: encoded as the kernels do, their keypoints given away."""

import numpy as np
import pytest

from resight.asmk.search import encode_query
from resight.codebook.model import Codebook, save_codebook
from resight.features.local.points import unpack_features
from resight.features.local.settings import LocalSettings
from resight.features.local.work import LocalWork
from resight.search.local.work import ENCODED_IMAGES, EncodeWork, rescue_encoded
from tests.features.local.photo_files import FLAT, encode, photo_pixels
from tests.features.local.test_work import list_rows

WORK = LocalWork(LocalSettings(max_keypoints=50), "float16")


@pytest.mark.parametrize(("m", "aggregate", "real"), [(3, True, False), (1, False, True)])
def test_rows_hold_the_words_and_codes_of_what_would_be_stored(tmp_path, rng, m, aggregate, real):
    codebook = Codebook(rng.random((7, 128)).astype("f4"), dtype="float16")
    rows = list_rows(tmp_path, [encode(photo_pixels("coffee", side=200)), FLAT, b"no image"])
    found = EncodeWork(WORK, save_codebook(codebook, str(tmp_path)), m, aggregate, real)(rows)
    assert found.schema.equals(ENCODED_IMAGES)
    assert found["status"].to_pylist() == ["ok", "ok", "undecodable"]
    assert found["words"].to_pylist()[1:] == [b"", None]
    stored = WORK(rows).to_pylist()[0]
    vectors = unpack_features(stored["points"], stored["vectors"], "float16").vectors
    asked = encode_query(np.asarray(vectors), codebook, m, aggregate=aggregate, real=real)
    first = found.to_pylist()[0]
    np.testing.assert_array_equal(np.frombuffer(first["words"], "<i4"), asked.words)
    np.testing.assert_array_equal(np.frombuffer(first["codes"], asked.codes.dtype), asked.codes.ravel())


def test_images_that_killed_the_process_ask_nothing(tmp_path):
    found = rescue_encoded(list_rows(tmp_path, [FLAT, FLAT]), "killed")
    assert found.schema.equals(ENCODED_IMAGES)
    assert [(row["words"], row["status"], row["error"]) for row in found.to_pylist()] == [
        (None, "crashed", "killed")
    ] * 2
