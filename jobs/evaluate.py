"""Measure a search against ground truth, with intervals over queries and families."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.cli import run
from resight.config import Config, Meta, SettingError
from resight.evaluation.ground_truth import from_instances, read_ground_truth
from resight.evaluation.spark import evaluate_queries
from resight.evaluation.summary import summarise
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import IMAGES, METRICS, QUERIES, RESULTS


class EvaluateConfig(Config):
    """Settings of ``conf/evaluate.toml``."""

    ground_truth: Annotated[
        str, Meta(min_length=1, description="CSV or Parquet: query_uri, image_uri, label[, family]")
    ]
    instances: Annotated[
        Literal["no", "query_database", "leave_one_out"],
        Meta(description="the file lists image, instance, role instead: which protocol to make of it"),
    ] = "no"
    results: Annotated[str, Meta(description="build of search; default: the newest")] = ""
    protocols: Annotated[tuple[str, ...], Meta(min_length=1, description="old, easy, medium, hard")] = (
        "old",
    )
    ks: Annotated[tuple[int, ...], Meta(min_length=1, description="k of precision@k and recall@k")] = (
        1,
        5,
        10,
    )
    prefix: Annotated[str, Meta(description="put before the file's image uris to match the collection's")] = (
        ""
    )


def hash_ground_truth(conf: EvaluateConfig) -> str:
    """Give the version of the file; `SettingError` where it cannot be read."""
    try:
        return hashlib.sha256(Path(conf.ground_truth).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise SettingError(f"--ground-truth: {error}") from None


@job(
    "evaluate",
    EvaluateConfig,
    reads=(Input(RESULTS, "results"), QUERIES, IMAGES),
    writes=(METRICS,),
    external=hash_ground_truth,
)
def main(store: TableStore, conf: EvaluateConfig) -> None:
    """Score every query under every protocol, then average over queries, families and their means."""
    truth, n_unknown = locate_truth(store, conf)
    queries, results = store.read(QUERIES), store.read(RESULTS)
    own = queries.where("image_id is not null").select("query_id", "image_id")
    per_query = evaluate_queries(results, truth, protocols=conf.protocols, ks=conf.ks, own=own)
    scored = store.persist("per_query", per_query.join(truth.select("query_id").distinct(), "query_id"))
    summary = summarise(scored.toArrow())
    store.note(**headline(summary), unknown_queries=n_unknown)
    aggregates = store.spark.createDataFrame(summary).withColumn("query_id", sf.lit(None).cast("bigint"))
    single = scored.withColumns(
        {
            "n_queries": sf.lit(1),
            "ci_low": sf.lit(None).cast("double"),
            "ci_high": sf.lit(None).cast("double"),
        }
    )
    rows = aggregates.unionByName(single, allowMissingColumns=True)
    named = rows.withColumn("run_id", sf.lit(store.run.run_id))
    columns = [sf.col(f.name).cast(f.dataType).alias(f.name) for f in spark_schema(METRICS).fields]
    store.write(METRICS, named.select(*columns))


def locate_truth(store: TableStore, conf: EvaluateConfig) -> tuple[DataFrame, int]:
    """Give the ids of queries and images that the ground truth names, and how many queries were not asked.

    A query that was not asked gets an id of its own below zero: it scores 0. An image that the collection
    lacks has a null id: a positive that no ranking can reach.
    """
    rows = read_truth(conf)
    truth = store.spark.createDataFrame(rows)
    queries = (
        store.read(QUERIES).groupBy(sf.col("uri").alias("query_uri")).agg(sf.min("query_id").alias("id"))
    )
    images = store.read(IMAGES).where("removed_at is null")
    by_uri = images.groupBy(sf.col("uri").alias("image_uri")).agg(sf.min("image_id").alias("image_id"))
    located = truth.join(queries, "query_uri", "left").join(by_uri, "image_uri", "left")
    absent = -1 - sf.pmod(sf.xxhash64("query_uri"), sf.lit(1 << 62))
    kept = located.select(
        sf.coalesce("id", absent).alias("query_id"),
        "image_id",
        "label",
        "family",
        sf.col("id").isNull().alias("x"),
    )
    truth = store.persist("truth", kept)
    counts = truth.groupBy("x").agg(sf.countDistinct("query_id").alias("n")).collect()
    unknown = {row["x"]: row["n"] for row in counts}
    if not unknown.get(False):
        first = rows["query_uri"][0]
        raise SettingError(f"--ground-truth: no query of it was asked, such as {first}; look at --prefix")
    return truth.drop("x"), unknown.get(True, 0)


def read_truth(conf: EvaluateConfig) -> pa.Table:
    """Read the ground truth, image uris prefixed."""
    if conf.instances == "no":
        rows = read_ground_truth(conf.ground_truth)
    else:
        rows = from_instances(conf.ground_truth, protocol=conf.instances)
    named = [conf.prefix + uri for uri in rows["image_uri"].to_pylist()]
    return rows.set_column(1, "image_uri", pa.array(named, pa.string()))


def headline(summary: pa.Table) -> dict[str, float]:
    """Pick the figures that the summary line shows."""
    wanted = ("map_step", "macro_map_step", "map_trapezoid", "macro_map_trapezoid")
    rows = [r for r in summary.to_pylist() if r["metric"] in wanted and r["family"] is None]
    return {f"{r['protocol']}.{r['metric']}": round(r["value"], 4) for r in rows}


if __name__ == "__main__":
    run(main)
