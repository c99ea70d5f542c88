"""Codes and their self-join at scale: planted copies among random descriptors, seconds, memory, exponent.

Descriptors of ``--d`` dimensions with a spectrum as networks have it; every hundredth has a near copy. An ITQ
code is fitted on a sample and applied, and all pairs of codes within ``--radius`` are joined by Spark, at a
quarter, a half and the whole of ``--n``. Printed are seconds (Spark's start apart), the largest memory of all
processes, the share of planted pairs found, and the exponent of the join's cost in n. ``--fashion FILE``
takes the photos of Debian's package dataset-fashion-mnist as pixels instead::

    python benchmarks/code_join.py --n 1000000
    python benchmarks/code_join.py --n 20000
    python benchmarks/code_join.py --fashion /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
"""

import argparse
import gzip
import math
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from manifolds import TreeMemory
from pyspark.sql import functions as sf

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "lib"))
from resight.hashing.learned import fit_itq  # noqa: E402
from resight.hashing.perceptual import BITS, hash_pixels  # noqa: E402
from resight.hashing.plan import SHUFFLED, choose_plan  # noqa: E402
from resight.hashing.spark import join_codes  # noqa: E402
from resight.session import read_spark_conf, start_session  # noqa: E402

SAMPLE, EVERY, BLOCK = 50_000, 100, 50_000
NOISE = 0.05  # of a copy, relative to its original


def draw_descriptors(n, d, seed):
    """Give blocks of unit vectors; one of every hundred has its copy right behind it."""
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(d)) ** -0.5
    for start in range(0, n, BLOCK):
        X = rng.normal(size=(min(BLOCK, n - start), d)).astype(np.float32) * spectrum
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        X[1::EVERY] = X[0::EVERY][: len(X[1::EVERY])]
        noise = rng.normal(size=X[1::EVERY].shape).astype(np.float32)
        X[1::EVERY] += NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        yield start, X


def write_codes(folder, n, options):
    """Fit on the first block, encode all, write the rows that the join reads."""
    model = None
    for start, X in draw_descriptors(n, options.d, options.seed):
        model = model or fit_itq(X[:SAMPLE], options.bits, iterations=20)
        write_rows(folder, start, model.encode(X), np.zeros(len(X), np.int32))


def write_rows(folder, start, codes, turns):
    """Write codes (m, b) of images from ``start`` on."""
    ids = pa.array(start + np.arange(len(codes)), pa.int64())
    values = pa.array([row.tobytes() for row in codes], pa.binary())
    table = pa.table({"image_id": ids, "turn": pa.array(turns, pa.int32()), "code": values})
    pq.write_table(table, folder / f"{start:010d}.parquet")


def write_pixels(folder, file):
    """Hash the photos of an idx file, upright only; return how many."""
    with gzip.open(file) as stream:
        head = np.frombuffer(stream.read(16), ">i4")
        pixels = np.frombuffer(stream.read(), np.uint8).reshape(head[1:])
    for start in range(0, len(pixels), BLOCK):
        part = pixels[start : start + BLOCK]
        rgb = (cv2.cvtColor(one, cv2.COLOR_GRAY2RGB) for one in part)
        codes = np.stack([hash_pixels(one, ("pdq",)).codes["pdq"][0] for one in rgb])
        write_rows(folder, start, codes, np.zeros(len(part), np.int32))
    return len(pixels)


def join(spark, folder, n, n_bits, radius):
    """Join the codes of a folder with themselves: seconds, peak in MiB, and the pairs."""
    memory = TreeMemory()
    memory.start()
    started = time.perf_counter()
    plan = choose_plan(n, n_bits, radius, lookup=SHUFFLED)
    pairs = join_codes(spark.read.parquet(f"file:{folder}"), radius=radius, plan=plan).pairs
    out = folder.parent / "pairs"
    pairs.write.mode("overwrite").parquet(f"file:{out}")
    seconds = time.perf_counter() - started
    memory.running = False
    memory.join()
    kind = "scan" if plan.is_scan else f"{len(plan.bounds)} parts, {plan.n_lookups} keys"
    return seconds, memory.peak / 1024, spark.read.parquet(f"file:{out}"), kind


def run_planted(spark, options):
    """Join three sizes; print a line each and the exponents."""
    before = None
    for n in (options.n // 4, options.n // 2, options.n):
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "codes"
            folder.mkdir()
            started = time.perf_counter()
            write_codes(folder, n, options)
            coded = time.perf_counter() - started
            seconds, peak, pairs, kind = join(spark, folder, n, options.bits, options.radius)
            n_pairs = pairs.count()
            is_planted = (sf.col("image_b") == sf.col("image_a") + 1) & (sf.col("image_a") % EVERY == 0)
            found = pairs.where(is_planted).count()
        n_planted = sum(len(range(1, min(BLOCK, n - start), EVERY)) for start in range(0, n, BLOCK))
        slope = f"  exponent {math.log2(seconds / before):.2f}" if before else ""
        words = f"{found / n_planted:.1%} of {n_planted} planted pairs, {n_pairs} pairs, {kind}{slope}"
        print(f"n {n:8d}: codes {coded:.0f} s, join {seconds:.1f} s, {peak:.0f} MiB, {words}", flush=True)
        before = seconds


def run_fashion(spark, options):
    """Hash and join the photos of an idx file."""
    if not Path(options.fashion).exists():
        print(f"NOT RUN: {options.fashion} is missing (Debian: dataset-fashion-mnist)")
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "codes"
        folder.mkdir()
        started = time.perf_counter()
        n = write_pixels(folder, options.fashion)
        coded = time.perf_counter() - started
        seconds, peak, pairs, kind = join(spark, folder, n, BITS["pdq"], options.radius)
        words = f"{seconds:.1f} s, {peak:.0f} MiB, {pairs.count()} pairs, {kind}"
        print(f"{n} photos: hashes {coded:.0f} s, join {words}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--n", type=int, default=1_000_000)
    add("--d", type=int, default=256)
    add("--bits", type=int, default=256)
    add("--radius", type=int, default=24)
    add("--seed", type=int, default=0)
    add("--fashion", help="train-images-idx3-ubyte.gz")
    options = parser.parse_args()
    spark = start_session(dict(read_spark_conf(ROOT / "conf/spark/local.conf")))
    spark.range(4).mapInArrow(lambda batches: batches, "id long").count()
    if options.fashion:
        run_fashion(spark, options)
    else:
        run_planted(spark, options)
    spark.stop()


if __name__ == "__main__":
    main()
