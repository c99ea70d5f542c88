import logging
import os
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyspark import TaskContext

from resight.chunks import spark as chunks_spark
from resight.chunks.spark import (
    Chunks,
    chunk_runner,
    number_chunks,
    read_chunks,
    report_progress,
    run_chunks,
)
from resight.config import SettingError
from tests.chunks.faulty import double_or_die, mark, refuse_all


def doubled(spark, chunks):
    rows = read_chunks(spark, chunks, "value long, doubled long, error string").collect()
    return sorted((row["value"], row["doubled"], row["error"]) for row in rows)


@pytest.mark.parametrize(("chunk_size", "tapered"), [(1, False), (3, True), (100, False), (100, True)])
def test_chunks_equal_local_work_whatever_the_partitions(spark, tmp_path, chunk_size, tapered):
    values = spark.range(20).selectExpr("id + 20 as value").repartition(5)
    chunks = Chunks(str(tmp_path), double_or_die, mark, chunk_size=chunk_size, tapered=tapered)
    states = run_chunks(values, "value", chunks)
    assert doubled(spark, chunks) == [(v, 2 * v, None) for v in range(20, 40)]
    assert set(states) == {"computed"}
    assert set(run_chunks(values.repartition(2), "value", chunks)) == {"skipped"}


def test_many_chunks_are_counted_as_few_are(spark, tmp_path, monkeypatch):
    values, found = spark.range(20).selectExpr("id + 20 as value"), []
    for most in (10_000, 3):
        monkeypatch.setattr(chunks_spark, "MAX_PARTITIONS", most)
        chunks = Chunks(str(tmp_path / str(most)), double_or_die, mark, chunk_size=3)
        found.append((run_chunks(values, "value", chunks), doubled(spark, chunks)))
    assert found[0] == found[1]
    assert 3 < found[0][0]["computed"] <= 7


def test_the_last_quarter_of_tapered_chunks_is_cut_into_pieces(spark, tmp_path):
    chunks = Chunks(str(tmp_path), double_or_die, mark, chunk_size=128, tapered=True)
    chunk, n_chunks = number_chunks("id", 1024, chunks)
    counted = spark.range(1024).groupBy(chunk.alias("chunk")).count().orderBy("chunk").collect()
    sizes = [row["count"] for row in counted]
    assert n_chunks == len(sizes) == 6 + 2 * 8
    assert sum(sizes) == 1024
    assert min(sizes[:6]) > 100
    assert max(sizes[6:]) < 40


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


def test_settings_that_a_worker_refuses_end_the_job_at_once_and_blame_no_chunk(spark, tmp_path, caplog):
    values = spark.range(4).selectExpr("id as value")
    with pytest.raises(SettingError, match=r"^weights: no such file on this machine$"):
        run_chunks(values, "value", Chunks(str(tmp_path), refuse_all, mark, chunk_size=2))
    assert "started again" not in caplog.text
    chunks = Chunks(str(tmp_path), double_or_die, mark, chunk_size=2)
    assert set(run_chunks(values, "value", chunks)) == {"computed"}


class Ticks:
    """An event that is waited for a given number of times, with something done meanwhile."""

    def __init__(self, *deeds):
        self.deeds = list(deeds)

    def wait(self, seconds):
        assert seconds == chunks_spark.REPORT_SECONDS
        if self.deeds:
            self.deeds.pop(0)()
            return False
        return True


def test_progress_is_told_when_it_changed(tmp_path, caplog):
    caplog.set_level(logging.INFO, "resight")
    (tmp_path / "done").mkdir()
    add = [(tmp_path / f"done/{i}.parquet").touch for i in range(2)]
    chunks = Chunks(str(tmp_path), double_or_die, mark, label="toy")
    report_progress(chunks, 5, Ticks(lambda: None, add[0], lambda: None, add[1]))
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"toy: {n} of 5 chunks done" for n in range(3)]


def test_a_job_without_a_terminal_tells_its_progress(spark, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "resight")
    monkeypatch.setattr(chunks_spark, "REPORT_SECONDS", 0.01)
    values = spark.range(6).selectExpr("id as value")
    run_chunks(values, "value", Chunks(str(tmp_path / "one"), double_or_die, mark))
    assert "chunks done" not in caplog.text
    run_chunks(
        values, "value", Chunks(str(tmp_path / "many"), double_or_die, mark, chunk_size=2, label="toy")
    )
    assert "toy: 0 of 3 chunks done" in caplog.text


@pytest.mark.parametrize(("addresses", "device"), [(["3"], "cuda:3"), (None, "cpu")])
def test_a_task_without_a_gpu_of_its_own_stays_on_the_cpu(tmp_path, monkeypatch, addresses, device):
    gpus = {"gpu": SimpleNamespace(addresses=addresses)} if addresses else {}
    monkeypatch.setattr(TaskContext, "get", lambda: SimpleNamespace(resources=lambda: gpus))
    monkeypatch.setenv("RESIGHT_DEVICE", "cuda:7")  # left by an earlier task of this process
    rows = pa.record_batch({"chunk": pa.array([0], pa.int32()), "value": [4]})
    states = list(chunk_runner(Chunks(str(tmp_path), double_or_die, mark))(iter([rows])))
    assert states[0].to_pylist() == [{"chunk": 0, "state": "computed"}]
    assert os.environ["RESIGHT_DEVICE"] == device
