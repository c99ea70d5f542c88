"""Find pairs of copies: the Spark operators, and the order in which all of them are used.

``hold`` stands for whatever keeps a result that several steps need and cuts its plan off (a staged
table, ``localCheckpoint``; not ``persist``, which leaves the plan to be repeated)::

    copies = hold(represent_copies(images, policy))
    pairs = hold(find_pairs(copies, neighbors, threshold=0.9))
    components = ...  # of the pairs' image_a, image_b, by resight.graph
    pairs, groups = group_pairs(pairs, copies, components, vectors, rule=rule)
    names, changes = track_groups(groups, previous_groups, run_id=run_id)
    rename_groups(pairs, names), rename_groups(groups, names)

`group_pairs` is in `resight.dedup.grouping.spark`, the last two in `resight.dedup.tracking.spark`.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_lists
from resight.dedup.export import REMOVABLE
from resight.dedup.keep import KEEP_COLUMNS, LOG_SLACK, Criterion
from resight.dedup.pairs import COPIES, is_saturated, select_pairs
from resight.dedup.relating.relation import REVERSED
from resight.dedup.scope.spark import keep_new

FACTS = ("image_id", "content_hash", "pixel_hash", "n_pixels", "is_new")


def represent_copies(images: DataFrame, policy: Sequence[Criterion]) -> DataFrame:
    """Give every live image the representative of its class: `IMAGES` rows to ``copies`` rows.

    Images of equal bytes or equal pixels form a class; the one that ``policy`` keeps represents it.
    Removed images and images whose status is not ok are left out. Adds ``n_pixels``,
    ``representative`` (bigint) and ``facts`` of the representative (a struct of `FACTS`). ``images`` may
    have a column ``split``, and ``is_new``: of two images that are not new nothing is asked.
    """
    alone = sf.concat(sf.lit("image "), sf.col("image_id"))
    for name, value in (("split", sf.lit(None).cast("string")), ("is_new", sf.lit(True))):
        images = images if name in images.columns else images.withColumn(name, value)
    live = images.where("removed_at is null and status = 'ok'").select(
        *KEEP_COLUMNS,
        "content_hash",
        "pixel_hash",
        (sf.col("width").cast("long") * sf.col("height")).alias("n_pixels"),
        "is_new",
    )
    same_bytes = Window.partitionBy(sf.coalesce("content_hash", alone))
    pixels = sf.min("pixel_hash").over(same_bytes)  # one value even if decoders differed
    keyed = live.withColumn("class", sf.coalesce(pixels, "content_hash", alone))
    best = Window.partitionBy("class").orderBy(*keep_columns(policy))
    facts = sf.first(sf.struct(*FACTS)).over(best)
    return keyed.withColumn("facts", facts).select(
        *live.columns, sf.col("facts.image_id").alias("representative"), "facts"
    )


def keep_columns(policy: Sequence[Criterion]) -> list[Column]:
    """Sort columns of ``policy``, the image to keep first: `keep_order` in Spark's words."""
    sharpness = sf.greatest(sf.col("sharpness").cast("double"), sf.lit(1.0))
    steps = sf.floor(sf.log2(sharpness) + LOG_SLACK)
    values = {
        "resolution": sf.col("width").cast("long") * sf.col("height"),
        "sharpness": sf.when(sf.col("sharpness").isNotNull() & ~sf.isnan("sharpness"), steps),
        "bytes": sf.col("n_bytes"),
        "oldest": sf.coalesce("taken_at", "modified_at"),
        "path": sf.col("uri"),
    }
    columns = []
    for criterion in policy:
        if criterion.kind == "under":
            value = sf.startswith(sf.col("uri"), sf.lit(criterion.prefix))
        elif criterion.kind == "split":
            value = sf.col("split").eqNullSafe(criterion.prefix)
        else:
            value = values[criterion.kind]
        high = criterion.prefers_high
        columns.append(value.desc_nulls_last() if high else value.asc_nulls_last())
    return [*columns, sf.col("image_id").asc()]


def find_pairs(
    copies: DataFrame, neighbors: DataFrame, *, threshold: float, is_partial: bool = False
) -> DataFrame:
    """Find exact, same-pixel and near pairs: ``copies`` and `NEIGHBORS` rows to pair rows.

    A class of copies is a star: each of its images is paired with its representative only. Near
    pairs are between representatives. One of a pair is new; ``is_partial`` says that some images are
    not, so that only what touches new ones is moved. Columns ``image_a``, ``image_b``, ``relation``,
    ``similarity``, ``size_ratio``.
    """
    facts = sf.col("facts")
    listed = select_near(neighbors, threshold=threshold)
    listed = keep_new(listed, copies) if is_partial else listed
    a = copies.select(sf.col("image_id").alias("image_a"), facts.alias("left"))
    b = copies.select(sf.col("image_id").alias("image_b"), facts.alias("right"))
    near = listed.join(a, "image_a").join(b, "image_b")
    near = near.where("left.image_id != right.image_id and (left.is_new or right.is_new)")
    linked = list_stars(copies).unionByName(
        near.select("left", "right", "similarity").withColumn("star", sf.lit(False))
    )
    return relate_images(linked)


