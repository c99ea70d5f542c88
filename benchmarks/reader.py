"""The reader without Spark: what it costs to open a collection and to ask it one thing, as collections grow.

For every size a workspace is written by the kernels, with no Spark: planted vectors (many small objects), a
graph whose links lie near each other, rows of an offline diffusion, a table of images. A fresh process then
opens it and asks: seconds to open (runs read, files mapped), the memory that is the process's own (anonymous
pages; mapped files are the system's cache, shared by all readers of a machine), and the median and the worst
milliseconds of single queries by each method, uris included. The first query of a method, which fills
caches, is shown by itself. Before that, an inverted file of planted keypoints is asked: the words of a query,
of ``--assignments`` each, its codes and the scores of all images, keypoints given. Run on a quiet machine::

    python benchmarks/reader.py
    python benchmarks/reader.py --sizes --photos 1500 --threads 2
    python benchmarks/reader.py --sizes 10000 100000 1000000 --queries 20
    python benchmarks/reader.py --sizes 1000000 --dtype float16
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import resight
from resight.asmk.aggregate import aggregate_image
from resight.asmk.searching.index import IndexFiles
from resight.asmk.shard import ShardFiles, write_shard
from resight.asmk.statistics import inverse_roots, word_weights
from resight.codebook.model import Codebook, save_codebook
from resight.codebook.quantize import assign, tune_probes
from resight.features.local.points import LocalFeatures
from resight.graph.matrix import save_graph
from resight.knn.matrix import Part, VectorFiles, load_vector_files, save_array, save_part
from resight.search.collection import Collection
from resight.search.local.answer import Keypoints, LocalIndex, answer_index
from resight.search.manifold import ManifoldFiles
from resight.search.settings import SearchSettings
from resight.tables import EDGES, GLOBAL_DESCRIPTORS, IMAGES, MANIFOLD_NEIGHBORS
from resight.workspace import COLLECTION, Output, Run, Workspace

PART_ROWS, VIEWS, KEPT = 65_536, 20, 50
METHODS = ("global", "alpha_qe", "diffusion", "offline_diffusion")
NOW = datetime.now(UTC)


def draw_part(start, stop, d):
    """Draw unit rows (stop - start, d): `VIEWS` views of every object in turn."""
    rng = np.random.default_rng(start)
    rows = np.arange(start, stop)
    centres = rng.standard_normal((rows[-1] // VIEWS - start // VIEWS + 1, d), np.float32)
    X = centres[rows // VIEWS - start // VIEWS] + 0.7 * rng.standard_normal((len(rows), d), np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def write_vectors(folder, ids, d, dtype):
    """Write vectors part by part."""
    starts = range(0, len(ids), PART_ROWS)
    parts = []
    for number, start in enumerate(starts):
        some = ids[start : start + PART_ROWS]
        X = draw_part(start, start + len(some), d).astype(dtype)
        parts.append(Part(save_part(folder, number, some, X), start, len(some)))
    copies = save_array(folder, "copies", np.zeros((2, 0), np.int64))
    VectorFiles(folder, d, dtype, tuple(parts), copies).save()


def write_graph(folder, ids, degree):
    """Link every node to some of the nodes near it."""
    n, rng = len(ids), np.random.default_rng(0)
    src = np.repeat(np.arange(n), degree // 2)
    dst = np.minimum(src + rng.geometric(1 / VIEWS, len(src)), n - 1)
    pairs = np.unique(src[src != dst] * n + dst[src != dst])
    src, dst = np.divmod(pairs, n)
    affinity = rng.uniform(0.3, 1, len(src)) ** 3
    both = np.concatenate([src, dst]), np.concatenate([dst, src])
    order = np.lexsort(both[::-1])
    edges = ids[both[0][order]], ids[both[1][order]], np.tile(affinity, 2)[order]
    save_graph(folder, ids, np.zeros(n, np.int64), edges).save()


def write_manifold(folder, n):
    """Write `KEPT` results of every node, as if they had been diffused."""
    rows = []
    near = np.argsort(np.abs(np.arange(KEPT) - KEPT // 2), kind="stable") - KEPT // 2
    scores = (0.01 * 0.9 ** np.arange(KEPT)).astype(np.float32)
    for start in range(0, n, PART_ROWS):
        sources = np.arange(start, min(start + PART_ROWS, n))
        ordinals = ((sources[:, None] + near) % n).astype(np.int32).ravel()
        arrays = sources, KEPT * np.arange(len(sources) + 1), ordinals, np.tile(scores, len(sources))
        rows.append((start, tuple(save_array(folder, f"m{i}", array) for i, array in enumerate(arrays))))
    ManifoldFiles(folder, tuple(rows)).save()


def write_workspace(root, n, options):
    """Commit a collection of ``n`` images."""
    workspace = Workspace.open(str(root), "parquet", create=True)
    ids = np.sort(np.random.default_rng(5).choice(1 << 62, n, replace=False))
    folder = Path(workspace.table_uri(IMAGES), COLLECTION, "v1")
    folder.mkdir(parents=True)
    columns = {"image_id": ids, "uri": pa.array([f"photos/{i % 997:03d}/{i:012x}.jpg" for i in ids.tolist()])}
    columns["format"] = pa.array(["png", "jpeg", "jpeg", "jpeg"] * (n // 4) + ["jpeg"] * (n % 4))
    rows = pa.table(columns).take(np.random.default_rng(6).permutation(n))
    fields = [(f.name, f.type) for f in IMAGES.schema]
    full = {name: rows[name] if name in columns else pa.nulls(n, kind) for name, kind in fields}
    pq.write_table(pa.table(full, schema=IMAGES.schema), folder / "rows.parquet", row_group_size=128_000)
    builds = (
        ("ingest-images", IMAGES, ""),
        ("import-descriptors", GLOBAL_DESCRIPTORS, ""),
        ("build-graph", EDGES, "import-descriptors"),
        ("diffuse", MANIFOLD_NEIGHBORS, "import-descriptors"),
    )
    for sequence, (job, table, parent) in enumerate(builds, 1):
        build = job if table.has_builds else COLLECTION
        times = {"started_at": NOW, "committed_at": NOW}
        parents = {GLOBAL_DESCRIPTORS.name: parent} if parent else {}
        outputs = {table.name: Output("v1", "v1", n)}
        run = Run(
            run_id=job, job=job, build_id=build, sequence=sequence, outputs=outputs, parents=parents, **times
        )
        workspace.commit(run)
    shards = [f"{root}/shards/{t.name}-{job}/v1" for job, t, _ in builds[1:]]
    write_vectors(shards[0], ids, options.d, options.dtype)
    write_graph(shards[1], ids, options.degree)
    write_manifold(f"{shards[2]}/v1", n)


def draw_photo(rng, C, n):
    """Draw descriptors (n, d) near centroids."""
    noise = rng.standard_normal((n, C.shape[1]), np.float32)
    return C[rng.integers(0, len(C), n)] + (0.5 / np.sqrt(C.shape[1])) * noise


def write_index(folder, options):
    """Write an inverted file of planted photos, as `build-index` would."""
    rng, photos = np.random.default_rng(1), range(options.photos)
    C = rng.standard_normal((options.words, 128), np.float32)
    C /= np.linalg.norm(C, axis=1, keepdims=True)
    codebook = Codebook(C, n_probes=tune_probes(draw_photo(rng, C, 10_000), C).n_probes)
    found = []
    for _ in photos:
        X = draw_photo(rng, C, options.keypoints)
        found.append(aggregate_image(X, assign(X, codebook), codebook))
    words, codes = (np.concatenate(column) for column in zip(*found, strict=True))
    owners = np.repeat(np.arange(len(found)), [len(own) for own, _ in found])
    weights = word_weights(np.bincount(words, minlength=len(C)), len(found))
    norms = inverse_roots(np.bincount(owners, weights[words], minlength=len(found)))
    ids = np.arange(len(found), dtype=np.int64)
    info = write_shard(f"{folder}/shard", words, owners, codes, ids, n_words=len(C))
    part = Part(save_part(f"{folder}/images", 0, ids, norms.astype(np.float32)[:, None]), 0, len(ids))
    stats = VectorFiles(f"{folder}/images", 1, "float32", (part,))
    shards = (ShardFiles(f"{folder}/shard", info.sha256, info.n_images, info.n_entries),)
    name = save_array(folder, "weights", weights.astype(np.float32))
    return IndexFiles(folder, shards, stats, name, save_codebook(codebook, folder))


def measure_index(folder, options):
    """Ask an inverted file by one photo at a time; give the first, the median and the worst milliseconds."""
    layout = write_index(folder, options)
    made = {"aggregate": True, "alpha": 3.0, "tau": 0.0, "values": "bits"}
    indexed = Run(
        run_id="i",
        job="build-index",
        build_id="i",
        sequence=1,
        settings=made,
        started_at=NOW,
        committed_at=NOW,
    )
    index, codebook = layout.open(), layout.open_codebook()
    local, seconds = LocalIndex(index, codebook, indexed, Collection(index.X)), []
    settings, rng = SearchSettings(method="asmk", assignments=options.assignments), np.random.default_rng(2)
    for _ in range(options.queries + 1):
        X = draw_photo(rng, codebook.centroids, options.keypoints)
        features = LocalFeatures(np.zeros((len(X), 5), np.float32), X)
        asked = Keypoints([features], ["ok"], [None], [None])
        begun = time.perf_counter()
        answer_index(["photo.jpg"], asked, local, settings, None, threads=options.threads)
        seconds.append(1000 * (time.perf_counter() - begun))
    return seconds[0], statistics.median(seconds[1:]), max(seconds[1:])


def own_memory():
    """Give the MiB that are this process's own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure(root, options):
    """Open and ask, in this process; gives figures."""
    before, begun = own_memory(), time.perf_counter()
    searcher = resight.open(root, threads=options.threads)
    for method in METHODS:
        X = searcher.moment.open(SearchSettings(method=method)).collection.X
    figures = {
        "open_s": time.perf_counter() - begun,
        "imports_mib": before,
        "open_mib": own_memory() - before,
    }
    rng = np.random.default_rng(9)
    Q = X.gather(rng.integers(0, X.n, options.queries + 1))
    Q = Q + (0.3 / np.sqrt(X.d)) * rng.standard_normal(Q.shape, np.float32)
    asked = [(method, ()) for method in METHODS] + [("global", "format=png"), ("diffusion", "format=png")]
    for method, filter in asked:
        seconds = []
        for q in Q:
            begun = time.perf_counter()
            searcher.search(q, method=method, filter=filter)
            seconds.append(1000 * (time.perf_counter() - begun))
        later = seconds[1:]
        figures[f"{method} {filter or ''}".strip()] = (seconds[0], statistics.median(later), max(later))
    ids = X.id_of(rng.integers(0, X.n, 100))
    begun = time.perf_counter()
    searcher.moment.uris_of(ids)
    figures["uris_ms"] = 1000 * (time.perf_counter() - begun)
    return figures | {"end_mib": own_memory() - before}


