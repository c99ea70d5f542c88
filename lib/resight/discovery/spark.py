"""Operators of discovery: what was found in images to boxes, their graph, its centrality, and objects.

Boxes travel as `REGIONS` rows; ``node_id`` is a hash of the image, the number of the box in it and a seed.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.arrow import arrow_to_lists, vectors_to_arrow
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.discovery.bank import RegionBank, load_bank, save_columns
from resight.discovery.centrality import cut_blocks
from resight.discovery.modes import climb
from resight.discovery.pooling import whiten_rows
from resight.discovery.work import BLOCKS, CentralityWork, refuse
from resight.features.whitening import Whitening
from resight.graph.matrix import GraphFiles, load_graph_files
from resight.graph.spark import MAX_TASK_EDGES, build_edges, find_components, list_copies, slice_batches
from resight.graph.storage.spark import write_graph_files
from resight.knn.matrix import save_array
from resight.knn.spark import number_tasks, task_numbers
from resight.knn.storage.spark import write_vector_files

BOX = ("y0", "x0", "y1", "x1")
LISTED = (
    "image_id long, content_hash string, region_ix int, y0 float, x0 float, y1 float, x1 float, "
    "weight float, saliency float, vector binary"
)
NODE_BITS = (1 << 63) - 1

Batches = Iterator[pa.RecordBatch]
Hold = Callable[[DataFrame], DataFrame]


def list_regions(found: DataFrame, whitening: Sequence[bytes] = (), *, seed: int = 0) -> DataFrame:
    """Give every box of `FOUND` rows a row, its vector whitened by packed models: (node_id, `LISTED`).

    Boxes are shares of the sides. An image without boxes gives no row; a vector may be zero.
    """

    def unpack(batches: Batches) -> Batches:
        models = [Whitening.from_bytes(params) for params in whitening]
        for batch in batches:
            offsets, shares = arrow_to_lists(batch["boxes"], "float32")
            counts = np.diff(offsets) // 4
            if not counts.sum():
                continue
            image = np.repeat(np.arange(len(counts)), counts)
            first = np.repeat(np.cumsum(counts) - counts, counts)
            vectors = arrow_to_lists(batch["vectors"], "float32")[1].reshape(len(image), -1)
            columns = [batch[name].take(pa.array(image)) for name in ("image_id", "content_hash")]
            columns += [(np.arange(len(image)) - first).astype(np.int32)]
            columns += list(np.ascontiguousarray(shares.reshape(-1, 4).T))
            columns += [arrow_to_lists(batch[name], "float32")[1] for name in ("weights", "saliency")]
            columns += [vectors_to_arrow(whiten_rows(vectors, models))]
            names = [field.split(" ")[0] for field in LISTED.split(", ")]
            yield pa.record_batch(columns, names=names)

    present = found.where("boxes is not null")
    names = ("image_id", "content_hash", "boxes", "weights", "saliency", "vectors")
    listed = present.select(*names).mapInArrow(unpack, LISTED)
    hashed = sf.xxhash64("image_id", "region_ix", sf.lit(seed).cast("long"))
    return listed.select(hashed.bitwiseAND(sf.lit(NODE_BITS)).alias("node_id"), "*")


def write_bank(regions: DataFrame, folder: str) -> RegionBank:
    """Write the boxes of `list_regions` as files; ``folder`` is taken as it is where it is complete."""
    if files.exists(files.join(folder, "bank.json")):
        return load_bank(folder)
    rows = regions.select(sf.col("node_id").alias("image_id"), "vector")
    vectors = write_vector_files(rows, files.join(folder, "vectors"), source_dtype="float32")

    def write(batches: Batches) -> Batches:
        tables = [pa.Table.from_batches([batch]).cast(COLUMNS) for batch in batches]
        full = pa.concat_tables([COLUMNS.empty_table(), *tables])
        arrays = [full[name].to_numpy() for name in COLUMNS.names]
        names = [[list(pair) for pair in save_columns(vectors, folder, *arrays)]]
        yield pa.record_batch([pa.array(names, pa.list_(pa.list_(pa.string())))], names=["names"])

    known = regions.select(*COLUMNS.names).repartition(1)
    written = known.mapInArrow(write, "names array<array<string>>").first()
    if written is None:
        raise RuntimeError("the columns of the boxes were not written")
    bank = RegionBank(folder, vectors, tuple((array, name) for array, name in written["names"]))
    bank.save()
    return bank


COLUMNS = pa.schema(
    [
        pa.field("node_id", pa.int64()),
        pa.field("image_id", pa.int64()),
        pa.field("saliency", pa.float32()),
    ]
)


def link_regions(lists: DataFrame, bank: RegionBank, *, gamma: float, keep_own: bool) -> DataFrame:
    """Join boxes that are in each other's lists, by ordinal: (src, dst, affinity), both directions.

    Boxes of one image are not joined, unless ``keep_own`` says so.
    """
    nothing = lists.sparkSession.range(0).select(sf.col("id").alias("node_id"))
    edges = build_edges(lists, nothing, gamma=gamma)
    if keep_own:
        return edges

    def drop_own(batches: Batches) -> Batches:
        image = bank.open().image
        for batch in batches:
            between = image[batch["src"].to_numpy()] != image[batch["dst"].to_numpy()]
            yield batch.filter(pa.array(between))

    return edges.mapInArrow(drop_own, "src long, dst long, affinity double")


def build_region_graph(
    lists: DataFrame,
    bank: RegionBank,
    *,
    gamma: float,
    keep_own: bool,
    hold: Hold,
    max_task_edges: int = MAX_TASK_EDGES,
) -> GraphFiles:
    """Write the graph of mutual neighbours as files; its nodes are the ordinals of distinct vectors.

    ``lists`` are (src, dst, similarity) by ordinal, of every distinct vector, computed twice here; ``hold``
    computes a frame once.
    """
    folder = files.join(bank.folder, "graph")
    if files.exists(files.join(folder, "graph.json")):
        return load_graph_files(folder)
    edges = hold(link_regions(lists, bank, gamma=gamma, keep_own=keep_own))
    labels = find_components(
        edges, folder=files.join(bank.folder, "components"), max_task_edges=max_task_edges
    )
    unset = sf.lit(None).cast("long")
    nodes = lists.select(sf.col("src").alias("node_id"), sf.lit("ok").alias("status"), unset.alias("dup_of"))
    known = nodes.select("node_id").join(labels, "node_id", "left")
    components = known.select("node_id", sf.coalesce("component_id", "node_id").alias("component_id"))
    return write_graph_files(nodes, edges, components, folder)


def solve_centrality(
    spark: SparkSession, graph: GraphFiles, bank: RegionBank, work: CentralityWork, *, block_nodes: int
) -> tuple[RegionBank, dict[str, float]]:
    """Solve for the centrality of every box, block by block; give the bank that knows it, and figures.

    Blocks are written beside the bank; those that a run before this one left there are not solved again.
    """

    def plan(batches: Batches) -> Batches:
        for _ in task_numbers(batches):
            cuts = cut_blocks(graph.open().S, block_nodes=block_nodes)
            columns = [np.arange(len(cuts) - 1), cuts[:-1], cuts[1:]]
            yield from slice_batches(columns, ["block", "start", "stop"])

    def assemble(batches: Batches) -> Batches:
        g, iterations, residual = np.zeros(bank.vectors.n), 0, 0.0
        ids = graph.open().ids
        for batch in batches:
            for row in batch.to_pylist():
                solved = np.frombuffer(row["g"], np.float64)
                g[ids[row["start"] : row["start"] + len(solved)]] = solved
                iterations, residual = max(iterations, row["iterations"]), max(residual, row["residual"])
        row = [[save_array(bank.folder, "g", g)], [iterations], [residual]]
        yield pa.record_batch(row, names=["name", "iterations", "residual"])

    blocks = number_tasks(spark, 1).mapInArrow(plan, "block long, start long, stop long")
    chunks = Chunks(files.join(bank.folder, f"centrality-{block_nodes}"), work, refuse, chunk_size=1)
    run_chunks(blocks, "block", chunks)
    solved = read_chunks(spark, chunks, from_arrow_schema(BLOCKS)).repartition(1)
    row = solved.mapInArrow(assemble, "name string, iterations long, residual double").first()
    if row is None:
        raise RuntimeError("the centralities were not written")
    figures = {"iterations": row["iterations"], "residual": row["residual"]}
    return bank.with_centrality(row["name"]), figures


def climb_regions(
    spark: SparkSession, graph: GraphFiles, bank: RegionBank, *, floor: float, block_nodes: int
) -> DataFrame:
    """Let every box climb one step, and identical ones join: (src, dst) by node_id."""

    def step(batches: Batches) -> Batches:
        G, X = graph.open(), bank.open().X
        ids = np.asarray(G.ids)
        for number in task_numbers(batches):
            start, stop = number * block_nodes, min((number + 1) * block_nodes, G.n)
            above = climb(G.S, G.degrees, ids, start, stop, floor=floor)
            moved = np.flatnonzero(above != np.arange(start, stop))
            ends = X.id_of(ids[start + moved]), X.id_of(ids[above[moved]])
            yield pa.record_batch([pa.array(end) for end in ends], names=["src", "dst"])

    n_blocks = -(-graph.n // block_nodes)
    steps = number_tasks(spark, n_blocks).mapInArrow(step, "src long, dst long")
    copies = list_copies(spark, bank.vectors)
    return steps.unionByName(copies.selectExpr("node_id as src", "dup_of as dst"))
