import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow


def test_two_executors_with_half_of_the_graph_each_rank_as_one_with_all_of_it(tmp_path):
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.diffusion.partitioned.cluster", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    keys = [("query_id", "ascending"), ("rank", "ascending")]
    found, expected = (
        pq.read_table(tmp_path / f"{name}.parquet").sort_by(keys) for name in ("partitioned", "replicated")
    )
    assert found["query_id"].to_pylist() == [i for i in range(20) for _ in range(10)]
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-6, atol=1e-9)
    for query in range(20):
        one, other = (
            {row["image_id"]: row["score"] for row in table.to_pylist() if row["query_id"] == query}
            for table in (found, expected)
        )
        last = min(other.values())
        assert all(one.get(i, last) == pytest.approx(other.get(i, last), abs=1e-6) for i in one | other)
