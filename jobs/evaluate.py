"""Measure a search, and found copies, against ground truth, with intervals over queries and families."""

import hashlib
from functools import reduce
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.cli import run
from resight.config import Config, Meta, SettingError, require_local
from resight.dedup.keep import KEEP_CRITERIA, parse_policy
from resight.dedup.spark import represent_copies
from resight.evaluation.copies.spark import evaluate_copies, evaluate_groups, resolve_pairs
from resight.evaluation.copies.truth import read_pairs
from resight.evaluation.ground_truth import from_instances, read_ground_truth
from resight.evaluation.protocols import find_protocols
from resight.evaluation.spark import evaluate_answers, evaluate_queries, resolve_truth, summarise_queries
from resight.evaluation.summary import summarise
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import (
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    GLOBAL_DESCRIPTORS,
    IMAGES,
    METRICS,
    QUERIES,
    RESULTS,
)

MAX_BOOTSTRAP = 2_000_000  # figures of single queries that reach the driver: some 400 MB
HEADLINE = ("map_step", "macro_map_step", "map_trapezoid", "macro_map_trapezoid")
PAIRS = "pairs"  # protocol of figures over one list of pairs


class EvaluateConfig(Config, frozen=True):
    """Settings of ``evaluate``."""

    ground_truth: Annotated[
        str, Meta(description="of a search: CSV or Parquet with query_uri, image_uri, label[, family]")
    ] = ""
    pairs: Annotated[
        str,
        Meta(description="of find-duplicates: CSV of all true pairs (uri_a, uri_b) or groups (uri, group)"),
    ] = ""
    instances: Annotated[
        Literal["no", "query_database", "leave_one_out"],
        Meta(description="the file lists image, instance, role instead: which protocol to make of it"),
    ] = "no"
    skip_families: Annotated[
        tuple[str, ...], Meta(description="families whose photos do not ask (with --instances)")
    ] = ()
    results: Annotated[str, Meta(description="build of search; default: the newest")] = ""
    duplicates: Annotated[
        str, Meta(description="build of find-duplicates that --pairs is for; default: the newest")
    ] = ""
    protocols: Annotated[
        tuple[str, ...], Meta(min_length=1, description="of old, easy, medium, hard, leave_one_out, ukb")
    ] = ("old",)
    ks: Annotated[tuple[int, ...], Meta(min_length=1, description="k of precision@k and recall@k")] = (
        1,
        5,
        10,
    )
    micro_ap: Annotated[
        bool, Meta(description="also score the answers to all queries as one list of pairs")
    ] = False
    prefix: Annotated[str, Meta(description="put before the file's image uris to match the collection's")] = (
        ""
    )

    def __post_init__(self) -> None:
        """Check the names of the protocols, and that something is to be measured."""
        find_protocols(self.protocols)
        if not self.ground_truth and not self.pairs:
            raise ValueError(
                "ground_truth: give --ground-truth for a search, --pairs for duplicates, or both"
            )
        if any(k < 1 for k in self.ks):
            raise ValueError("ks: each at least 1")

    def check(self) -> None:
        """Look for the files and read them: a fault is found before anything is computed."""
        for file, option in ((self.ground_truth, "--ground-truth"), (self.pairs, "--pairs")):
            if file:
                require_local(file, option)
        if self.ground_truth:
            read_truth(self)
        if self.pairs:
            read_pairs(self.pairs)


def hash_truth(conf: EvaluateConfig) -> str:
    """Give the version of the files; `SettingError` where one cannot be read."""
    digest = hashlib.sha256()
    for option, file in (("--ground-truth", conf.ground_truth), ("--pairs", conf.pairs)):
        try:
            content = Path(file).read_bytes() if file else b""
        except OSError as error:
            raise SettingError(f"{option}: {error}") from None
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def has_ground_truth(conf: EvaluateConfig) -> bool:
    """Whether answers are judged."""
    return bool(conf.ground_truth)


def has_pairs(conf: EvaluateConfig) -> bool:
    """Whether copies are judged."""
    return bool(conf.pairs)


@job(
    "evaluate",
    EvaluateConfig,
    reads=(
        Input(RESULTS, "results", when=has_ground_truth),
        Input(QUERIES, when=has_ground_truth),
        Input(GLOBAL_DESCRIPTORS, when=has_ground_truth),
        Input(DUPLICATE_PAIRS, "duplicates", when=has_pairs),
        Input(DUPLICATE_GROUPS, when=has_pairs),
        IMAGES,
    ),
    writes=(METRICS,),
    external=hash_truth,
)
def main(store: TableStore, conf: EvaluateConfig) -> None:
    """Score queries under every protocol, averaged over queries and families; score the pairs of copies."""
    rows = score_search(store, conf) if conf.ground_truth else []
    rows += [score_duplicates(store, conf)] if conf.pairs else []
    named = [part.withColumn("run_id", sf.lit(store.run.run_id)) for part in rows]
    joined = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), named)
    fields = spark_schema(METRICS).fields
    blank = {f.name: sf.lit(None) for f in fields if f.name not in joined.columns}
    columns = [sf.col(f.name).cast(f.dataType).alias(f.name) for f in fields]
    store.write(METRICS, joined.withColumns(blank).select(*columns))


