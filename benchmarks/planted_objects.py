"""How well ``discover-objects`` finds things pasted on clutter that no two images share.

Each thing, a photo of the demo collection, is pasted into some images at a random place and size; further
images show clutter alone. A thing counts as found where most images of some object show it and the object
has half of them; the overlap of an image is that of its best box within such objects (intersection over
union with the pasted frame, 0 without a box)::

    python benchmarks/planted_objects.py [--things 12] [--views 8] [--empty 24] [--longer-side 512]
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

SIDE = 480


def paint_clutter(rng):
    """Paint soft colours under a dozen shapes at random."""
    soft = rng.integers(40, 220, size=(6, 6, 3)).astype(np.uint8)
    canvas = cv2.resize(soft, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        n = int(rng.integers(3, 9))
        points = (rng.uniform(0, SIDE, 2) + rng.normal(scale=SIDE / 10, size=(n, 2))).astype(int)
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        if rng.uniform() < 0.5:
            cv2.fillPoly(canvas, [points], colour)
        else:
            cv2.polylines(canvas, [points], False, colour, int(rng.integers(2, 10)))
    return canvas


def plant(folder, args):
    """Write the images; give thing and frame (y0, x0, y1, x1) by file name, None for clutter alone."""
    from resight.demo.photos import OBJECTS, load_photo

    rng, truth = np.random.default_rng(args.seed), {}
    things = [load_photo(photo) for photo in OBJECTS[: args.things]]
    shown = [i for i in range(len(things)) for _ in range(args.views)] + [None] * args.empty
    for number, thing in enumerate(shown[i] for i in rng.permutation(len(shown))):
        canvas, name, frame = paint_clutter(rng), f"{number:04d}.png", None
        if thing is not None:
            scale = rng.uniform(0.35, 0.55) * SIDE / max(things[thing].shape[:2])
            small = cv2.resize(things[thing], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            h, w = small.shape[:2]
            y, x = int(rng.integers(SIDE - h)), int(rng.integers(SIDE - w))
            canvas[y : y + h, x : x + w] = np.clip(small * rng.uniform(0.8, 1.15), 0, 255)
            frame = (y, x, y + h, x + w)
        cv2.imwrite(str(folder / name), canvas[:, :, ::-1])
        truth[name] = None if thing is None else (thing, frame)
    return truth


def discover(photos, root, args):
    """Run the jobs; give the boxes: rows (object, file name, box)."""
    from benchmarks.job_extract import SESSION
    from resight.job import Options
    from resight.jobs.discover_objects import DiscoverConfig
    from resight.jobs.discover_objects import main as discover_job
    from resight.jobs.extract_features import ExtractConfig
    from resight.jobs.extract_features import main as extract
    from resight.jobs.ingest_images import IngestConfig
    from resight.jobs.ingest_images import main as ingest
    from resight.session import start_session
    from resight.store import TableStore
    from resight.tables import IMAGES, OBJECT_INSTANCES
    from resight.workspace import Workspace

    spark = start_session(SESSION | {"spark.master": f"local[{args.cores},4]"})
    store = TableStore(Workspace.open(str(root), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(photos)))
    extract(store, ExtractConfig(pooling="gem", longer_side=64), Options(name="gem"))
    outcome = discover_job(store, DiscoverConfig(longer_side=args.longer_side), Options())
    spark.stop()
    print(f"{outcome.seconds:.0f} s, {outcome.notes}")
    images = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    uris = {row["image_id"]: row["uri"] for row in images}
    rows = store.reader.read(OBJECT_INSTANCES).to_pylist()
    return [
        (r["object_id"], uris[r["image_id"]], tuple(r[n] for n in ("y0", "x0", "y1", "x1"))) for r in rows
    ]


def overlap(a, b):
    """Divide the intersection of two boxes by their union."""
    sides = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def judge(boxes, truth, n_views):
    """Give recall of things and of images, mean overlap, and the share of objects that show one thing."""
    shown = defaultdict(lambda: defaultdict(list))
    for one, name, box in boxes:
        shown[one][name].append(box)
    found, best, n_pure = set(), {name: 0.0 for name, planted in truth.items() if planted}, 0
    for photos in shown.values():
        counts = Counter(truth[name] and truth[name][0] for name in photos)
        thing, n = counts.most_common(1)[0]
        if thing is None or 2 * n <= len(photos):
            continue
        n_pure += 1
        found |= {thing} if 2 * n >= n_views else set()
        for name in (name for name in photos if truth[name] and truth[name][0] == thing):
            best[name] = max(best[name], *(overlap(truth[name][1], box) for box in photos[name]))
    values = np.array(list(best.values()))
    n_things = len({planted[0] for planted in truth.values() if planted})
    return {
        "things found": len(found) / n_things,
        "images with a box on the thing": float((values > 0).mean()),
        "mean overlap": float(values.mean()),
        "mean overlap where there is a box": float(values[values > 0].mean()) if (values > 0).any() else 0.0,
        "objects of one thing": n_pure / max(len(shown), 1),
    }


def main():
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--things", type=int, default=12)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--empty", type=int, default=24)
    parser.add_argument("--longer-side", type=int, default=512)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "photos").mkdir()
        truth = plant(folder / "photos", args)
        figures = judge(discover(folder / "photos", folder / "w", args), truth, args.views)
    finally:
        shutil.rmtree(folder)
    print(f"{len(truth)} images: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
