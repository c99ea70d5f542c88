"""Evaluation of many queries on Spark, in groups of queries: no result reaches the driver."""

from collections.abc import Sequence
from functools import partial, reduce
from operator import or_

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight.evaluation.pair_metrics import score_counts
from resight.evaluation.protocols import QueryTruth, build_query_truth, find_protocols
from resight.evaluation.ranking_metrics import DEFAULT_KS, evaluate_ranking
from resight.evaluation.summary import ABOUT_LIST, MEANS

PER_QUERY = pa.schema(
    {
        "protocol": pa.string(),
        "method": pa.string(),
        "query_id": pa.int64(),
        "family": pa.string(),
        "metric": pa.string(),
        "value": pa.float64(),
    }
)
NORMAL_95 = 1.959964  # quantile of the normal distribution


def evaluate_queries(
    results: DataFrame,
    truth: DataFrame,
    *,
    protocols: Sequence[str] = ("old",),
    ks: Sequence[int] = DEFAULT_KS,
    own: DataFrame | None = None,
    n_images: int | None = None,
    n_blocks: int = 64,
) -> DataFrame:
    """Score every query under every protocol: rows ``protocol, method, query_id, family, metric, value``.

    Parameters
    ----------
    results : DataFrame
        Rows of `RESULTS`: ``method, query_id, rank, image_id, score``.
    truth : DataFrame
        ``query_id, image_id, label, family``, each pair once. A null ``image_id`` is an image that the
        collection does not hold: a positive that no ranking can reach. A query of ``truth`` without
        results scores 0; one of ``results`` without positives has NaN everywhere.
    own : DataFrame, optional
        ``query_id, image_id`` of the queries that are images of the collection.
    n_images : int, optional
        Size of the ranked collection, see `evaluate_ranking`.
    n_blocks : int
        Groups of queries, by hash, that each method is evaluated in. The figures do not depend on it; one
        group has to fit into the memory of a task.
    """
    evaluate = partial(evaluate_ranking, protocols=find_protocols(protocols), ks=tuple(ks), n_images=n_images)

    def evaluate_block(key: tuple, ranked: pa.Table, labelled: pa.Table) -> pa.Table:
        method = key[0].as_py()
        answers, truths = split_by_query(ranked, "rank"), split_by_query(labelled)
        rows = []
        for query_id in sorted(answers.keys() | truths.keys()):
            answer = answers.get(query_id, ranked[:0])
            try:
                known, family = unpack_truth(truths.get(query_id, labelled[:0]))
                scores = answer["score"].to_numpy()
                figures = evaluate(answer["image_id"].to_numpy(), scores, known)
            except ValueError as error:
                raise ValueError(f"method {method}, query {query_id}: {error}") from None
            for protocol, found in figures.items():
                rows += [(protocol, method, query_id, family, m, v) for m, v in found.items()]
        columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), PER_QUERY, strict=True)]
        return pa.table(columns, schema=PER_QUERY)

    block = sf.pmod(sf.xxhash64("query_id"), sf.lit(n_blocks)).alias("block")
    # a fresh alias: both sides of the cogroup come from the same rows
    methods = results.select(sf.col("method").alias("method")).distinct()
    labelled = spread_truth(truth, own, methods).select("*", block)
    answers = results.select("method", "query_id", "rank", "image_id", "score", block)
    return (
        answers.groupBy("method", "block")
        .cogroup(labelled.groupBy("method", "block"))
        .applyInArrow(evaluate_block, from_arrow_schema(PER_QUERY))
    )


def split_by_query(rows: pa.Table, *within: str) -> dict[int, pa.Table]:
    """Cut rows into the queries that they belong to, each sorted by the columns ``within``."""
    rows = rows.sort_by([(name, "ascending") for name in ("query_id", *within)])
    values, starts = np.unique(rows["query_id"].to_numpy(), return_index=True)
    ends = np.append(starts, len(rows))[1:]
    return {
        int(q): rows.slice(start, end - start) for q, start, end in zip(values, starts, ends, strict=True)
    }


