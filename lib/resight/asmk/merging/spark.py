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

__all__ = ["match_entries", "merge_across"]

Hold = Callable[[DataFrame], DataFrame]
MATCHES = "word_id int, image_a long, image_b long"
TASK_ENTRIES = 500_000  # that one task receives
BLOCK_ENTRIES = 20_000  # of a word, compared with as many others by one task


def merge_across(
    entries: DataFrame,
    *,
    n_bits: int,
    tau: float,
    min_matches: int,
    block_entries: int = BLOCK_ENTRIES,
    hold: Hold = lambda frame: frame.localCheckpoint(eager=False),
) -> DataFrame:
    """Give every entry the code of its component: `ENTRIES` rows to as many, see `merge_entries`.

    ``hold`` keeps the matches, which are counted and then filtered, and cuts their plan off. The result does
    not depend on ``block_entries``.
    """
    matches = hold(match_entries(entries, n_bits=n_bits, tau=tau, block_entries=block_entries))
    pairs = ["image_a", "image_b"]
    counted = matches.groupBy(*pairs).agg(sf.count("*").alias("n")).where(sf.col("n") >= min_matches)
    kept = matches.join(counted.select(*pairs), pairs, "left_semi")
    own = entries.select("word_id", sf.col("image_id").alias("image_a"), "code")
    rows = own.unionByName(kept, allowMissingColumns=True)
    n_tasks = max(1, -(-entries.count() // TASK_ENTRIES))
    bucket = sf.pmod(sf.xxhash64("word_id"), sf.lit(n_tasks)).cast("int")

    def merge_bucket(group: pa.Table) -> pa.Table:
        return merge_words(group, n_bits)

    return rows.groupBy(bucket.alias("bucket")).applyInArrow(merge_bucket, spark_schema(ENTRIES))


def match_entries(entries: DataFrame, *, n_bits: int, tau: float, block_entries: int) -> DataFrame:
    """Find the matches inside words: rows (word_id, image_a, image_b) with image_a < image_b."""
    sizes = entries.groupBy("word_id").agg(sf.count("*").alias("n")).where("n > 1")
    blocks = sf.ceil(sf.col("n") / sf.lit(block_entries)).cast("int").alias("n_blocks")
    sizes = sizes.select("word_id", "n", blocks)
    total = sizes.agg(sf.sum(sf.col("n") * sf.col("n_blocks"))).first()
    n_tasks = max(1, -(-int((total and total[0]) or 0) // TASK_ENTRIES))
    own = sf.pmod(sf.xxhash64("image_id"), sf.col("n_blocks")).cast("int")
    cut = entries.join(sf.broadcast(sizes), "word_id").withColumn("own", own)
    other = sf.explode(sf.sequence(sf.lit(0), sf.col("n_blocks") - 1)).alias("other")
    spread = cut.select("word_id", "image_id", "code", "own", other).select(
        "word_id",
        "image_id",
        "code",
        "own",
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
    found: list[np.ndarray] = [np.zeros((3, 0), np.int64)]
    starts = run_starts(words, low, high)
    for start, stop in zip(starts, [*starts[1:], len(words)], strict=True):
        middle = start + int((own[start:stop] == low[start]).sum())
        if low[start] == high[start]:
            first, second = find_matches(codes[start:stop], None, limit)
            second = second + start
        else:
            first, second = find_matches(codes[start:middle], codes[middle:stop], limit)
            second = second + middle
        ends = np.sort(np.stack([images[first + start], images[second]]), axis=0)
        found.append(np.concatenate([np.full((1, len(first)), words[start]), ends]))
    word, a, b = np.concatenate(found, axis=1)
    return pa.table({"word_id": word.astype(np.int32), "image_a": a, "image_b": b})


def merge_words(rows: pa.Table, n_bits: int) -> pa.Table:
    """Merge the codes of some words: entries (no ``image_b``) along matches (no ``code``)."""
    rows = rows.sort_by([("word_id", "ascending"), ("image_a", "ascending"), ("image_b", "ascending")])
    is_entry = rows["image_b"].is_null().to_numpy()
    entries, matches = rows.filter(pa.array(is_entry)), rows.filter(pa.array(~is_entry))
    words, images = entries["word_id"].to_numpy(), entries["image_a"].to_numpy()
    codes = arrow_to_vectors(entries["code"], "u1").copy()
    a, b = matches["image_a"].to_numpy(), matches["image_b"].to_numpy()
    matched = matches["word_id"].to_numpy()
    for word in np.unique(matched):
        own = slice(*np.searchsorted(words, [word, word + 1]))
        ends = slice(*np.searchsorted(matched, [word, word + 1]))
        codes[own] = merge_word(images[own], codes[own], (a[ends], b[ends]), n_bits)
    return pa.table({"word_id": words, "image_id": images, "code": vectors_to_arrow(codes)})
