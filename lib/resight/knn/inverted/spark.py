"""Operators of the approximate graph: centroids, lists as files, and the search of every vector."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from resight.arrow import lists_to_arrow
from resight.knn import ivf
from resight.knn.blocks import Block, search_blocks
from resight.knn.matrix import OpenVectors, Part, VectorFiles, map_array, save_array, save_part
from resight.knn.storage.spark import PART_ROWS, number_tasks, task_numbers

QUERY_ROWS = 8192  # of one search task
TUNING_QUERIES = 256
LISTS = "src long, dst binary, similarity binary"  # of representatives, by ordinal

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class InvertedFiles:
    """Lists of a collection: vectors in the order of their list; ids are ordinals of the collection."""

    lists: VectorFiles
    centroids: str
    offsets: str
    n_probes: int
    recall: float  # that the tuning sample reached

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Map the centroids (l, d) and the offsets (l + 1,) of the lists."""
        folder = self.lists.folder
        return map_array(folder, self.centroids), map_array(folder, self.offsets)


def build_lists(
    spark: SparkSession, layout: VectorFiles, folder: str, *, k: int, recall: float, seed: int
) -> InvertedFiles:
    """Fit centroids, tune the number of probes for ``recall`` at ``k``, and write the lists to ``folder``."""

    def fit(batches: Batches) -> Batches:
        for _ in task_numbers(batches):
            centroids, n_probes, reached = fit_and_tune(layout.open(), k=k, recall=recall, seed=seed)
            row = [[save_array(folder, "centroids", centroids)], [n_probes], [reached]]
            yield pa.record_batch(row, names=["centroids", "probes", "recall"])

    fitted = number_tasks(spark, 1).mapInArrow(fit, "centroids string, probes long, recall double").first()
    if fitted is None:
        raise RuntimeError("no centroids were fitted")
    order, offsets = order_by_list(spark, layout, folder, fitted["centroids"])
    lists = write_lists(spark, layout, folder, order)
    return InvertedFiles(lists, fitted["centroids"], offsets, fitted["probes"], fitted["recall"])


def fit_and_tune(X: OpenVectors, *, k: int, recall: float, seed: int) -> tuple[np.ndarray, int, float]:
    """Fit centroids to a sample of ``X`` and tune the number of probes on another one."""
    rng = np.random.default_rng(seed)
    n_lists = ivf.count_lists(X.n)
    sample = np.sort(rng.choice(X.n, min(X.n, ivf.SAMPLE_PER_LIST * n_lists), replace=False))
    centroids = ivf.fit_centroids(X.gather(sample), n_lists, seed=seed)
    chosen = X.representative_of(np.sort(rng.choice(X.n, min(X.n, TUNING_QUERIES), replace=False)))
    queries = (chosen, X.gather(chosen))
    exact = search_blocks(queries, X.blocks(PART_ROWS), X.blocks(PART_ROWS), X.gather, k=k)
    return centroids, *ivf.tune_probes(queries[1], exact, X.gather, centroids, recall=recall)


def order_by_list(spark: SparkSession, layout: VectorFiles, folder: str, centroids: str) -> tuple[str, str]:
    """Write the representatives in the order of their list, and where each list starts; return the names.

    One task sorts them all: some 50 bytes each.
    """

    def assign(batches: Batches) -> Batches:
        C = map_array(folder, centroids)
        for number in task_numbers(batches):
            ordinals, X = layout.open().block(*part_range(number, layout.n))
            packed = [[a.tobytes()] for a in (ordinals, ivf.assign_lists(X, C))]
            yield pa.record_batch([pa.array(a, pa.binary()) for a in packed], names=["ordinals", "lists"])

    def order(batches: Batches) -> Batches:
        rows = [
            (b["ordinals"][i].as_buffer(), b["lists"][i].as_buffer()) for b in batches for i in range(len(b))
        ]
        ordinals = np.concatenate([np.frombuffer(a, np.int64) for a, _ in rows])
        lists = np.concatenate([np.frombuffer(b, np.int32) for _, b in rows])
        by_list = np.lexsort((ordinals, lists))
        bounds = np.searchsorted(lists[by_list], np.arange(len(map_array(folder, centroids)) + 1))
        names = [[save_array(folder, "order", ordinals[by_list])], [save_array(folder, "offsets", bounds)]]
        yield pa.record_batch(names, names=["order", "offsets"])

    assigned = number_tasks(spark, -(-layout.n // PART_ROWS)).mapInArrow(
        assign, "ordinals binary, lists binary"
    )
    row = assigned.repartition(1).mapInArrow(order, "order string, offsets string").first()
    if row is None:
        raise RuntimeError("no list was written")
    return row["order"], row["offsets"]


def write_lists(spark: SparkSession, layout: VectorFiles, folder: str, order: str) -> VectorFiles:
    """Write the vectors in the order ``order`` as parts."""
    n = layout.n - layout.n_copies

    def write(batches: Batches) -> Batches:
        for number in task_numbers(batches):
            start, stop = part_range(number, n)
            ordinals = map_array(folder, order)[start:stop]
            vectors = layout.open().gather(ordinals).astype(layout.dtype)
            row = [[start], [save_part(folder, number, ordinals, vectors)], [stop - start]]
            yield pa.record_batch(row, names=["start", "name", "n"])

    written = number_tasks(spark, -(-n // PART_ROWS)).mapInArrow(write, "start long, name string, n long")
    rows = sorted(written.collect(), key=lambda row: row["start"])
    parts = tuple(Part(row["name"], row["start"], row["n"]) for row in rows)
    return replace(layout, folder=folder, parts=parts, copies=None, n_copies=0)


def part_range(number: int, n: int) -> tuple[int, int]:
    """Rows of part ``number`` of ``n``."""
    return number * PART_ROWS, min((number + 1) * PART_ROWS, n)


def search_inverted(
    spark: SparkSession, layout: VectorFiles, inverted: InvertedFiles, *, k: int, query_rows: int = QUERY_ROWS
) -> DataFrame:
    """Search every representative in its nearest lists: rows (src, dst, similarity) by ordinal."""
    n = inverted.lists.n

    def search_task(batches: Batches) -> Batches:
        X, lists = layout.open(), inverted.lists.open()
        centroids, offsets = inverted.arrays()

        def read_list(number: int) -> Block:
            return read_rows(lists, int(offsets[number]), int(offsets[number + 1]))

        for number in task_numbers(batches):
            queries = read_rows(lists, number * query_rows, min((number + 1) * query_rows, n))
            probes = ivf.rank_lists(queries[1], centroids, inverted.n_probes)
            found = ivf.search_lists(queries, probes, read_list, X.blocks(PART_ROWS), X.gather, k=k)
            bounds, columns, similarities = found
            packed = [lists_to_arrow(bounds, columns.astype(np.int64)), lists_to_arrow(bounds, similarities)]
            yield pa.record_batch([queries[0], *packed], names=["src", "dst", "similarity"])

    return number_tasks(spark, -(-n // query_rows)).mapInArrow(search_task, LISTS)


def read_rows(lists: OpenVectors, start: int, stop: int) -> Block:
    """Read consecutive rows of the lists: ordinals of the collection and vectors."""
    return lists.id_of(np.arange(start, stop)), lists.rows(start, stop)
