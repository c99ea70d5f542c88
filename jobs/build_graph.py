"""Find the nearest neighbours of every image and join mutual ones into a graph with components."""

import logging
from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.cli import run
from resight.config import Config, Meta, execution
from resight.graph.matrix import GraphFiles
from resight.graph.spark import build_edges, build_nodes, find_components, list_copies
from resight.graph.storage.spark import write_graph_files
from resight.job import Input, job
from resight.knn.matrix import VectorFiles
from resight.knn.plan import choose_method
from resight.knn.spark import Approximation, build_neighbors, measure_recall
from resight.knn.storage.spark import write_vector_files
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES, GLOBAL_DESCRIPTORS, NEIGHBORS, NODES

log = logging.getLogger("resight")


class GraphConfig(Config):
    """Settings of ``conf/build-graph.toml``."""

    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    k: Annotated[int, Meta(ge=1, le=2048, description="neighbours of an image, distinct vectors")] = 50
    gamma: Annotated[float, Meta(gt=0, description="exponent of the similarity in the affinity")] = 3.0
    max_copies: Annotated[int, Meta(ge=1, description="images of one vector that a list shows")] = 10
    method: Annotated[
        Literal["auto", "exact", "ivf"],
        Meta(description="exact: all pairs; ivf: inverted lists; auto: by size"),
    ] = "auto"
    recall: Annotated[float, Meta(gt=0, le=1, description="what the inverted lists are tuned for")] = 0.95
    seed: Annotated[int, Meta(description="of samples")] = 0
    block_rows: Annotated[int, execution("vectors per block of the exact path: bounds memory", ge=1)] = 25_000
    max_task_edges: Annotated[int, execution("edges that one task joins into components", ge=1)] = 4_000_000


@job(
    "build-graph",
    GraphConfig,
    reads=(Input(GLOBAL_DESCRIPTORS, "descriptors"),),
    writes=(NEIGHBORS, NODES, EDGES, COMPONENTS),
)
def main(store: TableStore, conf: GraphConfig) -> None:
    """List the k nearest images of each, among distinct vectors; copies never push neighbours out.

    An edge joins two images that are in each other's lists. Images without a usable vector are nodes without
    edges, and counted.
    """
    descriptors = store.read(GLOBAL_DESCRIPTORS)
    layout = open_vectors(store)
    plan = choose_method(layout.n - layout.n_copies, layout.d, method=conf.method)
    log.info("build-graph: %s, because %s", plan.method, plan.reason)
    store.note(vectors=layout.n, copies=layout.n_copies, zero=layout.n_zero, nan=layout.n_nan)
    copies = store.persist("copies", list_copies(store.spark, layout))
    neighbors = build_neighbors(
        store.spark,
        layout,
        k=conf.k,
        max_copies=conf.max_copies,
        block_rows=conf.block_rows,
        approximate=Approximation(conf.recall, conf.seed) if plan.method == "ivf" else None,
    )
    store.write(NEIGHBORS, neighbors)
    measured = measure_recall(store.written(NEIGHBORS), layout, k=conf.k, seed=conf.seed).first()
    figures = {name: round(measured[name], 4) for name in ("recall", "low", "high")}
    store.note(method=plan.method, **figures)
    store.write(NODES, build_nodes(descriptors, copies))
    edges = store.persist("edges", build_edges(store.written(NEIGHBORS), copies, gamma=conf.gamma))
    store.write(EDGES, edges)
    store.write(COMPONENTS, label_components(store, conf, edges, copies))


def open_vectors(store: TableStore) -> VectorFiles:
    """Give the descriptors of the run as memory-mapped files, written at the first use of this version."""
    folder = store.shard_folder(GLOBAL_DESCRIPTORS)
    layout = write_vector_files(
        unify_copies(store.read(GLOBAL_DESCRIPTORS)),
        folder,
        source_dtype=store.properties(GLOBAL_DESCRIPTORS)["dtype"],
    )
    store.drop_old_shards(GLOBAL_DESCRIPTORS)
    return layout


def open_graph(store: TableStore) -> GraphFiles:
    """Give the graph of the run's inputs as memory-mapped files, written at the first use of this version."""
    tables = [store.read(table) for table in (NODES, EDGES, COMPONENTS)]
    layout = write_graph_files(*tables, store.shard_folder(EDGES))
    store.drop_old_shards(EDGES)
    return layout


def unify_copies(descriptors: DataFrame) -> DataFrame:
    """Give images of equal bytes the very vector of the first: in other batches its last bits may differ."""
    usable = descriptors.where("status = 'ok'")
    seen = usable.groupBy("content_hash").agg(sf.count("*").alias("n"), sf.min("image_id").alias("image_id"))
    firsts = usable.join(seen.where("n > 1").select("image_id"), "image_id")
    canonical = firsts.select("content_hash", sf.col("vector").alias("canonical"))
    joined = usable.join(canonical, "content_hash", "left")
    return joined.select("image_id", sf.coalesce("canonical", "vector").alias("vector"))


def label_components(store: TableStore, conf: GraphConfig, edges: DataFrame, copies: DataFrame) -> DataFrame:
    """Label every node: copies belong to the component of their vector, a node without edges to its own."""
    links = copies.select(sf.col("node_id").alias("src"), sf.col("dup_of").alias("dst"))
    links = links.unionByName(edges.where("src < dst").select("src", "dst"))
    folder = store.staging("components")
    labels = find_components(links, folder=folder, max_task_edges=conf.max_task_edges)
    nodes = store.written(NODES).select("node_id").join(labels, "node_id", "left")
    return nodes.select("node_id", sf.coalesce("component_id", "node_id").alias("component_id"))


if __name__ == "__main__":
    run(main)
