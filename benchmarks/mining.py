"""The job ``mine-pairs`` against the solver alone: the same anchors, graph and cores.

Both sides are warm. The bare side solves the diffusion of the anchors in one process per core and keeps
nothing; a job run is the whole of it: modes, clusters and split, the solver, pools, tuples, tables, commit.
Images are points along curves, which a graph of mutual neighbours follows::

    python benchmarks/mining.py [--n 50000] [--anchors 2000] [--shortlist 10000] [--cores 2] [--pairs 5]
"""

import argparse
import os
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import extract

D, PER_CURVE = 32, 500


def draw_curves(n, *, noise=0.02, seed=0):
    """Draw unit vectors (n, D) along arcs, each in three dimensions of its own."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) % PER_CURVE * (1.2 * np.pi / PER_CURVE)
    arcs = np.stack([np.cos(t), np.sin(t), np.full(n, 0.3)], axis=1)
    frames = [np.linalg.qr(rng.standard_normal((D, 3)))[0].T for _ in range(-(-n // PER_CURVE))]
    X = np.concatenate([arcs[i * PER_CURVE : (i + 1) * PER_CURVE] @ f for i, f in enumerate(frames)])
    X += noise * rng.standard_normal(X.shape)
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def build_workspace(folder, n, spark):
    """Import the vectors and link them; return the store."""
    from resight.job import Options
    from resight.jobs.build_graph import GraphConfig
    from resight.jobs.build_graph import main as build_graph
    from resight.jobs.import_descriptors import ImportConfig
    from resight.jobs.import_descriptors import main as import_descriptors
    from resight.jobs.ingest_images import IngestConfig
    from resight.jobs.ingest_images import main as ingest
    from resight.store import TableStore
    from resight.workspace import Workspace

    file, X = str(folder / "points.parquet"), draw_curves(n)
    vectors = pa.ListArray.from_arrays(np.arange(0, X.size + 1, D, np.int32), X.ravel())
    pq.write_table(pa.table({"uri": [f"{i:08d}" for i in range(n)], "vector": vectors}), file)
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=file, kind="vectors", source_id="points"))
    import_descriptors(store, ImportConfig(source=file, source_id="points", dtype="float32"))
    build_graph(store, GraphConfig(k=20), Options(name="graph"))
    return store


class MiningSide:
    """The job on its own workspace; every run is a build that was never made before."""

    def __init__(self, folder, args):
        from benchmarks.job_extract import SESSION
        from resight.session import start_session

        self.spark = start_session(SESSION | {"spark.master": f"local[{args.cores},4]"})
        self.store, self.n_runs = build_workspace(folder, args.n, self.spark), 0
        self.common = {"anchors": args.anchors, "all_anchors": True, "shortlist": args.shortlist}

    def run(self):
        """Mine; another seed makes another build of the same work."""
        from resight.job import Options
        from resight.jobs.mine_pairs import main as mine_job
        from resight.mining.settings import MineConfig

        self.n_runs += 1
        conf = MineConfig(seed=self.n_runs, solve=True, **self.common)
        mine_job(self.store, conf, Options(name=f"run{self.n_runs}"))

    def anchors(self):
        """List the anchors (a,) that have a pool."""
        from resight.tables import TRAINING_POOLS

        pools = self.store.reader.read(TRAINING_POOLS, "run1", columns=["anchor"])
        return np.unique(pools["anchor"].to_numpy())


class SolverSide:
    """The solver in one process per core."""

    def __init__(self, stack, graph, anchors, args):
        spawned = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(args.cores)]
        self.workers = [stack.enter_context(pool) for pool in spawned]
        self.parts, self.graph = np.array_split(anchors, args.cores), str(graph)
        self.size = args.shortlist

    def run(self):
        """Solve all anchors, a share in each process."""
        shares = zip(self.workers, self.parts, strict=True)
        tasks = [worker.submit(solve_part, self.graph, part, self.size) for worker, part in shares]
        [task.result() for task in tasks]


def solve_part(folder, anchors, size):
    """Solve the diffusion of some anchors (a,) by id."""
    from resight.diffusion.block import DiffuseWork
    from resight.graph.matrix import load_graph_files
    from resight.jobs.mine_pairs import MAX_ITER, TOL

    layout = load_graph_files(folder)
    work = DiffuseWork(layout, "", 0.99, size, size, MAX_ITER, TOL)
    places = layout.open().place_of(anchors)
    for first in range(0, len(places), 256):  # as many as a task of the job holds
        work.diffuse(places[first : first + 256])


def compare(args, folder):
    """Interleave the job and the solver; print seconds per 1,000 anchors and the ratio."""
    from benchmarks.knn_graph import run_timed

    with ExitStack() as stack:
        job = MiningSide(folder, args)
        job.run()
        anchors, graph = job.anchors(), next(folder.glob("w/**/graph.json")).parent
        solver = SolverSide(stack, graph, anchors, args)
        solver.run()
        rows = [(run_timed(job.run), run_timed(solver.run)) for _ in range(args.pairs)]
        job.spark.stop()
    wall = np.array([[ours[0], bare[0]] for ours, bare in rows])
    print(f"{args.n} images, {len(anchors)} anchors, shortlists of {args.shortlist}, {args.cores} cores")
    for name, seconds in zip(("job", "solver alone"), np.median(wall, axis=0), strict=True):
        print(f"  {name}: {seconds / len(anchors) * 1e3:.2f} s per 1,000 anchors")
    print(f"throughput ratio {extract.interval(wall[:, 1] / wall[:, 0])} (wanted: 0.9 or more)")


def main():
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--anchors", type=int, default=2000)
    parser.add_argument("--shortlist", type=int, default=10_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(tempfile.mkdtemp())
    try:
        compare(args, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
