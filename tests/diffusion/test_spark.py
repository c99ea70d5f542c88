import numpy as np
import pyarrow as pa
import pytest

from resight.diffusion.block import DiffuseWork
from resight.diffusion.spark import diffuse_nodes
from tests.search.collections import save_collection
from tests.synthetic import planted


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    rng = np.random.default_rng(3)
    X = planted(rng, k=5, m=7, n_distractors=9, n_copies=4, d=12).vectors
    ids = rng.permutation(10 * len(X))[: len(X)].astype(np.int64)
    graph = save_collection(tmp_path_factory.mktemp("collection"), ids, X)[0].graph
    return DiffuseWork(graph, "v", 0.9, 12, 8, 50, 1e-8)


def by_source(table):
    return pa.Table.from_batches(table.to_batches()).sort_by("src").to_pylist()


@pytest.mark.parametrize("block_nodes", [3, 1000])
def test_distributed_equals_local_and_blocks_that_are_there_are_not_computed_again(
    spark, work, tmp_path, block_nodes
):
    rows, states = diffuse_nodes(spark, work, str(tmp_path), block_nodes=block_nodes)
    expected = by_source(work.diffuse(np.arange(work.graph.n)))
    assert by_source(rows.toArrow()) == expected
    assert set(states) == {"computed"}
    done = sorted((tmp_path / "done").glob("*.parquet"))
    written = {path.name: path.read_bytes() for path in done}
    assert (len(done) > 5) == (block_nodes == 3)
    done[0].unlink()  # as if a kill had come before it was written
    rows, states = diffuse_nodes(spark, work, str(tmp_path), block_nodes=block_nodes)
    assert states.pop("computed") == 1
    assert sum(states.values()) == len(done) - 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "done").glob("*.parquet")} == written
