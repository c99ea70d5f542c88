"""Operators that order the nodes of a graph and write its rows in parts, in tasks of bounded size.

The order: components one after the other, by their names; in a component, cells of cells. While more than
``max_task_edges`` links remain, every cell joins the neighbour that it is tied to most, its weight over that
neighbour's degree, and links between the same two cells add up; what remains is ordered by
`resight.diffusion.order` in one task. Inside a cell come its own cells, by name, down to the nodes. A graph
that one task can hold is so ordered as for the other paths. Weights are rounded to whole multiples of 2^-30:
their sums, and with them the order, depend on no order of arrival.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as sf

from resight import files
from resight.diffusion.partitioned.join import join_rows as join_part
from resight.diffusion.partitioned.parts import (
    MANIFEST,
    GraphPart,
    PartitionedFiles,
    cut_ordinals,
    load_partitioned_files,
    save_rows,
)
from resight.graph.spark import MAX_TASK_EDGES, find_components, slice_batches
from resight.knn.matrix import map_array, save_array
from resight.knn.spark import number_tasks, task_numbers

ROW_COST = 4  # entries that a row without any weighs: its place in five vectors
PIECE_NODES = 1_000_000  # nodes whose numbers one task writes
TASK_EDGES = 16_000_000  # entries of the graph that one task sums or joins
PIECE = "number int, n long, nnz long, names array<string>"
PART = "part int, start long, stop long, nnz long, names array<array<string>>"
Batches = Iterator[pa.RecordBatch]


def write_partitioned_files(
    tables: tuple[DataFrame, DataFrame, DataFrame],
    folder: str,
    *,
    n_parts: int,
    max_task_edges: int = MAX_TASK_EDGES,
    piece_nodes: int = PIECE_NODES,
) -> PartitionedFiles:
    """Write the nodes that stand for themselves and their edges as parts of about equal cost.

    ``tables`` are `NODES`, `EDGES`, `COMPONENTS`. ``folder`` belongs to one version of them and one number of
    parts: where it is complete already, it is taken as it is. The driver sees counts. No task unpacks more
    than some ``max_task_edges`` entries: larger parts are written in pieces and these joined.

    Raises
    ------
    ValueError
        There is no usable node.
    PythonException
        In a task: an edge names a node that the table of nodes does not hold.
    """
    if files.exists(files.join(folder, MANIFEST)):
        layout = load_partitioned_files(folder)
        if all("roots" in dict(part.names) for part in layout.parts):  # older code wrote none
            return layout
    nodes, edges, components = tables
    usable = nodes.where("status = 'ok' and dup_of is null").select("node_id").join(components, "node_id")
    cells = order_cells(edges, files.join(folder, "order"), max_task_edges=max_task_edges)
    pieces = write_pieces(usable, cells, sum_degrees(edges), folder, piece_nodes)
    if not pieces:
        raise ValueError("the graph has no node with a usable vector")
    bounds = cut_pieces(edges, pieces, folder, n_parts)
    n_finer, finer = -(-sum(piece["nnz"] for piece in pieces) // max_task_edges), bounds
    if n_finer > n_parts:
        finer = np.union1d(bounds, cut_pieces(edges, pieces, folder, n_finer))
    rows = join_rows(edges, read_pieces(edges, pieces, folder, finer))
    target = files.join(folder, "finer") if len(finer) > len(bounds) else folder
    written = rows.groupBy("part").applyInArrow(part_writer(target, finer), PART).collect()
    layout = read_layout(written, target, int(bounds[-1]))
    if target != folder:
        layout = join_all(edges.sparkSession, layout, folder, bounds)
    layout.save()
    for kind in ("order", "pieces", "finer"):
        files.delete(files.join(folder, kind))
    return layout


def read_layout(written: list[Row], folder: str, n: int) -> PartitionedFiles:
    """Read rows `PART` of all parts of a graph of ``n`` nodes."""
    ordered = sorted(written, key=lambda row: row["start"])
    names = [tuple((array, name) for array, name in row["names"]) for row in ordered]
    spans = ((row["start"], row["stop"], row["nnz"]) for row in ordered)
    parts = (GraphPart(*span, named) for span, named in zip(spans, names, strict=True))
    return PartitionedFiles(folder, n, sum(row["nnz"] for row in written), tuple(parts))


def join_all(spark: SparkSession, finer: PartitionedFiles, folder: str, cuts: np.ndarray) -> PartitionedFiles:
    """Put every part, between two ``cuts``, together out of those that tasks could write."""

    def join(batches: Batches) -> Batches:
        for i in task_numbers(batches):
            inside = (p for p in finer.parts if cuts[i] <= p.start < cuts[i + 1])
            yield describe_part(i, join_part(replace(finer, parts=tuple(inside)), folder))

    written = number_tasks(spark, len(cuts) - 1).mapInArrow(join, PART).collect()
    return read_layout(written, folder, finer.n)


def describe_part(number: int, part: GraphPart) -> pa.RecordBatch:
    """Lay out a part that was written as a row of `PART`."""
    names = pa.array([list(map(list, part.names))], pa.list_(pa.list_(pa.string())))
    columns = [pa.array([number], pa.int32()), [part.start], [part.stop], [part.nnz], names]
    return pa.record_batch(columns, names=["part", "start", "stop", "nnz", "names"])


def order_cells(edges: DataFrame, folder: str, *, max_task_edges: int) -> DataFrame:
    """Order linked nodes inside their components: rows (node_id, place, path), to be sorted by these.

    Rounds are written to ``folder``. ``place`` is that of the last cell, ``path`` array<long> those in it.
    """
    weight = sf.greatest(sf.lit(1), sf.round(sf.col("affinity") * 2**30)).cast("long")
    links = edges.select("src", "dst", weight.alias("weight"))
    path = sf.array().cast("array<long>").alias("path")
    cells = links.select(sf.col("src").alias("node_id")).distinct()
    cells = cells.select("node_id", sf.col("node_id").alias("cell"), path)
    number = 0
    while links.count() > max_task_edges:
        joined, links = contract_cells(links, files.join(folder, f"round-{number}"), max_task_edges)
        longer = sf.concat(sf.array("cell"), sf.col("path")).alias("path")
        cells = cells.join(joined, "cell").select("node_id", sf.col("root").alias("cell"), longer)
        number += 1
    places = links.repartition(1).mapInArrow(order_links, "cell long, place long")
    place = sf.coalesce("place", sf.lit(0)).alias("place")  # a cell without links is a whole component
    return cells.join(places, "cell", "left").select("node_id", place, "path")


def contract_cells(links: DataFrame, folder: str, max_task_edges: int) -> tuple[DataFrame, DataFrame]:
    """Join every cell of ``links`` with one neighbour: rows (cell, root), and the links that remain."""
    degrees = links.groupBy("dst").agg(sf.sum("weight").alias("degree"))
    tie = sf.struct((sf.col("weight") / sf.col("degree")).alias("tie"), (-sf.col("dst")).alias("minus"))
    best = links.join(degrees, "dst").groupBy("src").agg(sf.max(tie).alias("best"))
    chosen = save_frame(best.selectExpr("src", "-best.minus as dst"), files.join(folder, "chosen"))
    roots = find_components(chosen, folder=files.join(folder, "roots"), max_task_edges=max_task_edges)
    joined = save_frame(
        roots.selectExpr("node_id as cell", "component_id as root"), files.join(folder, "cells")
    )
    ends = [joined.selectExpr(f"cell as {end}", f"root as {end}_root") for end in ("src", "dst")]
    moved = links.join(ends[0], "src").join(ends[1], "dst").where("src_root != dst_root")
    summed = moved.groupBy(sf.col("src_root").alias("src"), sf.col("dst_root").alias("dst"))
    remaining = save_frame(summed.agg(sf.sum("weight").alias("weight")), files.join(folder, "links"))
    return joined, remaining


def save_frame(frame: DataFrame, folder: str) -> DataFrame:
    """Write rows to Parquet and read them from there."""
    frame.write.mode("overwrite").parquet(files.spark_uri(folder))
    return frame.sparkSession.read.schema(frame.schema).parquet(files.spark_uri(folder, pattern=True))


def order_links(batches: Batches) -> Batches:
    """Order the cells of one partition of (src, dst, weight): rows (cell, place)."""
    import scipy.sparse as sp

    from resight.diffusion.order import order_nodes

    columns = read_columns(batches, ("src", np.int64), ("dst", np.int64), ("weight", np.int64))
    src, dst, weight = columns
    names = np.unique(src)
    at = np.searchsorted(names, np.stack([src, dst]))
    graph = sp.coo_array((weight.astype(np.float64), (at[0], at[1])), shape=(len(names), len(names))).tocsr()
    order = order_nodes(graph) if len(names) else names
    yield from slice_batches([names[order], np.arange(len(names))], ["cell", "place"])


def read_columns(batches: Batches, *kinds: tuple[str, type]) -> list[np.ndarray]:
    """Concatenate columns of all batches; null numbers become NaN."""
    full = list(batches)
    return [
        np.concatenate(
            [np.zeros(0, kind), *(b[name].to_numpy(zero_copy_only=False) for b in full)], dtype=kind
        )
        for name, kind in kinds
    ]


def sum_degrees(edges: DataFrame) -> DataFrame:
    """Add up affinities by node, in the order of the neighbours: rows (node_id, degree, n_edges)."""

    def add(batches: Batches) -> Batches:
        src, affinity = read_columns(batches, ("src", np.int64), ("affinity", np.float64))
        nodes, row = np.unique(src, return_inverse=True)
        degrees = np.bincount(row, weights=affinity, minlength=len(nodes))
        counts = np.bincount(row, minlength=len(nodes))
        yield from slice_batches([nodes, degrees, counts], ["node_id", "degree", "n_edges"])

    sorted_edges = spread(edges, "src").sortWithinPartitions("src", "dst")
    return sorted_edges.mapInArrow(add, "node_id long, degree double, n_edges long")


def spread(edges: DataFrame, by: str) -> DataFrame:
    """Shuffle rows by a column so that a task gets a bounded number of them."""
    n_tasks = max(1, -(-edges.count() // TASK_EDGES))
    return edges.repartition(n_tasks, by)


def write_pieces(
    usable: DataFrame, cells: DataFrame, degrees: DataFrame, folder: str, piece_nodes: int
) -> list[dict]:
    """Sort the nodes into their order and write them in pieces; give these in order, see `PIECE`."""

    def write(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if not full:
            return
        rows = pa.Table.from_batches(full)
        if rows["component_id"].null_count:
            raise ValueError("an edge names a node that the table of nodes does not hold")
        degree, counts = (rows[name].fill_null(0).to_numpy() for name in ("degree", "n_edges"))
        arrays = {"nodes": rows["node_id"].to_numpy(), "degrees": degree, "counts": counts}
        names = [save_array(files.join(folder, "pieces"), name, values) for name, values in arrays.items()]
        number = pa.array(rows["number"].to_numpy()[:1], pa.int32())
        columns = [number, [len(degree)], [int(counts.sum())], [names]]
        yield pa.record_batch(columns, names=["number", "n", "nnz", "names"])

    n_pieces = max(1, -(-usable.count() // piece_nodes))
    keyed = usable.join(cells, "node_id", "left").join(degrees, "node_id", "full_outer")
    keyed = keyed.repartitionByRange(n_pieces, "component_id", "place", "path", "node_id")
    keyed = keyed.sortWithinPartitions("component_id", "place", "path", "node_id")
    columns = ("node_id", "component_id", "degree", "n_edges")
    numbered = keyed.select(*columns, sf.spark_partition_id().alias("number"))
    written = numbered.mapInArrow(write, PIECE).collect()  # to sort in Spark would write every piece twice
    return sorted((row.asDict() for row in written), key=lambda piece: piece["number"])


def cut_pieces(edges: DataFrame, pieces: list[dict], folder: str, n_parts: int) -> np.ndarray:
    """Cut the ordinals into parts of equal cost: bounds (parts + 1,) int64; no part is empty."""
    starts = np.cumsum([0] + [piece["n"] for piece in pieces])
    done = np.cumsum([0.0] + [piece["nnz"] + ROW_COST * piece["n"] for piece in pieces])
    n_parts = min(n_parts, int(starts[-1]))
    targets = done[-1] * np.arange(1, n_parts) / n_parts

    def cut(batches: Batches) -> Batches:
        for i in task_numbers(batches):
            costs = map_array(files.join(folder, "pieces"), pieces[i]["names"][2]) + float(ROW_COST)
            cuts = cut_ordinals(costs, targets, int(starts[i]), float(done[i]))
            there = np.flatnonzero(cuts >= 0)
            yield pa.record_batch([there, cuts[there]], names=["target", "cut"])

    found = number_tasks(edges.sparkSession, len(pieces)).mapInArrow(cut, "target long, cut long").collect()
    cuts = sorted(row["cut"] for row in found)
    return np.unique([0, *cuts, int(starts[-1])])


def read_pieces(edges: DataFrame, pieces: list[dict], folder: str, bounds: np.ndarray) -> DataFrame:
    """Read the nodes with their ordinals, parts and the roots of their degrees."""
    starts = np.cumsum([0] + [piece["n"] for piece in pieces])

    def read(batches: Batches) -> Batches:
        for i in task_numbers(batches):
            nodes, degrees, _ = (map_array(files.join(folder, "pieces"), name) for name in pieces[i]["names"])
            ordinals = starts[i] + np.arange(len(nodes))
            part = np.searchsorted(bounds, ordinals, side="right") - 1
            columns = [nodes, ordinals, part.astype(np.int32), np.sqrt(degrees)]
            yield from slice_batches(columns, ["node_id", "ordinal", "part", "root"])

    schema = "node_id long, ordinal long, part int, root double"
    return number_tasks(edges.sparkSession, len(pieces)).mapInArrow(read, schema)


def join_rows(edges: DataFrame, nodes: DataFrame) -> DataFrame:
    """Give entries of S to the parts of their rows: (part, row, dst, value, root).

    The nodes are rows of their own, ``dst`` their ids: of these value is null, of entries root.
    """
    row = nodes.selectExpr("node_id as src", "part", "ordinal as row", "root as row_root")
    column = nodes.selectExpr("node_id as dst", "ordinal as column", "root as column_root")
    value = sf.least(sf.col("affinity") / (sf.col("row_root") * sf.col("column_root")), sf.lit(1.0))
    joined = edges.select("src", "dst", "affinity").join(row, "src").join(column, "dst")
    entries = joined.select("part", "row", sf.col("column").alias("dst"), value.alias("value"))
    entries = entries.withColumn("root", sf.lit(None).cast("double"))
    nothing = "cast(null as double) as value"
    marked = nodes.selectExpr("part", "ordinal as row", "node_id as dst", nothing, "root")
    return entries.unionByName(marked)


def part_writer(folder: str, bounds: np.ndarray) -> Callable[[tuple, pa.Table], pa.Table]:
    """Make the function that writes one part of `join_rows`."""

    def write(key: tuple, rows: pa.Table) -> pa.Table:
        number = key[0].as_py()
        is_node = rows["value"].is_null().to_numpy()
        row, dst = rows["row"].to_numpy(), rows["dst"].to_numpy()
        order = np.argsort(row[is_node])
        nodes = dst[is_node][order], rows["root"].drop_null().to_numpy()[order]
        entries = (row[~is_node], dst[~is_node], rows["value"].drop_null().to_numpy())
        part = save_rows(folder, (int(bounds[number]), int(bounds[number + 1])), nodes, entries)
        return pa.Table.from_batches([describe_part(number, part)])

    return write
