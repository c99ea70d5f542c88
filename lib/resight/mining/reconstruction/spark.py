"""Operators that mine 3D models: folders of models to rows of `TRAINING_POOLS`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight.knn.matrix import VectorFiles
from resight.knn.spark import number_tasks, task_numbers
from resight.mining.pools import PoolWork, nullable
from resight.mining.reconstruction.work import (
    EXTRA,
    HARD,
    PAIRED,
    POSITIVE,
    SEEN,
    ModelWork,
    NegativeWork,
    SplitWork,
    read_seen,
)
from resight.store import spark_schema
from resight.tables import TRAINING_POOLS

BLOCK_ROWS = 4096  # queries, and candidates, that one task compares
Batches = Iterator[pa.RecordBatch]


def read_models(spark: SparkSession, folders: Sequence[str]) -> DataFrame:
    """Read models, one task for each: `SEEN` rows; ``model`` is the place among ``folders``."""
    paths = list(folders)

    def read(batches: Batches) -> Batches:
        for number in task_numbers(batches):
            yield from read_seen(paths[number], number).to_batches(max_chunksize=1000)

    return number_tasks(spark, len(paths)).mapInArrow(read, from_arrow_schema(SEEN))


def name_images(
    seen: DataFrame, images: DataFrame, groups: DataFrame | None, *, prefix: str = ""
) -> DataFrame:
    """Find the images that models name: `SEEN` columns with ``image_id`` and ``copy_key``.

    A name, with ``prefix`` before it, is the uri of one image; others are left out. An image of several
    models stays in the one where it sees most points. Images of one group, or of equal pixels, share a copy
    key.
    """
    live = images.where("removed_at is null and status = 'ok'").select("image_id", "uri", "pixel_hash")
    once = live.withColumn("n", sf.count("*").over(Window.partitionBy("uri"))).where("n = 1").drop("n")
    by_pixels = Window.partitionBy(sf.coalesce("pixel_hash", sf.col("image_id").cast("string")))
    keyed = once.withColumn("copy_key", sf.min("image_id").over(by_pixels)).drop("pixel_hash")
    if groups is not None:
        joined = keyed.join(groups.select("image_id", "group_id"), "image_id", "left")
        by_group = Window.partitionBy(sf.coalesce("group_id", "image_id"), sf.col("group_id").isNull())
        first = sf.min("copy_key").over(by_group)
        keyed = joined.withColumn("copy_key", first).drop("group_id")
    named = seen.withColumn("uri", sf.concat(sf.lit(prefix), "name")).join(keyed, "uri").drop("uri")
    best = Window.partitionBy("image_id").orderBy(sf.desc("n_points"), "model")
    return named.withColumn("place", sf.row_number().over(best)).where("place = 1").drop("place")


def split_models(named: DataFrame, links: DataFrame, work: SplitWork) -> DataFrame:
    """Choose the side of every model: rows (model, split); one task holds a row per model.

    Models that share copies, or images that ``links`` (a, b) bind, are on one side.
    """
    own = named.groupBy("model").agg(sf.count("*").alias("weight"))
    own = own.selectExpr("model as a", "model as b", "weight")
    members = named.select("model", "copy_key").distinct()
    shared = members.groupBy("copy_key").agg(sf.min("model").alias("first"))
    copies = members.join(shared, "copy_key").where("model != first").selectExpr("first as a", "model as b")
    for end in ("a", "b"):
        known = named.selectExpr(f"image_id as {end}", f"model as model_{end}")
        links = links.join(known, end)
    bound = links.selectExpr("model_a as a", "model_b as b").where("a != b").union(copies).distinct()

    def split(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if full:
            yield from work(pa.Table.from_batches(full)).to_batches()

    rows = own.unionByName(bound.withColumn("weight", sf.lit(0).cast("long")))
    return rows.repartition(1).mapInArrow(split, "model long, split string")


def pair_models(named: DataFrame, work: ModelWork) -> DataFrame:
    """Draw queries and pair them with images of their models: `PAIRED` rows; a model is one task."""
    columns = [*SEEN.names, "image_id", "copy_key"]

    def pair(table: pa.Table) -> pa.Table:
        return work(table)

    return named.select(columns).groupBy("model").applyInArrow(pair, from_arrow_schema(PAIRED))


class Epoch(NamedTuple):
    """The images that are compared, both rows (image_id, model, copy_key, split)."""

    queries: DataFrame
    candidates: DataFrame


def gather_epoch(positives: DataFrame, drawn: DataFrame, paired: DataFrame, images: DataFrame) -> Epoch:
    """Gather the queries that have ``positives``; with them, the ``drawn`` ones and the extra images.

    ``images`` have (image_id, model, copy_key, split).
    """
    asked = positives.select(sf.col("anchor").alias("image_id")).distinct()
    extra = paired.where(sf.col("kind") == EXTRA).select(sf.col("item").alias("image_id"))
    others = drawn.select(sf.col("item").alias("image_id"))
    everyone = asked.union(others).union(extra).distinct()
    known = images.select("image_id", "model", "copy_key", "split")
    return Epoch(*(known.join(some, "image_id", "left_semi") for some in (asked, everyone)))


def find_hard(
    epoch: Epoch, vectors: VectorFiles, *, n: int, per_model: bool, n_blocks: tuple[int, int] = (1, 1)
) -> DataFrame:
    """Find the ``n`` most similar images of other models on the same side: `HARD` rows with ``rank``.

    A task compares a block of queries with a block of candidates; ``n_blocks`` does not change the result:
    a model that is among the n best of all is so in its block.
    """
    many, few = n_blocks
    queries = epoch.queries.withColumns(
        {
            "is_query": sf.lit(True),
            "row": sf.pmod(sf.xxhash64("image_id"), sf.lit(many)),
            "column": sf.explode(sf.sequence(sf.lit(0).cast("long"), sf.lit(few - 1).cast("long"))),
        }
    )
    candidates = epoch.candidates.withColumns(
        {
            "is_query": sf.lit(False),
            "column": sf.pmod(sf.xxhash64("image_id", sf.lit(1)), sf.lit(few)),
            "row": sf.explode(sf.sequence(sf.lit(0).cast("long"), sf.lit(many - 1).cast("long"))),
        }
    )
    work = NegativeWork(vectors, n, per_model)

    def search(table: pa.Table) -> pa.Table:
        return work(table)

    rows = queries.unionByName(candidates)
    found = rows.groupBy("split", "row", "column").applyInArrow(search, from_arrow_schema(HARD))
    order = [sf.desc("similarity"), sf.col("item")]
    if per_model:
        best = Window.partitionBy("anchor", "model").orderBy(*order)
        found = found.withColumn("place", sf.row_number().over(best)).where("place = 1").drop("place")
    rank = (sf.row_number().over(Window.partitionBy("anchor").orderBy(*order)) - 1).alias("rank")
    return found.select("*", rank).where(sf.col("rank") < n)


def measure_pairs(pairs: DataFrame, vectors: VectorFiles) -> DataFrame:
    """Add the ``similarity`` of anchor and item, null where one has no vector."""
    work = PoolWork(vectors)

    def measure(batches: Batches) -> Batches:
        for batch in batches:
            found = work.compare(*(batch[name].to_numpy() for name in ("anchor", "item")))
            yield batch.append_column("similarity", nullable(found))

    schema = pa.schema([*PAIRED, ("similarity", pa.float32())])
    return pairs.select(PAIRED.names).mapInArrow(measure, from_arrow_schema(schema))


def pool_positives(
    paired: DataFrame,
    vectors: VectorFiles,
    sides: DataFrame,
    *,
    rule: str,
    source: str = "reconstruction",
) -> DataFrame:
    """Make `TRAINING_POOLS` rows of the positives, in the order in which the ``rule`` wants them used."""
    measured = measure_pairs(paired.where(sf.col("kind") == POSITIVE), vectors)
    best = sf.col("similarity").desc_nulls_last() if rule == "nearest" else sf.desc_nulls_last("n_common")
    rank = sf.row_number().over(Window.partitionBy("anchor").orderBy(best, "item")) - 1
    rows = measured.withColumns({"rank": rank, "reason": word_positive(source)})
    return pool_rows(rows, sides, "positive", source)


def word_positive(source: str) -> Column:
    """Say what makes an item a positive."""
    if source == "labels":
        return sf.lit("of the same label")
    shared = {"reconstruction": " common points, ", "verified": " inliers, "}[source]
    whole = {"reconstruction": " of the anchor's", "verified": " of the anchor's most"}[source]
    words = [sf.col("n_common").cast("string"), sf.lit(shared), percent("overlap"), sf.lit(whole)]
    return sf.concat(*words)


def pool_negatives(
    hard: DataFrame,
    named: DataFrame,
    sides: DataFrame,
    *,
    per_model: bool,
    source: str = "reconstruction",
) -> DataFrame:
    """Make `TRAINING_POOLS` rows of the negatives."""
    own = named.selectExpr("image_id as anchor", "model as own")
    rows = hard.withColumnRenamed("model", "other").join(own, "anchor").withColumnRenamed("own", "model")
    kind = {"reconstruction": "model", "verified": "component", "labels": "label"}[source]
    nearest = f"the nearest of {kind} " if per_model else f"near, of {kind} "
    reason = sf.concat(sf.lit(nearest), sf.col("other").cast("string"))
    return pool_rows(rows.withColumn("reason", reason), sides, "negative", source)


def percent(column: str) -> Column:
    """Spell a share in percent."""
    return sf.concat(sf.round(sf.col(column) * 100, 0).cast("int").cast("string"), sf.lit(" %"))


def pool_rows(rows: DataFrame, sides: DataFrame, role: str, source: str) -> DataFrame:
    """Complete rows of one role."""
    fixed = {"role": sf.lit(role), "source": sf.lit(source), "anchor_weight": sf.lit(1.0)}
    full = rows.join(sides, "model").withColumn("component_id", sf.col("model")).withColumns(fixed)
    fields = spark_schema(TRAINING_POOLS).fields
    lacking = {f.name: sf.lit(None) for f in fields if f.name not in full.columns}
    full = full.withColumns(lacking)
    return full.select(*(sf.col(f.name).cast(f.dataType.simpleString()).alias(f.name) for f in fields))


def count_blocks(n_queries: int, n_candidates: int) -> tuple[int, int]:
    """Say how many blocks of queries and of candidates there are."""
    return max(1, -(-n_queries // BLOCK_ROWS)), max(1, -(-n_candidates // BLOCK_ROWS))
