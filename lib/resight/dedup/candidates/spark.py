"""Candidates for copies as (image_a, image_b, found_by): lists and joins, never all pairs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from resight.hashing.plan import SHUFFLED, choose_plan
from resight.hashing.spark import join_codes

__all__ = ["collect_candidates", "drop_collapsed", "pair_codes", "pair_descriptors", "pair_members"]

Batches = Iterator[pa.RecordBatch]
Hold = Callable[[DataFrame], DataFrame]
BUCKETS = ["kind", "part", "key", "n_asked", "n_held", "n_compared", "is_left_out"]


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


def pair_codes(
    codes: DataFrame,
    *,
    share: float,
    top: int = 0,
    max_bucket: int = 0,
    hold: Hold = lambda frame: frame.localCheckpoint(eager=False),
) -> tuple[DataFrame, DataFrame]:
    """Pair images whose codes of a kind differ in at most ``share`` of their bits, in any of their positions.

    ``codes`` are `CODES` rows, with ``is_new`` where not all of them are; two that are not new are neither
    compared nor paired. Codes of flat pictures say nothing and are left out. Images of equal codes are paired
    with the first of them only, others with the ``top`` nearest, see `join_codes`. Runs a small job.

    Gives pairs (image_a, image_b), and the buckets of codes: ``kind, part, key, n_asked, n_held, n_compared,
    is_left_out``, of which those beyond ``max_bucket`` were left out. ``hold`` is that of `group_pairs`.
    """
    told = codes.where(f"status = 'ok' and (quality is null or quality >= {FLAT})")
    told = told if "is_new" in told.columns else told.withColumn("is_new", sf.lit(True))
    counted = told.where("turn = 0").groupBy("kind", "n_bits").agg(sf.count("*"), sf.count_if("is_new"))
    ends = [sf.col("image_id").alias(name) for name in ("image_a", "image_b")]
    found, buckets = told.select(*ends).limit(0), list[DataFrame]()
    for kind, n_bits, n, n_new in counted.orderBy("kind").collect():
        radius = int(share * n_bits)
        met = n_new * (2 * n - n_new) // n  # codes that one is compared with, on average
        plan = choose_plan(met, n_bits, radius, lookup=SHUFFLED)
        own = told.where(sf.col("kind") == kind).select("image_id", "turn", "code", "is_new")
        joined = join_codes(own, radius=radius, plan=plan, top=top, max_bucket=max_bucket, hold=hold)
        found = found.unionByName(joined.pairs.select("image_a", "image_b"))
        for rows, is_left_out in ((joined.compared, False), (joined.left_out, True)):
            named = rows.withColumns({"kind": sf.lit(kind), "is_left_out": sf.lit(is_left_out)})
            buckets.append(named.select(BUCKETS))
    return found.distinct(), reduce(DataFrame.unionByName, buckets) if buckets else no_buckets(told)


def no_buckets(codes: DataFrame) -> DataFrame:
    """Give no rows of buckets, in the session of ``codes``."""
    types = {"kind": "string", "part": "int", "is_left_out": "boolean"}
    return codes.limit(0).select(
        *(sf.lit(None).cast(types.get(name, "long")).alias(name) for name in BUCKETS)
    )


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
    image_b, found_by``, image_a < image_b. Images that are not live fall away, and pairs without a new one.
    """
    named = [pairs.select("image_a", "image_b", sf.lit(name).alias("part")) for name, pairs in parts.items()]
    rows = reduce(DataFrame.unionByName, named)
    facts = "representative", "facts.is_new"
    a = copies.select("image_id", *facts).toDF("image_a", "a", "new_a")
    b = copies.select("image_id", *facts).toDF("image_b", "b", "new_b")
    moved = rows.join(a, "image_a").join(b, "image_b").where("a != b and (new_a or new_b)")
    ends = sf.least("a", "b").alias("image_a"), sf.greatest("a", "b").alias("image_b")
    found_by = sf.concat_ws("+", sf.sort_array(sf.collect_set("part"))).alias("found_by")
    return moved.groupBy(*ends).agg(found_by)


def pair_members(
    components: DataFrame, copies: DataFrame, known: DataFrame, policy: Sequence[Criterion], *, limit: int
) -> DataFrame:
    """Pair the image most worth keeping of every component with those that it was not compared with.

    ``components`` (node_id, component_id) are those of linked images, ``known`` (image_a, image_b) the pairs
    that were compared. A component of more than ``limit`` images is left as it is. One of a pair is new.
    """
    nodes = components.withColumnRenamed("node_id", "image_id").join(copies, "image_id")
    own = Window.partitionBy("component_id")
    ranked = nodes.withColumn("place", sf.row_number().over(own.orderBy(*keep_columns(policy))))
    sized = ranked.withColumn("n", sf.count("*").over(own)).where(f"n <= {limit}")
    best = "component_id", sf.col("image_id").alias("kept"), sf.col("is_new").alias("is_kept_new")
    kept = sized.where("place = 1").select(*best)
    pairs = sized.where("place > 1").join(kept, "component_id").where("is_new or is_kept_new")
    ends = sf.least("image_id", "kept").alias("image_a"), sf.greatest("image_id", "kept").alias("image_b")
    return pairs.select(*ends).join(known, ["image_a", "image_b"], "left_anti")
