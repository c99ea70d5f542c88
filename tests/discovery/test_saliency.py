import numpy as np
import pytest

from resight.discovery.saliency import channel_weights, feature_saliency, object_saliency, region_worth
from tests.discovery.oracles import slow_saliency


def sparse_map(rng, h=6, w=5, c=12):
    return np.maximum(rng.normal(size=(h, w, c)) - 0.8, 0).astype(np.float32)


def test_feature_saliency_is_that_of_the_equations(rng):
    A = sparse_map(rng)
    F, b = slow_saliency(A)
    np.testing.assert_allclose(feature_saliency(A), F, rtol=1e-5)
    np.testing.assert_allclose(channel_weights(A), b, rtol=1e-9)
    np.testing.assert_allclose((feature_saliency(A) ** 4).sum(), 1, rtol=1e-5)


def test_weights_of_channels_are_not_negative_and_seldom_ones_weigh_more(rng):
    A = np.ones((10, 10, 3), np.float32)
    A[:, :, 1] = np.arange(100).reshape(10, 10) == 7
    A[:, :, 2] = 0
    b = channel_weights(A)
    assert (b >= 0).all()
    assert b[0] < b[1] < b[2]
    assert (channel_weights(sparse_map(rng)) >= 0).all()


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_saliency_does_not_see_the_scale_of_activations_nor_the_order_of_channels(rng, scale):
    A = sparse_map(rng)
    F = feature_saliency(A)
    np.testing.assert_allclose(feature_saliency(A * np.float32(scale)), F, rtol=1e-6)
    np.testing.assert_allclose(feature_saliency(A[:, :, rng.permutation(12)]), F, rtol=1e-6)


def test_a_map_without_activations_has_no_saliency():
    np.testing.assert_array_equal(feature_saliency(np.zeros((3, 4, 5), np.float32)), np.zeros((3, 4)))


def test_object_saliency_is_zero_without_features_or_similar_regions_and_linear_in_centrality(rng):
    F = np.array([[0.0, 0.5], [0.3, 0.2]], np.float32)
    similarity = rng.uniform(0.1, 1, size=(4, 3)).astype(np.float32)
    similarity[2] = [-0.4, 0, -1]
    f, g = rng.uniform(size=(4, 3)), rng.uniform(size=(4, 3))
    S = object_saliency(F, similarity, region_worth(f, g))
    assert S[0, 0] == S[1, 0] == 0
    assert S[0, 1] == pytest.approx(0.5**3 * (similarity[1].astype(float) ** 3 * f[1] ** 3 * g[1]).sum())
    np.testing.assert_allclose(object_saliency(F, similarity, region_worth(f, 2 * g)), 2 * S, rtol=1e-6)


def test_object_saliency_refuses_lists_of_another_grid():
    with pytest.raises(ValueError, match="shapes do not fit"):
        object_saliency(np.ones((2, 2), np.float32), np.ones((3, 1), np.float32), np.ones((3, 1)))
