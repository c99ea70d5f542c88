"""Saliency of a planted collection of activation maps: the orderings that the papers' sheet asks for."""

import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.discovery.centrality import solve_katz
from resight.discovery.found import describe_patches, find_regions
from resight.discovery.saliency import object_saliency, region_worth
from resight.discovery.settings import DiscoverySettings
from tests.discovery.reference import gather, join_mutual

SIDE, N, K = 20, 60, 20
CONF = DiscoverySettings(
    sigma=2 * 32 / SIDE, feature_tau=0.2, feature_rho=5, patch=3 * 32 / SIDE, query_neighbors=K
)


def place(A, rng, signature, left):
    """Put a signature of six channels into a box of 4 to 7 cells in one half of the map."""
    h, w = rng.integers(4, 8, 2)
    y, x = rng.integers(SIDE - h), rng.integers(10 - w + 1) + (0 if left else 10)
    channels, strengths = signature
    A[y : y + h, x : x + w, channels] += strengths * rng.uniform(0.7, 1.3, size=(h, w, 6))
    return y, x, y + h, x + w


def draw_signature(rng):
    return rng.choice(48, 6, replace=False), rng.uniform(1, 2, 6)


def plant_maps(rng):
    """Maps (h, w, 64) with one of five things, or none, a one-off and weak stuff; and the things' boxes."""
    things = [draw_signature(rng) for _ in range(5)]
    maps, truth = [], []
    for i in range(N):
        A = np.zeros((SIDE, SIDE, 64))
        A[:, :, 48:] = rng.uniform(0, 0.25, size=(SIDE, SIDE, 16))
        left = bool(rng.integers(2))
        truth.append(place(A, rng, things[i % 5], left) if i < 0.75 * N else None)
        place(A, rng, draw_signature(rng), not left)
        maps.append(A.astype(np.float32))
    return maps, truth


def precision(S, box):
    y0, x0, y1, x1 = box
    return float(S[y0:y1, x0:x1].sum() / max(S.sum(), 1e-30))


@pytest.fixture(scope="module")
def figures():
    """Precision (images, 4): of features, their cube, objects without and with centrality."""
    maps, truth = plant_maps(np.random.default_rng(3))
    found = [find_regions(A, CONF, p=0) for A in maps]
    image, V, saliency = gather(found)
    S = normalize_affinity(sp.csr_array(join_mutual(V, image, k=K, gamma=3))).S
    rows = []
    for i, (A, box) in enumerate(zip(maps, truth, strict=True)):
        if box is None:
            continue
        F = found[i].features
        C = describe_patches(A, CONF, [], p=0) @ V.T
        C[:, image == i] = 0
        order = np.argsort(-C, axis=1)[:, :K]
        similarity = np.take_along_axis(C, order, 1)
        worth = [region_worth(saliency, g)[order] for g in (np.ones(len(V)), solve_katz(S).g)]
        maps_of = [F, F**3, *(object_saliency(F, similarity, one) for one in worth)]
        rows.append([precision(one, box) for one in maps_of])
    return np.array(rows)


def test_each_step_of_saliency_is_more_precise_than_the_one_before(figures):
    features, cubed, plain, central = figures.mean(axis=0)
    assert features + 0.1 < cubed
    assert cubed + 0.25 < plain < central
    assert central > 0.85


def test_object_saliency_beats_cubed_features_on_every_image(figures):
    assert (figures[:, 3] > figures[:, 1]).all()
