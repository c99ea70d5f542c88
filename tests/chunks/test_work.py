import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight import files
from resight.chunks.work import find_killers, memory_limit, run_chunk, run_in_child, start_attempt
from tests.chunks.faulty import double_or_die, mark


def rows_of(*values):
    return pa.table({"value": pa.array(values, pa.int64())})


def test_a_finished_chunk_is_skipped(tmp_path):
    assert run_chunk(str(tmp_path), 3, rows_of(1, 2), double_or_die, mark) == "computed"
    assert run_chunk(str(tmp_path), 3, rows_of(1, 2), double_or_die, mark) == "skipped"
    assert pq.read_table(tmp_path / "done/00000003.parquet")["doubled"].to_pylist() == [2, 4]


def test_the_rows_that_kill_are_found_and_how_they_died():
    killers = find_killers(rows_of(1, 13, 2, 3, 17, 4), double_or_die, 1 << 30)
    assert sorted(killers) == [1, 4]
    assert killers[1] == "killed by SIGSEGV"
    assert "MemoryError" in killers[4]


def test_after_two_deaths_the_chunk_is_computed_without_the_killer(tmp_path):
    folder = str(tmp_path)
    assert [start_attempt(folder, 0), start_attempt(folder, 0)] == [1, 2]
    assert run_chunk(folder, 0, rows_of(1, 13, 2), double_or_die, mark) == "rescued"
    rescued = pq.read_table(tmp_path / "done/00000000.parquet").sort_by("value")
    assert rescued["doubled"].to_pylist() == [2, 4, None]
    assert rescued["error"].to_pylist() == [None, None, "killed by SIGSEGV"]


def test_a_child_computes_what_the_process_itself_computes():
    rows = rows_of(*range(5))
    assert run_in_child(rows, double_or_die, 0).equals(double_or_die(rows))


def test_memory_limit_turns_exhaustion_into_memory_error():
    with memory_limit(64 << 20), pytest.raises(MemoryError):
        bytearray(1 << 30)
    assert len(bytearray(128 << 20)) == 128 << 20


def test_a_system_that_does_not_tell_its_memory_has_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("resight.chunks.work.MEMORY", tmp_path / "absent")
    with memory_limit(1):
        assert len(bytearray(128 << 20)) == 128 << 20


def test_a_chunk_is_written_once_with_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        run_chunk(str(tmp_path / folder), 0, rows_of(1, 2), double_or_die, mark)
    first, second = (tmp_path / f / "done/00000000.parquet" for f in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert not files.create_once(str(first), b"other")