def list_stars(copies: DataFrame) -> DataFrame:
    """Pair every image of a class with its representative: rows for `relate_images`."""
    linked = copies.where("image_id != representative and (is_new or facts.is_new)").select(
        sf.struct(*FACTS).alias("left"),
        sf.col("facts").alias("right"),
        sf.lit(1.0).cast("float").alias("similarity"),
    )
    return linked.withColumn("star", sf.lit(True))


def find_copies(copies: DataFrame) -> DataFrame:
    """Find exact and same-pixel pairs only, as `find_pairs` gives them."""
    return relate_images(list_stars(copies))


def relate_images(linked: DataFrame) -> DataFrame:
    """Name the relation of ``left`` and ``right`` (structs of `FACTS`), each pair once."""
    swapped = sf.col("left.image_id") > sf.col("right.image_id")
    oriented = linked.select(
        sf.when(swapped, sf.col("right")).otherwise(sf.col("left")).alias("a"),
        sf.when(swapped, sf.col("left")).otherwise(sf.col("right")).alias("b"),
        "similarity",
        "star",
    )
    same_pixels = sf.col("star") | (sf.col("a.pixel_hash") == sf.col("b.pixel_hash"))
    relation = (
        sf.when(sf.col("a.content_hash") == sf.col("b.content_hash"), COPIES[0])
        .when(same_pixels, COPIES[1])
        .otherwise("near")
    )
    ratio = sf.try_divide(sf.col("b.n_pixels"), sf.col("a.n_pixels")).cast("float")
    return (
        oriented.withColumn("relation", relation)
        .groupBy(sf.col("a.image_id").alias("image_a"), sf.col("b.image_id").alias("image_b"))
        .agg(
            sf.first("relation").alias("relation"),  # the same in every row of a pair
            sf.max("similarity").alias("similarity"),
            sf.first(ratio).alias("size_ratio"),
        )
    )


def select_near(neighbors: DataFrame, *, threshold: float) -> DataFrame:
    """List the pairs of the neighbour lists that reach ``threshold``; a pair may come twice."""

    def select_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            offsets, dst = arrow_to_lists(batch["dst"], "<i8")
            _, similarity = arrow_to_lists(batch["similarity"], "<f4")
            src = batch["src"].to_numpy()
            pairs = select_pairs(src, offsets, dst, similarity, threshold=threshold)
            yield pa.record_batch(list(pairs), names=["image_a", "image_b", "similarity"])

    rows = neighbors.select("src", "dst", "similarity")
    return rows.mapInArrow(select_batches, "image_a long, image_b long, similarity float")


def find_saturated(neighbors: DataFrame, *, threshold: float) -> DataFrame:
    """List the images (``src``) whose neighbour list may be too short to hold all near copies."""

    def find_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            offsets, similarity = arrow_to_lists(batch["similarity"], "<f4")
            full = is_saturated(offsets, similarity, threshold=threshold)
            yield pa.record_batch([batch["src"].filter(pa.array(full))], names=["src"])

    return neighbors.select("src", "similarity").mapInArrow(find_batches, "src long")


def list_removable(groups: DataFrame, pairs: DataFrame, images: DataFrame) -> DataFrame:
    """List what could go, for `write_list`: one row per image of a group that is not kept.

    ``images`` has ``uri`` as other tools should see it, ``content_hash``, ``pixel_hash``,
    ``n_bytes``. The relation is that of the image to the kept one: a ``crop`` is a part of what stays. An
    image whose kept one it was not paired with is ``near`` to it.
    """
    facts = ("image_id", "uri", "content_hash", "pixel_hash")
    kept = groups.where("keep").select("group_id", sf.col("image_id").alias("kept_image_id"))
    kept_facts = images.select(*(sf.col(name).alias(f"kept_{name}") for name in facts))
    rest = (
        groups.where("not keep")
        .join(kept, "group_id")
        .join(images.select(*facts, "n_bytes"), "image_id")
        .join(kept_facts, "kept_image_id")
        .withColumn("image_a", sf.least("image_id", "kept_image_id"))
        .withColumn("image_b", sf.greatest("image_id", "kept_image_id"))
        .join(pairs.select("image_a", "image_b", "relation"), ["image_a", "image_b"], "left")
    )
    said = sf.coalesce("relation", sf.lit("near"))  # read a -> b
    backwards = sf.col("image_id") > sf.col("kept_image_id")
    for word, other in REVERSED.items():
        said = sf.when(backwards & (sf.col("relation") == word), other).otherwise(said)
    relation = (
        sf.when(sf.col("content_hash") == sf.col("kept_content_hash"), COPIES[0])
        .when(sf.col("pixel_hash") == sf.col("kept_pixel_hash"), COPIES[1])
        .otherwise(said)
    )
    listed = rest.withColumn("relation", relation).orderBy("group_id", "image_id")
    return listed.select(*REMOVABLE.names)
