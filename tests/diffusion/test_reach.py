import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.offline import solve_offline
from resight.diffusion.reach import grow_lists
from tests.diffusion.planted_curves import affinity_of, draw_curves, solve_dense


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(1)
    curves = draw_curves(rng, n_curves=4, n_points=40, sigma=0.25, arc=3, n_distractors=20)
    return normalize_affinity(affinity_of(curves.X, 8)).S


def grow_slowly(S, seed, size):
    """Sets of nodes hop by hop; of the hop that is too large the heaviest."""
    S, chosen, frontier, mass = S.toarray(), [seed], [seed], {seed: 1.0}
    while frontier and len(chosen) < size:
        following = [j for j in range(len(S)) if j not in chosen and any(S[i, j] for i in frontier)]
        mass = {j: sum(mass[i] * S[i, j] for i in frontier) for j in following}
        following.sort(key=lambda j: (-mass[j], j))
        frontier = following[: size - len(chosen)]
        chosen += frontier
    return sorted(chosen)


@pytest.mark.parametrize("size", [1, 2, 10, 35, 500])
@pytest.mark.parametrize("threads", [1, 2])
def test_lists_equal_a_slow_walk(graph, size, threads):
    seeds = np.arange(0, 180, 3)
    lists = grow_lists(graph, seeds, size=size, threads=threads)
    for i, seed in enumerate(seeds):
        found = lists.ordinals[lists.offsets[i] : lists.offsets[i + 1]]
        assert found[0] == seed
        assert sorted(found.tolist()) == grow_slowly(graph, int(seed), size)


def test_large_lists_hold_the_whole_component_and_give_exact_rows(graph):
    lists = grow_lists(graph, np.arange(180), size=180)
    labels = sp.csgraph.connected_components(graph)[1]
    assert np.diff(lists.offsets).tolist() == np.bincount(labels)[labels].tolist()
    rows = solve_offline(graph, lists, tol=1e-13, max_iter=500)
    Z = sp.csr_array((rows.scores, rows.ordinals, rows.offsets), shape=(180, 180)).toarray()
    np.testing.assert_allclose(Z, solve_dense(graph, np.eye(180)), atol=1e-10)


@pytest.mark.parametrize(("seeds", "size"), [([0], 0), ([180], 5), ([-1], 5)])
def test_unusable_input_is_named(graph, seeds, size):
    with pytest.raises(ValueError, match=f"size {size}, seeds of a graph of 180 nodes"):
        grow_lists(graph, np.array(seeds), size=size)
