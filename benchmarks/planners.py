"""Every branch that a planner chooses by size, at a size where it chooses it itself.

Jobs run on planted vectors: ``build-graph`` and ``diffuse`` on a collection that grows a little and a lot
(lists and rows renewed, or all computed again), ``search`` by diffusion with less and less memory per task
(replicated, partitioned, truncated), ``report`` on more photos than its histogram counts, ``evaluate`` with
few queries and with more figures than the driver draws anew. Codes are joined by a scan and by equal
parts, and k-means sums where the sample fits and by tasks: there the other way runs too, and must give the
same. The planners of `resight.knn` at full size, of components (more edges than one task joins by default)
and of the quantizer are measured by ``knn_graph.py``, ``components.py`` and ``inverted_file.py``. Run on a
quiet machine::

    python benchmarks/planners.py
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from manifolds import SESSION, draw_views
from msgspec.structs import replace

from resight.arrow import vectors_to_arrow
from resight.codebook.kmeans import fit_centroids
from resight.codebook.plan import choose_fit
from resight.codebook.spark import Sample, step_over_tasks
from resight.diffusion.plan import count_bytes
from resight.hashing.plan import SHUFFLED, Plan, choose_plan
from resight.hashing.spark import join_codes
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.diffuse import DiffuseConfig
from resight.jobs.diffuse import main as diffuse
from resight.jobs.evaluate import EvaluateConfig
from resight.jobs.evaluate import main as evaluate
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.report import main as report
from resight.jobs.search import BATCH, SearchConfig
from resight.jobs.search import main as search
from resight.knn.matrix import save_array
from resight.report.collect import HISTOGRAM_SAMPLE, collect_histogram
from resight.report.source import Source
from resight.session import start_session
from resight.store import TableStore
from resight.tables import EDGES, NODES
from resight.workspace import Workspace

ANY_LOSS = Options(accept_loss=True)
WORDS, DIMS, RADIUS = 64, 64, 8


def timed(what, step):
    """Run a step and print its seconds."""
    begun = time.perf_counter()
    result = step()
    print(f"  {what}: {time.perf_counter() - begun:.1f} s", flush=True)
    return result


def collect(store, folder, rows, *, n, d):
    """Let the vectors ``rows`` of ``n`` drawn ones be the collection."""
    X, file = draw_views(0, n, d)[rows], Path(folder) / "vectors.parquet"
    names = [f"{i:09d}" for i in rows]
    pq.write_table(pa.table({"uri": names, "vector": X.tolist()}), file)
    ingest(store, IngestConfig(source=str(file), kind="vectors", source_id="v"), ANY_LOSS)
    import_descriptors(
        store, ImportConfig(source=str(file), source_id="v"), Options(name="v", accept_loss=True)
    )


def bring(store, folder, rows, *, n, d):
    """Let some vectors be the collection, and build their graph."""
    collect(store, folder, rows, n=n, d=d)
    return build_graph(store, GraphConfig(k=10), ANY_LOSS)


def measure_growth(spark, folder, n):
    """Let a graph, and the diffusion of all its images, grow by a few images and by two fifths."""
    print(f"build-graph and diffuse, {n} vectors")
    conf = DiffuseConfig(shortlist=100, depth=50, max_stale_error=1.0)
    store = TableStore(Workspace.open(f"{folder}/grown", "parquet", create=True), spark)
    for share, expected in ((0.58, None), (0.582, "renew"), (1.0, "all")):
        rows = np.arange(int(share * n))
        outcome = timed(f"{len(rows)} vectors", partial(bring, store, folder, rows, n=n, d=DIMS))
        assert outcome.notes.get("lists") == expected, outcome.notes
        print(f"    lists: {expected or 'first run'}, method {outcome.notes['method']}")
        notes = timed("  diffuse", partial(diffuse, store, conf)).notes
        assert ("rows_same" in notes) == (expected == "renew"), notes
        print(f"    rows kept: {notes.get('rows_same', 0) + notes.get('rows_stale', 0)} of {notes['nodes']}")


def measure_paths(spark, folder, n):
    """Diffuse from every image with memory for the graph, for half of it, and for less."""
    print(f"search --method diffusion, {n} vectors, all of them asking")
    store = TableStore(Workspace.open(f"{folder}/paths", "parquet", create=True), spark)
    bring(store, folder, np.arange(n), n=n, d=DIMS)
    needed = sum(count_bytes(*(store.source(table)[1].n_rows for table in (NODES, EDGES)), BATCH))
    for share, expected in ((1.01, "replicated"), (0.9, "partitioned"), (0.1, "truncated")):
        memory = share * needed / 2**30
        conf = SearchConfig(queries_from="collection", method="diffusion", depth=10, task_memory=memory)
        conf = replace(
            conf, tol=1e-6 * share
        )  # else the build is there already: memory is none of its settings
        outcome = timed(f"{memory * 1024:.1f} MiB a task", partial(search, store, conf))
        assert outcome.notes["path"] == expected, outcome.notes
        print(f"    path: {expected}")


def measure_report(store):
    """Count the similarities of a collection that is larger than the histogram's sample."""
    timed("report", partial(report, store))
    histogram = collect_histogram(Source(store.reader, 1, 1, 0))
    sampled = "a sample" if histogram.n_photos > HISTOGRAM_SAMPLE else "all"
    print(f"    histogram over {sampled}: {histogram.n_sampled} of {histogram.n_photos}")


