"""Listing a source, comparing it with the collection, and giving ids to what is new.

Reads ``images``; gives the rows that ingest turns into ``images`` and ``previews``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import ArrayType, BinaryType, DataType, MapType, StringType, StructField, StructType

from resight import files
from resight.config import SettingError
from resight.images.listing import (
    LISTING,
    Selector,
    entries_to_batches,
    scan_folder,
    split_folders,
    walk_files,
)
from resight.images.manifest import check_uri, find_uri, measure_rows, read_header
from resight.images.sources import Source, select_files
from resight.images.tar import list_shard

Batches = Iterator[pa.RecordBatch]
MAX_TASKS = 10_000
TRANSIENT = ("missing", "unreadable")  # of a file that the listing finds: tried again by the next run


def list_source(
    spark: SparkSession,
    source: Source,
    *,
    extensions: Iterable[str] = (),
    partitions: int | None = None,
    distinct: Sequence[str] = (),
) -> DataFrame:
    """List a source without reading its images: rows of `LISTING`, one per uri, in no order.

    ``status`` is null where nothing is wrong so far. A folder or shard that cannot be listed fails the
    task: what is not reached is not deleted.

    Parameters
    ----------
    extensions : iterable of str
        Of the files to list, by default `IMAGE_EXTENSIONS`; ``*`` lists every file. Manifests are listed
        as they are.
    partitions : int
        Tasks to divide the work into, by default ``spark.sql.shuffle.partitions``.
    distinct : sequence of str
        Columns of a manifest by which rows of one uri are told apart, such as the corners of boxes.
    """
    n_parts = partitions or int(spark.conf.get("spark.sql.shuffle.partitions") or 200)
    if source.kind == "manifest":
        return list_manifest(spark, source, n_parts, distinct)
    selector = select_files(source, extensions)
    if source.kind == "tar":
        return list_shards(spark, source, selector, Selector(select_extensions(extensions)))
    return list_folders(spark, source.root, selector, n_parts)


def select_extensions(extensions: Iterable[str]) -> tuple[str, ...]:
    """Give the extensions of the members to list."""
    return tuple(e.lower().lstrip(".") for e in extensions) or Selector().extensions


def list_folders(spark: SparkSession, root: str, selector: Selector, n_parts: int) -> DataFrame:
    """List a folder or a glob: each task walks its share of the sub-folders."""
    alone, whole = split_folders(root, selector, n_parts)

    def list_parts(batches: Batches) -> Batches:
        for task in task_numbers(batches):
            for folder in alone[task::n_parts]:
                yield from entries_to_batches(scan_folder(root, folder, selector)[0])
            for folder in whole[task::n_parts]:
                yield from entries_to_batches(walk_files(root, selector, folder))

    n_tasks = min(n_parts, max(len(alone), len(whole)))
    return start_tasks(spark, n_tasks).mapInArrow(list_parts, from_arrow_schema(LISTING))


def list_shards(spark: SparkSession, source: Source, selector: Selector, members: Selector) -> DataFrame:
    """List the images inside tar shards: a task reads the headers of one shard."""
    root = source.root
    shards = sorted(entry.uri for entry in walk_files(root, selector))
    n_tasks = max(1, min(len(shards), MAX_TASKS))

    def list_members(batches: Batches) -> Batches:
        for task in task_numbers(batches):
            for shard in shards[task::n_tasks]:
                yield from entries_to_batches(list_shard(root, shard, members))

    return start_tasks(spark, n_tasks).mapInArrow(list_members, from_arrow_schema(LISTING))


def start_tasks(spark: SparkSession, n_tasks: int) -> DataFrame:
    """Give one row, the number of the task, to each of ``n_tasks`` tasks."""
    return spark.range(0, n_tasks, 1, n_tasks)


def task_numbers(batches: Batches) -> Iterator[int]:
    """Read the rows of `start_tasks`."""
    for batch in batches:
        yield from batch.column(0).to_pylist()


def list_manifest(
    spark: SparkSession, source: Source, n_parts: int, distinct: Sequence[str] = ()
) -> DataFrame:
    """List the files that a manifest names; a uri that it names twice is its first row, with a note."""
    root = source.root

    def normalise(batches: Batches) -> Batches:
        for batch in batches:
            entries = [check_uri(uri) for uri in batch.column("uri").to_pylist()]
            for i, name in ((0, "uri"), (5, "status"), (6, "error")):
                column = pa.array([entry[i] for entry in entries], pa.string())
                batch = batch.set_column(batch.schema.get_field_index(name), name, column)
            yield batch

    def measure(batches: Batches) -> Batches:
        for batch in batches:
            yield from entries_to_batches(measure_rows(root, batch))

    rows = read_manifest(spark, source.path).select(
        "*", sf.lit(None).cast("string").alias("status"), sf.lit(None).cast("string").alias("error")
    )
    named = rows.mapInArrow(normalise, rows.schema)
    first = sf.min_by(sf.struct("extra", "status", "error"), sf.struct("file", "row"))
    marks = [sf.try_element_at("extra", sf.lit(name)).alias(f"mark_{name}") for name in distinct]
    once = named.groupBy("uri", *marks).agg(first.alias("first"), sf.count("*").alias("n_rows"))
    spread = once.select("uri", "first.*", "n_rows").repartition(n_parts, "uri")
    return spread.mapInArrow(measure, from_arrow_schema(LISTING))


def read_manifest(spark: SparkSession, path: str) -> DataFrame:
    """Read a manifest: ``uri``, ``extra`` (its other columns as text, nulls left out), ``file``, ``row``.

    CSV is UTF-8 with a header and RFC 4180 quotes. A Parquet manifest keeps the order of its rows however
    it is divided.
    """
    if path.lower().endswith(".parquet"):
        raw = read_parquet(spark, path)
        row = sf.col("_metadata.row_index")
    else:
        text = StructType([StructField(name, StringType()) for name in read_header(path)])
        place = files.spark_uri(path, pattern=True)
        raw = spark.read.csv(place, text, header=True, multiLine=True, escape='"', encoding="UTF-8")
        row = sf.monotonically_increasing_id()  # a file is never divided when multiLine
    uri = find_uri(raw.columns, path)
    others = [f for f in raw.schema.fields if f.name != uri]
    pairs = [sf.struct(sf.lit(f.name).alias("key"), as_text(f.name, f.dataType)) for f in others]
    kept = sf.filter(sf.array(*pairs), lambda pair: pair["value"].isNotNull()) if pairs else None
    extra = sf.map_from_entries(kept) if kept is not None else sf.lit(None)
    return raw.select(
        quoted(uri).cast("string").alias("uri"),
        extra.cast("map<string,string>").alias("extra"),
        sf.col("_metadata.file_path").alias("file"),
        row.alias("row"),
    )


def read_parquet(spark: SparkSession, path: str) -> DataFrame:
    """Read Parquet; `SettingError` where it is none."""
    try:
        return spark.read.parquet(files.spark_uri(path, pattern=True))
    except (PySparkException, Py4JError) as error:  # the second where Spark's own class is unknown to it
        raise SettingError(f"--source: cannot read {path} as Parquet") from error


def as_text(name: str, kind: DataType) -> Column:
    """Give a column of a manifest as text: nested values as JSON, bytes as base64."""
    column = quoted(name)
    if isinstance(kind, ArrayType | MapType | StructType):
        column = sf.to_json(column)
    elif isinstance(kind, BinaryType):
        column = sf.base64(column)
    return column.cast("string").alias("value")


def quoted(name: str) -> Column:
    """Name a column whatever letters are in its name."""
    return sf.col("`" + name.replace("`", "``") + "`")


def compare_listing(
    listing: DataFrame, images: DataFrame, source_id: str, *, verify: str = "changed"
) -> DataFrame:
    """Compare a listing with the images of its source, lazily.

    Returns
    -------
    DataFrame
        The columns of the listing, ``image_id`` (null where new), ``extra_differs`` (the manifest says
        something else about the image) and ``change``: ``new``, ``changed`` (size, time or place differ),
        ``checked`` (with ``verify="full"`` every other image that was there), ``same``, ``retried`` (the
        same, but it could not be read), ``returned`` (was removed, is back) or ``removed`` (the columns of
        the listing are null but for ``uri``). Images removed before have no row.
    """
    if verify not in ("changed", "full"):
        raise ValueError(f"verify is changed or full, got {verify!r}")
    known = images.where(sf.col("source_id") == source_id).select(
        sf.col("uri").alias("known_uri"),
        "image_id",
        "removed_at",
        sf.struct("n_bytes", "modified_at", "byte_offset").alias("known"),
        sf.col("extra").alias("known_extra"),
        sf.col("status").alias("known_status"),
    )
    joined = listing.join(known, sf.col("uri") == sf.col("known_uri"), "full_outer")
    equal = sf.struct("n_bytes", "modified_at", "byte_offset").eqNullSafe(sf.col("known"))
    change = (
        sf.when(sf.col("known_uri").isNull(), "new")
        .when(sf.col("uri").isNull() & sf.col("removed_at").isNull(), "removed")
        .when(sf.col("uri").isNull(), "gone")
        .when(sf.col("removed_at").isNotNull(), "returned")
        .when(~equal, "changed")
        .when(sf.lit(verify == "full"), "checked")
        .when(sf.col("status").isNull() & sf.col("known_status").isin(*TRANSIENT), "retried")
        .otherwise("same")
    )
    differs = ~sorted_entries("extra").eqNullSafe(sorted_entries("known_extra"))
    present = sf.col("uri").isNotNull() & sf.col("known_uri").isNotNull()
    return joined.select(
        sf.coalesce("uri", "known_uri").alias("uri"),
        *(name for name in listing.columns if name != "uri"),
        "image_id",
        (present & differs).alias("extra_differs"),
        change.alias("change"),
    ).where(sf.col("change") != "gone")


def sorted_entries(name: str) -> Column:
    """Give a map as something that can be compared; an empty one is null."""
    entries = sf.array_sort(sf.map_entries(name))
    return sf.when(sf.size(name) > 0, entries)


def assign_image_ids(
    new: DataFrame,
    taken: DataFrame,
    *,
    bits: int = 63,
    max_attempts: int = 32,
    hold: Callable[[DataFrame], DataFrame] | None = None,
) -> DataFrame:
    """Give an ``image_id`` to every row: the first ``bits`` bits of SHA-256(source_id, NUL, uri).

    Where the id is one of ``taken``, or a smaller (source_id, uri) of ``new`` has the same, the row hashes
    again with NUL and the number of the attempt appended. The rows of one attempt are judged together, so the
    result does not depend on their order or partitions. Without ``hold``, ``new`` is computed twice.

    Parameters
    ----------
    new : DataFrame
        ``source_id``, ``uri`` (unique) and any other columns, which stay.
    taken : DataFrame
        ``image_id`` of every image that ever was, each once.
    hold : callable, optional
        Computes a frame once and gives it back as read from where it is kept.
    """
    used, pending, done = taken.select("image_id"), new, []
    for attempt in range(max_attempts):
        tried = pending.withColumn("image_id", hash_rows(attempt, bits))
        first = Window.partitionBy("image_id").orderBy("source_id", "uri")
        ranked = tried.withColumn("rank", sf.row_number().over(first))
        marked = ranked.join(used.withColumn("is_taken", sf.lit(True)), "image_id", "left")
        marked = marked.withColumn("wins", (sf.col("rank") == 1) & sf.col("is_taken").isNull())
        if hold is not None:
            marked = hold(marked)
        elif attempt:
            marked = marked.localCheckpoint()  # only the few that lost before
        won = marked.where("wins").select(*new.columns, "image_id")
        lost = marked.where("not wins").select(*new.columns)
        pending = lost if hold is not None else lost.localCheckpoint()
        done.append(won)
        if pending.isEmpty():
            return reduce(DataFrame.unionByName, done)
        used = used.unionByName(won.select("image_id"))
    raise ValueError(f"no free id of {bits} bits after {max_attempts} attempts")


def hash_rows(attempt: int, bits: int) -> Column:
    """First ``bits`` (at most 63) bits of the SHA-256 of a row's source and uri."""
    parts = [sf.col("source_id"), sf.lit("\0"), sf.col("uri")]
    if attempt:
        parts += [sf.lit("\0"), sf.lit(str(attempt))]
    digest = sf.sha2(sf.concat(*parts), 256)
    high = sf.conv(sf.substring(digest, 1, 8), 16, 10).cast("bigint")
    low = sf.conv(sf.substring(digest, 9, 8), 16, 10).cast("bigint")
    first_63 = sf.shiftleft(high, 31).bitwiseOR(sf.shiftright(low, 1))
    return sf.shiftright(first_63, 63 - bits)
