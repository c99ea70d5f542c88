"""Properties 1-3 and 12 of GeM pooling, against NumPy."""

import numpy as np
import pytest
import torch

from resight.features.pooling import gem, join_layers, mac, normalize, pool_scales, spoc


@pytest.fixture
def maps(rng):
    x = rng.random((3, 8, 5, 7), dtype=np.float32) * (rng.random((3, 8, 5, 7)) > 0.6)
    return torch.from_numpy(x.astype(np.float32))


def test_mac_and_spoc_are_maximum_and_mean(maps):
    np.testing.assert_array_equal(mac(maps), maps.numpy().max(axis=(2, 3)))
    np.testing.assert_allclose(spoc(maps), maps.numpy().mean(axis=(2, 3)), rtol=1e-6)


@pytest.mark.parametrize("p", [1.0, 2.5, 3.0, 7.0])
def test_gem_is_the_generalised_mean(maps, p):
    expected = (maps.numpy().astype(np.float64) ** p).mean(axis=(2, 3)) ** (1 / p)
    np.testing.assert_allclose(gem(maps, p), expected, rtol=1e-5)


def test_gem_with_p_one_is_the_mean_and_with_large_p_nearly_the_maximum(maps):
    np.testing.assert_allclose(gem(maps, 1), spoc(maps), rtol=1e-6)
    np.testing.assert_allclose(gem(maps, 1000), mac(maps), rtol=0.006)
    assert (gem(maps, 1000) <= mac(maps) * (1 + 1e-6)).all()


def test_gem_does_not_decrease_in_p(maps):
    steps = torch.stack([gem(maps, p) for p in (1, 1.5, 2, 3, 5, 20, 300)])
    assert (steps.diff(dim=0) >= -1e-6).all()


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_gem_scales_with_its_input_without_overflow(maps, factor):
    np.testing.assert_allclose(gem(maps * factor, 17), gem(maps, 17) * factor, rtol=1e-5)


def test_gem_ignores_the_order_of_cells_and_tiling(maps, rng):
    shuffled = maps.flatten(2)[:, :, torch.from_numpy(rng.permutation(35))].view_as(maps)
    np.testing.assert_allclose(gem(shuffled, 3), gem(maps, 3), rtol=1e-5)
    np.testing.assert_allclose(gem(maps.repeat(1, 1, 2, 2), 3), gem(maps, 3), rtol=1e-5)


def test_gem_of_constant_channels_is_the_constant_and_negatives_count_as_zero():
    constants = torch.tensor([0.0, 0.5, 6.0]).view(1, 3, 1, 1).expand(1, 3, 4, 5)
    np.testing.assert_allclose(gem(constants, 3)[0], [0.0, 0.5, 6.0], rtol=1e-6)
    assert gem(-constants, 3).count_nonzero() == 0


def test_zero_maps_give_zero_vectors_everywhere():
    zeros = torch.zeros(2, 4, 3, 3)
    for vector in (gem(zeros, 3), mac(zeros), spoc(zeros), normalize(torch.zeros(2, 4))):
        assert vector.count_nonzero() == 0
        assert torch.isfinite(vector).all()


def test_layers_count_equally_when_they_are_joined(maps):
    joined = join_layers([mac(maps) * 100, spoc(maps)])
    np.testing.assert_allclose(torch.linalg.vector_norm(joined, dim=1), 1, rtol=1e-6)
    halves = torch.linalg.vector_norm(joined.view(3, 2, 8), dim=2)
    np.testing.assert_allclose(halves, 0.5**0.5, rtol=1e-6)


@pytest.mark.parametrize("p", [1.0, 3.0])
def test_pooling_equal_sizes_changes_nothing(maps, p):
    v = normalize(mac(maps))
    np.testing.assert_allclose(pool_scales(v[:, None].repeat(1, 3, 1), p=p), v, atol=1e-6)


def test_sizes_pool_to_their_generalised_mean(maps):
    V = normalize(torch.stack([mac(maps), spoc(maps)], dim=1))
    expected = (V.numpy().astype(np.float64) ** 3).mean(axis=1) ** (1 / 3)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(pool_scales(V, p=3), expected, atol=1e-6)
