"""Put codes into buckets, measure and cut these, and compare what is in them: the Spark operators."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_vectors
from resight.hashing.plan import Plan, flip_masks

__all__ = ["bucket_codes", "limit_buckets", "match_buckets", "measure_buckets", "split_buckets"]

Batches = Iterator[pa.RecordBatch]
BINS = 64  # groups of buckets, each compared by one call
ROOM = 1 << 24  # comparisons whose pairs are held at once, unless two blocks alone are more
BUCKET = ["part", "key"]
KEYS = [*BUCKET, "a_block", "b_block"]
ASKED = ["image_id", "turn", "code"]
BUCKETED = "part int, key long, is_held boolean, image_id long, turn int, code binary"
FOUND = "src long, turn int, dst long, distance int"


def bucket_codes(codes: DataFrame, plan: Plan) -> DataFrame:
    """Put codes (image_id, turn, code, is_new) into their buckets, one row for each.

    Rows that are held have position 0. ``part`` counts the parts of ``plan`` twice: first the buckets in
    which new codes ask all, then those in which the others ask the new ones.
    """
    from resight.hashing.hamming import part_keys, to_words

    parts = [(0, 0, 0)] if plan.is_scan else [(*b, e) for b, e in zip(plan.bounds, plan.limits, strict=True)]

    def bucket(batches: Batches) -> Batches:
        for batch in batches:
            if not len(batch):
                continue
            words, is_new = to_words(arrow_to_vectors(batch["code"], "uint8")), to_bool(batch["is_new"])
            upright = batch["turn"].to_numpy() == 0
            sides = [(is_new, upright), (~is_new, upright & is_new)]
            for number, (start, stop, limit) in enumerate(parts):
                keys = part_keys(words, start, stop) if stop else np.zeros(len(words), np.uint64)
                for side, (asks, held) in enumerate(sides):
                    at = number + side * len(parts)
                    yield label_rows(batch, at, keys, held, is_held=True)
                    for flips in flip_masks(stop - start, limit) if asks.any() else ():
                        yield label_rows(batch, at, keys ^ flips, asks, is_held=False)

    return codes.select(*ASKED, "is_new").mapInArrow(bucket, BUCKETED)


def to_bool(column: pa.Array) -> np.ndarray:
    """Give a column of booleans as an array."""
    return column.to_numpy(zero_copy_only=False).astype(bool)


def label_rows(
    batch: pa.RecordBatch, part: int, keys: np.ndarray, chosen: np.ndarray, *, is_held: bool
) -> pa.RecordBatch:
    """Put the bucket before the rows that are chosen."""
    rows, n = batch.filter(pa.array(chosen)), int(chosen.sum())
    labels = [pa.array(np.full(n, part, np.int32)), pa.array(keys[chosen].view(np.int64))]
    columns = [*labels, pa.array(np.full(n, is_held)), *(rows[name] for name in ASKED)]
    return pa.RecordBatch.from_arrays(columns, names=[*BUCKET, "is_held", *ASKED])


def measure_buckets(buckets: DataFrame) -> DataFrame:
    """Count the buckets in which codes can meet: ``part, key, n_asked, n_held, n_compared``.

    A bucket with a code and its own question only is none.
    """
    counts = {
        name: sf.count_if(sf.col("is_held").eqNullSafe(side)).alias(name)
        for name, side in (("n_asked", False), ("n_held", True))
    }
    least, most = sf.min("image_id"), sf.max("image_id")
    sized = buckets.groupBy(*BUCKET).agg(*counts.values(), (least != most).alias("differ"))
    met = sized.where("n_asked > 0 and n_held > 0 and differ").drop("differ")
    return met.withColumn("n_compared", sf.col("n_asked") * sf.col("n_held"))


def limit_buckets(sizes: DataFrame, limit: int) -> tuple[DataFrame, DataFrame]:
    """Part buckets of `measure_buckets` into those to compare and those beyond ``limit``; 0: no limit."""
    if not limit:
        return sizes, sizes.limit(0)
    is_large = sf.greatest("n_asked", "n_held") > limit
    return sizes.where(~is_large), sizes.where(is_large)


def split_buckets(buckets: DataFrame, sizes: DataFrame, block: int) -> DataFrame:
    """Cut the buckets that ``sizes`` names into blocks and spread each two that meet over bins."""
    n_a, n_b = (sf.ceil(sf.col(name) / block).cast("int") for name in ("n_asked", "n_held"))
    rows = buckets.join(sizes.select(*BUCKET, n_a.alias("n_a"), n_b.alias("n_b")), BUCKET)
    drawn = sf.xxhash64("image_id", "turn")
    own = sf.pmod(drawn, either("n_b", "n_a")).cast("int")
    met = sf.explode(sf.sequence(sf.lit(0), either("n_a", "n_b") - 1))
    placed = rows.withColumn("own", own).withColumn("met", met)
    placed = placed.withColumns({"a_block": either("met", "own"), "b_block": either("own", "met")})
    columns = [*KEYS, "is_held", *ASKED]
    return placed.select(sf.pmod(sf.xxhash64(*KEYS), sf.lit(BINS)).cast("int").alias("bin"), *columns)


def either(held: str, asked: str) -> Column:
    """Give the column ``held`` of rows that are held, ``asked`` of those that ask."""
    return sf.when(sf.col("is_held"), sf.col(held)).otherwise(sf.col(asked))


def match_buckets(
    plan: Plan, radius: int, top: int, *, is_limited: bool = False
) -> Callable[[pa.Table], pa.Table]:
    """Make the function that compares the buckets of a bin.

    With ``top``, both directions of a pair count. A pair is given by the first part in which its codes meet;
    where ``is_limited``, by all parts, as its first bucket may be left out.
    """
    from resight.hashing.hamming import match_runs, to_words

    n_parts = max(1, len(plan.bounds))

    def match_bin(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([(name, "ascending") for name in (*KEYS, "image_id", "turn")])
        a, b = rows.filter(pc.invert(rows["is_held"])), rows.filter(rows["is_held"])
        runs = pair_runs(label_buckets(a), label_buckets(b))
        runs[:, 4] = 0 if is_limited else runs[:, 4] % n_parts
        parts = [lay_out_found(a, b, np.zeros((0, 3), np.int64), 0)]
        if len(runs):
            asked, held = (to_words(arrow_to_vectors(side["code"], "uint8")) for side in (a, b))
            found = (match_runs(asked, held, some, radius, plan) for some in cut_runs(runs))
            parts += [lay_out_found(a, b, some, top) for some in found]
        return pa.concat_tables(parts)

    return match_bin


def cut_runs(runs: np.ndarray) -> list[np.ndarray]:
    """Cut runs (r, 5) so that each part has about `ROOM` comparisons."""
    work = np.cumsum((runs[:, 1] - runs[:, 0]) * (runs[:, 3] - runs[:, 2]))
    return np.split(runs, np.flatnonzero(np.diff(work // ROOM)) + 1)


def lay_out_found(a: pa.Table, b: pa.Table, found: np.ndarray, top: int) -> pa.Table:
    """Give found positions (p, 3) as rows of `FOUND`: pairs in position 0 once, or the nearest of each."""
    src, turn = (a[name].to_numpy()[found[:, 0]] for name in ("image_id", "turn"))
    dst, distance = b["image_id"].to_numpy()[found[:, 1]], found[:, 2].astype(np.int32)
    apart = np.flatnonzero(np.where((turn == 0) & (top == 0), src < dst, src != dst))
    columns = [column[apart] for column in (src, turn.astype(np.int32), dst, distance)]
    if top:
        kept = nearest_found(*columns, top=top)
        columns = [column[kept] for column in columns]
    return pa.table(columns, names=["src", "turn", "dst", "distance"])


def nearest_found(
    src: np.ndarray, turn: np.ndarray, dst: np.ndarray, distance: np.ndarray, *, top: int
) -> np.ndarray:
    """Choose, of pairs (p,), the ``top`` nearest to each ``src``, by (distance, dst), in one position."""
    order = np.lexsort((turn, distance, dst, src))
    s, d = src[order], dst[order]
    is_first = np.append(True, (s[1:] != s[:-1]) | (d[1:] != d[:-1]))[: len(order)]
    best = order[is_first]
    best = best[np.lexsort((dst[best], distance[best], src[best]))]
    owner = src[best]
    return best[np.arange(len(best)) - np.searchsorted(owner, owner) < top]


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
