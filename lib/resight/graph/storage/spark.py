"""Operators that write the tables of a graph as files for the solver, in tasks of bounded size."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Row

from resight import files
from resight.diffusion.partitioned.storage.spark import TASK_EDGES, write_partitioned_files
from resight.graph.joined import join_parts
from resight.graph.matrix import GraphFiles, load_graph_files, save_graph
from resight.graph.spark import MAX_TASK_EDGES
from resight.knn.spark import number_tasks, task_numbers

WRITTEN = "n long, nnz long, names array<array<string>>"
Batches = Iterator[pa.RecordBatch]


def write_graph_files(
    nodes: DataFrame,
    edges: DataFrame,
    components: DataFrame,
    folder: str,
    *,
    max_edges: int = TASK_EDGES,
    max_task_edges: int = MAX_TASK_EDGES,
) -> GraphFiles:
    """Write the nodes that stand for themselves and their edges as files.

    Up to ``max_edges`` entries one task holds the graph, at some 173 bytes each. Above, tasks write parts of
    it, of at most some ``max_task_edges`` entries, and one task joins their files, block by block. ``folder``
    belongs to one version of the tables: where it is complete already, it is taken as it is.
    """
    if files.exists(files.join(folder, "graph.json")):
        return load_graph_files(folder)
    n_edges = edges.count()
    if n_edges <= max_edges:
        return write_whole(nodes, edges, components, folder)
    pieces = files.join(folder, "joined")
    parts = write_partitioned_files(
        (nodes, edges, components),
        pieces,
        n_parts=-(-n_edges // max_task_edges),
        max_task_edges=max_task_edges,
    )

    def join(batches: Batches) -> Batches:
        for _ in task_numbers(batches):
            yield describe_files(join_parts(parts, folder))

    written = number_tasks(edges.sparkSession, 1).mapInArrow(join, WRITTEN).first()
    layout = read_layout(written, folder)
    files.delete(pieces)
    return layout


def write_whole(nodes: DataFrame, edges: DataFrame, components: DataFrame, folder: str) -> GraphFiles:
    """Write a graph that one task can hold; in the order of `resight.diffusion.order`."""
    usable = nodes.where("status = 'ok' and dup_of is null").select("node_id").join(components, "node_id")
    marked = usable.selectExpr("node_id as src", "component_id as dst", "cast(null as double) as affinity")
    rows = marked.unionByName(edges.select("src", "dst", "affinity"))

    def write(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if full:
            yield describe_files(save_graph(folder, *read_graph(pa.Table.from_batches(full))))

    return read_layout(rows.repartition(1).mapInArrow(write, WRITTEN).first(), folder)


def describe_files(written: GraphFiles) -> pa.RecordBatch:
    """Lay out what a task wrote as a row of `WRITTEN`."""
    names = pa.array([list(map(list, written.names))], pa.list_(pa.list_(pa.string())))
    return pa.record_batch([[written.n], [written.nnz], names], names=["n", "nnz", "names"])


def read_layout(written: Row | None, folder: str) -> GraphFiles:
    """Read the row that `describe_files` made and say that the files are complete."""
    if written is None:
        raise ValueError("the graph has no node with a usable vector")
    names = tuple((array, name) for array, name in written["names"])
    layout = GraphFiles(folder, written["n"], written["nnz"], names)
    layout.save()
    return layout


def read_graph(rows: pa.Table) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Take nodes (no affinity) and edges apart: ids ascending, components, edges by their ends."""
    is_node = rows["affinity"].is_null().to_numpy()
    src, dst = rows["src"].to_numpy(), rows["dst"].to_numpy()
    ids, component = src[is_node], dst[is_node]
    order = np.argsort(ids)
    src, dst = src[~is_node], dst[~is_node]
    affinity = rows["affinity"].drop_null().to_numpy()
    sort = np.lexsort((dst, src))
    return ids[order], component[order], (src[sort], dst[sort], affinity[sort])
