"""Global descriptors on Spark: vectors that were made elsewhere become rows of ``global_descriptors``."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import ArrayType, BinaryType, NumericType

from resight import files
from resight.config import SettingError
from resight.features.imports import (
    PACKED,
    choose_id,
    lists_to_matrix,
    open_array,
    pack_batch,
    read_ids,
    require_columns,
)
from resight.images.spark import assign_image_ids, quoted, read_parquet, start_tasks, task_numbers
from resight.store import spark_schema
from resight.tables import IMAGES

Batches = Iterator[pa.RecordBatch]
BLOCK_BYTES = 32 << 20
BATCH_ROWS = 1000


@dataclass(frozen=True)
class VectorFormat:
    """How vectors are found in a file and kept in the table.

    Parameters
    ----------
    id_column : str
        Of the ids in a Parquet or Delta table.
    vector_column : str
        Of a Parquet or Delta table: lists of numbers, or binaries.
    binary_dtype : str
        Of the values where the column is binary.
    dimension : int
        Length of a vector; 0 takes the most frequent one, which reads the column once more.
    dtype : str
        What the table keeps, ``float16`` or ``float32``.
    unit : bool
        Whether vectors are divided by their length: every later job expects it.
    """

    id_column: str = "uri"
    vector_column: str = "vector"
    binary_dtype: str = "<f4"
    dimension: int = 0
    dtype: str = "float16"
    unit: bool = True


def import_vectors(
    spark: SparkSession, location: str, *, images: DataFrame, form: VectorFormat = VectorFormat()
) -> DataFrame:
    """Read vectors and give each image its own: ``image_id, content_hash, vector, status, error``."""
    return match_vectors(read_vectors(spark, location, form=form), images, id_column=form.id_column)


def read_vectors(spark: SparkSession, location: str, *, form: VectorFormat = VectorFormat()) -> DataFrame:
    """Read a Parquet file or folder, a Delta table, or a ``.npy`` array with its ids beside it.

    Returns
    -------
    DataFrame
        ``id`` (text), ``vector``, ``status`` (``ok``, ``nan``, ``zero``, ``missing``, ``bad_dimension``, or
        ``ambiguous`` where an id has several different vectors), ``error``, ``n_rows`` (that had this id).
    """
    if not files.exists(location):
        raise SettingError(f"--source: no such file or folder: {location}")
    packed = (read_array if location.lower().endswith(".npy") else read_table)(spark, location, form)
    row = sf.struct("vector", "status", "error")
    grouped = packed.groupBy("id").agg(
        sf.min(row).alias("low"), sf.max(row).alias("high"), sf.count("*").alias("n_rows")
    )
    differ = ~sf.col("low").eqNullSafe(sf.col("high"))
    note = sf.format_string("%d rows with this id differ", "n_rows")
    return grouped.select(
        "id",
        sf.when(~differ, sf.col("low.vector")).alias("vector"),
        sf.when(differ, "ambiguous").otherwise(sf.col("low.status")).alias("status"),
        sf.when(differ, note).otherwise(sf.col("low.error")).alias("error"),
        "n_rows",
    )


def read_table(spark: SparkSession, location: str, form: VectorFormat) -> DataFrame:
    """Read and pack the vectors of a Parquet or Delta table."""
    raw = open_table(spark, location)
    require_columns(location, raw.columns, id_column=form.id_column, vector_column=form.vector_column)
    kind = raw.schema[form.vector_column].dataType
    vector = quoted(form.vector_column)
    if isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType):
        vector, length = vector.cast("array<float>"), sf.size(vector)
    elif isinstance(kind, BinaryType):
        length = sf.octet_length(vector) / np.dtype(form.binary_dtype).itemsize
    else:
        wrong = f"{form.vector_column} of {location} is {kind.simpleString()}, no numbers and no binaries"
        raise SettingError(f"--vector-column: {wrong}")
    dimension = form.dimension or find_dimension(raw.select(length.alias("length")), location)

    def pack(batches: Batches) -> Batches:
        for batch in batches:
            laid_out = lists_to_matrix(batch.column("vector"), dimension, form.binary_dtype)
            yield pack_batch(batch.column("id"), *laid_out, dtype=form.dtype, unit=form.unit)

    rows = raw.select(quoted(form.id_column).cast("string").alias("id"), vector.alias("vector"))
    return rows.mapInArrow(pack, from_arrow_schema(PACKED))


def open_table(spark: SparkSession, location: str) -> DataFrame:
    """Read a Parquet or Delta table as it is."""
    if files.exists(files.join(location, "_delta_log")):
        return spark.read.format("delta").load(files.spark_uri(location))
    return read_parquet(spark, location)


def find_id_column(spark: SparkSession, location: str) -> str:
    """Choose the column of the ids by its name: ``uri``, else ``image_id``; an array's ids are uris."""
    if location.lower().endswith(".npy") or not files.exists(location):
        return "uri"
    return choose_id(open_table(spark, location).columns)


