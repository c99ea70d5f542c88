import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from resight.diffusion.partitioned.rank import LANES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, root = tmp_path_factory.mktemp("cluster"), Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.diffusion.partitioned.cluster", str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def read_ranking(folder, name):
    keys = [("query_id", "ascending"), ("rank", "ascending")]
    return pq.read_table(folder / f"{name}.parquet").sort_by(keys)


@pytest.mark.parametrize("path", ["partitioned", "truncated"])
def test_every_path_ranks_as_two_executors_with_the_whole_graph_do(folder, path):
    found, expected = (read_ranking(folder, name) for name in (path, "replicated"))
    assert found["query_id"].to_pylist() == [i for i in range(20) for _ in range(10)]
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-6, atol=1e-9)
    for query in range(20):
        one, other = (
            {row["image_id"]: row["score"] for row in table.to_pylist() if row["query_id"] == query}
            for table in (found, expected)
        )
        last = min(other.values())
        assert all(one.get(i, last) == pytest.approx(other.get(i, last), abs=1e-6) for i in one | other)


def test_the_loss_of_an_executor_costs_the_exchanges_since_the_last_iterate(folder):
    exchanges = [int(path.read_text()) for path in folder.glob("search/iterates/swaps-1-*")]
    solved = pq.read_table(folder / "solved.parquet").sort_by("query_id")["iterations"].to_numpy()
    blocks = [solved[i : i + LANES].max() + 1 for i in range(0, len(solved), LANES)]  # and a true residual
    assert len(exchanges) == 2
    assert 40 in exchanges
    assert sum(exchanges) <= sum(blocks) + 10 + 3  # what was lost, and the needs, which are told twice
