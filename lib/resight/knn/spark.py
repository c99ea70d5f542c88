"""Operators of the kNN graph: vectors to files, files to `NEIGHBORS` rows, batch search.

Tasks are numbered; each derives its work from its number and the files, which it maps into memory, so the
driver ships no vector. Results do not depend on the number of tasks, block sizes or retries.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_lists, arrow_to_vectors, lists_to_arrow
from resight.knn.blocks import Block, Entries, merge_partials, search_blocks, search_strip
from resight.knn.copies import Rows, expand_copies, find_copies, hash_rows, to_offsets
from resight.knn.matrix import (
    OpenVectors,
    Part,
    VectorFiles,
    load_vector_files,
    normalize_rows,
    save_array,
    save_part,
)
from resight.knn.recall import recall_of_lists, wilson_interval
from resight.knn.search import search_collection
from resight.store import spark_schema
from resight.tables import NEIGHBORS

BLOCK_ROWS = 25_000  # of the exact path; a task holds two blocks and their candidates
PART_ROWS = 65_536
LISTS = "src long, dst binary, similarity binary"  # of representatives, by ordinal
PARTIALS = "block int, rows binary, columns binary, scores binary"

Batches = Iterator[pa.RecordBatch]


def write_vector_files(
    vectors: DataFrame, folder: str, *, source_dtype: str = "float16", dtype: str = "float32"
) -> VectorFiles:
    """Write the usable vectors of (image_id, vector[, status]) rows as files, and find identical ones.

    ``source_dtype`` is that of the column, ``dtype`` that of the files. Rows are left out where the vector is
    null or the status is not ok; zero and NaN vectors are left out and counted. ``folder`` belongs to one
    version of the rows: where it is complete already, it is taken as it is. Runs a few jobs.
    """
    if files.exists(files.join(folder, "parts.json")):
        return load_vector_files(folder)
    usable = vectors.where(sf.col("vector").isNotNull())
    if "status" in vectors.columns:
        usable = usable.where("status = 'ok'")
    usable = usable.select("image_id", "vector")
    n_parts = max(1, -(-usable.count() // PART_ROWS))
    parts = usable.repartitionByRange(n_parts, "image_id").sortWithinPartitions("image_id")
    written = parts.mapInArrow(
        part_writer(folder, source_dtype, dtype),
        "first long, name string, n long, d int, zero long, nan long",
    )
    layout = list_parts(folder, dtype, written.orderBy("first").toArrow())
    layout = mark_copies(vectors.sparkSession, layout)
    layout.save()
    return layout


def part_writer(folder: str, source_dtype: str, dtype: str) -> Callable[[Batches], Batches]:
    """Make the function that writes one partition of (image_id, vector) as a part."""

    def write_part(batches: Batches) -> Batches:
        from pyspark import TaskContext

        full = [b for b in batches if b.num_rows]
        if not full:
            return
        ids = np.concatenate([b["image_id"].to_numpy() for b in full])
        X, status = normalize_rows(
            np.concatenate([arrow_to_vectors(b["vector"], source_dtype) for b in full])
        )
        ok = status == "ok"
        context = TaskContext.get()
        number = context.partitionId() if context else 0
        name = save_part(folder, number, ids[ok], X[ok].astype(dtype))
        row = [
            int(ids[0]),
            name,
            int(ok.sum()),
            X.shape[1],
            int((status == "zero").sum()),
            int((status == "nan").sum()),
        ]
        names = ["first", "name", "n", "d", "zero", "nan"]
        types = [pa.int64(), pa.string(), pa.int64(), pa.int32(), pa.int64(), pa.int64()]
        yield pa.record_batch([pa.array([v], t) for v, t in zip(row, types, strict=True)], names=names)

    return write_part


def list_parts(folder: str, dtype: str, written: pa.Table) -> VectorFiles:
    """Line up the parts that were written."""
    rows = written.to_pylist()
    dimensions = {row["d"] for row in rows}
    if len(dimensions) != 1:
        raise ValueError(f"expected vectors of one dimension, got {sorted(dimensions) or 'no vector at all'}")
    rows_full = [row for row in rows if row["n"]]
    starts = np.cumsum([0] + [row["n"] for row in rows_full]).tolist()
    parts = tuple(Part(row["name"], start, row["n"]) for row, start in zip(rows_full, starts, strict=False))
    n_zero, n_nan = (sum(row[status] for row in rows) for status in ("zero", "nan"))
    return VectorFiles(folder, dimensions.pop(), dtype, parts, n_zero=n_zero, n_nan=n_nan)


def mark_copies(spark: SparkSession, layout: VectorFiles) -> VectorFiles:
    """Find the vectors that are byte-identical to one of smaller id and write the list of them."""
    if not layout.parts:
        return layout

    def hash_parts(batches: Batches) -> Batches:
        for number in task_numbers(batches):
            part, X = layout.parts[number], layout.open().vectors[number]
            low, high = hash_rows(X)
            ordinals = np.arange(part.start, part.start + part.n)
            yield pa.record_batch([low, high, ordinals], names=["low", "high", "ordinal"])

    def pair_copies(batches: Batches) -> Batches:
        full = list(batches)
        table = pa.Table.from_batches(full) if full else None
        if table is not None and table.num_rows:
            hashes = np.stack([table["low"].to_numpy(), table["high"].to_numpy()])
            pairs = find_copies(hashes, table["ordinal"].to_numpy())
            X = layout.open()
            same = (X.gather(pairs[0]) == X.gather(pairs[1])).all(axis=1)
            yield pa.record_batch(list(pairs[:, same]), names=["ordinal", "first"])

    def save_pairs(batches: Batches) -> Batches:
        pairs = [np.stack([b["ordinal"].to_numpy(), b["first"].to_numpy()]) for b in batches]
        joined = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)
        joined = joined[:, np.argsort(joined[0])]
        yield pa.record_batch(
            [[save_array(layout.folder, "copies", joined)], [joined.shape[1]]], names=["name", "n"]
        )

    hashed = number_tasks(spark, len(layout.parts)).mapInArrow(
        hash_parts, "low long, high long, ordinal long"
    )
    pairs = hashed.repartition("low").mapInArrow(pair_copies, "ordinal long, first long")
    saved = pairs.repartition(1).mapInArrow(save_pairs, "name string, n long").first()
    if saved is None:
        raise RuntimeError("the list of copies was not written")
    return replace(layout, copies=saved["name"], n_copies=saved["n"])


def number_tasks(spark: SparkSession, n: int) -> DataFrame:
    """One row (id) per task, each in its own partition."""
    return spark.range(0, n, 1, max(n, 1))


def task_numbers(batches: Batches) -> Iterator[int]:
    """Read the numbers of `number_tasks`."""
    for batch in batches:
        yield from batch["id"].to_pylist()


def build_neighbors(
    spark: SparkSession, layout: VectorFiles, *, k: int, max_copies: int = 10, block_rows: int = BLOCK_ROWS
) -> DataFrame:
    """Exact `NEIGHBORS` of all vectors: the ``k`` nearest distinct vectors and their copies.

    ``block_rows`` bounds the memory of a task and does not change the result; ``max_copies`` as in
    `resight.knn.copies`.
    """
    lists = search_exact(spark, layout, k=k, block_rows=block_rows)
    return expand_lists(lists, layout, max_copies=max_copies)


def search_exact(spark: SparkSession, layout: VectorFiles, *, k: int, block_rows: int) -> DataFrame:
    """Exact lists of representatives, `LISTS` rows: strips of block pairs, then one merge per block."""
    n_blocks = -(-layout.n // block_rows)

    def compare_strip(batches: Batches) -> Batches:
        X = layout.open()
        for strip in task_numbers(batches):
            blocks = (read_block(X, b, block_rows) for b in range(strip, n_blocks))
            found = search_strip(blocks, k=k)
            for block, best in zip([*range(strip + 1, n_blocks), strip], found, strict=True):
                yield pack_entries(block, best.entries())

    def merge_block(key: tuple, rows: pa.Table) -> pa.Table:
        X, number = layout.open(), key[0].as_py()
        block = read_block(X, number, block_rows)
        offsets, columns, similarities = merge_partials(
            block, unpack_entries(rows), X.blocks(block_rows), X.gather, k=k
        )
        lists = [
            block[0],
            lists_to_arrow(offsets, columns.astype(np.int64)),
            lists_to_arrow(offsets, similarities),
        ]
        return pa.table(lists, names=["src", "dst", "similarity"])

    partials = number_tasks(spark, n_blocks).mapInArrow(compare_strip, PARTIALS)
    return partials.groupBy("block").applyInArrow(merge_block, LISTS)


def read_block(X: OpenVectors, number: int, block_rows: int) -> Block:
    """Read the representatives of one block of ordinals."""
    return X.block(number * block_rows, min((number + 1) * block_rows, X.n))


def pack_entries(block: int, entries: Entries) -> pa.RecordBatch:
    """One `PARTIALS` row."""
    packed = [pa.array([a.tobytes()], pa.binary()) for a in entries]
    return pa.record_batch(
        [pa.array([block], pa.int32()), *packed], names=["block", "rows", "columns", "scores"]
    )


def unpack_entries(rows: pa.Table) -> Iterator[Entries]:
    """Arrays of each `PARTIALS` row."""
    for row in range(rows.num_rows):
        buffers = [rows[name][row].as_buffer() for name in ("rows", "columns", "scores")]
        r, c, scores = (np.frombuffer(b, t) for b, t in zip(buffers, ("i4", "i4", "f4"), strict=True))
        yield r, c, scores


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
