"""Operators that write the vectors of a build as files and find the identical ones."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_vectors
from resight.knn.copies import find_copies, hash_rows
from resight.knn.matrix import (
    Part,
    VectorFiles,
    load_vector_files,
    normalize_rows,
    save_array,
    save_part,
)

PART_ROWS = 65_536

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
    parts = usable.repartitionByRange(n_parts, "image_id") if n_parts > 1 else usable.coalesce(1)
    written = parts.sortWithinPartitions("image_id").mapInArrow(
        part_writer(folder, source_dtype, dtype),
        "first long, name string, n long, d int, zero long, nan long",
    )
    layout = list_parts(folder, dtype, written.toArrow().sort_by("first"))
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
    if not rows:
        return VectorFiles(folder, 0, dtype, ())
    if len(dimensions) != 1:
        raise ValueError(f"expected vectors of one dimension, got {sorted(dimensions)}")
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
        row = [[save_array(layout.folder, "copies", joined)], [joined.shape[1]]]
        yield pa.record_batch(row, names=["name", "n"])

    numbers, is_one = number_tasks(spark, len(layout.parts)), len(layout.parts) == 1
    hashed = numbers.mapInArrow(hash_parts, "low long, high long, ordinal long")
    met = hashed if is_one else hashed.repartition("low")
    pairs = met.mapInArrow(pair_copies, "ordinal long, first long")
    saved = (pairs if is_one else pairs.repartition(1)).mapInArrow(save_pairs, "name string, n long").first()
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
