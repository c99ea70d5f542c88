"""Diffuse from every image ahead of time: a query is then answered without solving anything."""

import logging
import os
from dataclasses import replace
from typing import Annotated, Literal

from pyspark.sql import DataFrame

from resight import files
from resight.cli import run
from resight.config import Config, Meta, digest_of, execution
from resight.diffusion.block import DiffuseWork
from resight.diffusion.growth.judge import CHANGED, SAME, STALE
from resight.diffusion.growth.spark import (
    compare_edges,
    judge_rows,
    keep_rows,
    measure_stale,
    save_change,
    save_places,
)
from resight.diffusion.plan import plan_offline
from resight.diffusion.spark import diffuse_nodes, measure_shortlists
from resight.graph.builds import of_images
from resight.graph.matrix import GraphFiles
from resight.graph.storage.spark import write_graph_files
from resight.job import Input, job
from resight.jobs.build_graph import open_graph
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES, MANIFOLD_NEIGHBORS, NODES

MOST_CHANGED = 0.25  # share of nodes with other edges above which hardly a row would stay
log = logging.getLogger("resight")


class DiffuseConfig(Config, frozen=True):
    """Settings of ``diffuse``."""

    graph: Annotated[str, Meta(description="build of the graph; default: the newest")] = ""
    alpha: Annotated[
        float, Meta(gt=0, lt=1, description="weight of the walk; .99 (the paper) for large instances")
    ] = 0.8
    shortlist: Annotated[int, Meta(ge=1, description="nodes around each that take part in its system")] = 1000
    depth: Annotated[int, Meta(ge=1, description="best nodes of each that are kept")] = 100
    max_iter: Annotated[int, Meta(ge=1, description="steps of conjugate gradient")] = 20
    tol: Annotated[float, Meta(gt=0, lt=1, description="relative residual that ends the steps before")] = 1e-6
    precision: Annotated[
        Literal["float64", "float32"],
        Meta(description="arithmetic of the iterations; the residual, in float64, is that of the scores"),
    ] = "float32"
    stale: Annotated[
        Literal["keep", "recompute"],
        Meta(
            description="rows whose list of nodes stayed, with its edges, when edges that lead out of it "
            "changed: keep them, with the version of the graph that they came from, or compute them again"
        ),
    ] = "keep"
    max_stale_error: Annotated[
        float,
        Meta(ge=0, description="largest error of a sampled stale row, relative, above which none is kept"),
    ] = 0.05
    block_nodes: Annotated[
        int, execution("nodes per block: bounds memory beside 16 bytes per node", ge=1)
    ] = 4096


@job(
    "diffuse",
    DiffuseConfig,
    reads=tuple(Input(table, "graph", kind=of_images) for table in (EDGES, NODES, COMPONENTS)),
    writes=(MANIFOLD_NEIGHBORS,),
)
def main(store: TableStore, conf: DiffuseConfig) -> None:
    """Solve one small system per node, among the nodes that a walk from it reaches first.

    Yang et al., "Efficient image retrieval via decoupling diffusion", AAAI 2019. Blocks that an interrupted
    run has finished are not computed again; where the graph grew, nor are rows that it left as they were.
    """
    version = store.source(EDGES)[1].digest
    note_plan(store, conf)
    limits = conf.alpha, conf.shortlist, conf.depth, conf.max_iter, conf.tol, conf.precision
    work = DiffuseWork(open_graph(store), version, *limits)
    kept = keep_old_rows(store, conf, work)
    if kept is not None:
        work = replace(work, only=kept[1])
    folder = store.staging(digest_of([version, conf.block_nodes, work.only and work.only[1]]))
    rows, blocks = diffuse_nodes(store.spark, work, folder, block_nodes=conf.block_nodes)
    store.write(MANIFOLD_NEIGHBORS, rows if kept is None else rows.unionByName(kept[0]))
    share = measure_shortlists(store.spark, work)
    store.note(nodes=work.graph.n, blocks=blocks, kept_of_ten_best=round(share, 4))


def note_plan(store: TableStore, conf: DiffuseConfig) -> None:
    """Say what a task will take."""
    n, nnz = (store.source(table)[1].n_rows for table in (NODES, EDGES))
    threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    sizes = {"block_nodes": conf.block_nodes, "shortlist": conf.shortlist, "depth": conf.depth}
    plan = plan_offline(n, nnz, **sizes, threads=threads)
    log.info("diffuse: %s, because %s", plan.path, plan.reason)
    store.note(path=plan.path)


def keep_old_rows(
    store: TableStore, conf: DiffuseConfig, work: DiffuseWork
) -> tuple[DataFrame, tuple[str, str]] | None:
    """Choose the rows of the last run that stay, and the places of the others; None: all are computed."""
    previous, before = store.previous(MANIFOLD_NEIGHBORS), store.source_before(EDGES)
    then = open_graph_before(store)
    if previous is None or before is None or then is None:
        return None
    changed = store.hold(compare_edges(store.read(EDGES), store.open(EDGES, *before)))
    n_nodes = changed.select("src").distinct().count()
    if n_nodes > MOST_CHANGED * work.graph.n:
        log.info("diffuse: %d of %d nodes have other edges: all rows are computed", n_nodes, work.graph.n)
        return None
    folder = store.staging(f"growth-{work.version}")
    change = save_change(changed, (work.graph, then), folder, shortlist=conf.shortlist)
    versions = work.version, before[1].digest
    judged = judge_rows(previous, change, versions, block_nodes=conf.block_nodes, hold=store.hold)
    error = measure_stale(judged, previous, work)
    kept, others = choose_states(conf, error.largest)
    keeps = STALE in kept
    counts = {row["state"]: row["count"] for row in judged.groupBy("state").count().collect()}
    n_stale = counts.get(STALE, 0)
    did = "kept" if keeps else "computed again"
    log.info("diffuse: %d stale rows, off by up to %.2g, are %s", n_stale, error.largest, did)
    store.note(
        rows_same=counts.get(SAME, 0),
        rows_stale=n_stale if keeps else 0,
        rows_computed=counts.get(CHANGED, 0) + (0 if keeps else n_stale),
        stale_error=error._asdict(),
    )
    chosen = save_places(judged, others, work.graph.n, folder)
    return keep_rows(previous, judged, kept, work.version, error.largest), chosen


def choose_states(conf: DiffuseConfig, error: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose which rows stay and which are computed, ``error`` being that of the stale ones."""
    if conf.stale == "keep" and error <= conf.max_stale_error:
        return (SAME, STALE), (CHANGED,)
    return (SAME,), (CHANGED, STALE)


def open_graph_before(store: TableStore) -> GraphFiles | None:
    """Give the files of the graph that the last run of this build read; None where its tables are gone."""
    tables = [store.input_before(table) for table in (NODES, EDGES, COMPONENTS)]
    before = store.source_before(EDGES)
    if before is None or any(rows is None for rows in tables):
        return None
    shards = store.shard_folder(EDGES).rsplit("/", 1)[0]
    nodes, edges, components = (rows for rows in tables if rows is not None)
    return write_graph_files(nodes, edges, components, files.join(shards, before[1].digest))


if __name__ == "__main__":
    run(main)
