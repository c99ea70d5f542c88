"""Activations as keypoints: strength, smoothing, scales, whitening, as the paper defines them."""

import cv2
import msgspec
import numpy as np
import pytest
import torch

from resight.config import SettingError
from resight.features.backbones import load_backbone
from resight.features.local.extractors import build_extractor
from resight.features.local.how import smooth_map
from resight.features.local.settings import LocalSettings
from resight.features.whitening import CovarianceSums, Whitening, fit_pca_whitening
from tests.features.local.photo_files import photo_pixels

HOW = LocalSettings(extractor="how", scales=(1.0,))


@pytest.fixture(scope="module")
def pixels():
    return photo_pixels("coffee", side=256)  # 171 x 256: 6 x 8 cells


@pytest.fixture(scope="module")
def raw(pixels):
    return load_backbone(HOW.network_settings(), "cpu").maps(pixels[None])[0][0]  # (D, h, w)


def describe(pixels, settings=HOW, *, limit=None, whitening=None):
    return build_extractor(settings, whitening=whitening, device="cpu").describe(pixels, limit=limit)


def mean_of_neighbours(x, side):
    """Average over the cells that are there, cell by cell."""
    D, h, w = x.shape
    r, out = side // 2, np.empty((D, h, w))
    for i, j in np.ndindex(h, w):
        out[:, i, j] = x[:, max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1].mean((1, 2))
    return out


def test_one_scale_equals_the_definition_written_out(pixels, raw):
    found = describe(pixels)
    strength = np.linalg.norm(raw.numpy(), axis=0).ravel()
    order = np.argsort(-strength, kind="stable")
    smooth = mean_of_neighbours(raw.double().numpy(), 3).reshape(len(raw), -1).T
    np.testing.assert_allclose(found.points[:, 4], strength[order], rtol=1e-5)
    np.testing.assert_allclose(found.vectors, smooth[order], atol=1e-4)
    y, x = np.divmod(order, raw.shape[2])
    np.testing.assert_array_equal(found.points[:, 0], np.minimum(32 * x + 16, 256) - 0.5)
    np.testing.assert_array_equal(found.points[:, 1], np.minimum(32 * y + 16, 171) - 0.5)
    assert (found.points[:, 2] == 32).all()


def test_strength_is_that_of_raw_activations_whatever_the_smoothing(pixels):
    a, b = (describe(pixels, msgspec.structs.replace(HOW, smoothing=m)) for m in (1, 5))
    np.testing.assert_array_equal(a.points, b.points)
    assert not np.allclose(a.vectors, b.vectors)


def test_several_scales_are_merged_by_strength(pixels):
    scales = (1.414, 1.0, 0.5)
    merged = describe(pixels, msgspec.structs.replace(HOW, scales=scales))
    single = [describe(pixels, msgspec.structs.replace(HOW, scales=(s,))) for s in scales]
    points = np.concatenate([one.points for one in single])
    vectors = np.concatenate([one.vectors for one in single])
    order = np.argsort(-points[:, 4], kind="stable")
    np.testing.assert_array_equal(merged.points, points[order])
    np.testing.assert_array_equal(merged.vectors, vectors[order])
    assert set(np.round(merged.points[:, 2].astype(float), 2)) == {22.63, 32, 64}


def test_smoothing_divides_by_the_cells_that_are_there(raw):
    constant = torch.full((1, 2, 4, 5), 3.0)
    torch.testing.assert_close(smooth_map(constant, 3), constant)
    assert smooth_map(raw[None], 1)[0] is not None
    torch.testing.assert_close(smooth_map(raw[None], 1)[0], raw)
    padded = torch.nn.functional.avg_pool2d(constant, 3, 1, 1)  # counts cells beyond the border
    assert not torch.allclose(padded, constant)


def test_whitening_projects_without_normalising_and_commutes_with_smoothing(pixels, raw):
    cells = describe(pixels).vectors
    whitening, _ = fit_pca_whitening(CovarianceSums.of_rows(cells), dims=8, power=1.0)
    found = describe(pixels, whitening=whitening)
    np.testing.assert_allclose(found.vectors.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(found.vectors.T, bias=True), np.eye(8), atol=2e-3)
    x = raw.double().permute(1, 2, 0).numpy()
    projected = ((x - whitening.mean) @ whitening.projection).transpose(2, 0, 1)  # o(u) first, then h
    smooth = mean_of_neighbours(projected, 3).reshape(8, -1).T
    order = np.argsort(-np.linalg.norm(raw.numpy(), axis=0).ravel(), kind="stable")
    np.testing.assert_allclose(found.vectors, smooth[order], atol=2e-3)


def test_a_thin_photo_has_only_cells_that_lie_on_it(pixels):
    found = describe(pixels[:10])
    assert len(found.points) == 8
    assert (found.points[:, 1] < 10).all()
    tiny = msgspec.structs.replace(HOW, scales=(1.0, 0.05))
    assert len(describe(pixels[:10], tiny).points) == 8  # half a pixel high: no such scale


def test_wrong_whitening_and_layers_are_named(pixels):
    wrong = Whitening(np.zeros(3), np.eye(3))
    with pytest.raises(SettingError, match=r"^whitening: for 3 dimensions, the activations have 192"):
        describe(pixels, whitening=wrong)
    with pytest.raises(SettingError, match=r"^whitening: only for activations"):
        build_extractor(LocalSettings(), whitening=wrong)
    with pytest.raises(SettingError, match=r"^layers: the backbone has no 'blok'"):
        describe(pixels, msgspec.structs.replace(HOW, layer="blok"))


def test_a_photo_moved_by_whole_cells_has_its_inner_cells_moved():
    whole = cv2.resize(photo_pixels("china"), (512, 384), interpolation=cv2.INTER_AREA)
    settings = msgspec.structs.replace(HOW, layer="block1")  # small receptive field, 4 pixels a cell
    a, b = (describe(p, settings) for p in (whole[:256, :256], whole[32:288, 64:320]))
    places = {(x - 64, y - 32): v for (x, y, *_), v in zip(a.points, a.vectors, strict=True)}
    inner = [i for i, p in enumerate(b.points) if 48 < p[0] < 140 and 48 < p[1] < 170]
    moved = np.stack([places[b.points[i, 0], b.points[i, 1]] for i in inner])
    assert len(inner) > 300
    np.testing.assert_allclose(moved, b.vectors[inner], atol=1e-3)