def spread_truth(truth: DataFrame, own: DataFrame | None, methods: DataFrame) -> DataFrame:
    """Repeat the truth for every method, so that a query is scored even where a method has no answer."""
    rows = truth.select("query_id", "image_id", "label", "family", sf.lit(False).alias("own"))
    if own is not None:
        blank = sf.lit(None).cast("string")
        asked = own.join(truth.select("query_id").distinct(), "query_id", "left_semi")
        rows = rows.union(
            asked.where("image_id is not null").select(
                "query_id", "image_id", blank.alias("label"), blank.alias("family"), sf.lit(True)
            )
        )
    return rows.crossJoin(sf.broadcast(methods))


def unpack_truth(labelled: pa.Table) -> tuple[QueryTruth, str | None]:
    """Read the rows of one query: its truth and its family."""
    is_own = pc.equal(labelled["own"], True)
    own = labelled.filter(is_own)["image_id"].to_pylist()
    rows = labelled.filter(pc.invert(is_own))
    absent = -1 - np.arange(len(rows))  # ids of no image, all different
    image_ids = pc.if_else(pc.is_null(rows["image_id"]), pa.array(absent), rows["image_id"])
    known = build_query_truth(image_ids.to_numpy(), rows["label"].to_pylist(), own=own[0] if own else None)
    family = rows["family"].to_pylist()
    return known, family[0] if family else None


def summarise_queries(per_query: DataFrame) -> DataFrame:
    """Aggregate the figures of more queries than fit on one machine: rows of `SUMMARY`.

    The same figures as `summarise` gives, but the intervals are those of the normal distribution, which the
    bootstrap reaches as queries become many: ``value +- 1.96 s / sqrt(n)``, ``s`` the deviation within the
    family, summed over families for a macro mean.

    Parameters
    ----------
    per_query : DataFrame
        ``protocol, method, query_id, family, metric, value`` as `evaluate_queries` gives them.
    """
    counted = per_query.where("value is not null and not isnan(value)")
    about = ["protocol", "method", "metric"]
    moments = sf.avg("value").alias("mean"), sf.var_pop("value").alias("spread"), sf.count("*").alias("n")
    whole = counted.groupBy(*about).agg(*moments).withColumn("family", sf.lit(None).cast("string"))
    family = counted.where("family is not null").groupBy(*about, "family").agg(*moments)
    variance = sf.col("spread") / sf.col("n")  # of a mean
    macro = family.groupBy(*about).agg(
        sf.avg("mean").alias("mean"),
        (sf.sum(variance) / sf.count("*") ** 2).alias("variance"),
        sf.sum("n").alias("n"),
    )
    macro = macro.where(~sf.col("metric").isin(*ABOUT_LIST)).withColumns(
        {"family": sf.lit(None).cast("string"), "prefix": sf.lit("macro_")}
    )
    plain = whole.unionByName(family).withColumns({"variance": variance, "prefix": sf.lit("")}).drop("spread")
    margin = NORMAL_95 * sf.sqrt("variance")
    return plain.unionByName(macro).select(
        "protocol",
        "method",
        "family",
        sf.concat("prefix", name_means(sf.col("metric"))).alias("metric"),
        sf.col("mean").alias("value"),
        sf.col("n").cast("int").alias("n_queries"),
        (sf.col("mean") - margin).alias("ci_low"),
        (sf.col("mean") + margin).alias("ci_high"),
    )


def name_means(metric: Column) -> Column:
    """Name the means of figures: `name_mean` in Spark's words."""
    is_mean = reduce(or_, (sf.startswith(metric, sf.lit(prefix)) for prefix in MEANS))
    return sf.when(is_mean, sf.concat(sf.lit("m"), metric)).otherwise(metric)


def evaluate_answers(results: DataFrame, truth: DataFrame, own: DataFrame) -> DataFrame:
    """Score all answers of one method in one list, as copy detection does: rows ``metric, value``.

    Parameters
    ----------
    results : DataFrame
        ``query_id, image_id, score`` of one method; queries that ``truth`` does not know are left out.
    truth : DataFrame
        ``query_id, image_id, label``; junk is left out of the answers.
    own : DataFrame
        ``query_id, image_id`` of the queries that are images of the collection, left out likewise.
    """
    pair = ["query_id", "image_id"]
    ignored = truth.where("label = 'junk'").select(*pair).union(own.select(*pair))
    answers = results.select(*pair, "score").join(
        truth.select("query_id").distinct(), "query_id", "left_semi"
    )
    positive = truth.where("label != 'junk'").select(*pair).join(own, pair, "left_anti")
    return evaluate_pairs(answers.join(ignored, pair, "left_anti"), positive)


