"""The jobs ``build-index`` and ``search --method asmk`` against bare loops over their kernels.

Both sides find the RootSIFT keypoints of the same photos, assign and aggregate them, and write the inverted
file, or rank an index for each; both are warm and use the same cores, a process and a thread each. A job run
is the whole of it: reading the tables, the chunks, the write and the commit. ``--stored`` leaves the
extraction out: the jobs read the keypoints of all photos from their table, and the images of the collection
ask; the loops hold them in memory::

    python benchmarks/job_index.py [--photos FOLDER] [--n 600] [--cores 2] [--pairs 5] [--stored]
    python benchmarks/job_index.py --scaling          # one core against two, jobs only
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import extract
from benchmarks.knn_graph import run_timed

SESSION = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.memory": "2g",
}
N_FITTED = 60  # photos that the codebook is fitted on; they lie in a source of their own
STEPS = ("build-index", "search")
CHUNK = 32  # photos of a chunk of either job: both cores have several


class Jobs:
    """The jobs on a workspace of their own; every run is a build that was never made before."""

    def __init__(self, folder, contents, args, cores):
        from resight.jobs.extract_local_features import ExtractLocalConfig
        from resight.jobs.extract_local_features import main as describe
        from resight.jobs.fit_model import FitConfig
        from resight.jobs.fit_model import main as fit
        from resight.session import start_session
        from resight.store import TableStore
        from resight.workspace import Workspace

        self.folder, self.cores, self.n_runs, self.stored = folder, cores, 0, args.stored
        self.spark = start_session(SESSION | {"spark.master": f"local[{cores},4]"})
        self.store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), self.spark)
        self.add_photos("fitted", contents[:N_FITTED])
        if args.stored:
            self.add_photos("photos", contents)
        describe(self.store, ExtractLocalConfig())
        fit(self.store, FitConfig(kind="codebook", words=args.words))
        if not args.stored:
            self.add_photos("photos", contents)

    def add_photos(self, name, contents):
        """Write photos as a source of the collection."""
        from resight.jobs.ingest_images import IngestConfig
        from resight.jobs.ingest_images import main as ingest

        place = self.folder / name
        place.mkdir(parents=True)
        for i, content in enumerate(contents):
            (place / f"{i:06d}.jpg").write_bytes(content)
        ingest(self.store, IngestConfig(source=str(place), source_id=name))

    def run(self, step):
        """Index every photo, or let every photo ask; an exponent only makes the settings new."""
        from resight.job import Options
        from resight.jobs.build_index import IndexConfig
        from resight.jobs.build_index import main as build
        from resight.jobs.search import SearchConfig
        from resight.jobs.search import main as search

        self.n_runs += 1
        power, name = 3 + 1e-6 * self.n_runs, Options(name=f"run{self.n_runs}")
        if step == "build-index":
            build(self.store, IndexConfig(alpha=power, chunk_size=CHUNK), name)
        else:
            asked = {"queries": str(self.folder / "photos")}
            if self.stored:
                asked = {"queries_from": "collection"}
            search(self.store, SearchConfig(asmk_alpha=power, method="asmk", chunk_size=CHUNK, **asked), name)


class Loop:
    """One process of the bare loop, over its part of the photos."""

    def __init__(self, folder, part, parts, stored):
        import cv2

        import resight

        cv2.setNumThreads(1)
        self.folder, self.part, self.parts, self.stored = Path(folder), part, parts, stored
        places = ("photos", "fitted") if stored else ("photos",)  # all of the collection, or what is new
        self.paths = sorted(path for place in places for path in (self.folder / place).iterdir())[part::parts]
        self.local = resight.open(str(self.folder / "w")).moment.local
        if stored:
            self.vectors = self.describe()

    def describe(self):
        """Find the keypoints of every photo."""
        from resight.features.local.extract import extract_local
        from resight.features.local.settings import LocalSettings

        found = []
        for first in range(0, len(self.paths), CHUNK):
            contents = [path.read_bytes() for path in self.paths[first : first + CHUNK]]
            found += extract_local(contents, LocalSettings(), n_threads=1).features
        nothing = np.zeros((0, self.local.codebook.d), np.float32)
        return [nothing if one is None else one.vectors.astype("f2").astype("f4") for one in found]

    def build(self):
        """Assign, aggregate and write a shard."""
        from resight.asmk.aggregate import aggregate_image
        from resight.asmk.shard import write_shard
        from resight.codebook.quantize import assign

        codebook = self.local.codebook
        described = self.vectors if self.stored else self.describe()
        found = [aggregate_image(X, assign(X, codebook), codebook) for X in described]
        words, codes = (np.concatenate(column) for column in zip(*found, strict=True))
        owners = np.repeat(np.arange(len(found)), [len(one) for one, _ in found])
        place = str(self.folder / f"shard{self.part}")
        write_shard(place, words, owners, codes, np.arange(len(found)), n_words=codebook.k)

    def search(self):
        """Rank the index for every photo."""
        from resight.asmk.kernel import lookup_table
        from resight.asmk.search import encode_query, search_index

        codebook, index = self.local.codebook, self.local.index
        table = lookup_table(codebook.n_bits).astype(np.float32)
        for X in self.vectors if self.stored else self.describe():
            search_index([encode_query(X, codebook, 5)], np.array([-1]), index, table, depth=100)


LOOP = []  # of this process


def prepare(folder, part, parts, stored):
    """Open what the loop of this process reads."""
    LOOP.append(Loop(folder, part, parts, stored))


def run_loop(step):
    """Run a step; its CPU seconds."""
    begun = time.process_time()
    LOOP[0].build() if step == "build-index" else LOOP[0].search()
    return time.process_time() - begun


def measure(workers, step):
    """Run a step in all processes together: wall and CPU seconds."""
    begun = time.perf_counter()
    cpu = [future.result() for future in [worker.submit(run_loop, step) for worker in workers]]
    return time.perf_counter() - begun, sum(cpu)


def compare(args, contents, folder):
    """Interleave jobs and loops; print the ratios of their throughputs."""
    spawn, jobs = get_context("spawn"), Jobs(folder, contents, args, args.cores)
    for step in STEPS:
        jobs.run(step)
    with ExitStack() as stack:
        pools = [ProcessPoolExecutor(1, mp_context=spawn) for _ in range(args.cores)]
        loops = [stack.enter_context(pool) for pool in pools]
        ready = [w.submit(prepare, str(folder), i, args.cores, args.stored) for i, w in enumerate(loops)]
        [future.result() for future in ready]
        for step in STEPS:
            measure(loops, step)
            rows = [take_turn(jobs, loops, step, i) for i in range(args.pairs)]
            n_photos = len(contents) + (N_FITTED if args.stored else 0)
            report(step, n_photos, args.cores, rows)
    jobs.spark.stop()


def take_turn(jobs, loops, step, i):
    """Time the job and the loop, each first by turns: (wall, CPU) seconds of both."""
    found = {}
    for side in ("job", "loop") if i % 2 else ("loop", "job"):
        found[side] = run_timed(lambda: jobs.run(step)) if side == "job" else measure(loops, step)
    return found["job"], found["loop"]


def report(step, n, cores, rows):
    """Print the throughputs of both sides and the ratios."""
    wall, cpu = (np.array([[ours[k], bare[k]] for ours, bare in rows]) for k in (0, 1))
    job, loop = np.median(wall, axis=0)
    print(f"{step}, {n} photos, {cores} cores: job {job:.1f} s, bare loop {loop:.1f} s")
    print(f"  throughput ratio {extract.interval(wall[:, 1] / wall[:, 0])} (wanted: 0.8 or more)")
    print(f"  CPU seconds ratio {extract.interval(cpu[:, 1] / cpu[:, 0])}, the JVM included", flush=True)


def scaling(args, contents, folder):
    """Time the jobs on one core and on two."""
    medians = {}
    for cores in (1, 2):
        jobs = Jobs(folder / f"cores{cores}", contents, args, cores)
        for step in STEPS:
            jobs.run(step)
            seconds = [time_job(jobs, step) for _ in range(args.pairs)]
            medians[step, cores] = float(np.median(seconds))
            print(f"{step}, {cores} core(s): {medians[step, cores]:.1f} s", flush=True)
        jobs.spark.stop()
    for step in STEPS:
        print(f"{step}: {medians[step, 1] / medians[step, 2]:.2f} times as fast on two (wanted: 1.8)")


def time_job(jobs, step):
    """Seconds of a run."""
    begun = time.perf_counter()
    jobs.run(step)
    return time.perf_counter() - begun


def main():
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of photos; by default made from packages' photos")
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--words", type=int, default=4096)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--stored", action="store_true", help="keypoints are stored beforehand")
    parser.add_argument("--scaling", action="store_true")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(tempfile.mkdtemp())
    try:
        contents = extract.read_photos(args.photos, args.n)
        (scaling if args.scaling else compare)(args, contents, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
