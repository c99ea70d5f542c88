"""Carry group ids from run to run and record what changed: the Spark operators."""

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from resight.dedup.changes import MAX_SALTS, match_groups
from resight.dedup.grouping.spark import Hold

MATCHED = "previous_id long, group_id long, n_shared long, inherits boolean"


def track_groups(
    groups: DataFrame,
    previous: DataFrame | None,
    *,
    run_id: str,
    hold: Hold = lambda frame: frame.localCheckpoint(eager=False),
) -> tuple[DataFrame, DataFrame]:
    """Name the groups of this run after those of the run before.

    ``groups`` and ``previous`` are `DUPLICATE_GROUPS` rows, of which ``group_id`` and ``image_id``
    are read; the ids of ``groups`` are provisional. Gives ``names`` (``group_id``, ``stable_id``) for
    `rename_groups`, and `GROUP_CHANGES` rows. ``hold`` is that of `group_pairs`.
    """
    now = groups.select("group_id", "image_id")
    before = now.limit(0) if previous is None else previous.select("group_id", "image_id")
    before = before.withColumnRenamed("group_id", "previous_id")
    overlaps = hold(match_overlaps(now, before))
    names = hold(name_groups(now, before, overlaps))
    changes = list_changes(now, before, overlaps, names)
    return names, changes.select(sf.lit(run_id).alias("run_id"), "*")


def rename_groups(rows: DataFrame, names: DataFrame) -> DataFrame:
    """Replace the provisional ``group_id`` of groups or pairs; null stays null."""
    renamed = rows.join(names, "group_id", "left")
    columns = [
        sf.col("stable_id").alias("group_id") if name == "group_id" else sf.col(name) for name in rows.columns
    ]
    return renamed.select(*columns)


def match_overlaps(now: DataFrame, before: DataFrame) -> DataFrame:
    """Find which groups share images, and which of them hand their id on: `MATCHED` rows.

    A group that overlaps one other only, and that one only it, needs no decision. The rest, groups
    that split or merged, are decided together in one task: 32 bytes a row.
    """
    shared = now.join(before, "image_id").groupBy("previous_id", "group_id")
    counted = shared.agg(sf.count("*").alias("n_shared"))
    n_now = counted.groupBy("previous_id").agg(sf.count("*").alias("n_now"))
    n_before = counted.groupBy("group_id").agg(sf.count("*").alias("n_before"))
    degrees = counted.join(n_now, "previous_id").join(n_before, "group_id")
    plain = (sf.col("n_now") == 1) & (sf.col("n_before") == 1)
    columns = ("previous_id", "group_id", "n_shared")

    def decide(rows: pa.Table) -> pa.Table:
        inherits = match_groups(*(rows[name].to_numpy() for name in columns))
        return rows.select(columns).append_column("inherits", pa.array(inherits))

    contested = degrees.where(~plain).select(*columns, sf.lit(0).alias("all"))
    decided = contested.groupBy("all").applyInArrow(decide, MATCHED)
    clear = degrees.where(plain).select(*columns, sf.lit(True).alias("inherits"))
    return clear.unionByName(decided)


def name_groups(now: DataFrame, before: DataFrame, overlaps: DataFrame) -> DataFrame:
    """Give every group its stable id: inherited, else its smallest free ``image_id``, else a hash."""
    inherited = overlaps.where("inherits").select("group_id", sf.col("previous_id").alias("stable_id"))
    taken = before.select(sf.col("previous_id").alias("candidate"), sf.lit(True).alias("taken"))
    taken = taken.distinct()
    fresh = now.join(inherited, "group_id", "left_anti")
    own = fresh.select("group_id", sf.lit(0).alias("salt"), sf.col("image_id").alias("candidate"))
    smallest = fresh.groupBy("group_id").agg(sf.min("image_id").alias("image_id"))
    salts = sf.explode(sf.sequence(sf.lit(1), sf.lit(MAX_SALTS))).alias("salt")
    salted = smallest.select("group_id", "image_id", salts)
    hashed = salted.select("group_id", "salt", hash_id().alias("candidate"))
    free = own.unionByName(hashed).join(taken, "candidate", "left_anti")
    chosen = free.groupBy("group_id").agg(sf.min(sf.struct("salt", "candidate")).alias("best"))
    return inherited.unionByName(chosen.select("group_id", sf.col("best.candidate").alias("stable_id")))


def hash_id() -> Column:
    """Make up an id from ``image_id`` and ``salt``: `salted_id` in Spark's words."""
    text = sf.concat_ws("/", "image_id", "salt").cast("binary")
    return sf.conv(sf.substring(sf.sha2(text, 256), 1, 15), 16, 10).cast("long")


def list_changes(now: DataFrame, before: DataFrame, overlaps: DataFrame, names: DataFrame) -> DataFrame:
    """Say what happened to each group in the words of `resight.dedup.changes`."""
    sizes = now.groupBy("group_id").agg(sf.count("*").alias("n_images"))
    sizes_before = before.groupBy("previous_id").agg(sf.count("*").alias("n_images"))
    new = sizes.join(overlaps, "group_id", "left_anti").join(names, "group_id")
    gone = sizes_before.join(overlaps, "previous_id", "left_anti")
    going_on = overlaps.where("inherits").select("previous_id", sf.lit(True).alias("goes_on"))
    moved = (
        overlaps.where("not inherits")
        .join(going_on, "previous_id", "left")
        .withColumn("change", sf.when(sf.col("goes_on"), "split").otherwise("merged"))
        .join(names, "group_id")
    )
    kept = overlaps.where("inherits")
    grown = kept.join(sizes, "group_id").withColumn("n", sf.col("n_images") - sf.col("n_shared"))
    shrunk = kept.join(sizes_before, "previous_id").withColumn("n", sf.col("n_images") - sf.col("n_shared"))
    parts = [
        change_rows(new, "stable_id", sf.lit("new"), "stable_id", "n_images"),
        change_rows(gone, "previous_id", sf.lit("gone"), "previous_id", "n_images"),
        change_rows(grown.where("n > 0"), "previous_id", sf.lit("grown"), "previous_id", "n"),
        change_rows(shrunk.where("n > 0"), "previous_id", sf.lit("shrunk"), "previous_id", "n"),
        change_rows(moved, "stable_id", sf.col("change"), "previous_id", "n_shared"),
    ]
    changes = parts[0]
    for part in parts[1:]:
        changes = changes.unionByName(part)
    return changes


def change_rows(rows: DataFrame, group_id: str, change: Column, other_id: str, n_images: str) -> DataFrame:
    """Lay ``rows`` out as `GROUP_CHANGES`."""
    return rows.select(
        sf.col(group_id).alias("group_id"),
        change.alias("change"),
        sf.col(other_id).alias("other_id"),
        sf.col(n_images).cast("int").alias("n_images"),
    )
