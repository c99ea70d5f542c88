"""Which photos are copied, which of their planted copies were found, which of the found pairs are right."""

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from resight.dedup.audit.plant import LOCATED
from resight.store import spark_schema
from resight.tables import PLANTED_COPIES

__all__ = ["count_pairs", "judge_pairs", "match_copies", "sample_pairs", "sample_photos"]

KEYS = ["image_id", "transformation"]
CLAIMED = "relation <> 'same_scene'"  # a pair that is said to be one of copies
DRAWS = 1 << 32


def sample_photos(images: DataFrame, sources: DataFrame, *, sample: int, seed: int) -> pa.Table:
    """Draw ``sample`` photos with different bytes, by a hash of (bytes, ``seed``): `LOCATED` rows."""
    live = images.where("status = 'ok' and removed_at is null and pixel_hash is not null")
    single = live.groupBy("content_hash").agg(sf.min("image_id").alias("image_id"))
    drawn = single.orderBy(sf.xxhash64("content_hash", sf.lit(seed)), "content_hash").limit(sample)
    located = live.join(drawn.select("image_id"), "image_id").join(
        sources.select("source_id", "root"), "source_id"
    )
    return located.select(*LOCATED).toArrow()


def match_copies(planted: DataFrame, images: DataFrame, pairs: DataFrame, groups: DataFrame) -> DataFrame:
    """Say which planted copies were found with their original: `PLANTED_COPIES` rows.

    Parameters
    ----------
    planted : DataFrame
        Rows of `PLANTED` with ``copy_id``, the id of the copy, null where it was not ingested.
    images, pairs, groups : DataFrame
        `IMAGES`, `DUPLICATE_PAIRS` and `DUPLICATE_GROUPS` of the clone.

    A copy is found with its original where it is paired with it, or with an image of the same pixels, or
    shares a group with it.
    """
    ends, found = ("image_a", "image_b"), ("relation", "similarity")
    claimed = pairs.where(CLAIMED)
    turned = claimed.select(
        *(sf.col(old).alias(new) for old, new in zip(ends[::-1], ends, strict=True)), *found
    )
    both = claimed.select(*ends, *found).unionByName(turned).withColumnRenamed("image_a", "copy_id")
    seen = class_images(images).select(sf.col("image_id").alias("image_b"), "class")
    own = class_images(images).withColumnRenamed("class", "own")
    met = planted.select(*KEYS, "copy_id").join(both, "copy_id").join(seen, "image_b").join(own, "image_id")
    best = sf.max(sf.struct("similarity", "relation")).alias("best")
    paired = met.where("class = own").groupBy(*KEYS).agg(best)
    judged = planted.join(paired, KEYS, "left")
    for name in ("image_id", "copy_id"):
        group = groups.select(sf.col("image_id").alias(name), sf.col("group_id").alias(f"{name}_group"))
        judged = judged.join(group, name, "left")
    together = sf.coalesce(sf.col("image_id_group") == sf.col("copy_id_group"), sf.lit(False))
    columns = {name: sf.col(f"best.{name}") for name in found}
    columns |= {"found": sf.col("best").isNotNull() | together}
    return judged.withColumns(columns).select(*spark_schema(PLANTED_COPIES).names)


def class_images(images: DataFrame) -> DataFrame:
    """Give every image the class (``class``) of those that have its pixels."""
    return images.select(
        "image_id", sf.coalesce("pixel_hash", sf.col("image_id").cast("string")).alias("class")
    )


def judge_pairs(planted: DataFrame, images: DataFrame, pairs: DataFrame, groups: DataFrame) -> DataFrame:
    """Count the pairs that a planted copy is part of, by relation: rows ``relation, n, n_right``.

    ``images`` and ``pairs`` are those of the clone, ``groups`` those of the collection. A pair is right where
    both show one photo: a copy shows its original, what that was mixed with, and what is of the same pixels
    or group. Photos that nobody knows to be copies count as wrong: the share is at least what is counted.
    """
    group = groups.select("image_id", sf.concat(sf.lit("group "), "group_id").alias("group"))
    shows = sf.explode(sf.array_compact(sf.array("class", "group"))).alias("shows")
    known = class_images(images).join(group, "image_id", "left").select("image_id", shows)
    copies = planted.where("copy_id is not null")
    origins = sf.explode(sf.array_compact(sf.array("image_id", "other_id"))).alias("image_id")
    shown = copies.select("copy_id", origins).join(known, "image_id").drop("image_id")
    every = known.unionByName(shown.withColumnRenamed("copy_id", "image_id"))
    every = every.groupBy("image_id").agg(sf.collect_set("shows").alias("shows"))
    marked = copies.select(sf.col("copy_id").alias("image_id"), sf.lit(True).alias("is_copy"))
    every = every.join(marked, "image_id", "left")
    claimed = pairs.where(CLAIMED).select("image_a", "image_b", "relation")
    for side in "ab":
        own = every.toDF(*(f"{name}_{side}" for name in ("image", "shows", "is_copy")))
        claimed = claimed.join(own, f"image_{side}")
    right = sf.arrays_overlap("shows_a", "shows_b")
    involved = claimed.where("is_copy_a or is_copy_b").groupBy("relation")
    return involved.agg(sf.count("*").alias("n"), sf.count_if(right).alias("n_right"))


def sample_pairs(pairs: DataFrame, *, n: int, seed: int) -> DataFrame:
    """Draw about ``n`` pairs of every relation by a hash of (pair, ``seed``); all where there are fewer."""
    claimed = pairs.where(CLAIMED)
    counts = {row["relation"]: row["count"] for row in claimed.groupBy("relation").count().collect()}
    draw = sf.pmod(sf.xxhash64("image_a", "image_b", sf.lit(seed)), sf.lit(DRAWS))
    return claimed.where(draw < share_of(counts, n))


def share_of(counts: dict[str, int], n: int) -> Column:
    """Give the limit of the draws of each relation."""
    limit = sf.lit(DRAWS)
    for relation, count in counts.items():
        if count > n:
            limit = sf.when(sf.col("relation") == relation, sf.lit(int(n / count * DRAWS))).otherwise(limit)
    return limit


def count_pairs(pairs: DataFrame, judged: pa.Table) -> tuple[dict[str, tuple[int, int]], dict[str, int], int]:
    """Count judged pairs (`JUDGED`) and all pairs by relation.

    Returns
    -------
    counted : dict
        Relation -> judged pairs that are found pairs, and those that are right.
    sizes : dict
        Relation -> found pairs.
    n_known : int
        Judged pairs that are found pairs.
    """
    claimed = pairs.where(CLAIMED)
    verdicts = pairs.sparkSession.createDataFrame(judged)
    known = claimed.join(verdicts, ["image_a", "image_b"]).groupBy("relation")
    rows = known.agg(sf.count("*").alias("n"), sf.count_if("right").alias("n_right")).collect()
    counted = {row["relation"]: (row["n"], row["n_right"]) for row in rows}
    sizes = {row["relation"]: row["count"] for row in claimed.groupBy("relation").count().collect()}
    return counted, sizes, sum(n for n, _ in counted.values())