def evaluate_pairs(pairs: DataFrame, truth: DataFrame) -> DataFrame:
    """Score predicted copy pairs in one global list: rows ``metric, value``.

    Parameters
    ----------
    pairs : DataFrame
        ``query_id, image_id, score``. For pairs without direction put the smaller id first in both tables.
    truth : DataFrame
        ``query_id, image_id`` of all true pairs. A pair given twice, predicted or true, fails the job.

    Only counts per distinct score meet in one task.
    """
    pair = ["query_id", "image_id"]
    predicted = pairs.groupBy(*pair).agg(sf.max("score").alias("score"), sf.count("*").alias("n_predicted"))
    true = truth.groupBy(*pair).agg(sf.count("*").alias("n_true"))
    joined = predicted.join(true, pair, "full_outer").na.fill(0, ["n_predicted", "n_true"])
    right, given = sf.col("n_true") > 0, sf.col("n_predicted") > 0
    counts = joined.groupBy("score").agg(
        sf.count_if(given & right).alias("n_right"),
        sf.count_if(given & ~right).alias("n_wrong"),
        sf.count_if(right).alias("n_truth"),
        sf.count_if((sf.col("n_predicted") > 1) | (sf.col("n_true") > 1)).alias("n_repeated"),
        sf.count_if(given & (sf.col("score").isNull() | sf.isnan("score"))).alias("n_unordered"),
    )
    return counts.groupBy().applyInArrow(score_counted, "metric string, value double")


def score_counted(counts: pa.Table) -> pa.Table:
    """Turn counts per distinct score into figures."""
    for column, fault in (("n_repeated", "appear twice"), ("n_unordered", "have no score")):
        if n_faulty := pc.sum(counts[column]).as_py():
            raise ValueError(f"{n_faulty} pairs {fault}")
    n_truth = pc.sum(counts["n_truth"]).as_py() or 0
    counts = counts.filter(pc.is_valid(counts["score"]))
    ordered = counts.sort_by([("score", "descending")])
    figures = score_counts(ordered["n_right"].to_numpy(), ordered["n_wrong"].to_numpy(), n_truth)
    figures["n_truth"] = float(n_truth)
    return pa.table({"metric": list(figures), "value": list(figures.values())})


def resolve_truth(truth: DataFrame, queries: DataFrame, images: DataFrame) -> DataFrame:
    """Put ids in the place of uris: `GROUND_TRUTH` rows gain ``query_id``, ``image_id``, ``problem``.

    ``problem`` is null, ``unknown query``, ``ambiguous query``, ``unknown image`` or ``ambiguous image``
    (one uri in several sources). The id is then null; a positive without ``image_id`` still counts.
    """
    parts = []
    for rows, role in ((queries, "query"), (images, "image")):
        found = rows.groupBy(sf.col("uri").alias(f"{role}_uri")).agg(
            sf.min(f"{role}_id").alias("first_id"), sf.count("*").alias("n")
        )
        single = sf.when(sf.col("n") == 1, sf.col("first_id")).alias(f"{role}_id")
        several = sf.when(sf.col("n") > 1, f"ambiguous {role}").alias(f"{role}_problem")
        parts.append(found.select(f"{role}_uri", single, several))
    joined = truth.join(parts[0], "query_uri", "left").join(parts[1], "image_uri", "left")
    unknown = [sf.when(sf.col(f"{r}_id").isNull(), f"unknown {r}") for r in ("query", "image")]
    problem = sf.coalesce("query_problem", unknown[0], "image_problem", unknown[1])
    ids = "query_uri", "image_uri", "query_id", "image_id", "label", "family"
    return joined.select(*ids, problem.alias("problem"))
