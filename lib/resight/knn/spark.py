"""Operators of the kNN graph: files of vectors to `NEIGHBORS` rows, its recall, batch search.

Tasks are numbered; each derives its work from its number and the files, which it maps into memory, so the
driver ships no vector. Results do not depend on the number of tasks, block sizes or retries.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_lists, arrow_to_vectors, lists_to_arrow
from resight.knn.copies import Rows, expand_copies, to_offsets
from resight.knn.matrix import OpenVectors, VectorFiles, normalize_rows
from resight.knn.recall import recall_of_lists, wilson_interval
from resight.knn.storage.spark import number_tasks, task_numbers, write_vector_files
from resight.store import spark_schema
from resight.tables import NEIGHBORS

__all__ = [
    "Approximation",
    "build_neighbors",
    "expand_lists",
    "list_neighbors",
    "measure_recall",
    "neighbors_long",
    "number_tasks",
    "search_exact",
    "search_vectors",
    "task_numbers",
    "write_vector_files",
]

BLOCK_ROWS = 25_000  # of the exact path; a task holds two blocks and the candidates of one

Batches = Iterator[pa.RecordBatch]


class Approximation(NamedTuple):
    """How an approximate graph is made: the ``recall`` to tune for, the ``seed`` of its samples."""

    recall: float = 0.95
    seed: int = 0


def build_neighbors(
    spark: SparkSession,
    layout: VectorFiles,
    *,
    k: int,
    max_copies: int = 10,
    block_rows: int = BLOCK_ROWS,
    approximate: Approximation | None = None,
) -> DataFrame:
    """List the ``k`` nearest distinct vectors of every vector, and their copies: `NEIGHBORS` rows.

    Exact, unless ``approximate`` says how not to be (its lists are then written first, by a few jobs).
    ``block_rows`` bounds the memory of a task that searches and does not change the result (what grows with
    the number of vectors is said in `resight.knn`); ``max_copies`` as in `resight.knn.copies`.
    """
    lists = list_neighbors(spark, layout, k=k, block_rows=block_rows, approximate=approximate)
    return expand_lists(lists, layout, max_copies=max_copies)


def list_neighbors(
    spark: SparkSession,
    layout: VectorFiles,
    *,
    k: int,
    block_rows: int = BLOCK_ROWS,
    approximate: Approximation | None = None,
) -> DataFrame:
    """List the ``k`` nearest of every distinct vector: `LISTS` rows by ordinal, see `build_neighbors`."""
    from resight.knn.inverted.spark import build_lists, search_inverted

    if approximate is None or not layout.n:
        return search_exact(spark, layout, k=k, block_rows=block_rows)
    folder = files.join(layout.folder, "lists")
    inverted = build_lists(spark, layout, folder, k=k, recall=approximate.recall, seed=approximate.seed)
    return search_inverted(spark, layout, inverted, k=k)


def search_exact(spark: SparkSession, layout: VectorFiles, *, k: int, block_rows: int) -> DataFrame:
    """Exact lists of representatives, `LISTS` rows: each task searches all vectors for a block of them."""
    from resight.knn.blocks import search_blocks
    from resight.knn.inverted.spark import LISTS

    def search_block(batches: Batches) -> Batches:
        X = layout.open()
        for number in task_numbers(batches):
            stop = min((number + 1) * block_rows, X.n)
            queries, everything = X.block(number * block_rows, stop), X.blocks(block_rows)
            offsets, columns, similarities = search_blocks(queries, everything, everything, X.gather, k=k)
            lists = [lists_to_arrow(offsets, columns), lists_to_arrow(offsets, similarities)]
            yield pa.record_batch([queries[0], *lists], names=["src", "dst", "similarity"])

    return number_tasks(spark, -(-layout.n // block_rows)).mapInArrow(search_block, LISTS)


def expand_lists(lists: DataFrame, layout: VectorFiles, *, max_copies: int) -> DataFrame:
    """Turn `LISTS` of representatives, by ordinal, into `NEIGHBORS` of all vectors, by id."""

    def expand_batches(batches: Batches) -> Batches:
        X = layout.open()
        for batch in batches:
            offsets, dst = arrow_to_lists(batch["dst"], "int64")
            similarity = arrow_to_lists(batch["similarity"], "float32")[1]
            rows = Rows(batch["src"].to_numpy(), offsets, dst, similarity)
            for full in expand_copies(rows, X.grouped_copies, max_copies):
                columns = [
                    X.id_of(full.src),
                    lists_to_arrow(full.offsets, X.id_of(full.dst)),
                    lists_to_arrow(full.offsets, full.similarity),
                ]
                yield pa.record_batch(columns, names=["src", "dst", "similarity"])

    return lists.mapInArrow(expand_batches, spark_schema(NEIGHBORS))


def neighbors_long(neighbors: DataFrame) -> DataFrame:
    """Unpack `NEIGHBORS` rows into (src, rank, dst, similarity), rank from 0."""

    def unpack(batches: Batches) -> Batches:
        for batch in batches:
            offsets, dst = arrow_to_lists(batch["dst"], "int64")
            similarity = arrow_to_lists(batch["similarity"], "float32")[1]
            counts = np.diff(offsets)
            rank = (np.arange(len(dst)) - np.repeat(offsets[:-1], counts)).astype(np.int32)
            src = np.repeat(batch["src"].to_numpy(), counts)
            yield pa.record_batch([src, rank, dst, similarity], names=["src", "rank", "dst", "similarity"])

    rows = neighbors.select("src", "dst", "similarity")
    return rows.mapInArrow(unpack, "src long, rank int, dst long, similarity float")


def search_vectors(
    queries: DataFrame, layout: VectorFiles, *, depth: int | str, source_dtype: str = "float16"
) -> DataFrame:
    """Rank the collection exactly for every query: rows (query_id, rank, image_id, score), rank from 0.

    ``queries`` has (query_id, vector[, image_id]): an image of the collection is left out of its own ranking.
    ``depth`` is a number or ``all``. A query whose vector is null, zero or NaN has no rows.
    """
    from resight.knn.search import search_collection

    limit = layout.n if depth == "all" else int(depth)

    def rank_batches(batches: Batches) -> Batches:
        X = layout.open()
        for batch in batches:
            Q, status = normalize_rows(arrow_to_vectors(batch["vector"], source_dtype))
            usable = np.flatnonzero(status == "ok")
            ids = batch["query_id"].to_numpy()[usable]
            own = X.ordinal_of(batch["own"].to_numpy()[usable])
            for chunk, (offsets, columns, scores) in search_collection(Q[usable], own, X, depth=limit):
                counts = np.diff(offsets)
                rank = (np.arange(len(columns)) - np.repeat(offsets[:-1], counts)).astype(np.int32)
                rows = [np.repeat(ids[chunk], counts), rank, X.id_of(columns), scores]
                yield pa.record_batch(rows, names=["query_id", "rank", "image_id", "score"])

    own = sf.coalesce("image_id", sf.lit(-1)) if "image_id" in queries.columns else sf.lit(-1)
    usable = queries.where(sf.col("vector").isNotNull())
    rows = usable.select("query_id", "vector", own.cast("long").alias("own"))
    return rows.mapInArrow(rank_batches, "query_id long, rank int, image_id long, score float")


def measure_recall(
    neighbors: DataFrame, layout: VectorFiles, *, k: int, n_queries: int = 400, seed: int = 0
) -> DataFrame:
    """Measure lists against an exact search: one row (recall, low, high, n_queries), 95 % interval.

    The queries are those images, among representatives, with the smallest hash of (id, seed); their lists are
    compared over distinct vectors.
    """

    def compare(batches: Batches) -> Batches:
        X = layout.open()
        sampled = pa.Table.from_batches(full) if (full := list(batches)) else None
        recalls = list_recalls(X, sampled, k) if sampled is not None else np.zeros(0)
        mean = float(recalls.mean()) if len(recalls) else 1.0
        row = [[mean], *([x] for x in wilson_interval(mean, len(recalls))), [len(recalls)]]
        yield pa.record_batch(row, names=["recall", "low", "high", "n_queries"])

    first = neighbors.orderBy(sf.xxhash64("src", sf.lit(seed)), "src").limit(n_queries)
    one = first.select("src", "dst", "similarity").repartition(1)
    return one.mapInArrow(compare, "recall double, low double, high double, n_queries long")


def list_recalls(X: OpenVectors, sampled: pa.Table, k: int) -> np.ndarray:
    """Recall (s,) of sampled `NEIGHBORS` rows over distinct vectors."""
    from resight.knn.blocks import search_blocks

    own = X.representative_of(X.ordinal_of(sampled["src"].to_numpy()))
    offsets, dst = arrow_to_lists(sampled["dst"], "int64")
    similarity = arrow_to_lists(sampled["similarity"], "float32")[1]
    src = np.repeat(own, np.diff(offsets))
    columns = X.ordinal_of(dst)
    distinct = (X.representative_of(columns) == columns) & (columns != src)
    kept = to_offsets(np.add.reduceat(np.append(distinct, 0), offsets)[:-1] * (np.diff(offsets) > 0))
    blocks = X.blocks(BLOCK_ROWS)
    exact_offsets, _, exact = search_blocks((own, X.gather(own)), blocks, X.blocks(BLOCK_ROWS), X.gather, k=k)
    return recall_of_lists(kept, similarity[distinct], exact_offsets, exact)
