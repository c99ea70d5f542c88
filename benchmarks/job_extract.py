"""The job ``extract-features`` against the bare loop of `extract`, on the same photos and cores.

Both sides are warm: Spark's workers and the loop's processes hold their network. Spark ends workers that
were idle for a minute, as they are while the loop runs, so both sides compute a few photos before the clock
starts. A job run is the whole of it: reading the table of images, the photos, the chunks, the write and the
commit::

    python benchmarks/job_extract.py [--photos FOLDER] [--n 2400] [--cores 2] [--pairs 5]
    python benchmarks/job_extract.py --scaling        # one core against two, job only
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
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import extract
from benchmarks.knn_graph import run_timed
from resight.features.work import ExtractWork
from resight.job import Options
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract_job
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest_job
from resight.session import start_session
from resight.store import TableStore
from resight.workspace import Workspace

SESSION = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.memory": "2g",
    "spark.executorEnv.RESIGHT_PRELOAD": "timm",  # as the command line starts it
}
WARM = 8  # photos that each worker describes before the clock starts


class JobSide:
    """The job on its own workspace; every run is a build that was never made before."""

    def __init__(self, folder, contents, cores):
        self.folder, self.cores = folder, cores
        (folder / "photos").mkdir(parents=True)
        for i, content in enumerate(contents):
            (folder / "photos" / f"{i:06d}.jpg").write_bytes(content)
        self.spark = start_session(SESSION | {"spark.master": f"local[{cores},4]"})
        self.store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), self.spark)
        ingest_job(self.store, IngestConfig(source=str(folder / "photos")))
        self.n_runs = 0

    def warm(self):
        """Let every worker hold its network: as many tasks as cores describe a few photos each."""
        folder, work = str(self.folder / "photos"), ExtractWork(ExtractConfig(), "float16")
        names = sorted(path.name for path in Path(folder).iterdir())[:WARM]
        nothing = [None] * len(names)
        rows = pa.table({"image_id": [*range(len(names))], "root": [folder] * len(names), "uri": names})
        for name in ("content_hash", "byte_offset", "n_bytes"):
            rows = rows.append_column(name, pa.array(nothing, pa.string() if name[0] == "c" else pa.int64()))

        def describe(batches):
            for batch in batches:
                work(rows)
                yield batch

        tasks = self.spark.range(self.cores, numPartitions=self.cores)
        tasks.mapInArrow(describe, "id long").count()

    def run(self):
        """Describe every photo; ``max_pixels`` only makes the settings new."""
        self.n_runs += 1
        conf = ExtractConfig(max_pixels=170_000_000 + self.n_runs)
        extract_job(self.store, conf, Options(name=f"run{self.n_runs}"))


def compare(args, contents, folder):
    """Interleave the job and the bare loop; print the median ratio of throughputs."""
    spawn = get_context("spawn")
    photos = str(folder / "job/photos")
    options = {"settings": {"enlarge": False}, "device": "cpu"}
    with ExitStack() as stack:
        pools = [ProcessPoolExecutor(1, mp_context=spawn) for _ in range(args.cores)]
        loops = [stack.enter_context(pool) for pool in pools]
        job = JobSide(folder / "job", contents, args.cores)
        ready = [
            w.submit(extract.prepare, photos, args.n, options, i, args.cores) for i, w in enumerate(loops)
        ]
        [future.result() for future in ready]
        job.run()
        rows = []
        for _ in range(args.pairs):
            bare = extract.measure(loops, "bare")
            job.warm()
            rows.append((run_timed(job.run), bare))
            print(f"job {rows[-1][0][0]:.2f} s, bare loop {bare[0]:.2f} s", flush=True)
        job.spark.stop()
    wall, cpu = (np.array([[ours[k], bare[k]] for ours, bare in rows]) for k in (0, 1))
    n = len(contents)
    print(f"{n} photos, {args.cores} cores: job {n / np.median(wall[:, 0]):.1f} images/s, ", end="")
    print(f"bare loop {n / np.median(wall[:, 1]):.1f} images/s")
    print(f"throughput ratio {extract.interval(wall[:, 1] / wall[:, 0])} (wanted: 0.9 or more)")
    print(f"CPU seconds ratio {extract.interval(cpu[:, 1] / cpu[:, 0])}, the JVM included")


def scaling(args, contents, folder):
    """Time the job on one core and on two, each in a session of its own."""
    rates = []
    for cores in (1, 2):
        job = JobSide(folder / f"cores{cores}", contents, cores)
        job.run()
        seconds = []
        for _ in range(args.pairs):
            job.warm()
            begun = time.perf_counter()
            job.run()
            seconds.append(time.perf_counter() - begun)
        rates.append(len(contents) / np.median(seconds))
        print(f"{cores} core(s): {rates[-1]:.1f} images/s", flush=True)
        job.spark.stop()
    print(f"two cores over one: {rates[1] / rates[0]:.2f}")


def main():
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos")
    parser.add_argument("--n", type=int, default=2400)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
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
