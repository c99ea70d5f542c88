"""Evaluation of found copies on Spark: only counts per distinct similarity meet in one task."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from resight.evaluation.spark import score_counted

PAIR = ("image_a", "image_b")


def resolve_pairs(rows: DataFrame, images: DataFrame) -> DataFrame:
    """Put ids in the place of uris: rows of `read_pairs` to ``image_a < image_b``, each pair once.

    An image that the collection lacks, or has in several sources, gets an id of its own below zero.
    """
    if "image_a" in rows.columns:
        return orient_pairs(rows, sf.col("image_a"), sf.col("image_b"))
    if "group" in rows.columns:
        a, b = (rows.select("group", sf.col("uri").alias(f"uri_{side}")) for side in "ab")
        rows = a.join(b, "group").where("uri_a < uri_b")
    single = sf.when(sf.count("*") == 1, sf.min("image_id"))
    known = images.groupBy("uri").agg(single.alias("image_id"))
    for side in "ab":
        found = known.select(sf.col("uri").alias(f"uri_{side}"), sf.col("image_id").alias(f"id_{side}"))
        rows = rows.join(found, f"uri_{side}", "left")
    absent = (-1 - sf.pmod(sf.xxhash64(f"uri_{side}"), sf.lit(1 << 62)) for side in "ab")
    return orient_pairs(rows, *(sf.coalesce(f"id_{s}", i) for s, i in zip("ab", absent, strict=True)))


def orient_pairs(rows: DataFrame, a: Column, b: Column) -> DataFrame:
    """Put the smaller id first, each pair once."""
    ends = sf.least(a, b).alias("image_a"), sf.greatest(a, b).alias("image_b")
    return rows.select(*ends).distinct()


def evaluate_copies(pairs: DataFrame, truth: DataFrame, classes: DataFrame) -> DataFrame:
    """Score found pairs in one global list: rows ``metric, value``.

    Parameters
    ----------
    pairs : DataFrame
        ``image_a, image_b, similarity``, as `DUPLICATE_PAIRS` has them: images of a class are paired with one
        of them only, and what is near to a class is paired with that one.
    truth : DataFrame
        ``image_a < image_b`` of all true pairs, each once, as `resolve_pairs` gives them.
    classes : DataFrame
        ``image_id, class_id``: images of one class have equal pixels. A pair of classes stands for every
        pair between them, and is counted as so many; an image without a class is one by itself.
    """
    sizes = classes.groupBy("class_id").count()
    between = (
        join_classes(pairs, classes).groupBy("class_a", "class_b").agg(sf.max("similarity").alias("score"))
    )
    for side in "ab":
        size = sizes.select(sf.col("class_id").alias(f"class_{side}"), sf.col("count").alias(f"n_{side}"))
        between = between.join(size, f"class_{side}", "left").na.fill(1, [f"n_{side}"])
    same = sf.col("class_a") == sf.col("class_b")
    n_pairs = sf.when(same, sf.expr("n_a * (n_a - 1) div 2")).otherwise(sf.col("n_a") * sf.col("n_b"))
    predicted = between.withColumn("n_pairs", n_pairs).where("n_pairs > 0")
    true = join_classes(truth, classes).groupBy("class_a", "class_b").agg(sf.count("*").alias("n_true"))
    joined = predicted.join(true, ["class_a", "class_b"], "full_outer").na.fill(0, ["n_true", "n_pairs"])
    given = sf.col("n_pairs") > 0
    counts = joined.groupBy("score").agg(
        sf.sum(sf.when(given, sf.col("n_true")).otherwise(0)).alias("n_right"),
        sf.sum(sf.when(given, sf.col("n_pairs") - sf.col("n_true")).otherwise(0)).alias("n_wrong"),
        sf.sum("n_true").alias("n_truth"),
        sf.lit(0).cast("long").alias("n_repeated"),
        sf.count_if(given & (sf.col("score").isNull() | sf.isnan("score"))).alias("n_unordered"),
    )
    return counts.groupBy().applyInArrow(score_counted, "metric string, value double")


def join_classes(pairs: DataFrame, classes: DataFrame) -> DataFrame:
    """Add ``class_a <= class_b`` to pairs."""
    for side in "ab":
        known = classes.select(
            sf.col("image_id").alias(f"image_{side}"), sf.col("class_id").alias(f"of_{side}")
        )
        pairs = pairs.join(known, f"image_{side}", "left")
    a, b = (sf.coalesce(f"of_{side}", f"image_{side}") for side in "ab")
    return pairs.withColumns({"class_a": sf.least(a, b), "class_b": sf.greatest(a, b)})


def evaluate_groups(groups: DataFrame, truth: DataFrame) -> DataFrame:
    """Score groups by the pairs within them: rows ``metric, value``.

    Parameters
    ----------
    groups : DataFrame
        ``group_id, image_id``, each image once.
    truth : DataFrame
        ``image_a, image_b`` of all true pairs, each once.

    ``group_precision`` is the share of the pairs within groups that are true, ``group_recall`` the share of
    the true pairs that lie within a group; pairs of a group are counted, not listed.
    """
    sizes = groups.groupBy("group_id").agg(sf.expr("count(*) * (count(*) - 1) div 2").alias("n"))
    within = sizes.agg(sf.coalesce(sf.sum("n"), sf.lit(0)).alias("n_pairs"))
    for side in "ab":
        member = groups.select(
            sf.col("image_id").alias(f"image_{side}"), sf.col("group_id").alias(f"group_{side}")
        )
        truth = truth.join(member, f"image_{side}", "left")
    right = sf.count_if(sf.col("group_a") == sf.col("group_b"))
    counted = truth.agg(right.alias("n_right"), sf.count("*").alias("n_truth")).crossJoin(within)
    nothing = sf.lit(float("nan"))
    values = {
        "group_precision": sf.coalesce(sf.try_divide("n_right", "n_pairs"), nothing),
        "group_recall": sf.coalesce(sf.try_divide("n_right", "n_truth"), nothing),
        "n_group_pairs": sf.col("n_pairs").cast("double"),
    }
    rows = [sf.struct(sf.lit(name).alias("metric"), value.alias("value")) for name, value in values.items()]
    return counted.select(sf.inline(sf.array(*rows)))
