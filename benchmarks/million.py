"""One million nodes on one machine: the graph, the offline diffusion, queries by each path.

Planted manifolds (or, with ``--synthetic``, links without vectors that mean anything) become a graph by the
operators of build-graph. The offline diffusion runs on some blocks, and the total is extrapolated from their
nodes. Then the same queries are answered by every path: replicated (the whole graph mapped), truncated (a
shortlist each), partitioned (two ranks of a barrier stage), and from offline rows, which are computed here
for the nodes that the queries observe. A line gives seconds, CPU seconds and the largest memory of all
processes together, shared pages counted once. With ``--keep FOLDER`` the graph stays there, so that the parts
can be measured one by one, and a run that was stopped goes on after its last step. Run on a quiet machine::

    python benchmarks/million.py
    python benchmarks/million.py --n 1000000 --d 256 --blocks 4
    python benchmarks/million.py --keep million --parts && python benchmarks/million.py --keep million
    python benchmarks/million.py --n 20000 --synthetic
"""

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from knn_graph import cpu_seconds
from manifolds import SESSION, Pipeline, TreeMemory, draw_views, write_vectors
from reader import write_graph

from resight.arrow import vectors_to_arrow
from resight.diffusion.block import DiffuseWork
from resight.diffusion.observe import QueryLists, observe_queries
from resight.diffusion.offline import answer_offline, solve_offline
from resight.diffusion.partitioned.storage.spark import write_partitioned_files
from resight.diffusion.reach import grow_lists
from resight.graph.matrix import load_graph_files
from resight.knn.spark import write_vector_files
from resight.search.collection import SearchFiles
from resight.search.diffused import search_distinct, to_places
from resight.search.partitioned.spark import search_partitioned
from resight.search.rank import answer_queries
from resight.search.settings import SearchSettings
from resight.session import start_session

BLOCK = 4096
PARTS = ("offline", "paths", "rows", "partitioned")


def run_step(name, step, *, scale=1.0):
    """Do a step and print a line; with ``scale`` also what all of the work would take."""
    memory = TreeMemory()
    memory.start()
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = step()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    peak = memory.stop() / 1024
    total = f"; all of it {scale * wall / 60:.1f} min, {scale * cpu / 60:.1f} CPU-min" if scale > 1 else ""
    print(f"  {name:32s} {wall:9.2f} s {cpu:9.2f} CPU-s {peak:8.0f} MiB{total}", flush=True)
    return result


def make_graph(pipeline, options):
    """Build the graph from vectors, or write a synthetic one over them."""
    if not options.synthetic:
        built = run_step("graph from vectors", pipeline.build)
        for name, (wall, cpu, peak) in pipeline.seconds.items():
            print(f"    {name:30s} {wall:9.2f} s {cpu:9.2f} CPU-s {peak:8.0f} MiB")
        return built
    layout = write_vector_files(pipeline.read("vectors"), pipeline.path("matrix"))
    ids = np.concatenate(layout.open().ids)
    run_step("synthetic graph", lambda: write_graph(pipeline.path("graph"), ids, options.degree))
    return layout, load_graph_files(pipeline.path("graph"))


def diffuse_blocks(graph, options):
    """Diffuse from the nodes of some blocks, spread over the graph."""
    work = DiffuseWork(graph, "v", options.alpha, options.shortlist, options.shortlist, 20, 1e-6, "float32")
    starts = np.linspace(0, max(graph.n - BLOCK, 0), options.blocks).astype(int)
    seeds = [np.arange(start, min(start + BLOCK, graph.n)) for start in starts]
    work.diffuse(seeds[0][:8])  # compiles
    rows = run_step(
        f"offline diffusion, {options.blocks} blocks",
        lambda: [work.diffuse(some) for some in seeds],
        scale=graph.n / sum(map(len, seeds)),
    )
    residuals = np.concatenate([part["residual"].to_numpy() for part in rows])
    print(f"    T = {options.shortlist}, one thread, median residual {np.median(residuals):.1e}")


def answer_from_rows(Q, collection, options):
    """Answer from offline rows, computed here for what the queries observe."""
    observed = observe_queries(QueryLists(*search_distinct(Q, collection.X, k=10)))
    Y, S = to_places(observed, collection), collection.nodes.S
    seeds = np.unique(Y.indices).astype(np.int64)
    limits = {"alpha": options.alpha, "max_iter": 20, "precision": "float32"}
    lists = grow_lists(S, seeds, size=options.shortlist)
    rows = run_step(f"rows of {len(seeds)} observed nodes", lambda: solve_offline(S, lists, **limits))
    run_step("offline, combining rows", lambda: answer_offline(rows, Y))


def answer_by_parts(spark, pipeline, searched, Q, settings):
    """Answer over a graph in two parts."""
    parts = run_step(
        "writing two parts",
        lambda: write_partitioned_files(pipeline.tables(), pipeline.path("parts"), n_parts=2),
    )
    packed = vectors_to_arrow(Q).to_pylist()
    rows = [(i, bytearray(vector)) for i, vector in enumerate(packed)]
    queries = spark.createDataFrame(rows, "query_id long, vector binary")
    folder = pipeline.path("search")
    files = (searched, parts)
    run_step(
        "partitioned, with Spark",
        lambda: search_partitioned(queries, files, settings, folder, source_dtype="float32").count(),
    )


def answer_by_paths(collection, Q, options):
    """Answer in this process: by similarity, over the whole graph, over shortlists."""
    own, ways = np.full(len(Q), -1), {"global": {"method": "global"}, "replicated": {}}
    ways["replicated, float32"] = {"precision": "float32"}
    ways["truncated"] = {"shortlist": min(10_000, options.n)}
    for name, changes in ways.items():
        wanted = {"method": "diffusion", "alpha": options.alpha} | changes
        settings = SearchSettings.from_mapping(wanted)
        next(answer_queries(Q[:1], own[:1], collection, settings))  # compiles
        run_step(name, lambda asked=settings: list(answer_queries(Q, own, collection, asked, threads=2)))


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--degree", type=int, default=24, help="links of a synthetic graph")
    parser.add_argument("--alpha", type=float, default=0.99)
    parser.add_argument("--shortlist", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--folder", default=None, help="where tables and files are written, and deleted")
    parser.add_argument("--keep", default="", help="folder that keeps what was done, for the next call")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="what follows the graph")
    return parser.parse_args()


def main():
    """Go through all steps."""
    options, spark = read_options(), start_session(SESSION)
    kept = options.keep
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory(dir=options.folder) as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        pipeline = Pipeline(spark, folder, k=options.k)
        write_vectors(pipeline.path("vectors"), options.n, options.d)
        print(f"{options.n} nodes, {options.d} dimensions, {options.queries} queries", flush=True)
        layout, graph = make_graph(pipeline, options)
        print(f"    {graph.nnz / graph.n:.1f} edges a node")
        searched = SearchFiles(layout, graph)
        collection = searched.open()
        Q = draw_views(0, options.queries, options.d, noise=0.45)
        if "offline" in options.parts:
            diffuse_blocks(graph, options)
        if "paths" in options.parts:
            answer_by_paths(collection, Q, options)
        if "rows" in options.parts:
            answer_from_rows(Q, collection, options)
        if "partitioned" in options.parts and not options.synthetic:
            settings = SearchSettings(method="diffusion", alpha=options.alpha)
            answer_by_parts(spark, pipeline, searched, Q, settings)
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
