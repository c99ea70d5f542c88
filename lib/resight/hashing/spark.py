"""Codes of images, and the distributed self-join that pairs images of equal or near codes.

The join collapses equal codes to the smallest image id first: the others are paired with it alone (a star).
Representatives meet in buckets by equal parts of their codes (`resight.hashing.plan`), which
`resight.hashing.buckets` measures, cuts into blocks and compares: no task holds all of a large one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight.arrow import arrow_to_vectors
from resight.hashing.buckets.spark import (
    FOUND,
    bucket_codes,
    limit_buckets,
    match_buckets,
    measure_buckets,
    split_buckets,
)
from resight.hashing.kinds import ALL_FITS, CodeModel, read_model
from resight.hashing.plan import Plan
from resight.hashing.work import CODED, encode_vectors, hash_previews

__all__ = ["CodeJoin", "encode_descriptors", "fit_hash", "hash_images", "join_codes"]

Batches = Iterator[pa.RecordBatch]
BLOCK = 4096  # codes of one side of a bucket that are compared together


class CodeJoin(NamedTuple):
    """A join of codes, as DataFrames."""

    pairs: DataFrame  # image_a, image_b, turn, distance
    compared: DataFrame  # rows of `measure_buckets`: what is compared
    left_out: DataFrame  # and what is not, because there are too many codes in one bucket


def hash_images(previews: DataFrame, kinds: Sequence[str]) -> DataFrame:
    """Hash previews (image_id, content_hash, jpeg), null where there is none: `CODES` rows."""

    def hash_batches(batches: Batches) -> Batches:
        for batch in batches:
            yield hash_previews(batch, kinds)

    rows = previews.select("image_id", "content_hash", "jpeg")
    return rows.mapInArrow(hash_batches, from_arrow_schema(CODED))


def encode_descriptors(descriptors: DataFrame, model: bytes, *, dtype: str) -> DataFrame:
    """Encode `GLOBAL_DESCRIPTORS` rows of ``dtype`` by a `CodeModel`: `CODES` rows in position 0."""

    def encode_batches(batches: Batches) -> Batches:
        fitted = read_model(model)
        for batch in batches:
            yield encode_vectors(batch, fitted, dtype)

    rows = descriptors.select("image_id", "content_hash", "vector", "status", "error")
    return rows.mapInArrow(encode_batches, from_arrow_schema(CODED))


def fit_hash(
    sampled: DataFrame,
    kind: str,
    n_bits: int,
    *,
    dtype: str,
    seed: int,
    layers: Sequence[int] = (),
    pairs: DataFrame | None = None,
) -> CodeModel:
    """Fit a hash function on the driver, on a sample (image_id, vector) that fits there.

    ``layers`` and ``pairs`` (image_a, image_b) of matching images of the sample are for the kind deephash.

    Raises
    ------
    ValueError
        The sample is empty, or has fewer dimensions or rows than the kind needs.
    """
    rows = sampled.select("image_id", "vector").toArrow().sort_by("image_id")
    if not len(rows):
        raise ValueError("there is no usable descriptor to fit on")
    options: dict[str, Any] = {"layers": layers} if layers else {}
    if pairs is not None:
        options["pairs"] = locate_pairs(pairs.toArrow(), rows["image_id"].to_numpy())
    return ALL_FITS[kind](arrow_to_vectors(rows["vector"], dtype), n_bits, seed=seed, **options)


def locate_pairs(pairs: pa.Table, image_ids: np.ndarray) -> np.ndarray:
    """Give the rows (p, 2) int64 of pairs (image_a, image_b) in sorted ids; pairs without a row fall away."""
    pairs = pairs.sort_by([("image_a", "ascending"), ("image_b", "ascending")])
    ids = np.column_stack([pairs["image_a"].to_numpy(), pairs["image_b"].to_numpy()])
    at = np.minimum(np.searchsorted(image_ids, ids), len(image_ids) - 1)
    return at[(image_ids[at] == ids).all(axis=1)].astype(np.int64)


def join_codes(
    codes: DataFrame,
    *,
    radius: int,
    plan: Plan,
    block: int = BLOCK,
    top: int = 0,
    max_bucket: int = 0,
    hold: Callable[[DataFrame], DataFrame] = lambda frame: frame,
) -> CodeJoin:
    """Pair images whose codes of one kind differ in at most ``radius`` bits in some position.

    Parameters
    ----------
    codes : DataFrame
        ``image_id, turn, code``, of one length, position 0 for every image. Further positions are compared
        with position 0 of other images. With a column ``is_new`` (boolean, one value for an image), two
        images of which none is new are neither compared nor paired.
    radius : int
        Greatest distance.
    plan : Plan
        By `choose_plan`; every one gives the same pairs.
    block : int
        Codes of a bucket that are compared together.
    top : int
        Pairs of each image, the nearest first, ties by the other's id; a pair needs to be among those of one
        of its images. 0: all.
    max_bucket : int
        Codes of a bucket, on one side, beyond which nothing in it is compared; 0: any number.
    hold : callable
        Keeps the codes that are compared, and the sizes of their buckets, which several steps need.

    Returns
    -------
    CodeJoin
        Pairs have image_a < image_b, each once: image_a in position ``turn`` is like image_b. All pairs of
        representatives within the radius, and each image with its representative.
    """
    if "is_new" not in codes.columns:
        codes = codes.withColumn("is_new", sf.lit(True))
    upright = codes.where("turn = 0").select("image_id", "code", "is_new")
    best = sf.min_by(sf.struct("image_id", "is_new"), "image_id").alias("first")
    owned = upright.join(upright.groupBy("code").agg(best), "code")
    others = owned.where("image_id != first.image_id and (is_new or first.is_new)")
    star = others.select(
        sf.col("first.image_id").alias("src"), sf.lit(0).alias("turn"), sf.col("image_id").alias("dst")
    )
    kept = codes.join(owned.where("image_id = first.image_id"), "image_id", "left_semi")
    asked = kept.groupBy("image_id", "code").agg(
        sf.min("turn").alias("turn"), sf.first("is_new").alias("is_new")
    )
    buckets = bucket_codes(hold(asked), plan)
    sizes = hold(measure_buckets(buckets))
    limit = 0 if plan.is_scan else max_bucket
    compared, left_out = limit_buckets(sizes, limit)
    blocks = split_buckets(buckets, compared, block)
    matched = match_buckets(plan, radius, top, is_limited=bool(limit))
    near = blocks.groupBy("bin").applyInArrow(matched, FOUND)
    near = keep_nearest(near, top) if top else near
    pairs = orient_pairs(near.unionByName(star.withColumn("distance", sf.lit(0))))
    return CodeJoin(pairs, compared, left_out)


def keep_nearest(found: DataFrame, top: int) -> DataFrame:
    """Keep the ``top`` nearest of each ``src`` over all bins: what `nearest_found` does in one."""
    best = found.groupBy("src", "dst").agg(sf.min(sf.struct("distance", "turn")).alias("best"))
    nearest = Window.partitionBy("src").orderBy("best.distance", "dst")
    ranked = best.withColumn("place", sf.row_number().over(nearest)).where(sf.col("place") <= top)
    return ranked.select("src", "best.turn", "dst", "best.distance")


def orient_pairs(found: DataFrame) -> DataFrame:
    """Give each pair once, image_a < image_b, in the position of the smallest distance, then position."""
    inverse = sf.when(sf.col("turn") < 4, sf.pmod(-sf.col("turn"), sf.lit(4))).otherwise(sf.col("turn"))
    turn = sf.when(sf.col("src") < sf.col("dst"), sf.col("turn")).otherwise(inverse)
    ends = (sf.least("src", "dst").alias("image_a"), sf.greatest("src", "dst").alias("image_b"))
    best = found.select(*ends, sf.struct("distance", turn.alias("turn")).alias("best"))
    pairs = best.groupBy("image_a", "image_b").agg(sf.min("best").alias("best"))
    return pairs.select("image_a", "image_b", "best.turn", "best.distance")
