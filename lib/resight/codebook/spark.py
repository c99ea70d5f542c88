"""A codebook from ``local_descriptors``: the sample as files, sums per centroid and medians by tasks."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from threadpoolctl import threadpool_limits

from resight.arrow import arrow_to_lists, lists_to_arrow
from resight.codebook.kmeans import WordSums, add_sums, sum_parts
from resight.codebook.medians import draw_projection, fill_medians, project, word_medians
from resight.codebook.model import save_quantizer
from resight.codebook.quantize import Quantizer
from resight.codebook.sample import choose_starts, draw_descriptors
from resight.features.local.points import join_features
from resight.images.spark import start_tasks, task_numbers
from resight.knn.matrix import map_array, save_array

__all__ = ["Sample", "find_medians", "fit_thresholds", "step_over_tasks", "write_sample"]

Batches = Iterator[pa.RecordBatch]
PART_ROWS = 32_768  # descriptors of a file of the sample
MAX_RUNS = 64  # groups of files whose sums are added before they are sent
BLOCK_WORDS = 4096  # words whose sums one task adds
BLOCK_BYTES = 64 << 20  # of projected descriptors that one task sorts


@dataclass(frozen=True)
class Sample:
    """Files (n_i, d) of sampled descriptors; small, so a task carries it whole."""

    folder: str
    names: tuple[str, ...]
    n: int
    d: int
    n_bad: int = 0  # descriptors left out because they hold a NaN or an infinity

    @property
    def runs(self) -> list[tuple[str, ...]]:
        """The files in groups, in order: fixed by their number, not by the tasks."""
        n_runs = max(1, min(MAX_RUNS, len(self.names)))
        bounds = [len(self.names) * i // n_runs for i in range(n_runs + 1)]
        return [self.names[a:b] for a, b in pairwise(bounds)]

    def read(self, names: Sequence[str]) -> Iterator[np.ndarray]:
        """Map some files, one after the other."""
        return (map_array(self.folder, name) for name in names)

    def sum_here(self, quantizer: Quantizer) -> WordSums:
        """Sum all descriptors by their word in this process, as tasks would: on all cores, a thread each."""
        import faiss

        quantizer.prepare()
        with (
            threadpool_limits(1),
            ThreadPoolExecutor(os.cpu_count(), initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool,
        ):
            return add_sums(pool.map(lambda run: sum_parts(self.read(run), quantizer), self.runs))


class Drawn(NamedTuple):
    """A sample, and the descriptors (k, d) float32 of the smallest draws: where k-means starts."""

    sample: Sample
    start: np.ndarray


def write_sample(local: DataFrame, folder: str, *, dtype: str, n_points: int, k: int, seed: int) -> Drawn:
    """Draw about ``n_points`` descriptors by hash and write them as files; ``k`` of them are the start.

    ``local`` holds `LOCAL_DESCRIPTORS` rows whose vectors are of ``dtype``. Runs two jobs; the descriptors
    that are not drawn leave no task.

    Raises
    ------
    ValueError
        There are no descriptors, or of several dimensions.
    """
    usable = local.where("n_keypoints > 0").select("image_id", "points", "vectors")
    total = local.where("n_keypoints > 0").agg(sf.sum("n_keypoints")).first()
    n_all = int((total and total[0]) or 0)
    if not n_all:
        raise ValueError("there are no local descriptors to fit on")
    share = min(1.0, n_points / n_all)
    bound = share * min(1.0, (k + 6 * np.sqrt(k) + 10) / (share * n_all))
    n_parts = max(1, -(-min(n_points, n_all) // PART_ROWS))
    drawn = usable.mapInArrow(drawer(dtype, share, seed), "image_id long, draws binary, vectors binary")
    bucket = sf.pmod(sf.xxhash64("image_id"), sf.lit(n_parts)).cast("int")
    schema = "bucket int, name string, n long, d int, n_bad long, draws binary, start binary"
    grouped = drawn.withColumn("bucket", bucket).groupBy("bucket")
    written = grouped.applyInArrow(part_writer(folder, dtype, bound), schema).toArrow().sort_by("bucket")
    return gather_sample(folder, written.to_pylist(), k)


def drawer(dtype: str, share: float, seed: int) -> Callable[[Batches], Batches]:
    """Make the function that keeps the descriptors whose draw is below ``share``."""

    def draw(batches: Batches) -> Batches:
        for batch in batches:
            offsets, _, X = join_features(pa.Table.from_batches([batch]), dtype)
            ids, counts = batch["image_id"].to_pylist(), np.diff(offsets)
            draws = [draw_descriptors(i, int(n), seed) for i, n in zip(ids, counts, strict=True)]
            flat = np.concatenate([*draws, np.zeros(0)])
            chosen = flat < share
            bounds = np.concatenate([[0], np.cumsum(chosen)])[offsets]
            kept = np.ascontiguousarray(X[chosen])
            columns = [batch["image_id"], lists_to_arrow(bounds, flat[chosen])]
            columns.append(lists_to_arrow(bounds * X.shape[1], kept.ravel()))
            yield pa.record_batch(columns, names=["image_id", "draws", "vectors"])

    return draw


def part_writer(folder: str, dtype: str, bound: float) -> Callable[[pa.Table], pa.Table]:
    """Make the function that writes the drawn descriptors of a bucket as one file."""

    def write_part(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by("image_id")
        _, draws = arrow_to_lists(rows["draws"], "<f8")
        _, flat = arrow_to_lists(rows["vectors"], np.dtype(dtype).newbyteorder("<").str)
        if len(draws) and len(flat) % len(draws):
            raise ValueError("local descriptors of several dimensions cannot be fitted together")
        X = flat.reshape(len(draws), -1) if len(draws) else flat.reshape(0, 0)
        fine = np.isfinite(X).all(axis=1)
        X, draws = X[fine], draws[fine]
        bucket, early = rows["bucket"][0].as_py(), draws < bound
        row = {
            "bucket": bucket,
            "name": save_array(folder, f"points-{bucket:05d}", X),
            "n": len(X),
            "d": X.shape[1],
            "n_bad": int((~fine).sum()),
            "draws": draws[early].tobytes(),
            "start": X[early].astype("<f4").tobytes(),
        }
        kinds = [pa.int32(), pa.string(), pa.int64(), pa.int32(), pa.int64(), pa.binary(), pa.binary()]
        arrays = [pa.array([v], kind) for v, kind in zip(row.values(), kinds, strict=True)]
        return pa.table(arrays, names=list(row))

    return write_part


def gather_sample(folder: str, rows: list[dict], k: int) -> Drawn:
    """Join what the parts tell."""
    full = [row for row in rows if row["n"]]
    dimensions = {row["d"] for row in full}
    if len(dimensions) != 1:
        raise ValueError(f"expected local descriptors of one dimension, got {sorted(dimensions)}")
    d = dimensions.pop()
    draws = np.concatenate([np.frombuffer(row["draws"], "<f8") for row in full])
    points = np.concatenate([np.frombuffer(row["start"], "<f4").reshape(-1, d) for row in full])
    names = tuple(row["name"] for row in full)
    n, n_bad = sum(row["n"] for row in full), sum(row["n_bad"] for row in rows)
    return Drawn(Sample(folder, names, n, d, n_bad), choose_starts(draws, points, k))


def step_over_tasks(
    spark: SparkSession, sample: Sample, *, block_words: int = BLOCK_WORDS
) -> Callable[[Quantizer], WordSums]:
    """Make the step of `fit_centroids` that sums by tasks: equal to `Sample.sum_here`, bit for bit.

    The centroids reach the tasks as a file. What a task found is cut into blocks of words, so that no task
    adds more than a block and the driver receives k sums, however many files there are.
    """

    def step(quantizer: Quantizer) -> WordSums:
        layout = save_quantizer(quantizer, sample.folder)

        def sum_runs(batches: Batches) -> Batches:
            current = layout.open()
            for number in task_numbers(batches):
                found = sum_parts(sample.read(sample.runs[number]), current)
                yield from cut_blocks(number, found, block_words)

        tasks = start_tasks(spark, len(sample.runs))
        rows = tasks.mapInArrow(sum_runs, "block int, run int, sums binary, counts binary, error double")
        added = rows.groupBy("block").applyInArrow(
            add_block, "block int, sums binary, counts binary, error double"
        )
        blocks = added.toArrow().sort_by("block").to_pylist()
        return join_blocks(blocks, quantizer.centroids.shape[1])

    return step


def cut_blocks(run: int, found: WordSums, block_words: int) -> Batches:
    """Cut sums into rows of ``block_words`` words each; the first block carries the error."""
    for block, start in enumerate(range(0, len(found.counts), block_words)):
        words = slice(start, start + block_words)
        row = {
            "block": pa.array([block], pa.int32()),
            "run": pa.array([run], pa.int32()),
            "sums": [found.sums[words].tobytes()],
            "counts": [found.counts[words].astype("<i8").tobytes()],
            "error": [found.error if block == 0 else 0.0],
        }
        yield pa.record_batch(row)


def add_block(rows: pa.Table) -> pa.Table:
    """Add the sums of one block of words, in the order of the runs."""
    parts = [
        WordSums(np.frombuffer(row["sums"], "<f8"), np.frombuffer(row["counts"], "<i8"), row["error"])
        for row in rows.sort_by("run").to_pylist()
    ]
    total = add_sums(parts)
    names = ["block", "sums", "counts", "error"]
    return pa.table(
        [rows["block"][:1], [total.sums.tobytes()], [total.counts.tobytes()], [total.error]], names
    )


def join_blocks(blocks: list[dict], d: int) -> WordSums:
    """Put the blocks of words together, in order."""
    sums = np.concatenate([np.frombuffer(row["sums"], "<f8") for row in blocks]).reshape(-1, d)
    counts = np.concatenate([np.frombuffer(row["counts"], "<i8") for row in blocks])
    return WordSums(sums, counts, sum(row["error"] for row in blocks))


def find_medians(
    spark: SparkSession, sample: Sample, quantizer: Quantizer, projection: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the medians of projected descriptors by word, see `word_medians`; a task sorts some words."""
    layout = save_quantizer(quantizer, sample.folder)
    n_bits = len(projection)
    n_blocks = max(1, -(-4 * sample.n * n_bits // BLOCK_BYTES))

    def project_files(batches: Batches) -> Batches:
        current = layout.open()
        for number in task_numbers(batches):
            X = np.asarray(map_array(sample.folder, sample.names[number]), np.float32)
            words, P = current.assign(X)[:, 0], project(X, projection).astype("<f4")
            for block in np.unique(words % n_blocks):
                chosen = words % n_blocks == block
                columns = [pa.array([block], pa.int32()), [words[chosen].tobytes()], [P[chosen].tobytes()]]
                yield pa.record_batch(columns, names=["block", "words", "values"])

    def sort_block(rows: pa.Table) -> pa.Table:
        words, values = arrow_to_lists(rows["words"], "<i4")[1], arrow_to_lists(rows["values"], "<f4")[1]
        found, medians = word_medians(values.reshape(-1, n_bits), words)
        columns = [[found.astype("<i4").tobytes()], [medians.tobytes()]]
        return pa.table(columns, names=["words", "values"])

    tasks = start_tasks(spark, len(sample.names))
    rows = tasks.mapInArrow(project_files, "block int, words binary, values binary")
    found = rows.groupBy("block").applyInArrow(sort_block, "words binary, values binary").toArrow()
    words, values = arrow_to_lists(found["words"], "<i4")[1], arrow_to_lists(found["values"], "<f4")[1]
    order = np.argsort(words)
    return words[order].astype(np.int64), values.reshape(-1, n_bits)[order]


def fit_thresholds(
    spark: SparkSession, drawn: Drawn, quantizer: Quantizer, *, n_bits: int, seed: int
) -> dict[str, np.ndarray]:
    """Draw a ``projection`` of ``n_bits`` (0: as many as dimensions); find the ``medians`` of each word."""
    projection = draw_projection(drawn.sample.d, n_bits or drawn.sample.d, seed=seed)
    words, medians = find_medians(spark, drawn.sample, quantizer, projection)
    return {
        "projection": projection,
        "medians": fill_medians(quantizer.centroids, projection, words, medians),
    }