def find_dimension(lengths: DataFrame, location: str) -> int:
    """Give the most frequent length of a vector, the greater one of two (an action)."""
    counted = lengths.where("length > 0").groupBy("length").count()
    row = counted.orderBy(sf.desc("count"), sf.desc("length")).first()
    if row is None:
        raise SettingError(f"--source: {location} holds no vectors")
    return int(row["length"])


def read_array(spark: SparkSession, location: str, form: VectorFormat) -> DataFrame:
    """Read and pack the rows of a ``.npy`` array; each task reads a block of it."""
    array, ids = open_array(location, form.dimension)
    n, dimension = array.shape
    block = max(1, BLOCK_BYTES // (dimension * array.dtype.itemsize))
    n_tasks = max(1, -(-n // block))

    def pack(batches: Batches) -> Batches:
        for task in task_numbers(batches):
            first, last = task * block, (task + 1) * block
            names, rows = pa.array(read_ids(ids, first, last), pa.string()), array.read(first, last)
            for i in range(0, len(rows), BATCH_ROWS):
                X, fine, unsaid = rows[i : i + BATCH_ROWS], ["ok"] * BATCH_ROWS, [None] * BATCH_ROWS
                part = names[i : i + BATCH_ROWS], X, fine[: len(X)], unsaid[: len(X)]
                yield pack_batch(*part, dtype=form.dtype, unit=form.unit)

    return start_tasks(spark, n_tasks).mapInArrow(pack, from_arrow_schema(PACKED))


def match_vectors(vectors: DataFrame, images: DataFrame, *, id_column: str = "uri") -> DataFrame:
    """Give every row of ``images`` its vector, or the status ``missing``.

    ``images`` are the ones that are wanted: of one source where uris repeat in several, without the removed.
    """
    key = join_key(vectors, id_column)
    known = images.select("image_id", "content_hash", sf.col(id_column).alias("known"))
    joined = known.join(vectors.where(key.isNotNull()), sf.col("known") == key, "left")
    return joined.select(
        "image_id",
        sf.coalesce("content_hash", sf.sha2("vector", 256)).alias("content_hash"),
        "vector",
        sf.coalesce("status", sf.lit("missing")).alias("status"),
        sf.when(sf.col("status").isNull(), "no vector has this id").otherwise(sf.col("error")).alias("error"),
    )


def unmatched_vectors(vectors: DataFrame, images: DataFrame, *, id_column: str = "uri") -> DataFrame:
    """Give the rows of `read_vectors` that name no image; the sum of ``n_rows`` counts what is left out."""
    known = images.select(sf.col(id_column).alias("known"))
    return vectors.join(known, sf.col("known").eqNullSafe(join_key(vectors, id_column)), "left_anti")


def images_of_vectors(vectors: DataFrame, images: DataFrame, *, source_id: str) -> DataFrame:
    """Make images of ids that have none, for a collection of vectors without pixels: rows of ``images``.

    The id becomes the uri; ``content_hash`` is that of the packed vector, so another vector under the same
    id counts as a change, or of the id where there is no vector: two such images are no copies.
    ``images`` is the whole table: its ids are taken.
    """
    known = images.where(sf.col("source_id") == source_id).select(sf.col("uri").alias("known"))
    new = vectors.where("id is not null").join(known, sf.col("id") == sf.col("known"), "left_anti")
    rows = new.select(
        sf.lit(source_id).alias("source_id"),
        sf.col("id").alias("uri"),
        sf.sha2(sf.coalesce("vector", sf.col("id").cast("binary")), 256).alias("content_hash"),
    )
    named = assign_image_ids(rows, images.select("image_id"))
    given = {"first_seen": sf.current_timestamp(), "status": sf.lit("ok")}
    kinds = {field.name: field.dataType for field in spark_schema(IMAGES).fields}
    return named.select(
        *(
            (sf.col(name) if name in named.columns else given.get(name, sf.lit(None))).cast(kind).alias(name)
            for name, kind in kinds.items()
        )
    )


def join_key(vectors: DataFrame, id_column: str) -> Column:
    """Give the id as the type of the images' column."""
    if id_column not in ("uri", "image_id"):
        raise SettingError(f"--id-column: {id_column!r} is not one of uri, image_id")
    return vectors["id"].try_cast("bigint") if id_column == "image_id" else vectors["id"]
