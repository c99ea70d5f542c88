import numpy as np
import pytest

from resight.discovery.mixture import detect_regions, expect, fit_mixture, mark_cells
from tests.discovery.oracles import slow_mixture

BOXES = [(4, 3, 12, 17), (18, 28, 26, 36)]  # 8 x 14 and 8 x 8, half-open


def two_boxes():
    S = np.zeros((30, 40))
    for y0, x0, y1, x1 in BOXES:
        S[y0:y1, x0:x1] = 1
    return S


@pytest.mark.parametrize("mstep", ["weighted", "literal"])
def test_the_mixture_is_that_of_the_equations(rng, mstep):
    S = mark_cells(rng.uniform(size=(6, 7)), tau=0.3, rho=2)
    model = fit_mixture(S, sigma=1.2, eta=0.55, mstep=mstep)
    expected = slow_mixture(S, sigma=1.2, eta=0.55, mstep=mstep)
    assert len(model.weights) == len(expected)
    for i, (pi, mu, variances) in enumerate(expected):
        assert model.weights[i] == pytest.approx(pi, rel=1e-6)
        np.testing.assert_allclose(model.centres[i], mu, atol=1e-6)
        np.testing.assert_allclose(model.variances[i], variances, atol=1e-6)


@pytest.mark.parametrize("mstep", ["weighted", "literal"])
def test_components_only_vanish_and_weights_and_shares_sum_to_one(rng, mstep):
    S = mark_cells(rng.uniform(size=(9, 8)), tau=0.2, rho=3)
    model = fit_mixture(S, sigma=1.5, mstep=mstep)
    assert model.counts[0] == (S > 0).sum()
    assert (np.diff(model.counts) <= 0).all()
    assert model.weights.sum() == pytest.approx(1)
    shares = expect(np.argwhere(S > 0).astype(float), model, 1.5)
    np.testing.assert_allclose(shares.sum(1), 1)


def test_a_blank_map_has_no_regions():
    assert detect_regions(np.zeros((5, 6)), tau=0.1, rho=2, sigma=2).boxes.shape == (0, 4)


def test_two_uniform_boxes_are_found_exactly():
    model = fit_mixture(two_boxes(), sigma=2.5, eta=0.55)
    assert len(model.weights) == 2
    for (y0, x0, y1, x1), centre, variances in zip(BOXES, model.centres, model.variances, strict=True):
        np.testing.assert_allclose(centre, [(y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2], atol=0.5)
        np.testing.assert_allclose(2 * np.sqrt(3 * variances), [y1 - y0, x1 - x0], atol=1)
    found = detect_regions(two_boxes(), tau=0.1, rho=1, sigma=2.5)
    assert [tuple(box) for box in found.boxes.tolist()] == BOXES


def test_the_heaviest_boxes_survive_background_noise(rng):
    S = np.maximum(two_boxes(), 0.05 * rng.uniform(size=(30, 40)))
    found = detect_regions(S, tau=0.0, rho=5, sigma=2.5)
    assert [tuple(box) for box in found.boxes[:2].tolist()] == BOXES
    assert found.weights[:2].sum() > 0.95
    assert len(detect_regions(S, tau=0.0, rho=5, sigma=2.5, min_weight=0.1).boxes) == 2
    assert len(detect_regions(S, tau=0.0, rho=5, sigma=2.5, max_regions=1).boxes) == 1


def test_a_larger_sigma_never_finds_more_on_a_clean_map():
    counts = [len(fit_mixture(two_boxes(), sigma=sigma).weights) for sigma in (1, 2, 2.5)]
    assert counts == sorted(counts, reverse=True)


def test_regions_do_not_see_the_scale_of_the_map_and_mirror_with_it(rng):
    S = rng.uniform(size=(9, 12)) ** 3
    options = {"tau": 0.05, "rho": 2, "sigma": 1.2}
    boxes = detect_regions(S, **options).boxes
    np.testing.assert_array_equal(detect_regions(7 * S, **options).boxes, boxes)
    y0, x0, y1, x1 = detect_regions(S[:, ::-1], **options).boxes.T
    mirrored = np.stack([y0, 12 - x1, y1, 12 - x0], axis=1)
    assert sorted(mirrored.tolist()) == sorted(boxes.tolist())
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_single_cells_and_full_maps_have_their_own_boxes():
    S = np.zeros((5, 6))
    S[4, 5] = 2
    options = {"tau": 0.01, "rho": 2, "sigma": 1}
    assert detect_regions(S, **options).boxes.tolist() == [[4, 5, 5, 6]]
    assert detect_regions(np.ones((3, 4)), tau=0.01, rho=2, sigma=3).boxes.tolist() == [[0, 0, 3, 4]]
