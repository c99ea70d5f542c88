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
from resight.evaluation.protocols import find_protocols
from resight.evaluation.spark import evaluate_queries, resolve_truth
from resight.evaluation.summary import summarise
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES, METRICS, QUERIES, RESULTS


class EvaluateConfig(Config):
    """Settings of ``conf/evaluate.toml``."""

    ground_truth: Annotated[
        str, Meta(min_length=1, description="CSV or Parquet: query_uri, image_uri, label[, family]")
    ]
    instances: Annotated[
        Literal["no", "query_database", "leave_one_out"],
        Meta(description="the file lists image, instance, role instead: which protocol to make of it"),
    ] = "no"
    skip_families: Annotated[
        tuple[str, ...], Meta(description="families whose photos do not ask (with --instances)")
    ] = ()
    results: Annotated[str, Meta(description="build of search; default: the newest")] = ""
    protocols: Annotated[
        tuple[str, ...], Meta(min_length=1, description="of old, easy, medium, hard, leave_one_out, ukb")
    ] = ("old",)
    ks: Annotated[tuple[int, ...], Meta(min_length=1, description="k of precision@k and recall@k")] = (
        1,
        5,
        10,
    )
    prefix: Annotated[str, Meta(description="put before the file's image uris to match the collection's")] = (
        ""
    )

    def __post_init__(self) -> None:
        """Check the names of the protocols."""
        find_protocols(self.protocols)


def hash_ground_truth(conf: EvaluateConfig) -> str:
    """Give the version of the file; `SettingError` where it cannot be read."""
    try:
        return hashlib.sha256(Path(conf.ground_truth).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise SettingError(f"--ground-truth: {error}") from None


@job(
    "evaluate",
    EvaluateConfig,
    reads=(Input(RESULTS, "results"), QUERIES, GLOBAL_DESCRIPTORS, IMAGES),
    writes=(METRICS,),
    external=hash_ground_truth,
)
def main(store: TableStore, conf: EvaluateConfig) -> None:
    """Score every query under every protocol, then average over queries, families and their means."""
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
    summary = summarise(scored.toArrow())
    store.note(**headline(summary))
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


def locate_truth(store: TableStore, conf: EvaluateConfig) -> DataFrame:
    """Give the ids of the queries and images that the ground truth names, and report what has none.

    A query that was not asked gets an id of its own below zero: it scores 0. An image that the collection
    lacks has a null id: a positive that no ranking can reach.
    """
    rows = read_truth(conf)
    images = store.read(IMAGES).where("removed_at is null")
    resolved = resolve_truth(store.spark.createDataFrame(rows), store.read(QUERIES), images)
    absent = -1 - sf.pmod(sf.xxhash64("query_uri"), sf.lit(1 << 62))
    truth = store.persist("truth", resolved.withColumn("query_id", sf.coalesce("query_id", absent)))
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


def headline(summary: pa.Table) -> dict[str, float]:
    """Pick the figures that the summary line shows."""
    wanted = ("map_step", "macro_map_step", "map_trapezoid", "macro_map_trapezoid")
    rows = [r for r in summary.to_pylist() if r["metric"] in wanted and r["family"] is None]
    return {f"{r['protocol']}.{r['metric']}": round(r["value"], 4) for r in rows}


if __name__ == "__main__":
    run(main)
