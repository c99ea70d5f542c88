"""Compute one chunk and store its result, even when some of its rows kill the process."""

import io
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from resight import files

Work = Callable[[pa.Table], pa.Table]
Rescue = Callable[[pa.Table, str], pa.Table]  # rows that cannot be computed, why -> their result
MAX_DIRECT_ATTEMPTS = 2
MEMORY = Path("/proc/self/statm")  # pages that this process has mapped; Linux only


def run_chunk(
    folder: str, chunk: int, rows: pa.Table, work: Work, rescue: Rescue, *, max_bytes: int = 0
) -> str:
    """Compute ``work(rows)`` and write it as chunk ``chunk`` of ``folder``; say what was done.

    ``work`` and ``rescue`` must be importable functions or partials of such. ``max_bytes`` limits the memory
    that the chunk may add to the process; 0 is no limit.

    Returns
    -------
    str
        "skipped" (it was there), "computed", or "rescued" (some rows killed the process).
    """
    target = files.join(folder, "done", f"{chunk:08d}.parquet")
    if files.exists(target):
        return "skipped"
    if start_attempt(folder, chunk) <= MAX_DIRECT_ATTEMPTS:
        with memory_limit(max_bytes):
            result, state = work(rows), "computed"
    else:
        bad = find_killers(rows, work, max_bytes)
        good = [i for i in range(len(rows)) if i not in bad]
        parts = [rescue(rows.take([i]), reason) for i, reason in bad.items()]
        if good:
            kept = run_in_child(rows.take(good), work, max_bytes)
            if isinstance(kept, str):
                raise RuntimeError(f"chunk {chunk}: rows that work apart fail together: {kept}")
            parts.insert(0, kept)
        result, state = pa.concat_tables(parts), "rescued"
    files.create_once(target, to_parquet(result))
    return state


def start_attempt(folder: str, chunk: int) -> int:
    """Leave a mark that the chunk is being tried; return which attempt this is, from 1."""
    for attempt in range(1, 1000):
        mark = files.join(folder, "attempts", f"{chunk:08d}-{attempt}")
        if files.create_once(mark, b""):
            return attempt
    raise RuntimeError(f"chunk {chunk} was tried 1000 times ({folder})")


def find_killers(rows: pa.Table, work: Work, max_bytes: int) -> dict[int, str]:
    """Bisect ``rows`` in child processes: position of each row that kills one -> how it died."""
    killers: dict[int, str] = {}
    ranges = [(0, len(rows))]
    while ranges:
        start, stop = ranges.pop()
        outcome = run_in_child(rows.slice(start, stop - start), work, max_bytes)
        if not isinstance(outcome, str):
            continue
        if stop - start == 1:
            killers[start] = outcome
            continue
        middle = (start + stop) // 2
        ranges += [(middle, stop), (start, middle)]
    return killers


def run_in_child(rows: pa.Table, work: Work, max_bytes: int) -> pa.Table | str:
    """Compute ``work(rows)`` in a process of its own; text says how it died.

    Raises
    ------
    RuntimeError
        It ended by an exception other than MemoryError: that is no fault of a row.
    """
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder, "task"), Path(folder, "answer")
        task.write_bytes(pickle.dumps((work, rows, max_bytes)))
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "resight.chunks.work", str(task), str(answer)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return pq.read_table(answer)
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]
    if last.startswith("MemoryError"):
        return last
    raise RuntimeError(last)


@contextmanager
def memory_limit(max_bytes: int) -> Iterator[None]:
    """Let the block add at most ``max_bytes`` of address space to the process; 0 is no limit.

    Nor is there one on systems that do not say what the process has, such as macOS.
    """
    if not max_bytes or not MEMORY.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(MEMORY.read_text().split()[0])
    limit = pages * resource.getpagesize() + max_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def to_parquet(result: pa.Table) -> bytes:
    """Write a table as one Parquet file in memory; equal tables give equal bytes."""
    buffer = io.BytesIO()
    pq.write_table(result, buffer, compression="zstd")
    return buffer.getvalue()


def child_main(task: str, answer: str) -> None:
    """Compute what ``task`` holds and write it to ``answer``."""
    work, rows, max_bytes = pickle.loads(Path(task).read_bytes())
    with memory_limit(max_bytes):
        result = work(rows)
    Path(answer).write_bytes(to_parquet(result))


if __name__ == "__main__":
    child_main(sys.argv[1], sys.argv[2])
