"""A chunk of rows to rows of ``local_descriptors``."""

import hashlib

import numpy as np
import pyarrow as pa

from resight.features.local.extract import extract_local
from resight.features.local.points import unpack_features
from resight.features.local.settings import LocalSettings
from resight.features.local.work import LOCAL_DESCRIBED, LocalWork, rescue_local
from tests.features.local.photo_files import FLAT, encode, photo_pixels

SIFT = LocalSettings(max_keypoints=50, max_side=512)


def list_rows(folder, contents, **columns):
    """Rows of an extraction over files of ``folder``."""
    names = [f"{i}.png" for i in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    n = len(contents)
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    given = {"image_id": range(n), "content_hash": hashes, "root": [str(folder)] * n, "uri": names}
    nothing = {"byte_offset": pa.nulls(n, pa.int64()), "n_bytes": pa.nulls(n, pa.int64())}
    return pa.table({k: pa.array(v) for k, v in (given | nothing | columns).items()})


def test_rows_hold_what_the_kernel_gives(tmp_path):
    contents = [encode(photo_pixels("coffee", side=200)), FLAT, b"no image"]
    rows = list_rows(tmp_path, contents)
    found = LocalWork(SIFT, "float16")(rows)
    assert found.schema == LOCAL_DESCRIBED
    assert found["n_keypoints"].to_pylist() == [50, 0, None]
    assert found["status"].to_pylist() == ["ok", "ok", "undecodable"]
    assert (found["vectors"].to_pylist()[1:], found["image_id"].to_pylist()) == ([b"", None], [0, 1, 2])
    expected = extract_local(contents[:1], SIFT).features[0]
    first = found.slice(0, 1).to_pylist()[0]
    got = unpack_features(first["points"], first["vectors"], "float16")
    np.testing.assert_array_equal(got.points, expected.points)
    np.testing.assert_array_equal(got.vectors, expected.vectors.astype(np.float16))


def test_changed_and_missing_files_are_rows_with_a_status(tmp_path):
    rows = list_rows(tmp_path, [FLAT, FLAT, FLAT])
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(b"another")
    found = LocalWork(SIFT)(rows)
    assert found["status"].to_pylist() == ["missing", "changed", "ok"]
    assert found["n_keypoints"].to_pylist() == [None, None, 0]
    assert found["error"].null_count == 1


def test_boxes_are_read_from_the_rows(tmp_path):
    photo = encode(photo_pixels("coffee", side=200))
    corners = {"y0": [10, None], "x0": [20, None], "y1": [110, None], "x1": [120, None]}
    boxes = {name: pa.array(values, pa.int32()) for name, values in corners.items()}
    found = LocalWork(SIFT).extract(list_rows(tmp_path, [photo, photo], **boxes))
    expected = extract_local([photo, photo], SIFT, boxes=[(10, 20, 110, 120), None])
    for got, wanted in zip(found.features, expected.features, strict=True):
        np.testing.assert_array_equal(got.points, wanted.points)
    assert (found.features[0].points[:, 0] < 120).all()
    assert not (found.features[1].points[:, 0] < 120).all()


def test_images_that_kill_their_process_are_rows(tmp_path):
    found = rescue_local(list_rows(tmp_path, [FLAT]), "killed by SIGKILL")
    assert found.to_pylist()[0] == {
        "image_id": 0,
        "content_hash": hashlib.sha256(FLAT).hexdigest(),
        "n_keypoints": None,
        "points": None,
        "vectors": None,
        "status": "crashed",
        "error": "killed by SIGKILL",
    }