def measure_evaluation(spark, folder, sizes):
    """Let all images ask, and aggregate the figures of the queries on the driver and by Spark."""
    for n in sizes:
        store = TableStore(Workspace.open(f"{folder}/asked-{n}", "parquet", create=True), spark)
        collect(store, folder, np.arange(n), n=n, d=8)
        search(store, SearchConfig(queries_from="collection", depth=3))
        truth = Path(folder) / "truth.csv"
        lines = [f"{i:09d},{i ^ 1:09d},positive" for i in range(n)]
        truth.write_text("\n".join(["query_uri,image_uri,label", *lines]))
        notes = timed(
            f"evaluate, {n} queries", partial(evaluate, store, EvaluateConfig(ground_truth=str(truth)))
        ).notes
        print(f"    intervals: {notes['intervals']}")


def measure_codes(spark, sizes):
    """Join random codes of 64 bits by the plan of their number, and by the other way."""
    for n in (10, *sizes):  # the first starts Spark's workers
        codes = np.random.default_rng(0).integers(0, 256, (n, 8), dtype=np.uint8)
        codes[n // 2 :] = codes[: n - n // 2] ^ np.array([1, *[0] * 7], np.uint8)
        table = pa.table({"image_id": np.arange(n), "turn": pa.array([0] * n, pa.int32())})
        frame = spark.createDataFrame(table.append_column("code", vectors_to_arrow(codes))).cache()
        plan = choose_plan(n, 64, RADIUS, lookup=SHUFFLED)
        print(f"pairs of {n} codes: {'scan' if plan.is_scan else f'{len(plan.bounds)} equal parts'}")
        other = choose_plan(10**7, 64, RADIUS) if plan.is_scan else Plan()
        counts = []
        for name, way in (("chosen", plan), ("the other way", other)):
            pairs = join_codes(frame, radius=RADIUS, plan=way).pairs
            counts.append(timed(name, pairs.count))
        assert counts[0] == counts[1] >= n // 2, counts


def measure_fit(spark, folder, sizes, memory):
    """Fit a small codebook where the sample fits and where it does not, and by the other way."""
    for n in sizes:
        X = draw_views(0, n, DIMS)
        names = [save_array(folder, f"part-{i}", part) for i, part in enumerate(np.array_split(X, 8))]
        sample = Sample(folder, tuple(names), n, DIMS)
        plan = choose_fit(n, DIMS, memory_bytes=memory)
        print(f"k-means of {n} descriptors: {plan.path}, because {plan.reason}")
        steps = {"local": sample.sum_here, "tasks": step_over_tasks(spark, sample)}
        options, fits = {"n_iter": 3, "sample": X[:1000]}, {}
        for name, step in steps.items():
            fits[name] = timed(name, partial(fit_centroids, step, X[:WORDS], **options))
        np.testing.assert_allclose(fits["local"].centroids, fits["tasks"].centroids, atol=1e-5)


def main():
    """Run every planner at sizes on both sides of its limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=40_000, help="vectors of the graph that grows")
    parser.add_argument("--asking", type=int, default=4000, help="vectors that diffuse")
    parser.add_argument(
        "--queries", type=int, nargs="+", default=[2000, 160_000], help="queries that are evaluated"
    )
    parser.add_argument("--codes", type=int, nargs="+", default=[500, 100_000])
    options = parser.parse_args()
    spark = start_session(SESSION)
    with tempfile.TemporaryDirectory() as folder:
        measure_growth(spark, folder, options.n)
        measure_report(TableStore(Workspace.open(f"{folder}/grown"), spark))
        measure_paths(spark, folder, options.asking)
        measure_evaluation(spark, folder, options.queries)
        measure_codes(spark, options.codes)
        measure_fit(spark, folder, (20_000, 100_000), 4 * DIMS * 50_000)
    spark.stop()


if __name__ == "__main__":
    main()
