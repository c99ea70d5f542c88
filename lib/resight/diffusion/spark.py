"""Operators of the offline diffusion: a graph's files to `MANIFOLD_NEIGHBORS` rows, and their quality."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.diffusion.block import DiffuseWork, refuse
from resight.knn.spark import number_tasks, task_numbers
from resight.store import spark_schema
from resight.tables import MANIFOLD_NEIGHBORS

N_MEASURED = 64  # nodes whose row is compared with the whole graph
Batches = Iterator[pa.RecordBatch]


def diffuse_nodes(
    spark: SparkSession, work: DiffuseWork, folder: str, *, block_nodes: int
) -> tuple[DataFrame, dict[str, int]]:
    """Diffuse from every node, block by block: `MANIFOLD_NEIGHBORS` rows, and the blocks by what was done.

    Blocks are written to ``folder``; those that a run before this one left there are not computed again.
    """
    number = sf.col("id").alias("block")
    start = (sf.col("id") * block_nodes).alias("start")
    stop = sf.least((sf.col("id") + 1) * block_nodes, sf.lit(work.graph.n)).alias("stop")
    blocks = spark.range(-(-work.graph.n // block_nodes)).select(number, start, stop)
    chunks = Chunks(folder, work, refuse, chunk_size=1)
    done = run_chunks(blocks, "block", chunks)
    return read_chunks(spark, chunks, spark_schema(MANIFOLD_NEIGHBORS)), done


def measure_shortlists(spark: SparkSession, work: DiffuseWork, *, seed: int = 0) -> float:
    """Measure which share of the ten best nodes the shortlists keep, on a sample of nodes."""

    def measure(batches: Batches) -> Batches:
        for _ in task_numbers(batches):
            n = work.graph.n
            drawn = np.random.default_rng(seed).choice(n, min(N_MEASURED, n), replace=False)
            yield pa.record_batch([[float(work.measure(np.sort(drawn)).mean())]], names=["kept"])

    row = number_tasks(spark, 1).mapInArrow(measure, "kept double").first()
    return float(row["kept"]) if row else 1.0
