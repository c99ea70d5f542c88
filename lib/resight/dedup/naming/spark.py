"""Name the pairs that were compared, and add what a person asks of them: the Spark operators."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.dedup.pairs import GROUPING
from resight.store import spark_schema
from resight.tables import DUPLICATE_PAIRS, EVIDENCE

__all__ = ["attach_splits", "complete_pairs", "mark_splits", "name_pairs"]

COVERED = 0.97  # share of blocks below which something else shows in one of the photos


def name_pairs(related: DataFrame, copies: DataFrame, *, same_scene: bool) -> DataFrame:
    """Give `DUPLICATE_CANDIDATES` rows that have a relation as pairs with their evidence.

    The composite of a pair is the photo of which the other shows less. Where such a photo shows a third one,
    and something besides or over it, it is a composite of that one too.
    """
    from resight.dedup.relating.decide import WHOLE

    sound = related.where("status = 'ok' and relation is not null")
    if not same_scene:
        sound = sound.where("relation != 'same_scene'")
    composite = sf.col("relation") == "composite"
    made = sound.where(composite & (sf.least("overlap_a", "overlap_b") < WHOLE)).select(
        sf.when(sf.col("overlap_a") < sf.col("overlap_b"), sf.col("image_a"))
        .otherwise(sf.col("image_b"))
        .alias("made")
    )
    made = made.distinct().withColumn("is_made", sf.lit(True))
    for end in ("a", "b"):
        own = made.select(sf.col("made").alias(f"image_{end}"), sf.col("is_made").alias(f"made_{end}"))
        sound = sound.join(own, f"image_{end}", "left")
    more = [sf.col(f"made_{end}") & (sf.col(f"overlap_{end}") < WHOLE) for end in ("a", "b")]
    over = sf.coalesce("made_a", "made_b") & (sf.col("share") < COVERED)
    mixed = sf.coalesce(more[0], sf.lit(False)) | sf.coalesce(more[1], sf.lit(False)) | over
    relation = sf.when(mixed & sf.col("relation").isin(list(GROUPING)), "composite").otherwise(
        sf.col("relation")
    )
    for end in ("a", "b"):
        own = copies.select(sf.col("image_id").alias(f"image_{end}"), sf.col("n_pixels").alias(f"n_{end}"))
        sound = sound.join(own, f"image_{end}")
    return sound.select(
        "image_a",
        "image_b",
        relation.alias("relation"),
        sf.coalesce("agreement", sf.lit(0.0)).cast("float").alias("similarity"),
        sf.try_divide(sf.col("n_b"), sf.col("n_a")).cast("float").alias("size_ratio"),
        *EVIDENCE,
    )


def attach_splits(images: DataFrame, column: str) -> DataFrame:
    """Add ``split``, the value of a column of the manifest; null without one."""
    value = sf.try_element_at("extra", sf.lit(column)) if column else sf.lit(None)
    return images.withColumn("split", value.cast("string"))


def mark_splits(pairs: DataFrame, images: DataFrame) -> DataFrame:
    """Add ``split_a`` and ``split_b``, in which part of the collection either image lies."""
    for end in ("a", "b"):
        own = images.select(sf.col("image_id").alias(f"image_{end}"), sf.col("split").alias(f"split_{end}"))
        pairs = pairs.join(own, f"image_{end}", "left")
    return pairs


def complete_pairs(pairs: DataFrame) -> DataFrame:
    """Lay pairs out as `DUPLICATE_PAIRS`; evidence that there is none of is null."""
    there = set(pairs.columns)
    return pairs.select(
        *(
            (sf.col(f.name) if f.name in there else sf.lit(None)).cast(f.dataType).alias(f.name)
            for f in spark_schema(DUPLICATE_PAIRS).fields
        )
    )
