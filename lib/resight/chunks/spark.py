"""Chunks over the executors: fixed by the input, resumed after kills, registered by one commit."""

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Event, Thread

import pyarrow as pa
from pyspark import TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.types import StructType

from resight import files
from resight.chunks.work import Rescue, Work, run_chunk
from resight.config import SettingError

log = logging.getLogger("resight")
MAX_ROUNDS = 4  # times that a job is started again after it failed as a whole
MAX_PARTITIONS = 10_000
REPORT_SECONDS = 10.0  # between two lines about the progress
PIECES = 8  # that a chunk of the last quarter is cut into, so that no task ends long after the others
MIN_PIECE = 16  # rows of a piece
MAX_CUT = 64  # chunks that are cut at most
SIGNS_OF_DEATH = ("exited unexpectedly", "ExecutorLostFailure", "EOFException", "Connection reset")


@dataclass(frozen=True)
class Chunks:
    """Where and how chunks are computed: ``folder`` is the staging folder of these very inputs.

    ``label`` begins the lines that are logged about the progress. ``tapered``: the last chunks are smaller,
    for work in which a row costs much and a chunk as such costs nothing.
    """

    folder: str
    work: Work
    rescue: Rescue
    chunk_size: int = 256
    max_bytes: int = 0
    label: str = ""
    tapered: bool = False

    def count_done(self) -> int:
        """Count the chunks that are there."""
        return len(files.list_files(files.join(self.folder, "done")))


def run_chunks(rows: DataFrame, key: str, chunks: Chunks, *, n_rows: int | None = None) -> dict[str, int]:
    """Compute every chunk of ``rows`` that is not there yet; count the chunks by what was done.

    A row's chunk follows from a hash of ``key`` (int64), rows are ordered by ``key``: neither depends on
    partitions or executors. A failed Spark job (a worker killed too often) is started again: the chunks that
    are done stay.

    Raises
    ------
    SettingError
        A worker refused the settings or what they name; trying again would not help.
    """
    n_rows = rows.count() if n_rows is None else n_rows
    if not n_rows:
        return {}
    chunk, n_chunks = number_chunks(key, n_rows, chunks)
    placed = rows.withColumn("chunk", chunk).repartitionById(
        min(n_chunks, MAX_PARTITIONS), sf.pmod("chunk", sf.lit(MAX_PARTITIONS)).cast("int")
    )
    done = placed.sortWithinPartitions("chunk", key).mapInArrow(
        chunk_runner(chunks), "chunk int, state string"
    )
    for remaining in reversed(range(MAX_ROUNDS)):
        try:
            with progress_lines(chunks, n_chunks):
                return count_states(done, n_chunks)
        except PySparkException as error:
            refuse_settings(error, chunks)
            if not remaining or not any(sign in str(error) for sign in SIGNS_OF_DEATH):
                raise
            log.warning("a job failed and is started again: %s", str(error).splitlines()[0][:300])
    return {}


def count_states(done: DataFrame, n_chunks: int) -> dict[str, int]:
    """Compute chunks and count them by what was done; only many are counted by the executors."""
    if n_chunks > MAX_PARTITIONS:
        return {row["state"]: row["count"] for row in done.groupBy("state").count().collect()}
    return dict(Counter(row["state"] for row in done.select("state").collect()))


def number_chunks(key: str, n_rows: int, chunks: Chunks) -> tuple[Column, int]:
    """Give the expression of a row's chunk, and how many there are.

    Tapered: a quarter of the chunks, those that Spark starts last, are cut into pieces with numbers of their
    own, by bits of the hash that did not choose the chunk.
    """
    n_chunks = -(-n_rows // chunks.chunk_size)
    number = sf.pmod(sf.xxhash64(key), sf.lit(n_chunks)).cast("int")
    pieces = min(PIECES, chunks.chunk_size // MIN_PIECE) if chunks.tapered else 1
    if pieces < 2:
        return number, n_chunks
    whole = n_chunks - min(-(-n_chunks // 4), MAX_CUT)
    piece = sf.pmod(sf.shiftright(sf.xxhash64(key), 40), sf.lit(pieces)).cast("int")
    cut = whole + (number - whole) * pieces + piece
    return sf.when(number < whole, number).otherwise(cut), whole + (n_chunks - whole) * pieces


def refuse_settings(error: PySparkException, chunks: Chunks) -> None:
    """Raise the `SettingError` that ended a worker, if that is what ``error`` tells of."""
    found = re.search(r"SettingError: (.+)", str(error))
    if found:
        files.delete(files.join(chunks.folder, "attempts"))  # no chunk is to blame
        raise SettingError(found[1].strip()) from None


@contextmanager
def progress_lines(chunks: Chunks, n_chunks: int) -> Iterator[None]:
    """Log how many chunks are done while the block runs, where Spark draws no progress bar on a terminal."""
    if n_chunks == 1 or sys.stderr.isatty():
        yield
        return
    ended = Event()
    thread = Thread(target=report_progress, args=(chunks, n_chunks, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def report_progress(chunks: Chunks, n_chunks: int, ended: Event) -> None:
    """Log the number of chunks that are done, when it changed, until ``ended`` is set."""
    told = -1
    while not ended.wait(REPORT_SECONDS):
        try:
            n_done = chunks.count_done()
        except OSError:  # a store that hiccups must not end the work
            continue
        if n_done != told:
            log.info("%s%d of %d chunks done", chunks.label and f"{chunks.label}: ", n_done, n_chunks)
            told = n_done


def chunk_runner(
    chunks: Chunks,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Make the function that computes the chunks of a partition, sorted by chunk."""

    def run_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        os.environ["RESIGHT_DEVICE"] = task_device()
        for number, rows in group_by_chunk(batches):
            state = run_chunk(
                chunks.folder, number, rows, chunks.work, chunks.rescue, max_bytes=chunks.max_bytes
            )
            yield pa.record_batch({"chunk": pa.array([number], pa.int32()), "state": [state]})

    return run_partition


def task_device() -> str:
    """Name the device that is this task's own: the GPU that Spark assigned, else the CPU.

    A GPU that Spark did not assign is not touched: every task of the machine would take the same one.
    """
    task = TaskContext.get()
    gpus = task.resources().get("gpu") if task else None
    return f"cuda:{gpus.addresses[0]}" if gpus else "cpu"


def group_by_chunk(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.Table]]:
    """Cut batches sorted by ``chunk`` into one table per chunk, the column ``chunk`` left out."""
    held: list[pa.Table] = []
    current = -1
    for batch in batches:
        table = pa.Table.from_batches([batch])
        numbers = table["chunk"].to_numpy()
        starts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1]), len(numbers)]
        for start, stop in pairwise(starts):
            if numbers[start] != current and held:
                yield current, pa.concat_tables(held).combine_chunks()
                held = []
            current = int(numbers[start])
            held.append(table.slice(start, stop - start).drop_columns(["chunk"]))
    if held:
        yield current, pa.concat_tables(held).combine_chunks()


def read_chunks(spark: SparkSession, chunks: Chunks, schema: StructType | str) -> DataFrame:
    """Read the results of all chunks; no rows where there was no work."""
    done = files.join(chunks.folder, "done")
    if not files.exists(done):
        return spark.createDataFrame([], schema).where(sf.lit(False))  # joins with it fall away
    return spark.read.schema(schema).parquet(files.spark_uri(done, pattern=True))