def score_search(store: TableStore, conf: EvaluateConfig) -> list[DataFrame]:
    """Give rows of ``metrics``: aggregates, single queries and, if asked for, figures over one list."""
    truth = locate_truth(store, conf)
    queries, results = store.read(QUERIES), store.read(RESULTS)
    own = queries.where("image_id is not null").select("query_id", "image_id")
    per_query = evaluate_queries(
        results,
        truth,
        protocols=conf.protocols,
        ks=conf.ks,
        own=own,
        n_images=store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'").count(),
    )
    scored = store.persist("per_query", per_query.join(truth.select("query_id").distinct(), "query_id"))
    summary = store.persist("summary", aggregate(store, scored))
    store.note(**headline(summary))
    rows = [summary, scored.withColumn("n_queries", sf.lit(1))]
    methods = results.select("method").distinct().collect() if conf.micro_ap else []
    for (method,) in sorted(methods):
        figures = evaluate_answers(results.where(sf.col("method") == method), truth, own)
        rows.append(name_figures(store, figures, method))
    return rows


def aggregate(store: TableStore, scored: DataFrame) -> DataFrame:
    """Aggregate the figures of single queries: by bootstrap on the driver while they are few."""
    is_large = scored.count() > MAX_BOOTSTRAP
    store.note(intervals="normal" if is_large else "bootstrap")
    if is_large:
        return summarise_queries(scored)
    return store.spark.createDataFrame(summarise(scored.toArrow())).drop("query_id")


def score_duplicates(store: TableStore, conf: EvaluateConfig) -> DataFrame:
    """Give the figures of found copies: of all pairs by similarity, and of the pairs within groups."""
    images = store.read(IMAGES).where("removed_at is null")
    rows = read_pairs(conf.pairs)
    for at, name in enumerate(rows.column_names):
        if name.startswith("uri"):
            uris = [conf.prefix + uri for uri in rows[name].to_pylist()]
            rows = rows.set_column(at, name, pa.array(uris, pa.string()))
    truth = store.persist("true_pairs", resolve_pairs(store.spark.createDataFrame(rows), images))
    n_lost, n_true = truth.where("image_a < 0").count(), truth.count()
    if n_lost == n_true:
        raise SettingError("--pairs: the collection holds none of its pairs; look at --prefix")
    store.note(true_pairs=n_true, **({"unknown_pairs": n_lost} if n_lost else {}))
    copies = represent_copies(store.read(IMAGES), parse_policy(KEEP_CRITERIA))
    classes = copies.select("image_id", sf.col("representative").alias("class_id"))
    figures = evaluate_copies(store.read(DUPLICATE_PAIRS), truth, classes)
    return name_figures(
        store, figures.unionByName(evaluate_groups(store.read(DUPLICATE_GROUPS), truth)), "duplicates"
    )


def name_figures(store: TableStore, figures: DataFrame, method: str) -> DataFrame:
    """Compute figures over one list, note the first of them, and lay them out as rows of ``metrics``."""
    named = store.persist(
        f"pairs-{method}", figures.withColumns({"protocol": sf.lit(PAIRS), "method": sf.lit(method)})
    )
    found = named.where("metric in ('micro_ap', 'group_precision', 'group_recall')").collect()
    store.note(**{f"{method}.{row['metric']}": round(row["value"], 4) for row in found})
    return named


def locate_truth(store: TableStore, conf: EvaluateConfig) -> DataFrame:
    """Give the ids of the queries and images that the ground truth names, and report what has none.

    A query that was not asked gets an id of its own below zero: it scores 0. So does an image that the
    collection lacks: a positive that no ranking can reach.
    """
    rows = read_truth(conf)
    images = store.read(IMAGES).where("removed_at is null")
    resolved = resolve_truth(store.spark.createDataFrame(rows), store.read(QUERIES), images)
    absent = {
        f"{role}_id": sf.coalesce(f"{role}_id", -1 - sf.pmod(sf.xxhash64(f"{role}_uri"), sf.lit(1 << 62)))
        for role in ("query", "image")
    }
    truth = store.persist("truth", resolved.withColumns(absent))
    problems = {row["problem"]: row["count"] for row in truth.groupBy("problem").count().collect()}
    store.note(**{(name or "located").replace(" ", "_"): count for name, count in problems.items()})
    if truth.where("query_id >= 0").isEmpty():
        first = rows["query_uri"][0]
        raise SettingError(
            f"--ground-truth: none of its queries was asked, such as {first}; look at --prefix"
        )
    return truth.select("query_id", "image_id", "label", "family")


def read_truth(conf: EvaluateConfig) -> pa.Table:
    """Read the ground truth, image uris prefixed."""
    if conf.instances == "no":
        rows = read_ground_truth(conf.ground_truth)
    else:
        rows = from_instances(conf.ground_truth, protocol=conf.instances, skip_families=conf.skip_families)
    named = [conf.prefix + uri for uri in rows["image_uri"].to_pylist()]
    return rows.set_column(1, "image_uri", pa.array(named, pa.string()))


def headline(summary: DataFrame) -> dict[str, float]:
    """Pick the figures that the summary line shows."""
    rows = summary.where(sf.col("metric").isin(*HEADLINE) & sf.col("family").isNull()).collect()
    ranked = sorted(rows, key=lambda row: (row["protocol"], HEADLINE.index(row["metric"])))
    return {f"{row['protocol']}.{row['metric']}": round(row["value"], 4) for row in ranked}


if __name__ == "__main__":
    run(main)
