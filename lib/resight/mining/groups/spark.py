"""Operators that put images into groups, and pair them: what `resight.mining.reconstruction` goes on with."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight.graph.spark import find_components
from resight.mining.groups.work import PARTNERS, LabelWork, scale_of
from resight.mining.pools import nullable
from resight.mining.reconstruction.work import EXTRA, PAIRED, POSITIVE, QUERY
from resight.store import spark_schema
from resight.tables import TRAINING_POOLS

Batches = Iterator[pa.RecordBatch]


def key_copies(images: DataFrame, groups: DataFrame | None) -> DataFrame:
    """Add to rows with an ``image_id`` a ``copy_key``, which images of one group of copies share."""
    if groups is None:
        return images.withColumn("copy_key", sf.col("image_id"))
    first = groups.groupBy("group_id").agg(sf.min("image_id").alias("copy_key"))
    keys = groups.select("image_id", "group_id").join(first, "group_id").drop("group_id")
    joined = images.join(keys, "image_id", "left")
    return joined.withColumn("copy_key", sf.coalesce("copy_key", "image_id"))


def select_sound(verified: DataFrame, *, min_inliers: int) -> DataFrame:
    """Choose the `VERIFIED_PAIRS` rows that count."""
    return verified.where((sf.col("status") == "ok") & (sf.col("n_inliers") >= min_inliers))


def name_components(sound: DataFrame, described: DataFrame, *, folder: str) -> DataFrame:
    """Name the component of verified pairs that each of the ``described`` images is in: (image_id, model).

    An image of no pair is a component of its own, named by itself. ``folder`` outlives the result.
    """
    edges = sound.selectExpr("image_a as src", "image_b as dst")
    labels = find_components(edges, folder=folder).withColumnRenamed("node_id", "image_id")
    model = sf.coalesce("component_id", "image_id").alias("model")
    return described.select("image_id").join(labels, "image_id", "left").select("image_id", model)


def pair_verified(sound: DataFrame, named: DataFrame, *, min_overlap: float, max_scale: float) -> DataFrame:
    """Pair images that were verified, both ways: `PAIRED` rows of the images ``named``.

    The inliers of a pair are what both share; the most inliers of any pair of the anchor stand for all that
    it shows. A scale that is not known is taken for a fine one. Copies are no pairs.
    """

    def measure(batches: Batches) -> Batches:
        for batch in batches:
            known = zip(batch["transform"].to_pylist(), batch["model"].to_pylist(), strict=True)
            scales = nullable(np.array([scale_of(*one) for one in known], np.float64))
            columns = [batch[name] for name in ("image_a", "image_b", "n_inliers")]
            yield pa.record_batch([*columns, scales], names=["a", "b", "n_common", "scale"])

    rows = sound.select("image_a", "image_b", "n_inliers", "transform", "model")
    once = rows.mapInArrow(measure, "a long, b long, n_common int, scale float")
    ways = [once.selectExpr(f"{a} as anchor", f"{b} as item", "n_common", "scale") for a, b in ("ab", "ba")]
    own = named.selectExpr("image_id as anchor", "model", "copy_key")
    other = named.selectExpr("image_id as item", "copy_key as item_key")
    both = ways[0].unionByName(ways[1]).join(own, "anchor").join(other, "item")
    most = sf.max("n_common").over(Window.partitionBy("anchor"))
    full = both.withColumn("overlap", (sf.col("n_common") / most).cast("float"))
    fine = sf.col("scale").isNull() | (sf.col("scale") <= max_scale)
    kept = full.where((sf.col("overlap") >= min_overlap) & fine & (sf.col("copy_key") != sf.col("item_key")))
    return complete_pairs(kept, POSITIVE)


def name_labels(labels: DataFrame, described: DataFrame) -> DataFrame:
    """Choose the ``described`` images that `IMAGE_LABELS` rows give a label: (image_id, model, weight).

    A label is named by its smallest image; what counts nothing is left out.
    """
    known = labels.where("label is not null and weight > 0").select("image_id", "label", "weight")
    there = known.join(described.select("image_id"), "image_id", "left_semi")
    first = there.groupBy("label").agg(sf.min("image_id").alias("model"))
    return there.join(first, "label").select("image_id", "model", "weight")


def pair_labels(named: DataFrame, *, n: int, seed: int) -> DataFrame:
    """Pair images of one label, rows (image_id, model, copy_key): `PAIRED` rows; a label is one task."""
    work = LabelWork(n, seed)

    def pair(table: pa.Table) -> pa.Table:
        return work(table)

    rows = named.select("image_id", "model", "copy_key")
    pairs = rows.groupBy("model").applyInArrow(pair, from_arrow_schema(PARTNERS))
    return complete_pairs(pairs, POSITIVE)


def weigh_pairs(pools: DataFrame, named: DataFrame) -> DataFrame:
    """Let the weights of both labels, multiplied, be the ``score`` of pairs: `TRAINING_POOLS` rows."""
    for end in ("anchor", "item"):
        pools = pools.join(named.selectExpr(f"image_id as {end}", f"weight as {end}_label"), end)
    score = (sf.col("anchor_label").cast("double") * sf.col("item_label")).cast("float")
    return pools.withColumn("score", score).select(spark_schema(TRAINING_POOLS).names)


def list_others(named: DataFrame, positives: DataFrame, *, n: int, seed: int) -> DataFrame:
    """List the anchors of ``positives`` as queries, and ``n`` more images of every group: `PAIRED` rows."""
    asked = positives.select("anchor", "model").distinct().withColumn("item", sf.col("anchor"))
    drawn = Window.partitionBy("model").orderBy(sf.xxhash64("image_id", sf.lit(seed)), "image_id")
    extra = named.withColumn("place", sf.row_number().over(drawn)).where(sf.col("place") <= n)
    extra = extra.selectExpr("image_id as anchor", "image_id as item", "model")
    return complete_pairs(asked, QUERY).unionByName(complete_pairs(extra, EXTRA))


def complete_pairs(rows: DataFrame, kind: str) -> DataFrame:
    """Fill up rows of one kind to `PAIRED`."""
    rows = rows.withColumn("kind", sf.lit(kind))
    fields = from_arrow_schema(PAIRED).fields
    columns = [sf.col(f.name) if f.name in rows.columns else sf.lit(None) for f in fields]
    return rows.select(*(c.cast(f.dataType).alias(f.name) for c, f in zip(columns, fields, strict=True)))
