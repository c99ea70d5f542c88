"""The job ``discover-objects`` against its bare kernels, on the same photos and cores; and what it finds.

Both sides are warm. The bare side finds boxes, joins them by dense matrices, solves for the centrality, finds
the objects of every photo and climbs, in one process per core and without a table, a status or a chunk. It
describes images again for the second look, as the job does. A job run is the whole of it, with its commit::

    python benchmarks/discovery.py [--photos FOLDER] [--n 600] [--cores 2] [--pairs 5]

How pure the objects are, and how much of the known instances they cover, from a workspace that has them
(``--truth``: CSV with the columns image and instance, empty for a photo of nothing known)::

    resight ingest-images    --workspace W --source photos/
    resight extract-features --workspace W --pooling gem --name gem
    resight discover-objects --workspace W --descriptors gem --represent --name objects
    python benchmarks/discovery.py --workspace W --truth groundtruth.csv

Whether images are found better by their objects: rank by both builds and compare the means of ``evaluate``,
each ranking with its interval::

    resight search   --workspace W --queries-from collection --descriptors gem --depth all --name plain
    resight search   --workspace W --queries-from collection --descriptors objects --depth all --name seen
    resight evaluate --workspace W --ground-truth groundtruth.csv --instances leave_one_out --results plain
    resight evaluate --workspace W --ground-truth groundtruth.csv --instances leave_one_out --results seen
"""

import argparse
import csv
import os
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
from benchmarks import extract

K, FLOOR = 50, 0.5**3
STATE = {}


def prepare(folder, n, part, parts):
    """Read a worker's photos, and load its network."""
    import torch

    from resight.discovery.settings import DiscoverySettings, network_settings
    from resight.features.settings import ExtractSettings

    torch.set_num_threads(1)
    contents = extract.read_photos(folder, n)[part::parts]
    network = network_settings(ExtractSettings(pooling="gem", enlarge=False), 512)
    STATE.update(contents=contents, network=network, conf=DiscoverySettings())
    find_boxes()


def find_boxes():
    """Find the boxes of a worker's photos: saliency (m,), vectors (m, d), boxes of each photo."""
    from resight.discovery.found import find_regions
    from resight.discovery.maps import map_photos

    conf, network = STATE["conf"], STATE["network"]
    found = map_photos(STATE["contents"], network, lambda _, A: find_regions(A, conf, p=network.p))
    return gather(found)


def gather(found):
    """Join what was found in some photos."""
    counts = [len(one.boxes) for one in found]
    return np.concatenate([f.saliency for f in found]), np.concatenate([f.vectors for f in found]), counts


def find_things(V, worth, first, whitening):
    """Find the objects of a worker's photos by all boxes, of which its own begin at ``first``."""
    from resight.discovery.found import describe_patches, find_objects
    from resight.discovery.maps import map_photos
    from resight.discovery.saliency import feature_saliency, object_saliency

    conf, network = STATE["conf"], STATE["network"]
    k = min(conf.query_neighbors, len(V) - 1)

    def look(i, A):
        F = feature_saliency(A)
        C = describe_patches(A, conf, whitening, p=network.p) @ V.T
        C[:, first[i] : first[i + 1]] = -1
        nearest = np.argpartition(-C, k, axis=1)[:, :k]
        similarity = np.take_along_axis(C, nearest, 1)
        S = object_saliency(F, similarity, worth[nearest], gamma=conf.gamma, power=conf.cell_power)
        return find_objects(A, F, S, conf, whitening, p=network.p)

    return gather(map_photos(STATE["contents"], network, look))


def join(V, image, gamma):
    """Normalise the affinity of mutual neighbours of different photos."""
    import scipy.sparse as sp

    from resight.diffusion.normalize import normalize_affinity

    C = V @ V.T
    np.fill_diagonal(C, -1)
    k = min(K, len(V) - 1)
    nearest = np.zeros(C.shape, bool)
    np.put_along_axis(nearest, np.argpartition(-C, k - 1, axis=1)[:, :k], True, axis=1)
    kept = nearest & nearest.T & (image[:, None] != image)
    return normalize_affinity(sp.csr_array(np.where(kept, np.maximum(C, 0) ** gamma, 0)))


def bare_run(pools):
    """Do the whole of it; returns the number of boxes that climb to another."""
    from resight.discovery.centrality import solve_katz
    from resight.discovery.modes import climb
    from resight.discovery.pooling import fit_box_whitening, whiten_rows
    from resight.discovery.saliency import region_worth
    from resight.features.whitening import CovarianceSums

    parts = [future.result() for future in [pool.submit(find_boxes) for pool in pools]]
    counts = np.concatenate([part[2] for part in parts])
    raw = np.concatenate([part[1] for part in parts])
    whitening = [fit_box_whitening(CovarianceSums.of_rows(raw), dims=512, power=0.3)]
    V, image = whiten_rows(raw, whitening), np.repeat(np.arange(len(counts)), counts)
    worth = region_worth(np.concatenate([part[0] for part in parts]), solve_katz(join(V, image, 3).S).g)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    sizes = np.cumsum([0] + [len(part[2]) for part in parts])
    spans = [bounds[a : b + 1] for a, b in pairwise(sizes)]
    tasks = [
        pool.submit(find_things, V, worth, span, whitening) for pool, span in zip(pools, spans, strict=True)
    ]
    parts = [task.result() for task in tasks]
    counts = np.concatenate([part[2] for part in parts])
    V, image = np.concatenate([part[1] for part in parts]), np.repeat(np.arange(len(counts)), counts)
    graph = join(V, image, 3)
    steps = climb(graph.S, graph.degrees, np.arange(len(V)), 0, len(V), floor=FLOOR)
    return int((steps != np.arange(len(V))).sum())


