"""ASMK side by side with the package ``asmk`` 0.1.1, in one run on the same RootSIFT descriptors.

Each step is timed on its own: the codebook, assignment with aggregation and the inverted file, and queries of
five words per descriptor (aggregation and scoring; assignment apart). Scores are compared where the rules
agree: the package leaves a component that is exactly zero out of the bits, and gives the query's norm words
that no image has. A last part builds and searches a synthetic index of ``--entries`` entries, one shard at a
time, and states the peak of memory. Where the package is not installed (the extra ``bench``), its part says
NOT RUN. Runs without Spark::

    python benchmarks/inverted_file.py [--photos FOLDER] [--words 16384] [--entries 100000000]
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
FORMATS = {".jpg", ".jpeg", ".png"}
SYNTHETIC = {"n_words": 65_536, "per_image": 100, "shard_images": 50_000}


class Photos(NamedTuple):
    """Descriptors (n, d) float32 of all photos; those of photo i are ``offsets[i]`` to ``offsets[i + 1]``."""

    vectors: np.ndarray
    offsets: np.ndarray

    @property
    def n(self):
        """Number of photos."""
        return len(self.offsets) - 1

    def of(self, i):
        """Descriptors of one photo."""
        return self.vectors[self.offsets[i] : self.offsets[i + 1]]

    def owners(self):
        """Photo of every descriptor."""
        return np.repeat(np.arange(self.n), np.diff(self.offsets))


def read_photos(folder, n):
    """Read photos of a folder, or draw those of the demo collection."""
    if folder is None:
        from resight.demo.write import write_collection

        with tempfile.TemporaryDirectory() as made:
            write_collection(Path(made) / "demo")
            return read_photos(made, n)
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in FORMATS and p.is_file())
    return [path.read_bytes() for path in paths[:n]]


def describe(contents, n_threads):
    """Describe photos by RootSIFT; what cannot be read has no descriptor."""
    from resight.features.local.extract import extract_local
    from resight.features.local.settings import LocalSettings

    found = extract_local(contents, LocalSettings(extractor="rootsift"), n_threads=n_threads)
    vectors = [one.vectors if one is not None else np.zeros((0, 128), np.float32) for one in found.features]
    offsets = np.append(0, np.cumsum([len(one) for one in vectors]))
    return Photos(np.concatenate([v.reshape(-1, 128) for v in vectors]).astype(np.float32), offsets)


def timed(call):
    """Seconds of a call, and what it returns."""
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def peak_gib():
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Package:
    """The package ``asmk``, given the same descriptors and, after its own codebook, the same centroids."""

    def __init__(self, words, threads):
        import faiss
        from asmk import asmk_method, codebook
        from asmk import index as indexes

        faiss.omp_set_num_threads(threads)
        self.method, self.codebook, self.indexes, self.words = asmk_method, codebook, indexes, words
        self.factory = indexes.initialize_index(gpu_id=None)
        self.params = {
            "index": {"gpu_id": None},
            "build_ivf": {
                "kernel": {"binary": True},
                "ivf": {"use_idf": False},
                "quantize": {"multiple_assignment": 1},
                "aggregate": {},
            },
            "query_ivf": {
                "quantize": {"multiple_assignment": 5},
                "aggregate": {},
                "search": {"topk": None},
                "similarity": {"similarity_threshold": 0.0, "alpha": 3.0},
            },
        }

    def train(self, photos):
        """Fit centroids on all descriptors, ten iterations."""
        trained = self.codebook.Codebook(self.factory, size=self.words)
        trained.train(photos.vectors)
        return trained.centroids

    def build(self, photos, centroids):
        """Assign, aggregate and build the inverted file."""
        held = self.codebook.Codebook(self.factory, size=len(centroids))
        held.index(centroids)
        method = self.method.ASMKMethod(self.params, {}, codebook=held)
        self.built = method.build_ivf(photos.vectors, photos.owners())

    def query(self, vectors, words):
        """Aggregate a query that is assigned already, and score all photos, in their order."""
        method = self.built
        aggregated = method.kernel.aggregate_image(vectors, words)
        kernel = lambda *x: method.kernel.similarity(*x, **self.params["query_ivf"]["similarity"])  # noqa: E731
        ranks, scores = method.inverted_file.search(*aggregated, topk=None, similarity_func=kernel)
        return scores[np.argsort(ranks)]


class Ours:
    """The same steps of resight."""

    def __init__(self, words, folder):
        self.words, self.folder = words, str(folder)

    def train(self, photos):
        """Fit centroids on all descriptors, ten iterations."""
        from resight.codebook.kmeans import add_sums, fit_centroids, sum_parts

        rng, X = np.random.default_rng(0), photos.vectors
        start = X[np.sort(rng.choice(len(X), self.words, replace=False))]
        sample = X[:: max(1, len(X) // 20_000)]
        step = lambda quantizer: add_sums([sum_parts([X], quantizer)])  # noqa: E731
        return fit_centroids(step, start, n_iter=10, sample=sample).centroids

    def build(self, photos, centroids):
        """Assign, aggregate and build the inverted file."""
        from resight.asmk.aggregate import aggregate_image
        from resight.asmk.shard import ShardFiles, write_shard
        from resight.codebook.model import Codebook
        from resight.codebook.quantize import assign, tune_probes

        sample = photos.vectors[:: max(1, len(photos.vectors) // 20_000)]
        self.codebook = Codebook(centroids, n_probes=tune_probes(sample, centroids).n_probes)
        parts = []
        for i in range(photos.n):
            vectors = photos.of(i)
            parts.append(aggregate_image(vectors, assign(vectors, self.codebook), self.codebook))
        words, codes = (np.concatenate(column) for column in zip(*parts, strict=True))
        counts = np.array([len(part[0]) for part in parts])
        ordinals = np.repeat(np.arange(photos.n), counts)
        made = write_shard(self.folder, words, ordinals, codes, np.arange(photos.n), n_words=len(centroids))
        self.shard = ShardFiles(self.folder, made.sha256).open()
        self.n_bytes, self.n_entries = made.n_bytes, made.n_entries
        self.norms = np.divide(1.0, np.sqrt(counts), out=np.zeros(len(counts)), where=counts > 0)
        self.weights = np.ones(len(centroids), np.float32)

    def query(self, vectors, words):
        """Aggregate a query that is assigned already, and score all photos, in their order."""
        from resight.asmk.aggregate import aggregate_image
        from resight.asmk.kernel import lookup_table
        from resight.asmk.score import score_shard

        asked, codes = aggregate_image(vectors, words, self.codebook)
        table = lookup_table(self.codebook.n_bits).astype(np.float32)
        raw = score_shard(self.shard, asked, codes, self.weights, table)
        return raw * self.norms * max(len(asked), 1) ** -0.5


def quantization_error(vectors, centroids):
    """Mean squared distance to the nearest centroid, of a sample."""
    import faiss

    sample = vectors[:: max(1, len(vectors) // 50_000)]
    return float(faiss.knn(np.ascontiguousarray(sample), centroids, 1)[0].mean())


def compare(photos, args, folder):
    """Run both, step by step, and print a line for each."""
    from resight.codebook.quantize import assign

    ours = Ours(args.words, folder)
    seconds, centroids = timed(lambda: ours.train(photos))
    report("codebook", seconds, f"error {quantization_error(photos.vectors, centroids):.5f}")
    seconds = timed(lambda: ours.build(photos, centroids))[0]
    size = f"{ours.n_entries} entries, {ours.n_bytes / max(ours.n_entries, 1):.1f} bytes each"
    report("assign + aggregate + build", seconds, size)
    described = np.flatnonzero(np.diff(photos.offsets))
    chosen = described[np.linspace(0, len(described) - 1, min(args.queries, len(described))).astype(int)]
    asked = [(photos.of(i), assign(photos.of(i), ours.codebook, 5)) for i in chosen]
    ours.query(*asked[0])
    times = [timed(lambda q=query: ours.query(*q)) for query in asked]
    report("query, 5 words a descriptor", np.median([t for t, _ in times]), f"of {len(asked)}")
    one = timed(lambda: [ours.query(*query) for query in asked])[0]
    with ThreadPoolExecutor(args.threads) as pool:
        two = timed(lambda: list(pool.map(lambda query: ours.query(*query), asked)))[0]
    print(f"resight  {args.threads} threads answer {one / two:.2f} x as many queries as one")
    try:
        package = Package(args.words, args.threads)
    except ImportError:
        print("asmk     NOT RUN: the package is not installed (pip install resight[bench])")
        return
    seconds, other = timed(lambda: package.train(photos))
    report("codebook", seconds, f"error {quantization_error(photos.vectors, other):.5f}", "asmk")
    report("assign + aggregate + build", timed(lambda: package.build(photos, centroids))[0], "", "asmk")
    theirs = [timed(lambda q=query: package.query(*q)) for query in asked]
    report("query, 5 words a descriptor", np.median([t for t, _ in theirs]), f"of {len(asked)}", "asmk")
    pairs = zip(times, theirs, strict=True)
    largest = max(np.abs(a[: len(b)] - b[: len(a)]).max() for (_, a), (_, b) in pairs)
    print(f"largest difference of a score: {largest:.2e}")


def report(step, seconds, more="", who="resight"):
    print(f"{who:8} {step:30} {seconds:10.4f} s   {more}", flush=True)


def draw_shard(number, n_images):
    """Draw the entries of a synthetic shard: distinct words per image, random codes."""
    rng, k, m = np.random.default_rng(number), SYNTHETIC["n_words"], SYNTHETIC["per_image"]
    step = k // m
    words = (np.arange(m) * step)[None] + rng.integers(0, step, (n_images, m), dtype=np.int32)
    codes = rng.integers(0, 256, (n_images * m, 16), dtype=np.uint8)
    return words.ravel().astype(np.int32), np.repeat(np.arange(n_images), m), codes


def build_synthetic(job):
    """Draw and write one shard: its files, seconds of writing alone, and the memory of the process."""
    from resight.asmk.shard import write_shard

    folder, number, n_images = job
    words, ordinals, codes = draw_shard(number, n_images)
    ids = number * SYNTHETIC["shard_images"] + np.arange(n_images)
    seconds, made = timed(
        lambda: write_shard(folder, words, ordinals, codes, ids, n_words=SYNTHETIC["n_words"])
    )
    return folder, made, seconds, peak_gib()


def run_synthetic(n_entries, folder, processes):
    """Build and search a large index, in processes of their own."""
    per_shard = SYNTHETIC["shard_images"] * SYNTHETIC["per_image"]
    sizes = [min(per_shard, n_entries - i) // SYNTHETIC["per_image"] for i in range(0, n_entries, per_shard)]
    jobs = [(f"{folder}/{number:05d}", number, size) for number, size in enumerate(sizes)]
    begun = time.perf_counter()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(build_synthetic, jobs))
    wall, n_bytes = time.perf_counter() - begun, sum(info.n_bytes for _, info, _, _ in made)
    print(
        f"synthetic: {n_entries} entries, {sum(sizes)} images, {len(jobs)} shards, {processes} processes: "
        f"{wall:.1f} s with drawing, {sum(s for *_, s, _ in made):.1f} s of writing, "
        f"{n_bytes / max(n_entries, 1):.2f} bytes an entry, peak {max(p for *_, p in made):.2f} GiB a process"
    )
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        print(pool.submit(search_synthetic, [(place, info.sha256) for place, info, _, _ in made]).result())


def search_synthetic(shards):
    """Search all shards for a query of 1,000 words, first with checksums, then warm; a line to print."""
    from resight.asmk.kernel import lookup_table
    from resight.asmk.score import score_shard
    from resight.asmk.search import best_of
    from resight.asmk.shard import ShardFiles

    rng, k = np.random.default_rng(1), SYNTHETIC["n_words"]
    words = np.sort(rng.choice(k, 1000, replace=False)).astype(np.int32)
    codes, weights = rng.integers(0, 256, (1000, 16), dtype=np.uint8), np.ones(k, np.float32)
    table = lookup_table(128).astype(np.float32)

    def search():
        for place, sha256 in shards:
            best_of(score_shard(ShardFiles(place, sha256).open(), words, codes, weights, table), 100)

    first, warm = timed(search)[0], min(timed(search)[0] for _ in range(5))
    seconds = f"first {first:.2f} s, warm {1000 * warm:.1f} ms"
    return f"synthetic query of 1,000 words: {seconds}, peak {peak_gib():.2f} GiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", help="folder of photos; default: those of the demo")
    parser.add_argument("--n", type=int, default=10_000, help="photos at most")
    parser.add_argument("--words", type=int, default=16_384)
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--entries", type=int, default=100_000_000, help="of the synthetic index; 0: none")
    parser.add_argument("--folder", help="for files; default: a temporary folder")
    args = parser.parse_args()
    folder = Path(args.folder or tempfile.mkdtemp(prefix="resight-asmk-"))
    try:
        seconds, photos = timed(lambda: describe(read_photos(args.photos, args.n), args.threads))
        print(f"{len(photos.vectors)} descriptors of {photos.n} photos in {seconds:.1f} s", flush=True)
        compare(photos, args, folder / "shard")
        if args.entries:
            run_synthetic(args.entries, folder / "synthetic", args.threads)
    finally:
        if not args.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
