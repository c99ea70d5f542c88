"""Properties 1-5 of R-MAC, against a loop over regions and the published region counts."""

import numpy as np
import pytest
import torch

from resight.features.pooling import mac, normalize
from resight.features.rmac import pool_regions, region_boxes, region_grid, sum_regions

SHAPES = [(24, 24), (22, 30), (24, 32), (66, 22), (8, 6), (1, 1), (1, 9), (3, 40), (2, 2)]


def count(h, w, **options):
    return len(region_boxes(h, w, grid=region_grid(h, w, **options)))


@pytest.mark.parametrize(
    ("w", "h", "n"), [(24, 24, 14), (30, 22, 20), (32, 24, 20), (66, 22, 32), (22, 66, 32)]
)
def test_paper_grid_has_the_published_number_of_regions(w, h, n):
    assert count(h, w, grid="paper") == n


def test_quality_grid_on_a_map_of_8_by_6_cells():
    grid = region_grid(8, 6)
    assert [level.side for level in grid] == [6, 4, 3]
    assert [(len(level.y0), len(level.x0)) for level in grid] == [(2, 1), (3, 2), (4, 3)]


@pytest.mark.parametrize("grid", ["quality", "paper"])
@pytest.mark.parametrize(("h", "w"), SHAPES)
def test_boxes_lie_inside_end_at_the_border_and_mirror_with_the_map(grid, h, w):
    levels = region_grid(h, w, grid=grid)
    boxes = region_boxes(h, w, grid=levels).numpy()
    assert boxes.min() >= 0
    assert boxes[:, 2].max() == h
    assert boxes[:, 3].max() == w
    assert all(g.y0[-1] == h - g.side or g.y0 == (0,) for g in levels)
    assert count(h, w, grid=grid) == count(w, h, grid=grid)


@pytest.mark.parametrize("grid", ["quality", "paper"])
@pytest.mark.parametrize(("h", "w"), [(24, 24), (22, 30), (66, 22), (7, 6), (5, 31)])
def test_regions_cover_the_map(grid, h, w):
    covered = np.zeros((h, w), bool)
    for y0, x0, y1, x1 in region_boxes(h, w, grid=region_grid(h, w, grid=grid)).tolist():
        covered[y0:y1, x0:x1] = True
    assert covered.all()


@pytest.mark.parametrize("length", range(1, 60))
def test_quality_windows_step_by_at_most_six_tenths_of_their_side(length):
    for side, _, x0 in region_grid(5, length, levels=4):
        assert 5 * (length - side) <= 3 * side * (len(x0) - 1)  # the mean step
        assert len(x0) == 1 or 5 * (length - side) > 3 * side * (len(x0) - 2)  # and no more windows


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("grid", ["quality", "paper"])
@pytest.mark.parametrize(("h", "w"), [(6, 8), (9, 4), (5, 5), (1, 3)])
def test_regions_equal_a_loop_over_boxes(rng, grid, h, w, whole):
    x = torch.from_numpy(rng.random((2, 7, h, w), dtype=np.float32))
    levels = region_grid(h, w, grid=grid)
    boxes = region_boxes(h, w, grid=levels, include_whole=whole).tolist()
    maxima = [x.numpy()[:, :, y0:y1, x0:x1].max(axis=(2, 3)) for y0, x0, y1, x1 in boxes]
    expected = np.stack([m / np.linalg.norm(m, axis=1, keepdims=True) for m in maxima], axis=1)
    got = pool_regions(x, grid=levels, include_whole=whole)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_one_level_on_a_square_map_is_whitened_mac(rng):
    x = torch.from_numpy(rng.random((3, 6, 4, 4), dtype=np.float32))
    mean, projection = torch.rand(6), torch.rand(6, 3)
    regions = pool_regions(x, grid=region_grid(4, 4, levels=1))
    expected = normalize((normalize(mac(x)) - mean) @ projection)
    got = normalize(sum_regions(regions, whitening=(mean, projection)))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_inner_product_of_sums_is_the_sum_over_pairs_of_regions(rng):
    x = torch.from_numpy(rng.random((2, 6, 5, 7), dtype=np.float32)).double()
    a, b = pool_regions(x, grid=region_grid(5, 7))
    summed = sum_regions(torch.stack([a, b]))
    np.testing.assert_allclose(summed[0] @ summed[1], (a @ b.T).sum(), rtol=1e-12)


def test_whitening_before_the_sum_differs_from_whitening_after_it(rng):
    x = torch.from_numpy(rng.random((1, 6, 5, 7), dtype=np.float32)) ** 8
    whitening = (torch.full((6,), 0.3), torch.from_numpy(rng.normal(size=(6, 6))).float())
    regions = pool_regions(x, grid=region_grid(5, 7))
    before = normalize(sum_regions(regions, whitening=whitening))
    after = normalize((normalize(sum_regions(regions)) - whitening[0]) @ whitening[1])
    assert (before - after).abs().max() > 0.01


def test_empty_regions_add_nothing_even_when_whitened():
    x = torch.zeros(1, 3, 6, 8)
    regions = pool_regions(x, grid=region_grid(6, 8))
    assert sum_regions(regions).count_nonzero() == 0
    assert sum_regions(regions, whitening=(torch.ones(3), torch.eye(3))).count_nonzero() == 0
