"""The barrier stage of a partitioned solve: one task per part, all at the same time."""

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from resight import files
from resight.config import SettingError
from resight.diffusion.partitioned.exchange import Exchange
from resight.diffusion.partitioned.slots import check_slots, too_few
from resight.knn.spark import number_tasks

FOUND = "query_id long, rank int, nodes binary, scores binary, iterations int, residual double, report string"
TOO_FEW, DYNAMIC = "SPARK-24819", "SPARK-24942"  # what Spark says where a barrier stage cannot be
Batches = Iterator[pa.RecordBatch]
Work = Callable[[Exchange], Batches]


def run_ranks(spark: SparkSession, n_ranks: int, work: Work, schema: str) -> DataFrame:
    """Run ``work`` on every rank of a barrier stage, lazily: its rows.

    Where one task fails, Spark starts all of them again. (It does so only with a stage that a shuffle
    follows, which therefore ends this.)

    Raises
    ------
    SettingError
        The settings say that the stage cannot run (`resight.diffusion.partitioned.slots`).
    """
    check_slots(n_ranks, lambda key: spark.conf.get(key, None))

    def run(_: Batches) -> Batches:
        from pyspark import BarrierTaskContext

        from resight.diffusion.partitioned.torch_exchange import join_group

        context = BarrierTaskContext.get()
        rank = context.partitionId()
        host = context.getTaskInfos()[rank].address.rsplit(":", 1)[0]
        gpus = context.resources().get("gpu")
        gpu = int(gpus.addresses[0]) if gpus else None
        with join_group(rank, n_ranks, host, context.allGather, gpu) as exchange:
            yield from work(exchange)

    rows = number_tasks(spark, n_ranks).mapInArrow(run, schema, barrier=True)
    return rows.repartition(n_ranks, rows.columns[0])


def solve_ranks(spark: SparkSession, n_ranks: int, work: Work, folder: str) -> DataFrame:
    """Solve by `RankWork` in a barrier stage and write what the ranks give to ``folder``: `FOUND` rows.

    A folder that is complete is taken as it is. Raises as `run_ranks`, also for what only Spark knows.
    """
    target = files.spark_uri(folder)
    if not files.exists(files.join(folder, "_SUCCESS")):
        found = run_ranks(spark, n_ranks, work, FOUND)
        try:
            found.write.mode("overwrite").parquet(target)
        except Exception as error:
            refusal = explain_refusal(error, n_ranks, spark)
            if refusal is None:
                raise
            raise refusal from error
    return spark.read.schema(FOUND).parquet(files.spark_uri(folder, pattern=True))


def explain_refusal(error: Exception, n_ranks: int, spark: SparkSession) -> SettingError | None:
    """Say which setting to change where Spark refused a barrier stage; None for any other error."""
    if TOO_FEW in str(error):
        return SettingError(too_few(n_ranks, None, spark.conf.get("spark.master", "") or ""))
    if DYNAMIC in str(error):
        return SettingError("spark.dynamicAllocation.enabled: set it to false for a barrier stage")
    return None


def list_reports(found: DataFrame) -> list[str]:
    """Give the report of every rank, JSON, in the order of the ranks."""
    rows = found.where(sf.col("query_id").isNull()).select("rank", "report").collect()
    return [row["report"] for row in sorted(rows)]