def compare(args, folder):
    """Interleave the job and the bare kernels; print the median ratio of throughputs."""
    from benchmarks.job_extract import SESSION, JobSide
    from benchmarks.knn_graph import run_timed
    from resight.job import Options
    from resight.jobs.discover_objects import DiscoverConfig
    from resight.jobs.discover_objects import main as discover_job
    from resight.jobs.extract_features import ExtractConfig
    from resight.jobs.extract_features import main as extract_job

    contents = extract.read_photos(args.photos, args.n)
    photos, n_runs = str(folder / "job/photos"), [0]
    with ExitStack() as stack:
        spawned = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(args.cores)]
        pools = [stack.enter_context(pool) for pool in spawned]
        job = JobSide(folder / "job", contents, args.cores)
        small = ExtractConfig(pooling="gem", longer_side=64, enlarge=False)
        extract_job(job.store, small, Options(name="gem"))
        ready = [pool.submit(prepare, photos, args.n, i, args.cores) for i, pool in enumerate(pools)]
        [future.result() for future in ready]

        def run():
            """Discover anew: another seed makes another build of the same work."""
            n_runs[0] += 1
            discover_job(job.store, DiscoverConfig(seed=n_runs[0], chunk_size=args.chunk), Options())

        run()
        rows = [(run_timed(run), run_timed(lambda: bare_run(pools))) for _ in range(args.pairs)]
        job.spark.stop()
    wall = np.array([[ours[0], bare[0]] for ours, bare in rows])
    print(f"{len(contents)} photos, {args.cores} cores, {SESSION['spark.driver.memory']} driver")
    for name, seconds in zip(("job", "bare kernels"), np.median(wall, axis=0), strict=True):
        print(f"  {name}: {seconds / len(contents) * 1e3:.0f} ms a photo")
    print(f"throughput ratio {extract.interval(wall[:, 1] / wall[:, 0])} (wanted: 0.9 or more)")


def judge(shown, truth):
    """Judge objects, lists of photos, by the instance of each photo.

    Returns purity (share of an object's photos that show what most of them show, mean over photos), the
    share of objects that are at least 0.8 pure, the share of instances of three photos or more that some
    object shows, and the share of their photos that are in such an object. A photo of nothing known is like
    no other.
    """
    n_right, n_pure, n_all, covered = 0, 0, 0, defaultdict(set)
    for photos in shown:
        instances = [truth.get(photo) or photo for photo in photos]
        most, n = min(Counter(instances).items(), key=lambda pair: (-pair[1], pair[0]))
        n_right, n_all, n_pure = n_right + n, n_all + len(photos), n_pure + (n >= 0.8 * len(photos))
        if 2 * n > len(photos):
            covered[most] |= {photo for photo, one in zip(photos, instances, strict=True) if one == most}
    sizes = Counter(instance for instance in truth.values() if instance)
    wanted = {instance for instance, n in sizes.items() if n >= 3}
    n_photos = sum(sizes[instance] for instance in wanted)
    return {
        "purity": n_right / max(n_all, 1),
        "pure objects": n_pure / max(len(shown), 1),
        "instances covered": sum(instance in covered for instance in wanted) / max(len(wanted), 1),
        "photos covered": sum(len(covered[instance]) for instance in wanted) / max(n_photos, 1),
    }


def report(args):
    """Judge the objects of a workspace; no Spark."""
    import resight
    from resight.tables import IMAGES, OBJECT_INSTANCES

    with Path(args.truth).open(encoding="utf-8") as file:
        truth = {row["image"]: row["instance"] for row in csv.DictReader(file)}
    tables = resight.open(args.workspace).tables
    ids = tables.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    uris = {row["image_id"]: row["uri"].rsplit("/", 1)[-1] for row in ids}
    shown = defaultdict(set)
    for row in tables.read(OBJECT_INSTANCES, args.build).to_pylist():
        shown[row["object_id"]].add(uris[row["image_id"]])
    sizes = sorted((len(photos) for photos in shown.values()), reverse=True)
    print(f"{len(shown)} objects; photos of the largest: {sizes[:10]}")
    for least in (3, 5, 10):
        figures = judge([sorted(photos) for photos in shown.values() if len(photos) >= least], truth)
        print(f"objects of {least} photos or more: ", end="")
        print(", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


def main():
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos")
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--workspace", help="judge the objects of this one instead")
    parser.add_argument("--build", default="", help="of discover-objects; default: the newest")
    parser.add_argument("--truth", help="CSV: image, instance")
    args = parser.parse_args()
    if args.workspace:
        report(args)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(tempfile.mkdtemp())
    try:
        compare(args, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
