import pytest

from resight.chunks.spark import Chunks, read_chunks, run_chunks
from tests.chunks.faulty import double_or_die, mark


def doubled(spark, chunks):
    rows = read_chunks(spark, chunks, "value long, doubled long, error string").collect()
    return sorted((row["value"], row["doubled"], row["error"]) for row in rows)


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_chunks_equal_local_work_whatever_the_partitions(spark, tmp_path, chunk_size):
    values = spark.range(20).selectExpr("id + 20 as value").repartition(5)
    chunks = Chunks(str(tmp_path), double_or_die, mark, chunk_size=chunk_size)
    states = run_chunks(values, "value", chunks)
    assert doubled(spark, chunks) == [(v, 2 * v, None) for v in range(20, 40)]
    assert set(states) == {"computed"}
    assert set(run_chunks(values.repartition(2), "value", chunks)) == {"skipped"}


def test_a_row_that_kills_its_worker_costs_only_itself(spark, tmp_path):
    values = spark.range(10, 16).selectExpr("id as value")
    chunks = Chunks(str(tmp_path), double_or_die, mark, chunk_size=3)
    states = run_chunks(values, "value", chunks)
    expected = [(v, 2 * v, None) for v in range(10, 16) if v != 13]
    assert doubled(spark, chunks) == sorted([*expected, (13, None, "killed by SIGSEGV")], key=lambda r: r[0])
    assert states["rescued"] == 1


def test_no_rows_is_no_work(spark, tmp_path):
    assert (
        run_chunks(
            spark.range(0).selectExpr("id as value"), "value", Chunks(str(tmp_path), double_or_die, mark)
        )
        == {}
    )
