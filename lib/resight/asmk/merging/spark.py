"""Operators of the aggregation across images."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_vectors, vectors_to_arrow
from resight.asmk.across import find_matches, merge_word
from resight.asmk.kernel import max_distance
from resight.asmk.spark import run_starts
from resight.store import spark_schema
from resight.tables import ENTRIES

__all__ = ["find_copies", "find_crowds", "match_entries", "merge_across"]

Hold = Callable[[DataFrame], DataFrame]
MATCHES = "word_id int, image_a long, image_b long"
PAIR = ["image_a", "image_b"]
TASK_ENTRIES = 500_000  # that one task receives
BLOCK_ENTRIES = 20_000  # of a word, compared with as many others by one task
CROWD = 256  # equal codes of a word that are still paired with one another


def merge_across(
    entries: DataFrame,
    *,
    n_bits: int,
    tau: float,
    min_matches: int,
    block_entries: int = BLOCK_ENTRIES,
    crowd: int = CROWD,
    hold: Hold = lambda frame: frame.localCheckpoint(eager=False),
) -> DataFrame:
    """Give every entry the code of its component: `ENTRIES` rows to as many, see `merge_entries`.

    ``hold`` keeps the matches, which are counted and then filtered, and cuts their plan off. The result
    depends neither on ``block_entries`` nor on ``crowd``, which bound what is held: of images whose entries
    are all equal one is matched and counts for all, and entries of crowds are not paired with one another but
    where two images match elsewhere, see `restore_matches`.
    """
    copies = hold(find_copies(entries))
    alone = entries.join(copies.select("image_id"), "image_id", "left_anti")
    crowds = hold(find_crowds(alone, crowd=crowd, most=min_matches - 1))
    matches = match_entries(alone, n_bits=n_bits, tau=tau, block_entries=block_entries, crowds=crowds)
    matches = hold(matches)
    if not crowds.isEmpty():
        matches = matches.unionByName(restore_matches(matches, crowds))
    counted = matches.groupBy(*PAIR).agg(sf.count("*").alias("n")).where(sf.col("n") >= min_matches)
    kept = matches.join(counted.select(*PAIR), PAIR, "left_semi")
    stands_for = copies.groupBy("leader").agg((sf.count("*") + 1).alias("n_copies"))
    own = alone.join(stands_for, alone["image_id"] == stands_for["leader"], "left")
    own = own.select("word_id", sf.col("image_id").alias("image_a"), "code", "n_copies")
    rows = own.unionByName(kept, allowMissingColumns=True)
    n_tasks = max(1, -(-entries.count() // TASK_ENTRIES))
    bucket = sf.pmod(sf.xxhash64("word_id"), sf.lit(n_tasks)).cast("int")

    def merge_bucket(group: pa.Table) -> pa.Table:
        return merge_words(group, n_bits)

    merged = rows.groupBy(bucket.alias("bucket")).applyInArrow(merge_bucket, spark_schema(ENTRIES))
    return repeat_copies(merged, copies)


def find_copies(entries: DataFrame) -> DataFrame:
    """Find images whose entries are all equal: rows (image_id, leader) of each but the one of smallest id.

    Two sums of 64 bits stand for the entries of an image.
    """
    marks = [
        sf.bit_xor(sf.xxhash64(sf.lit(salt), "word_id", "code")).alias(f"mark_{salt}") for salt in (0, 1)
    ]
    images = entries.groupBy("image_id").agg(sf.count("*").alias("n"), *marks)
    same = ["n", "mark_0", "mark_1"]
    several = images.groupBy(*same).agg(sf.min("image_id").alias("leader"), sf.count("*").alias("size"))
    found = images.join(several.where("size > 1"), same)
    return found.where("image_id != leader").select("image_id", "leader")


def repeat_copies(merged: DataFrame, copies: DataFrame) -> DataFrame:
    """Give every copy (image_id, leader) the entries of its leader."""
    leaders = copies.select(sf.col("leader").alias("image_id"), "leader").distinct()
    named = copies.union(leaders).select(sf.col("image_id").alias("named"), "leader")
    rows = merged.join(named, merged["image_id"] == named["leader"], "left")
    return rows.select("word_id", sf.coalesce("named", "image_id").alias("image_id"), "code")


def find_crowds(entries: DataFrame, *, crowd: int, most: int) -> DataFrame:
    """Find entries whose code more than ``crowd`` entries of their word have: rows (image_id, crowds).

    ``crowds`` are structs (word_id, code), of an image ``most``, those of the largest crowds.
    """
    sizes = entries.groupBy("word_id", "code").agg(sf.count("*").alias("n")).where(sf.col("n") > crowd)
    inside = entries.select("word_id", "image_id", "code").join(sizes, ["word_id", "code"])
    listed = sf.array_sort(sf.collect_list(sf.struct((-sf.col("n")).alias("size"), "word_id", "code")))
    found = inside.groupBy("image_id").agg(sf.slice(listed, 1, max(most, 0)).alias("crowds"))
    chosen = sf.transform("crowds", lambda one: sf.struct(one["word_id"], one["code"]))
    return found.select("image_id", chosen.alias("crowds")).where(sf.size("crowds") > 0)


def restore_matches(matches: DataFrame, crowds: DataFrame) -> DataFrame:
    """Give the matches inside crowds of the pairs of images that match elsewhere too: `MATCHES` rows.

    Two images with ``min_matches`` matches have one outside, since an image is in fewer crowds than that:
    so no other pair is needed.
    """
    pairs = matches.select(*PAIR).distinct()
    for end in ("a", "b"):
        own = crowds.select(sf.col("image_id").alias(f"image_{end}"), sf.col("crowds").alias(f"in_{end}"))
        pairs = pairs.join(own, f"image_{end}")
    shared = pairs.select(*PAIR, sf.explode(sf.array_intersect("in_a", "in_b")).alias("one"))
    return shared.select(sf.col("one.word_id").alias("word_id"), *PAIR)


def match_entries(
    entries: DataFrame, *, n_bits: int, tau: float, block_entries: int, crowds: DataFrame
) -> DataFrame:
    """Find the matches inside words: rows (word_id, image_a, image_b) with image_a < image_b.

    Left out are those of two entries of one of the ``crowds``, rows of `find_crowds`.
    """
    inside = crowds.select("image_id", sf.explode("crowds").alias("one"))
    inside = inside.select("image_id", sf.col("one.word_id").alias("word_id"), sf.lit(True).alias("crowded"))
    entries = entries.join(inside, ["word_id", "image_id"], "left")
    sizes = entries.groupBy("word_id").agg(sf.count("*").alias("n")).where("n > 1")
    blocks = sf.ceil(sf.col("n") / sf.lit(block_entries)).cast("int").alias("n_blocks")
    sizes = sizes.select("word_id", "n", blocks)
    total = sizes.agg(sf.sum(sf.col("n") * sf.col("n_blocks"))).first()
    n_tasks = max(1, -(-int((total and total[0]) or 0) // TASK_ENTRIES))
    own = sf.pmod(sf.xxhash64("image_id"), sf.col("n_blocks")).cast("int")
    cut = entries.join(sf.broadcast(sizes), "word_id").withColumn("own", own)
    other = sf.explode(sf.sequence(sf.lit(0), sf.col("n_blocks") - 1)).alias("other")
    columns = ("word_id", "image_id", "code", "crowded", "own")
    spread = cut.select(*columns, other).select(
        *columns,
        sf.least("own", "other").alias("low"),
        sf.greatest("own", "other").alias("high"),
    )
    task = sf.pmod(sf.xxhash64("word_id", "low", "high"), sf.lit(n_tasks)).cast("int")
    limit = max_distance(n_bits, tau)

    def match_task(rows: pa.Table) -> pa.Table:
        return match_blocks(rows, limit)

    return spread.groupBy(task.alias("task")).applyInArrow(match_task, MATCHES)


def match_blocks(rows: pa.Table, limit: int) -> pa.Table:
    """Compare the entries of each pair of blocks (word_id, low, high) of a task."""
    keys = [(name, "ascending") for name in ("word_id", "low", "high", "own", "image_id")]
    rows = rows.sort_by(keys)
    words, images = rows["word_id"].to_numpy(), rows["image_id"].to_numpy()
    low, high, own = (rows[name].to_numpy() for name in ("low", "high", "own"))
    codes = arrow_to_vectors(rows["code"], "u1")
    crowded = rows["crowded"].is_valid().to_numpy()
    found: list[np.ndarray] = [np.zeros((3, 0), np.int64)]
    starts = run_starts(words, low, high)
    for start, stop in zip(starts, [*starts[1:], len(words)], strict=True):
        middle = start + int((own[start:stop] == low[start]).sum())
        if low[start] == high[start]:
            own_crowds = crowded[start:stop]
            first, second = find_matches(codes[start:stop], None, limit, (own_crowds, own_crowds))
            second = second + start
        else:
            sides = crowded[start:middle], crowded[middle:stop]
            first, second = find_matches(codes[start:middle], codes[middle:stop], limit, sides)
            second = second + middle
        ends = np.sort(np.stack([images[first + start], images[second]]), axis=0)
        found.append(np.concatenate([np.full((1, len(first)), words[start]), ends]))
    word, a, b = np.concatenate(found, axis=1)
    return pa.table({"word_id": word.astype(np.int32), "image_a": a, "image_b": b})


def merge_words(rows: pa.Table, n_bits: int) -> pa.Table:
    """Merge the codes of some words: entries (no ``image_b``) along matches (no ``code``).

    ``n_copies`` (null: one) says of how many images an entry is.
    """
    rows = rows.sort_by([("word_id", "ascending"), ("image_a", "ascending"), ("image_b", "ascending")])
    is_entry = rows["image_b"].is_null().to_numpy()
    entries, matches = rows.filter(pa.array(is_entry)), rows.filter(pa.array(~is_entry))
    words, images = entries["word_id"].to_numpy(), entries["image_a"].to_numpy()
    codes = arrow_to_vectors(entries["code"], "u1").copy()
    counts = entries["n_copies"].fill_null(1).to_numpy()
    a, b = matches["image_a"].to_numpy(), matches["image_b"].to_numpy()
    matched = matches["word_id"].to_numpy()
    for word in np.unique(matched):
        own = slice(*np.searchsorted(words, [word, word + 1]))
        ends = slice(*np.searchsorted(matched, [word, word + 1]))
        codes[own] = merge_word(images[own], codes[own], (a[ends], b[ends]), n_bits, counts[own])
    return pa.table({"word_id": words, "image_id": images, "code": vectors_to_arrow(codes)})
