import numpy as np
import pytest

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.order import arrange_graph
from resight.graph.joined import join_parts
from tests.diffusion.graphs import patchy_affinity
from tests.diffusion.partitioned.ranks import save_parts


@pytest.fixture(scope="module", name="S")
def draw_graph():
    return arrange_graph(normalize_affinity(patchy_affinity(np.random.default_rng(0))).S).S


@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_joined_parts_are_the_whole_graph_whatever_their_number_and_the_block(S, tmp_path, n_parts, block):
    ids = np.random.default_rng(2).permutation(10 * S.shape[0])[: S.shape[0]]
    parts = save_parts(tmp_path / "parts", S, n_parts, ids)
    joined = join_parts(parts, str(tmp_path / "joined"), block=block)
    whole = join_parts(save_parts(tmp_path / "one", S, 1, ids), str(tmp_path / "whole"))
    assert joined.names == whole.names  # which end in a hash of the bytes
    graph = joined.open()
    np.testing.assert_array_equal(graph.S.indptr, S.indptr)
    np.testing.assert_array_equal(graph.S.indices, S.indices)
    np.testing.assert_array_equal(graph.S.data, S.data)
    assert graph.S.indices.dtype == graph.S.indptr.dtype == np.int32
    np.testing.assert_array_equal(graph.ids, ids)
    np.testing.assert_array_equal(graph.place_of(ids[::-1]), np.arange(S.shape[0])[::-1])
    np.testing.assert_array_equal(graph.degrees, np.ones(S.shape[0]))
