"""Operator that writes the tables of a graph as files for the solver."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from resight import files
from resight.graph.matrix import GraphFiles, load_graph_files, save_graph

Batches = Iterator[pa.RecordBatch]


def write_graph_files(nodes: DataFrame, edges: DataFrame, components: DataFrame, folder: str) -> GraphFiles:
    """Write the nodes that stand for themselves and their edges as files; one task holds the graph.

    ``folder`` belongs to one version of the tables: where it is complete already, it is taken as it is.
    """
    if files.exists(files.join(folder, "graph.json")):
        return load_graph_files(folder)
    usable = nodes.where("status = 'ok' and dup_of is null").select("node_id").join(components, "node_id")
    marked = usable.selectExpr("node_id as src", "component_id as dst", "cast(null as double) as affinity")
    rows = marked.unionByName(edges.select("src", "dst", "affinity"))

    def write(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if full:
            written = save_graph(folder, *read_graph(pa.Table.from_batches(full)))
            names = [list(map(list, written.names))]
            columns = [[written.n], [written.nnz], pa.array(names, pa.list_(pa.list_(pa.string())))]
            yield pa.record_batch(columns, names=["n", "nnz", "names"])

    written = rows.repartition(1).mapInArrow(write, "n long, nnz long, names array<array<string>>").first()
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
