import numpy as np
import scipy.sparse as sp

from resight.mining.clusters import bind_nodes, choose_validation, cluster_nodes
from tests.diffusion.graphs import patchy_affinity, scattered_affinity


def chained_blocks(rng, *, n_blocks=12, size=10):
    """Dense blocks in a ring of weak links: one component."""
    blocks = [rng.uniform(0.5, 1, (size, size)) for _ in range(n_blocks)]
    A = sp.block_diag(blocks).toarray()
    first = np.arange(n_blocks) * size
    A[first, np.roll(first, 1) + 1] = 0.05
    A = np.triu(A + A.T, 1)
    return sp.csr_array(A + A.T)


def as_sets(label):
    return {frozenset(np.flatnonzero(label == one).tolist()) for one in np.unique(label)}


def test_blocks_of_one_component_are_found_whatever_the_order(rng):
    A = chained_blocks(rng)
    label = cluster_nodes(A, np.arange(120), max_size=10)
    assert as_sets(label) == as_sets(np.arange(120) // 10)
    order = rng.permutation(120)
    shuffled = cluster_nodes(sp.csr_array(A[order][:, order]), np.arange(120), max_size=10)
    assert as_sets(shuffled) == as_sets(order // 10)


def test_clusters_respect_their_size_and_components_and_no_two_could_be_joined(rng):
    for A in (scattered_affinity(rng, 300, 6), patchy_affinity(rng)):
        label = cluster_nodes(A, np.arange(A.shape[0]), max_size=25)
        sizes = np.bincount(label)
        assert sizes.max() <= 25
        member = sp.csr_array((np.ones(len(label)), (np.arange(len(label)), label)))
        linked = sp.coo_array(member.T @ A @ member)
        apart = linked.row != linked.col
        assert (sizes[linked.row] + sizes[linked.col])[apart].min() > 25
        assert (np.diff(np.unique(label, return_index=True)[1]) > 0).all()  # named in the order of nodes


def test_what_is_bound_stays_together(rng):
    A = chained_blocks(rng)
    far = np.array([3, 47]), np.array([47, 99])  # of three blocks
    unit = bind_nodes(120, *far)
    label = cluster_nodes(A, unit, max_size=10)
    assert label[3] == label[47] == label[99]
    alone = cluster_nodes(A, bind_nodes(120, np.arange(30), np.arange(30) + 1), max_size=10)
    assert np.bincount(alone[:31]).max() == 31
    assert (alone[31:] != alone[0]).all()  # the unit is too large to take anything in


def test_validation_takes_its_share_of_what_is_not_isolated(rng):
    weights = rng.integers(0, 6, 400)
    chosen = choose_validation(weights, share=0.2, seed=1)
    assert abs(weights[chosen].sum() - 0.2 * weights.sum()) < 1
    assert not chosen[weights == 0].any()
    assert (chosen != choose_validation(weights, share=0.2, seed=2)).any()
    np.testing.assert_array_equal(chosen, choose_validation(weights, share=0.2, seed=1))
    assert not choose_validation(np.array([10]), share=0.2).any()  # a single giant has to train
    assert not choose_validation(weights, share=0.0).any()
