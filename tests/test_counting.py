"""Rows of small files, counted without Spark."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight import counting
from resight.counting import count_small, open_parquet


@pytest.fixture
def listed(tmp_path, rng):
    """Three files of 0, 5 and 1000 rows, the last in row groups, with statuses and nulls among them."""
    sizes = {}
    for n in (0, 5, 1000):
        drawn = [("ok", "zero", None)[i] for i in rng.choice(3, n, p=[0.7, 0.2, 0.1])]
        path = tmp_path / f"part {n} %20.parquet"
        pq.write_table(
            pa.table({"x": range(n), "status": pa.array(drawn, pa.string())}), path, row_group_size=64
        )
        sizes[str(path)] = path.stat().st_size
    return sizes


def test_rows_and_statuses_are_those_of_the_files(listed):
    statuses = [s for path in listed for s in pq.read_table(path)["status"].to_pylist()]
    n_rows, counts = count_small(listed, by_status=True)
    assert (n_rows, counts) == (1005, Counter(map(str, statuses)))
    assert list(counts) == ["None", "ok", "zero"]
    assert count_small(listed, by_status=False) == (1005, {})
    assert count_small({}, by_status=True) == (0, {})


def test_what_is_too_much_for_one_process_is_left_to_spark(listed, monkeypatch):
    monkeypatch.setattr(counting, "MAX_FILES", 2)
    assert count_small(listed, by_status=False) is None
    monkeypatch.setattr(counting, "MAX_FILES", 3)
    monkeypatch.setattr(counting, "MAX_BYTES", sum(listed.values()))
    assert count_small(listed, by_status=False) == (1005, {})
    monkeypatch.setattr(counting, "MAX_BYTES", sum(listed.values()) - 1)
    assert count_small(listed, by_status=True) is None


def test_a_column_that_files_lack_is_null(listed):
    schema = pa.schema([("status", pa.string()), ("late", pa.int64())])
    table = open_parquet(list(listed), schema).to_table()
    assert table.schema == schema
    assert table["late"].null_count == len(table) == 1005
