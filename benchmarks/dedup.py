"""Copies from mirrored photos to photos pasted on others: our two efforts and imagededup, on the same files.

Collections are planted in the photos of a folder (`planted.py`): ``easy``, ``hard``, and ``unseen``, whose
edits were not looked at while the system was made. Half of the photos get copies. Printed are, of every tool,

* pair recall: the share of the pairs of one original's family that it gives,
* precision: of the pairs that it gives, leaving out those that share a photo without being of one family (a
  blend and the photo that was mixed in),
* by edit, the share of copies given with their original, and
* seconds after start-up; the ratio is to imagededup's CNN method, whose model is our embedded network.

A pair of ours is one of ``duplicate_pairs`` (photos of one scene apart) or two members of a group::

    python benchmarks/dedup.py --photos FOLDER [--originals 300] [--python OTHER/bin/python]
    python benchmarks/dedup.py --originals 12 --kinds easy --efforts standard  # parts of packaged photos
"""

import argparse
import contextlib
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from duplicates import ROOT, all_pairs, columns, make_originals, run_side
from planted import COLLECTIONS, draw_photos, plant

sys.path.insert(0, str(ROOT / "lib"))
EFFORTS = {
    "quick": [("find-duplicates", {"threshold": 0.95})],
    "standard": [("hash-images", {}), ("find-duplicates", {"effort": "standard"})],
    "thorough": [
        ("hash-images", {}),
        ("extract-local-features", {"sample": 200_000}),
        ("fit-model", {"kind": "codebook", "words": 4096}),
        ("build-index", {}),
        ("search", {"queries_from": "collection", "method": "asmk", "depth": 50}),
        ("find-duplicates", {"effort": "thorough"}),
    ],
}


def run_effort(effort, folder):
    """Run our jobs in this process: pairs, seconds of all jobs, and of each."""
    from resight.job import load_job
    from resight.session import read_spark_conf, start_session
    from resight.store import TableStore
    from resight.workspace import Workspace

    spark = start_session(read_spark_conf(ROOT / "conf/spark/local.conf"))
    spark.range(4).mapInArrow(lambda batches: batches, "id long").count()  # Python workers are up
    jobs = [("ingest-images", {"source": str(folder)}), ("extract-features", {}), ("build-graph", {})]
    with tempfile.TemporaryDirectory() as root:
        store, seconds = TableStore(Workspace.open(root, "parquet", create=True), spark), {}
        for name, settings in [*jobs, *EFFORTS[effort]]:
            declared, started = load_job(name), time.perf_counter()
            declared(store, declared.config.from_mapping(settings))
            seconds[name] = time.perf_counter() - started
        pairs = read_pairs(store.reader)
    spark.stop()
    return pairs, {"seconds": sum(seconds.values())} | seconds


def read_pairs(reader):
    """Pairs of names that a run found, and those that share a group."""
    from resight.tables import DUPLICATE_GROUPS, DUPLICATE_PAIRS, IMAGES

    uris = dict(zip(*columns(reader.read(IMAGES), "image_id", "uri"), strict=True))
    rows = reader.read(DUPLICATE_PAIRS)
    pairs = {
        tuple(sorted((uris[a], uris[b])))
        for a, b, relation in zip(*columns(rows, "image_a", "image_b", "relation"), strict=True)
        if relation != "same_scene"
    }
    groups = {}
    for group, image in zip(*columns(reader.read(DUPLICATE_GROUPS), "group_id", "image_id"), strict=True):
        groups.setdefault(group, []).append(uris[image])
    return pairs.union(*map(all_pairs, groups.values()))


def run_ours(effort, folder):
    """Run an effort in another process."""
    command = [sys.executable, __file__, "--side", effort, "--photos", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    answer = json.loads(done.stdout.splitlines()[-1])
    return {tuple(pair) for pair in answer["pairs"]}, answer["seconds"]


def report(name, pairs, seconds, planted, base):
    """Print the figures of one tool."""
    truth = planted.truth
    n_wrong = sum(not planted.is_open(pair) for pair in pairs - truth)
    right = len(pairs & truth)
    precision = right / max(1, right + n_wrong)
    ratio = f"  {seconds['seconds'] / base:.2f} x CNN" if base else ""
    words = f"pair recall {right / len(truth):6.1%}  precision {precision:6.1%}  {n_wrong} wrong"
    print(f"{name:20s} {words}  {seconds['seconds']:.0f} s{ratio}")
    by_edit = {}
    for copy, edit_name in planted.edits.items():
        if edit_name not in ("original", "alone"):
            original = f"{copy[:5]}-original.jpg"
            by_edit.setdefault(edit_name, []).append(tuple(sorted((copy, original))) in pairs)
    every = list(itertools.chain.from_iterable(by_edit.values()))
    shares = ", ".join(f"{name} {sum(found) / len(found):.2f}" for name, found in by_edit.items())
    print(f"    with original {sum(every) / len(every):.1%}: {shares}")
    steps = ", ".join(f"{k} {v:.0f}" for k, v in seconds.items() if k != "seconds")
    if steps:
        print(f"    {steps}", flush=True)


def compare(kind, folder, options):
    """Plant a collection and run every tool on it."""
    n = 2 * options.originals
    photos = (
        draw_photos(options.photos, n, options.seed) if options.photos else make_originals(n, options.seed)
    )
    planted = plant(folder, photos, kind=kind, n_originals=options.originals, seed=options.seed)
    print(
        f"== {kind}: {len(planted.edits)} photos, {len(planted.truth)} true pairs, seed {options.seed}",
        flush=True,
    )
    sides = {
        "imagededup CNN": lambda: run_side("cnn", options.python, folder),
        "imagededup PHash": lambda: run_side("phash", options.python, folder),
    }
    sides |= {
        f"resight {effort}": lambda effort=effort: run_ours(effort, folder) for effort in options.efforts
    }
    base = None
    for name, run in sides.items():
        try:
            pairs, seconds = run()
        except RuntimeError as error:
            print(f"{name:20s} NOT RUN: {error}", flush=True)
            continue
        base = seconds["seconds"] if name == "imagededup CNN" else base
        report(name, pairs, seconds, planted, base)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--photos", type=Path, help="folder of photos; default: parts of photos that packages carry")
    add("--originals", type=int, default=300, help="photos with copies; as many get none")
    add("--kinds", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    add("--efforts", nargs="+", choices=EFFORTS, default=["standard", "thorough"])
    add("--seed", type=int, default=20)
    add("--python", default=sys.executable, help="interpreter that has imagededup")
    add("--keep", type=Path, help="folder for the planted files; default: a temporary one")
    add("--side", choices=EFFORTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        with contextlib.redirect_stdout(io.StringIO()):
            pairs, seconds = run_effort(options.side, options.photos)
        print(json.dumps({"pairs": sorted(pairs), "seconds": seconds}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        for kind in options.kinds:
            compare(kind, (options.keep or Path(temporary)) / kind, options)


if __name__ == "__main__":
    main()
