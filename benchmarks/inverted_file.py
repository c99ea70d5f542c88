"""ASMK side by side with the package ``asmk`` 0.1.1, in one run on the same RootSIFT descriptors.

Parts, with the minutes that each takes on two quiet cores for 1.26 M descriptors, 600 each of 2,152 photos:

- the descriptors (2-4; kept in ``--folder`` and read from there by the next run), which the first two need;
- ``compare`` (10, most of it the package), for ``--small`` photos and for all: the codebook, with the mean
  squared distance of all descriptors to their nearest centroid; assignment, aggregation and inverted file;
  queries of five words per descriptor (aggregation and scoring; assignment apart), ours and theirs by turns.
  A table says the seconds of both, the ratio with its 95 % interval (bootstrap over the pairs), and the goal.
  Then the largest difference of a score: as timed, where resight assigns photos over groups of words and the
  package compares all, and a component that is exactly zero is a one here and a zero there; and under equal
  rules, with the centroids moved by a millionth so that no component is zero, and all words compared;
- ``scaling`` (1): the build and the queries on one thread and on ``--threads``, by turns;
- ``synthetic`` (2-4): an index of ``--entries`` entries, built and searched one shard at a time in processes
  of their own, with the peak of their memory.

A part that fails is named and the others go on; the exit status is 1 then. Where the package is not installed
(the extra ``bench``), its column says NOT RUN. Starts no Spark::

    python benchmarks/inverted_file.py --photos FOLDER --folder /tmp/asmk [--parts compare,scaling,synthetic]
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
FORMATS = {".jpg", ".jpeg", ".png"}
AGREED = 150  # photos whose scores are compared under equal rules
CHUNK = 256  # photos that a task indexes together
GOALS = {"codebook": 0.5, "assign + aggregate + build": 1 / 3, "query, 5 words a descriptor": 0.05}
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

    def first(self, n):
        """Give the first ``n`` photos."""
        offsets = self.offsets[: n + 1]
        return Photos(self.vectors[: offsets[-1]], offsets)

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


def describe(contents, n_threads, keypoints):
    """Describe photos by RootSIFT; what cannot be read has no descriptor."""
    from resight.features.local.extract import extract_local
    from resight.features.local.settings import LocalSettings

    found = extract_local(contents, LocalSettings(max_keypoints=keypoints), n_threads=n_threads)
    vectors = [one.vectors if one is not None else np.zeros((0, 128), np.float32) for one in found.features]
    offsets = np.append(0, np.cumsum([len(one) for one in vectors]))
    return Photos(np.concatenate([v.reshape(-1, 128) for v in vectors]).astype(np.float32), offsets)


def load_descriptors(args, folder):
    """Read the descriptors that an earlier run left in ``folder``, or describe the photos."""
    file = folder / f"descriptors-{args.n}-{args.keypoints}.npz"
    if not file.exists():
        contents, parts, begun = read_photos(args.photos, args.n), [], time.perf_counter()
        for i in range(0, len(contents), 256):
            parts.append(describe(contents[i : i + 256], args.threads, args.keypoints))
            print(
                f"described {i + parts[-1].n} of {len(contents)} photos, {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        vectors = np.concatenate([part.vectors for part in parts])
        unfinished = file.with_suffix(".part.npz")
        np.savez(unfinished, vectors=vectors, offsets=np.append(0, np.cumsum(counts)))
        unfinished.replace(file)
    held = np.load(file)
    return Photos(held["vectors"], held["offsets"])


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

    def assign(self, vectors):
        """Find the five words of each descriptor of a query."""
        return self.built.codebook.quantize(vectors, multiple_assignment=5)[1]

    def query(self, vectors, words):
        """Aggregate a query that is assigned already, and score all photos, in their order."""
        method = self.built
        aggregated = method.kernel.aggregate_image(vectors, words)
        kernel = lambda *x: method.kernel.similarity(*x, **self.params["query_ivf"]["similarity"])  # noqa: E731
        ranks, scores = method.inverted_file.search(*aggregated, topk=None, similarity_func=kernel)
        return scores[np.argsort(ranks)]


class Ours:
    """The same steps of resight, cut as its tasks cut them."""

    def __init__(self, words, folder):
        self.words, self.folder = words, str(folder)

    def train(self, photos):
        """Fit centroids on all descriptors, ten iterations, and choose how many groups are visited."""
        from resight.codebook.kmeans import fit_centroids
        from resight.codebook.model import Codebook
        from resight.codebook.quantize import tune_probes
        from resight.codebook.spark import PART_ROWS, Sample
        from resight.knn.matrix import save_array

        rng, X = np.random.default_rng(0), photos.vectors
        parts = [X[i : i + PART_ROWS] for i in range(0, len(X), PART_ROWS)]
        names = tuple(save_array(self.folder, f"points-{i:03d}", part) for i, part in enumerate(parts))
        sample = Sample(self.folder, names, *X.shape)
        start = X[np.sort(rng.choice(len(X), self.words, replace=False))]
        tested = X[:: max(1, len(X) // 20_000)]
        fitted = fit_centroids(sample.sum_here, start, n_iter=10, sample=tested)
        chosen = tune_probes(tested, fitted.centroids)
        self.codebook, self.agreement = Codebook(fitted.centroids, n_probes=chosen.n_probes), chosen
        return fitted.centroids

    def build(self, photos, threads):
        """Assign, aggregate and build the inverted file, one BLAS thread to a task."""
        import faiss
        from threadpoolctl import threadpool_limits

        from resight.asmk.shard import ShardFiles, write_shard

        self.codebook.quantizer.prepare()
        starts = range(0, photos.n, CHUNK)
        one = lambda: faiss.omp_set_num_threads(1)  # noqa: E731
        with threadpool_limits(1), ThreadPoolExecutor(threads, initializer=one) as pool:
            parts = [
                part for chunk in pool.map(lambda i: self.index_chunk(photos, i), starts) for part in chunk
            ]
        words, codes = (np.concatenate(column) for column in zip(*parts, strict=True))
        counts, place = np.array([len(part[0]) for part in parts]), f"{self.folder}/shard"
        ordinals = np.repeat(np.arange(photos.n), counts)
        made = write_shard(place, words, ordinals, codes, np.arange(photos.n), n_words=self.codebook.k)
        self.shard = ShardFiles(place, made.sha256).open()
        self.n_bytes, self.n_entries = made.n_bytes, made.n_entries
        self.norms = np.divide(1.0, np.sqrt(counts), out=np.zeros(len(counts)), where=counts > 0)
        self.weights = np.ones(self.codebook.k, np.float32)

    def index_chunk(self, photos, first):
        """Give the entries of some photos, as one chunk of build-index finds them."""
        from resight.asmk.aggregate import aggregate_image
        from resight.codebook.quantize import assign

        bounds = photos.offsets[first : first + CHUNK + 1]
        X = photos.vectors[bounds[0] : bounds[-1]]
        words = assign(X, self.codebook)
        own = [slice(a - bounds[0], b - bounds[0]) for a, b in pairwise(bounds)]
        return [aggregate_image(X[one], words[one], self.codebook) for one in own]

    def assign(self, vectors):
        """Find the five words of each descriptor of a query."""
        from resight.codebook.quantize import assign

        return assign(vectors, self.codebook, 5)

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
    """Mean squared distance of all descriptors to their nearest centroid, exactly."""
    import faiss

    sums = [
        faiss.knn(np.ascontiguousarray(vectors[i : i + 65_536]), centroids, 1)[0].sum(dtype=np.float64)
        for i in range(0, len(vectors), 65_536)
    ]
    return float(sum(sums) / len(vectors))


def choose_queries(photos, n):
    """Choose some photos as queries."""
    described = np.flatnonzero(np.diff(photos.offsets))
    return [
        photos.of(i)
        for i in described[np.linspace(0, len(described) - 1, min(n, len(described))).astype(int)]
    ]


def take_turns(calls, n, of=lambda call, i: call(i)):
    """Time two calls, the second may be None, each first by turns: seconds (n, 2), results of both."""
    seconds, results = np.full((n, 2), np.nan), [(None, None)] * n
    for i in range(n):
        found = [None, None]
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            if calls[side]:
                seconds[i, side], found[side] = timed(lambda side=side, i=i: of(calls[side], i))
        results[i] = tuple(found)
    return seconds, results


def interval(seconds, draws=2000):
    """95 % interval of the ratio of the sums of two columns, by bootstrap over the rows."""
    rng = np.random.default_rng(0)
    totals = seconds[rng.integers(0, len(seconds), (draws, len(seconds)))].sum(1)
    return np.percentile(totals[:, 0] / totals[:, 1], [2.5, 97.5])


def print_row(step, seconds, more=""):
    """Print a line of the table: medians, ratio, interval, goal."""
    ours, theirs = np.median(seconds, axis=0)
    n, goal = len(seconds), GOALS.get(step)
    if np.isnan(theirs):
        print(f"{step:30} {ours:10.4f}    NOT RUN  {more}", flush=True)
        return
    low, high = interval(seconds)
    span = f"[{low:.3f}, {high:.3f}]" if n > 1 else "(one pair)"
    aim = f"goal {goal:.3f}" if goal else ""
    ratio = seconds[:, 0].sum() / seconds[:, 1].sum()
    print(
        f"{step:30} {ours:10.4f} {theirs:10.4f}   {ratio:.3f} {span:16} {aim:10} of {n}  {more}", flush=True
    )


def compare(photos, args, folder, words, n_pairs):
    """Run both, step by step, by turns, and print the table."""
    ours, package = Ours(words, folder), None
    try:
        package = Package(words, args.threads)
    except ImportError:
        print("asmk NOT RUN: the package is not installed (pip install resight[bench])")
    name = f"{len(photos.vectors)} descriptors, {words} words"
    print(f"{name:30} {'resight s':>10} {'asmk s':>10}   ratio", flush=True)
    calls = (lambda _: ours.train(photos), package and (lambda _: package.train(photos)))
    seconds, found = take_turns(calls, n_pairs)
    errors = [quantization_error(photos.vectors, c) for c in found[-1] if c is not None]
    chosen = ours.agreement
    more = f"error {' and '.join(f'{e:.5f}' for e in errors)}"
    more += f", {chosen.n_probes} groups ({chosen.share:.4f} agree)"
    print_row("codebook", seconds, more)
    centroids = ours.codebook.centroids
    calls = (
        lambda _: ours.build(photos, args.threads),
        package and (lambda _: package.build(photos, centroids)),
    )
    print_row("assign + aggregate + build", take_turns(calls, n_pairs)[0], describe_size(ours))
    asked = choose_queries(photos, args.queries)
    both = (ours, package)
    for one in filter(None, both):
        one.query(asked[0], one.assign(asked[0]))
    seconds, held = take_turns(both, len(asked), lambda who, i: who.assign(asked[i]))
    share = [
        np.mean([len({*x} & {*y}) / 5 for x, y in zip(a, b, strict=True)]) for a, b in held if b is not None
    ]
    print_row(
        "assignment of a query", seconds, f"{np.mean(share):.4f} of the five words agree" if share else ""
    )
    own = [one[0] for one in held]
    seconds, scores = take_turns(both, len(asked), lambda who, i: who.query(asked[i], own[i]))
    print_row("query, 5 words a descriptor", seconds)
    if package:
        report_differences(scores, photos, args, folder, centroids)
    return ours


def report_differences(scores, photos, args, folder, centroids):
    """Print how far the scores of both lie apart, as they were timed and under equal rules."""
    timed = max(np.abs(a[: len(b)] - b[: len(a)]).max() for a, b in scores)
    equal = find_difference(photos.first(AGREED), args, folder, centroids)
    print(f"largest difference of a score: as timed {timed:.2e}, under equal rules {equal:.2e}", flush=True)


def find_difference(photos, args, folder, centroids):
    """Largest difference of a score where no rule differs: all words compared, no component exactly zero."""
    from resight.codebook.model import Codebook

    moved = centroids + np.random.default_rng(0).uniform(1e-6, 2e-6, centroids.shape)
    ours, package = Ours(len(moved), folder), Package(len(moved), args.threads)
    ours.codebook = Codebook(moved.astype(np.float32))
    ours.build(photos, args.threads)
    package.build(photos, ours.codebook.centroids)
    differences = []
    for vectors in choose_queries(photos, args.queries):
        words = ours.assign(vectors)
        ours_scores, theirs = ours.query(vectors, words), package.query(vectors, words)
        n = min(len(ours_scores), len(theirs))
        differences.append(np.abs(ours_scores[:n] - theirs[:n]).max())
    return max(differences)


def describe_size(ours):
    """Say what the last build took on the disk."""
    return f"{ours.n_entries} entries, {ours.n_bytes / max(ours.n_entries, 1):.1f} bytes each"


def measure_scaling(ours, photos, args):
    """Time the build and batches of queries on one thread and on several, by turns."""
    counts, built = (1, args.threads), {}
    for _ in range(3):
        for n in counts:
            built.setdefault(n, []).append(timed(lambda n=n: ours.build(photos, n))[0])
    asked = [(X, ours.assign(X)) for X in choose_queries(photos, args.queries)]
    batch, answered = asked * max(1, 1000 // len(asked)), {}
    for _ in range(5):
        for n in counts:
            with ThreadPoolExecutor(n) as pool:
                call = lambda pool=pool: list(pool.map(lambda query: ours.query(*query), batch))  # noqa: E731
                answered.setdefault(n, []).append(timed(call)[0])
    for step, found in (("build", built), (f"{len(batch)} queries", answered)):
        one, more = (float(np.median(found[n])) for n in counts)
        report(f"{step}, 1 thread", one)
        report(f"{step}, {args.threads} threads", more, f"{one / more:.2f} x")


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
        made = []
        for one in pool.map(build_synthetic, jobs):
            made.append(one)
            print(
                f"synthetic shard {len(made)} of {len(jobs)}, {time.perf_counter() - begun:.0f} s", flush=True
            )
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


def compile_loops(folder):
    """Run everything once on few descriptors: what is timed is compiled."""
    rng = np.random.default_rng(0)
    few = Photos(rng.random((9000, 128), dtype=np.float32), np.arange(0, 9001, 600))
    for words in (16, 3000):
        ours = Ours(words, folder)
        ours.train(few)
        ours.build(few, 1)
        ours.query(few.of(0), ours.assign(few.of(0)))


def compare_sizes(photos, args, folder):
    """Compare at both sizes; our index of all photos is what the scaling is measured on."""
    if 0 < args.small < photos.n:
        print("--- compare, small", flush=True)
        compare(photos.first(args.small), args, folder / "small", args.small_words, args.small_pairs)
        print("--- compare, full", flush=True)
    return compare(photos, args, folder / "full", args.words, args.pairs)


def make_index(photos, args, folder):
    """Fit and build ours alone."""
    ours = Ours(args.words, folder / "full")
    ours.train(photos)
    ours.build(photos, args.threads)
    return ours


def run_parts(args, folder):
    """Run the chosen parts; the number of those that failed."""
    wanted, n_failed, made = args.parts.split(","), 0, []
    steps = {"synthetic": lambda: run_synthetic(args.entries, folder / "synthetic", args.threads)}
    if {"compare", "scaling"} & {*wanted}:
        import faiss

        faiss.omp_set_num_threads(args.threads)
        seconds, photos = timed(lambda: load_descriptors(args, folder))
        print(f"{len(photos.vectors)} descriptors of {photos.n} photos in {seconds:.1f} s", flush=True)
        compile_loops(folder / "compiled")
        steps |= {
            "compare": lambda: made.append(compare_sizes(photos, args, folder)),
            "scaling": lambda: measure_scaling(
                made[0] if made else make_index(photos, args, folder), photos, args
            ),
        }
    for name in wanted:
        try:
            print(f"--- {name}", flush=True)
            steps[name]()
        except Exception:
            traceback.print_exc()
            print(f"{name} FAILED", flush=True)
            n_failed += 1
    return n_failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", help="folder of photos; default: those of the demo")
    parser.add_argument("--n", type=int, default=10_000, help="photos at most")
    parser.add_argument("--keypoints", type=int, default=600, help="of a photo at most")
    parser.add_argument("--words", type=int, default=16_384)
    parser.add_argument("--pairs", type=int, default=1, help="of codebook and build, of all photos")
    parser.add_argument("--small", type=int, default=150, help="photos of the small comparison; 0: none")
    parser.add_argument("--small-words", type=int, default=4096)
    parser.add_argument("--small-pairs", type=int, default=5)
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--entries", type=int, default=100_000_000, help="of the synthetic index")
    parser.add_argument("--parts", default="compare,scaling,synthetic")
    parser.add_argument("--folder", help="for files, which stay; default: a temporary folder")
    args = parser.parse_args()
    unknown = {*args.parts.split(",")} - {"compare", "scaling", "synthetic"}
    if unknown:
        parser.error(f"--parts: {sorted(unknown)[0]}")
    folder = Path(args.folder or tempfile.mkdtemp(prefix="resight-asmk-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        sys.exit(run_parts(args, folder) > 0)
    finally:
        if not args.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