def run_size(n, options):
    """Write one size, measure it in a fresh process, print."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        begun = time.perf_counter()
        write_workspace(Path(folder) / "w", n, options)
        layout = load_vector_files(f"{folder}/w/shards/{GLOBAL_DESCRIPTORS.name}-import-descriptors/v1")
        print(
            f"n {n}, {layout.d} x {layout.dtype}; written in {time.perf_counter() - begun:.0f} s", flush=True
        )
        words = [*sys.argv[1:], "--measure", f"{folder}/w"]
        done = subprocess.run(
            [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
        )
    figures = json.loads(done.stdout)
    print(
        f"  open {figures['open_s']:.2f} s; own memory {figures['imports_mib']:.0f} MiB of imports, "
        f"+{figures['open_mib']:.0f} MiB opened, +{figures['end_mib']:.0f} MiB after all queries; "
        f"100 uris {figures['uris_ms']:.0f} ms"
    )
    for name, values in figures.items():
        if isinstance(values, list):
            first, median, worst = values
            print(f"  {name:28s} median {median:8.1f} ms, worst {worst:8.1f} ms; the first {first:8.1f} ms")


def main():
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--degree", type=int, default=24)
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--photos", type=int, default=1500, help="of the inverted file; 0: none is asked")
    parser.add_argument("--keypoints", type=int, default=1000)
    parser.add_argument("--words", type=int, default=16_384)
    parser.add_argument("--assignments", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where the workspaces are written, and deleted")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(options.measure, options)))
        return
    if options.photos:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            first, median, worst = measure_index(folder, options)
        what = f"asmk, {options.photos} photos of {options.keypoints} keypoints, {options.words} words"
        print(f"{what}, {options.assignments} assignments, {options.threads} threads")
        print(f"  median {median:.1f} ms, worst {worst:.1f} ms; the first {first:.1f} ms", flush=True)
    for n in options.sizes:
        run_size(n, options)


if __name__ == "__main__":
    main()
