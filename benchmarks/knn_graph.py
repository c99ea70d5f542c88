"""kNN graph: the exact path against ``faiss.knn``, inverted lists against the exact path, MLlib's LSH.

Both sides of a pair run alternately in one process tree; each line gives the median ratio with its range and
the ratio of CPU seconds (children included). Our side reads a Parquet table of float16 vectors and writes
`neighbors`; faiss gets the matrix in memory. Run on a quiet machine::

    python benchmarks/knn_graph.py --n 100000 --d 128 --pairs 5 --parts exact ivf lsh
    python benchmarks/knn_graph.py --n 1000000 --d 256 --pairs 1 --parts once
"""

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resight.arrow import vectors_to_arrow
from resight.knn.plan import choose_method
from resight.knn.spark import Approximation, build_neighbors, measure_recall, write_vector_files
from resight.session import start_session

SESSION = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.driver.memory": "3g",
}


def make_vectors(n, d, spectrum=0.8, seed=0):
    """Draw n / 20 instances with some 20 views each, 2 % of the rows exact copies of others.

    The variance of component i falls as ``i ** -spectrum``. Measured on R-MAC and GeM descriptors of photos:
    .74 to .78 when whitened at power .3, 1.03 raw. 0 is the hardest case: no direction matters more.
    """
    rng = np.random.default_rng(seed)
    deviation = np.arange(1, d + 1, dtype=np.float32) ** (-spectrum / 2)
    deviation /= np.linalg.norm(deviation)
    centres = deviation * rng.standard_normal((n // 20, d), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    X = centres[rng.integers(0, n // 20, n)]
    X += 0.7 * deviation * rng.standard_normal((n, d), dtype=np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    n_copies = n // 50
    X[rng.choice(n, n_copies, replace=False)] = X[rng.choice(n, n_copies)]
    return X.astype(np.float16)


def write_table(X, folder, rows=20_000):
    """Write the vectors as a Parquet table of several files, as a store would hold them."""
    folder.mkdir(parents=True)
    for start in range(0, len(X), rows):
        ids = np.arange(start, min(start + rows, len(X)))
        table = pa.table({"image_id": ids, "vector": vectors_to_arrow(X[ids])})
        pq.write_table(table, folder / f"part-{start:09d}.parquet", compression="zstd")


def cpu_seconds():
    """CPU seconds of this process and of every live descendant: the JVM and its Python workers."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
        ticks[int(stat.parent.name)] = sum(int(x) for x in fields[11:15])
    ours = {os.getpid()}
    while grown := {p for p, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return sum(ticks.get(p, 0) for p in ours) / os.sysconf("SC_CLK_TCK")


def run_timed(function):
    """Give (wall seconds, CPU seconds) of one call."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    function()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def compare(name, ours, theirs, pairs):
    """Run two functions alternately and print medians and the range of their ratio."""
    rows = [(run_timed(ours), run_timed(theirs)) for _ in range(pairs)]
    ratios = sorted(a[0] / b[0] for a, b in rows)
    medians = [[statistics.median(pair[i][j] for pair in rows) for j in (0, 1)] for i in (0, 1)]
    (wall, cpu), (their_wall, their_cpu) = medians
    print(
        f"{name}: {wall:.1f} s ({cpu:.1f} CPU-s) against {their_wall:.1f} s ({their_cpu:.1f} CPU-s); "
        f"ratio {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}], "
        f"CPU {cpu / their_cpu:.2f}, {pairs} pairs",
        flush=True,
    )


class Bench:
    """One data set as a table, and our ways through it."""

    def __init__(self, spark, options, work):
        self.spark, self.k, self.work = spark, options.k, work
        self.X = make_vectors(options.n, options.d, options.spectrum)
        write_table(self.X, work / "vectors")
        self.layout = None

    def graph(self, approximate=None):
        """Read the vectors, build the graph, write `neighbors`."""
        shutil.rmtree(self.work / "files", ignore_errors=True)
        table = self.spark.read.parquet(str(self.work / "vectors"))
        self.layout = write_vector_files(table, str(self.work / "files"))
        rows = build_neighbors(self.spark, self.layout, k=self.k, approximate=approximate)
        rows.write.mode("overwrite").parquet(str(self.work / "neighbors"))

    def recall(self):
        """Measured recall of the graph that was written last."""
        rows = self.spark.read.parquet(str(self.work / "neighbors"))
        row = measure_recall(rows, self.layout, k=self.k).first()
        return f"recall@{self.k} {row.recall:.4f} [{row.low:.4f}, {row.high:.4f}] on {row.n_queries} queries"

    def faiss(self):
        """Search everything in everything, in memory."""
        X = self.X.astype(np.float32)
        faiss.omp_set_num_threads(2)
        faiss.knn(X, X, self.k + 1, metric=faiss.METRIC_INNER_PRODUCT)


def lsh_join(spark, X, threshold=0.6):
    """Join near pairs by MLlib's bucketed random projections."""
    from pyspark.ml.feature import BucketedRandomProjectionLSH
    from pyspark.ml.linalg import Vectors

    rows = [(i, Vectors.dense(x.tolist())) for i, x in enumerate(X)]
    frame = spark.createDataFrame(rows, ["id", "features"]).cache()
    frame.count()
    lsh = BucketedRandomProjectionLSH(inputCol="features", bucketLength=1.0, numHashTables=6, seed=0)
    model = lsh.fit(frame)
    return lambda: (
        model.approxSimilarityJoin(frame, frame, threshold).where("datasetA.id < datasetB.id").count()
    )


class PeakMemory(threading.Thread):
    """Largest private memory of a Python worker, sampled."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.running = 0, True

    def run(self):
        """Look twice a second."""
        while self.running:
            for rollup in Path("/proc").glob("[0-9]*/smaps_rollup"):
                try:
                    if b"-m\0resight.workers.spark\0" in (rollup.parent / "cmdline").read_bytes():
                        self.peak = max(self.peak, private_kib(rollup.read_text()))
                except OSError:
                    continue
            time.sleep(0.5)


def private_kib(rollup):
    """Private memory that a process's ``smaps_rollup`` states, KiB."""
    lines = [line.split() for line in rollup.splitlines()]
    return sum(int(words[1]) for words in lines if words[0] in ("Private_Clean:", "Private_Dirty:"))


def run_once(bench, options):
    """Build one graph by the path that the plan chooses: seconds, recall, peak memory of a worker."""
    plan = choose_method(len(bench.X), bench.X.shape[1])
    memory = PeakMemory()
    memory.start()
    wall, cpu = run_timed(lambda: bench.graph(Approximation() if plan.method == "ivf" else None))
    memory.running = False
    print(
        f"{options.n} x {options.d}, {plan.method} ({plan.reason}): {wall:.0f} s, {cpu:.0f} CPU-s, "
        f"{bench.recall()}, "
        f"peak private memory of a worker {memory.peak / 1024:.0f} MiB, "
        f"of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def main():
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--spectrum", type=float, default=0.8, help="decay of the variances; 0: none")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["exact", "ivf", "lsh"])
    options = parser.parse_args()
    spark = start_session(SESSION)
    with tempfile.TemporaryDirectory() as folder:
        if "lsh" in options.parts:
            few = argparse.Namespace(**vars(options) | {"n": 5000, "d": 128})
            small = Bench(spark, few, Path(folder) / "small")
            small.graph()
            compare("5000 x 128, graph / LSH join", small.graph, lsh_join(spark, small.X), options.pairs)
        if {"exact", "ivf", "once"} & set(options.parts):
            run_parts(spark, options, Path(folder) / "large")
    spark.stop()


def run_parts(spark, options, work):
    """Compare the paths on the large set."""
    bench, size = Bench(spark, options, work), f"{options.n} x {options.d}"
    if "once" in options.parts:
        run_once(bench, options)
    if "exact" in options.parts:
        bench.graph()
        compare(f"{size}, exact / faiss.knn", bench.graph, bench.faiss, options.pairs)
        print("  " + bench.recall())
    if "ivf" in options.parts:
        bench.graph(Approximation())
        print("  ivf: " + bench.recall())
        compare(f"{size}, ivf / exact", lambda: bench.graph(Approximation()), bench.graph, options.pairs)


if __name__ == "__main__":
    sys.exit(main())
