"""Operators of the graph: `NODES`, `EDGES` and `COMPONENTS` from neighbour lists."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_lists, arrow_to_vectors
from resight.graph.components import contract, find_roots
from resight.knn.matrix import VectorFiles, map_array, normalize_rows
from resight.knn.spark import number_tasks, task_numbers
from resight.store import spark_schema
from resight.tables import NODES

MAX_TASK_EDGES = 4_000_000  # edges that one task joins, at some 100 bytes each
MAX_TASKS = 1000  # of one round

Batches = Iterator[pa.RecordBatch]


class Touching(NamedTuple):
    """Folder and name of a file of ``n`` node ids, int64, ascending."""

    folder: str
    name: str
    n: int

    def meets(self, ids: np.ndarray) -> np.ndarray:
        """Whether each of ``ids`` (m,) is one of them, (m,) bool."""
        known = map_array(self.folder, self.name)
        if not len(known):
            return np.zeros(len(ids), bool)
        return known[np.minimum(np.searchsorted(known, ids), len(known) - 1)] == ids


def list_copies(spark: SparkSession, layout: VectorFiles) -> DataFrame:
    """Rows (node_id, dup_of) of the images whose vector is identical to that of a smaller id, ``dup_of``."""

    def read(batches: Batches) -> Batches:
        X = layout.open()
        for _ in task_numbers(batches):
            copies, firsts = (X.id_of(ordinals) for ordinals in X.copies)
            yield from slice_batches([copies, firsts], ["node_id", "dup_of"])

    return number_tasks(spark, 1).mapInArrow(read, "node_id long, dup_of long")


def build_nodes(descriptors: DataFrame, copies: DataFrame, *, source_dtype: str | None = None) -> DataFrame:
    """One `NODES` row per image of ``descriptors``, with what stands for it by ``copies`` (node_id, dup_of).

    With ``source_dtype``, the dtype of the vectors, a vector that is called ok is looked at again: it may be
    zero or hold a NaN.
    """

    def judge(batches: Batches) -> Batches:
        for batch in batches:
            status = judge_vectors(batch["vector"], batch["status"].to_pylist(), source_dtype)
            columns = [batch["image_id"], pa.array(status, pa.string())]
            yield pa.record_batch(columns, names=["node_id", "status"])

    known = "status" in descriptors.columns
    rows = descriptors if known else descriptors.withColumn("status", sf.lit("ok"))
    judged = rows.select("image_id", "vector", "status").mapInArrow(judge, "node_id long, status string")
    plain = {
        "image_id": sf.col("node_id"),
        "region_ix": sf.lit(None).cast("int"),
        "weight": sf.lit(None).cast("double"),
    }
    nodes = judged.join(copies.select("node_id", "dup_of"), "node_id", "left").withColumns(plain)
    return nodes.select(spark_schema(NODES).names)


def judge_vectors(vectors: pa.Array, status: list[str | None], source_dtype: str | None) -> np.ndarray:
    """Status (n,) of each row: as given, ``missing`` without a vector, ``zero`` or ``nan`` where it is so."""
    judged = np.array(status, object)
    present = vectors.is_valid().to_numpy(zero_copy_only=False)
    judged[(judged == "ok") & ~present] = "missing"
    usable = np.flatnonzero(judged == "ok")
    if source_dtype and len(usable):
        judged[usable] = normalize_rows(arrow_to_vectors(vectors.take(pa.array(usable)), source_dtype))[1]
    return judged


def build_edges(
    neighbors: DataFrame, copies: DataFrame, *, gamma: float = 3.0, touching: Touching | None = None
) -> DataFrame:
    """Join mutual neighbours: `EDGES` in both directions, between images that are no ``copies``.

    One shuffle and no self-join: both directions of a pair meet under the key (smaller, larger), and a pair
    that was seen twice is an edge of the smaller weight (Iscen et al., CVPR 2017, eq. 2). With ``touching``
    only edges of which an end is one of those nodes.
    """
    from resight.graph.affinity import power_similarity

    def list_directed(batches: Batches) -> Batches:
        for batch in batches:
            offsets, dst = arrow_to_lists(batch["dst"], "int64")
            weight = power_similarity(arrow_to_lists(batch["similarity"], "float32")[1], gamma)
            src = np.repeat(batch["src"].to_numpy(), np.diff(offsets))
            kept = (weight > 0) & (src != dst)
            if touching is not None:
                kept &= touching.meets(src) | touching.meets(dst)
            ends = np.sort(np.stack([src[kept], dst[kept]]), axis=0)
            yield pa.record_batch([*ends, weight[kept]], names=["low", "high", "weight"])

    lists = neighbors.select("src", "dst", "similarity")
    directed = lists.mapInArrow(list_directed, "low long, high long, weight double")
    met = directed.groupBy("low", "high").agg(sf.count("*").alias("n"), sf.min("weight").alias("affinity"))
    mutual = met.where("n = 2")
    for end in ("low", "high"):
        mutual = mutual.join(copies.select(sf.col("node_id").alias(end)), end, "left_anti")
    ends = (("low", "high"), ("high", "low"))
    ways = sf.array(*(sf.struct(sf.col(a).alias("src"), sf.col(b).alias("dst")) for a, b in ends))
    return mutual.select(sf.explode(ways).alias("way"), "affinity").select("way.src", "way.dst", "affinity")


def find_components(edges: DataFrame, *, folder: str, max_task_edges: int = MAX_TASK_EDGES) -> DataFrame:
    """Label every node of ``edges`` (src, dst): rows (node_id, component_id), the smallest node of each.

    Up to ``max_task_edges`` edges are joined in one task. Above, rounds contract the graph first: an edge
    goes to the end with the smaller hash, each task joins what it holds, nodes settle on one root. A round is
    written to ``folder``, which must outlive the result. ``edges`` is read twice.
    """
    graph = edges.select("src", "dst")
    rounds: list[DataFrame] = []
    while (n_edges := graph.count()) > max_task_edges:
        n_tasks = min(max(2, -(-n_edges // max_task_edges)), MAX_TASKS)
        path = files.join(folder, f"round-{len(rounds)}")
        contract_round(graph, len(rounds), n_tasks).write.mode("overwrite").parquet(files.spark_uri(path))
        settled = edges.sparkSession.read.parquet(files.spark_uri(path, pattern=True))
        rounds.append(settled.where("not is_link").select("node_id", "root"))
        graph = settled.where("is_link").selectExpr("node_id as src", "root as dst")
    labels = graph.repartition(1).mapInArrow(join_edges, "node_id long, root long")
    for settled in reversed(rounds):
        later = labels.selectExpr("node_id as root", "root as last")
        labels = settled.join(later, "root", "left").select(
            "node_id", sf.coalesce("last", "root").alias("root")
        )
    return labels.withColumnRenamed("root", "component_id")


def contract_round(graph: DataFrame, number: int, n_tasks: int) -> DataFrame:
    """One round: rows (node_id, root, is_link), the settled root of each node and the links that remain."""
    first = sf.xxhash64("src", sf.lit(number)) < sf.xxhash64("dst", sf.lit(number))
    meeting = sf.when(first, sf.col("src")).otherwise(sf.col("dst"))
    stars = graph.repartition(n_tasks, meeting).mapInArrow(join_edges, "node_id long, root long")

    def settle(batches: Batches) -> Batches:
        members, leaders, src, dst = contract(*read_pairs(batches, "node_id", "root"))
        is_link = np.arange(len(members) + len(src)) >= len(members)
        columns = [np.concatenate([members, src]), np.concatenate([leaders, dst]), is_link]
        yield from slice_batches(columns, ["node_id", "root", "is_link"])

    settled = stars.repartition(n_tasks, "node_id")
    return settled.mapInArrow(settle, "node_id long, root long, is_link boolean")


def join_edges(batches: Batches) -> Batches:
    """Join the (src, dst) edges of one partition: rows (node_id, smallest node that it reaches)."""
    nodes, roots = find_roots(*read_pairs(batches, "src", "dst"))
    yield from slice_batches([nodes, roots], ["node_id", "root"])


def read_pairs(batches: Batches, *names: str) -> list[np.ndarray]:
    """Concatenate int64 columns of all batches."""
    full = list(batches)
    return [np.concatenate([np.zeros(0, np.int64), *(b[name].to_numpy() for b in full)]) for name in names]


def slice_batches(columns: list[np.ndarray], names: list[str], size: int = 100_000) -> Batches:
    """Cut long columns into batches."""
    for i in range(0, len(columns[0]), size):
        yield pa.record_batch([pa.array(c[i : i + size]) for c in columns], names=names)
