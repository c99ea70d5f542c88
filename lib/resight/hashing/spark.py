"""Codes of images, and the distributed self-join that pairs images of equal or near codes.

The join collapses equal codes to the smallest image id first: the others are paired with it alone (a star).
Representatives meet in buckets by equal parts of their codes (`resight.hashing.plan`). A large bucket is cut
into blocks, and every pair of blocks is compared by itself: nothing is left out, no task holds all of it.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight.arrow import arrow_to_vectors
from resight.hashing.kinds import ALL_FITS, CodeModel, read_model
from resight.hashing.plan import Plan, flip_masks
from resight.hashing.work import CODED, encode_vectors, hash_previews

__all__ = ["encode_descriptors", "find_code_pairs", "fit_hash", "hash_images"]

Batches = Iterator[pa.RecordBatch]
BLOCK = 4096  # codes of one side of a bucket that are compared together
BINS = 64  # groups of buckets, each compared by one call
KEYS = ["part", "key", "a_block", "b_block"]
BUCKETED = "part int, key long, is_held boolean, image_id long, turn int, code binary"
FOUND = "src long, turn int, dst long, distance int"


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


def fit_hash(sampled: DataFrame, kind: str, n_bits: int, *, dtype: str, seed: int) -> CodeModel:
    """Fit a hash function on the driver, on a sample (image_id, vector) that fits there.

    Raises
    ------
    ValueError
        The sample is empty, or has fewer dimensions than the kind needs.
    """
    rows = sampled.select("image_id", "vector").toArrow().sort_by("image_id")
    if not len(rows):
        raise ValueError("there is no usable descriptor to fit on")
    return ALL_FITS[kind](arrow_to_vectors(rows["vector"], dtype), n_bits, seed=seed)


def find_code_pairs(codes: DataFrame, *, radius: int, plan: Plan, block: int = BLOCK) -> DataFrame:
    """Pair images whose codes of one kind differ in at most ``radius`` bits in some position.

    Parameters
    ----------
    codes : DataFrame
        ``image_id, turn, code``, of one length, position 0 for every image. Further positions are compared
        with position 0 of other images.
    radius : int
        Greatest distance.
    plan : Plan
        By `choose_plan`; every one gives the same pairs.
    block : int
        Codes of a bucket that are compared together.

    Returns
    -------
    DataFrame
        ``image_a, image_b, turn, distance``, image_a < image_b, each once: image_a in position ``turn`` is
        like image_b. All pairs of representatives within the radius, and each image with its representative.
    """
    upright = codes.where("turn = 0").select("image_id", "code")
    classes = upright.groupBy("code").agg(sf.min("image_id").alias("first"))
    owned = upright.join(classes, "code").select("image_id", "first")
    star = owned.where("image_id != first").select(
        sf.col("first").alias("src"), sf.lit(0).alias("turn"), sf.col("image_id").alias("dst")
    )
    kept = codes.join(owned.where("image_id = first"), "image_id", "left_semi")
    asked = kept.groupBy("image_id", "code").agg(sf.min("turn").alias("turn"))
    buckets = asked.select("image_id", "turn", "code").mapInArrow(bucket_codes(plan), BUCKETED)
    near = split_buckets(buckets, block).groupBy("bin").applyInArrow(match_buckets(plan, radius), FOUND)
    return orient_pairs(near.unionByName(star.withColumn("distance", sf.lit(0))))


def bucket_codes(plan: Plan) -> Callable[[Batches], Batches]:
    """Make the function that puts codes into their buckets: one as held, one for each key as asked."""
    from resight.hashing.hamming import part_keys, to_words

    parts = [(0, 0, 0)] if plan.is_scan else [(*b, e) for b, e in zip(plan.bounds, plan.limits, strict=True)]

    def bucket(batches: Batches) -> Batches:
        for batch in batches:
            if not len(batch):
                continue
            words, held = to_words(arrow_to_vectors(batch["code"], "uint8")), batch["turn"].to_numpy() == 0
            for number, (start, stop, limit) in enumerate(parts):
                keys = part_keys(words, start, stop) if stop else np.zeros(len(words), np.uint64)
                yield label_rows(batch.filter(pa.array(held)), number, keys[held], True)
                for flips in flip_masks(stop - start, limit):
                    yield label_rows(batch, number, keys ^ flips, False)

    return bucket


def label_rows(batch: pa.RecordBatch, part: int, keys: np.ndarray, is_held: bool) -> pa.RecordBatch:
    """Put the bucket before the rows."""
    n = len(batch)
    labels = [pa.array(np.full(n, part, np.int32)), pa.array(keys.view(np.int64))]
    columns = [*labels, pa.array(np.full(n, is_held)), batch["image_id"], batch["turn"], batch["code"]]
    names = ["part", "key", "is_held", "image_id", "turn", "code"]
    return pa.RecordBatch.from_arrays(columns, names=names)


def split_buckets(buckets: DataFrame, block: int) -> DataFrame:
    """Keep the buckets in which codes can meet, cut them into blocks and spread them over bins."""
    n_blocks = {
        side: sf.ceil(sf.sum(sf.col("is_held").eqNullSafe(side).cast("int")) / block)
        for side in (False, True)
    }
    sizes = buckets.groupBy("part", "key").agg(
        n_blocks[False].cast("int").alias("n_a"),
        n_blocks[True].cast("int").alias("n_b"),
        sf.count("*").alias("n"),
    )
    rows = buckets.join(sizes.where("n_a > 0 and n_b > 0 and n > 2"), ["part", "key"])
    drawn = sf.xxhash64("image_id", "turn")
    own = sf.pmod(drawn, sf.when(sf.col("is_held"), sf.col("n_b")).otherwise(sf.col("n_a"))).cast("int")
    others = sf.when(sf.col("is_held"), sf.col("n_a")).otherwise(sf.col("n_b"))
    met = rows.withColumn("own", own).withColumn("met", sf.explode(sf.sequence(sf.lit(0), others - 1)))
    placed = met.withColumn("a_block", sf.when(sf.col("is_held"), sf.col("met")).otherwise(sf.col("own")))
    placed = placed.withColumn("b_block", sf.when(sf.col("is_held"), sf.col("own")).otherwise(sf.col("met")))
    columns = [*KEYS, "is_held", "image_id", "turn", "code"]
    return placed.select(sf.pmod(sf.xxhash64(*KEYS), sf.lit(BINS)).cast("int").alias("bin"), *columns)


def match_buckets(plan: Plan, radius: int) -> Callable[[pa.Table], pa.Table]:
    """Make the function that compares the buckets of a bin."""
    from resight.hashing.hamming import match_runs, to_words

    def match_bin(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([(name, "ascending") for name in (*KEYS, "image_id", "turn")])
        a, b = rows.filter(pc.invert(rows["is_held"])), rows.filter(rows["is_held"])
        runs = pair_runs(label_buckets(a), label_buckets(b))
        found = np.zeros((0, 3), np.int64)
        if len(runs):
            asked, held = (to_words(arrow_to_vectors(side["code"], "uint8")) for side in (a, b))
            found = match_runs(asked, held, runs, radius, plan)
        src, dst = a["image_id"].to_numpy()[found[:, 0]], b["image_id"].to_numpy()[found[:, 1]]
        turn = a["turn"].to_numpy()[found[:, 0]]
        kept = np.where(turn == 0, src < dst, src != dst)
        columns = (src, turn.astype(np.int32), dst, found[:, 2].astype(np.int32))
        return pa.table([column[kept] for column in columns], names=["src", "turn", "dst", "distance"])

    return match_bin


def label_buckets(rows: pa.Table) -> np.ndarray:
    """Give the bucket (n,) of sorted rows as records that compare in their order."""
    records = np.empty(len(rows), [(name, np.int64) for name in KEYS])
    for name in KEYS:
        records[name] = rows[name].to_numpy()
    return records


def pair_runs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give the runs (r, 5) of equal buckets in two sorted arrays of them, with their part."""
    first, starts_a = np.unique(a, return_index=True)
    second, starts_b = np.unique(b, return_index=True)
    shared, i, j = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    ends_a, ends_b = np.append(starts_a, len(a)), np.append(starts_b, len(b))
    columns = [ends_a[i], ends_a[i + 1], ends_b[j], ends_b[j + 1], shared["part"]]
    return np.stack([np.asarray(column, np.int64) for column in columns], axis=1)


def orient_pairs(found: DataFrame) -> DataFrame:
    """Give each pair once, image_a < image_b, in the position of the smallest distance, then position."""
    inverse = sf.when(sf.col("turn") < 4, sf.pmod(-sf.col("turn"), sf.lit(4))).otherwise(sf.col("turn"))
    turn = sf.when(sf.col("src") < sf.col("dst"), sf.col("turn")).otherwise(inverse)
    ends = (sf.least("src", "dst").alias("image_a"), sf.greatest("src", "dst").alias("image_b"))
    best = found.select(*ends, sf.struct("distance", turn.alias("turn")).alias("best"))
    pairs = best.groupBy("image_a", "image_b").agg(sf.min("best").alias("best"))
    return pairs.select("image_a", "image_b", "best.turn", "best.distance")
