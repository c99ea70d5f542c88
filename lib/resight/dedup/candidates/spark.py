"""Candidates for copies as (image_a, image_b, found_by): lists and joins, never all pairs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_lists
from resight.dedup.keep import Criterion
from resight.dedup.pairs import select_pairs
from resight.dedup.spark import keep_columns
from resight.hashing.perceptual import FLAT
from resight.hashing.plan import choose_plan
from resight.hashing.spark import find_code_pairs

__all__ = ["collect_candidates", "drop_collapsed", "pair_codes", "pair_descriptors", "pair_members"]

Batches = Iterator[pa.RecordBatch]


def pair_descriptors(neighbors: DataFrame, *, threshold: float, top: int) -> DataFrame:
    """Pair every image with those of the first ``top`` of its list that reach ``threshold``."""

    def pair_batches(batches: Batches) -> Batches:
        for batch in batches:
            offsets, dst = arrow_to_lists(batch["dst"], "<i8")
            _, similarity = arrow_to_lists(batch["similarity"], "<f4")
            lengths = np.diff(offsets)
            first = np.arange(len(dst)) - np.repeat(offsets[:-1], lengths) < top
            cut = np.append(0, np.cumsum(np.minimum(lengths, top)))
            src = batch["src"].to_numpy()
            a, b, _ = select_pairs(src, cut, dst[first], similarity[first], threshold=threshold)
            yield pa.record_batch([a, b], names=["image_a", "image_b"])

    listed = neighbors.select("src", "dst", "similarity")
    return listed.mapInArrow(pair_batches, "image_a long, image_b long").distinct()


def pair_codes(codes: DataFrame, *, share: float) -> DataFrame:
    """Pair images whose codes of a kind differ in at most ``share`` of their bits, in any of their positions.

    ``codes`` are `CODES` rows. Codes of flat pictures say nothing and are left out. Images of equal codes are
    paired with the first of them only. Runs a small job.
    """
    told = codes.where(f"status = 'ok' and (quality is null or quality >= {FLAT})")
    counted = told.where("turn = 0").groupBy("kind", "n_bits").count().orderBy("kind").collect()
    found = told.select(sf.col("image_id").alias("image_a"), sf.col("image_id").alias("image_b")).limit(0)
    for kind, n_bits, n in counted:
        radius = int(share * n_bits)
        own = told.where(sf.col("kind") == kind).select("image_id", "turn", "code")
        pairs = find_code_pairs(own, radius=radius, plan=choose_plan(n, n_bits, radius))
        found = found.unionByName(pairs.select("image_a", "image_b"))
    return found.distinct()


def drop_collapsed(pairs: DataFrame, codes: DataFrame) -> DataFrame:
    """Drop pairs of two images whose longest codes are equal, unless one is the first of all these images.

    `pair_codes` gives the star around the first: a photo that is there k times needs k - 1 comparisons.
    """
    told = codes.where(f"status = 'ok' and turn = 0 and (quality is null or quality >= {FLAT})")
    longest = Window.partitionBy("image_id").orderBy(sf.desc("n_bits"), "kind")
    one = told.withColumn("place", sf.row_number().over(longest)).where("place = 1")
    alike = Window.partitionBy("kind", "code")
    classes = one.select("image_id", sf.min("image_id").over(alike).alias("first"))
    for end in ("a", "b"):
        own = classes.select(sf.col("image_id").alias(f"image_{end}"), sf.col("first").alias(f"first_{end}"))
        pairs = pairs.join(own, f"image_{end}", "left")
    star = sf.least("image_a", "image_b") == sf.col("first_a")
    apart = ~sf.col("first_a").eqNullSafe(sf.col("first_b")) | sf.col("first_a").isNull()
    return pairs.where(apart | star).drop("first_a", "first_b")


def collect_candidates(parts: Mapping[str, DataFrame], copies: DataFrame) -> DataFrame:
    """Move candidates to the representatives of their images, each pair once, with what found it.

    ``parts`` names pairs (image_a, image_b); ``copies`` are rows of `represent_copies`. Gives ``image_a,
    image_b, found_by``, image_a < image_b. Images that are not live fall away.
    """
    named = [pairs.select("image_a", "image_b", sf.lit(name).alias("part")) for name, pairs in parts.items()]
    rows = reduce(DataFrame.unionByName, named)
    a = copies.select(sf.col("image_id").alias("image_a"), sf.col("representative").alias("a"))
    b = copies.select(sf.col("image_id").alias("image_b"), sf.col("representative").alias("b"))
    moved = rows.join(a, "image_a").join(b, "image_b").where("a != b")
    ends = sf.least("a", "b").alias("image_a"), sf.greatest("a", "b").alias("image_b")
    found_by = sf.concat_ws("+", sf.sort_array(sf.collect_set("part"))).alias("found_by")
    return moved.groupBy(*ends).agg(found_by)


def pair_members(
    components: DataFrame, copies: DataFrame, known: DataFrame, policy: Sequence[Criterion], *, limit: int
) -> DataFrame:
    """Pair the image most worth keeping of every component with those that it was not compared with.

    ``components`` (node_id, component_id) are those of linked images, ``known`` (image_a, image_b) the pairs
    that were compared. A component of more than ``limit`` images is left as it is.
    """
    nodes = components.withColumnRenamed("node_id", "image_id").join(copies, "image_id")
    own = Window.partitionBy("component_id")
    ranked = nodes.withColumn("place", sf.row_number().over(own.orderBy(*keep_columns(policy))))
    sized = ranked.withColumn("n", sf.count("*").over(own)).where(f"n <= {limit}")
    kept = sized.where("place = 1").select("component_id", sf.col("image_id").alias("kept"))
    pairs = sized.where("place > 1").join(kept, "component_id")
    ends = sf.least("image_id", "kept").alias("image_a"), sf.greatest("image_id", "kept").alias("image_b")
    return pairs.select(*ends).join(known, ["image_a", "image_b"], "left_anti")
