"""Duplicates: ``find-duplicates`` against imagededup on planted copies, one core count for all.

Copies of photos that packages carry are planted, six edits each; pairs of one family are true, all others
are false. A tool's answer is its unordered pairs; ours are all pairs within a group. imagededup runs in
the interpreter that ``--python`` names (a separate environment will do) with its perceptual hash and
with its CNN method, whose custom model is the embedded network; what is not installed prints NOT RUN::

    python benchmarks/duplicates.py [--originals 100] [--python OTHER/bin/python] [--keep FOLDER]

Seconds of imagededup begin after its imports. Ours are those of the jobs of ``resight run``, from images to
groups; the first one waits for Spark. What else the command line has goes to ``find-duplicates``.
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
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "lib"))
PHASH_DISTANCE = 10  # imagededup's default
CNN_SIMILARITY = 0.9  # imagededup's default
PHOTOS = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png"),
    *("page.png", "retina.jpg", "rocket.jpg", "china.jpg", "flower.jpg"),
)
SIDE = 4  # parts of a photo across and down
FLAT = 15.0  # standard deviation in levels of grey: two parts of plain sky would be one picture
NOT_INSTALLED = "imagededup is not installed in this interpreter"


# The planted collection


def package_photos():
    """Photos of scikit-image and scikit-learn, as arrays (h, w, 3)."""
    import cv2
    import skimage
    import sklearn

    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets/images"]
    paths = [folder / name for folder in folders for name in PHOTOS]
    return [cv2.imread(str(path)) for path in paths if path.exists()]


def make_originals(n, seed):
    """Cut ``n`` parts that do not overlap out of the photos: none is a copy of another, turned or not."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    tiles = []
    for photo in package_photos():
        h, w = photo.shape[0] // SIDE, photo.shape[1] // SIDE
        for y, x in itertools.product(range(SIDE), range(SIDE)):
            tile = photo[y * h : (y + 1) * h, x * w : (x + 1) * w]
            if cv2.cvtColor(tile, cv2.COLOR_BGR2GRAY).std() >= FLAT:
                tiles.append(tile)
    chosen = rng.permutation(len(tiles))[:n]
    if len(chosen) < n:
        raise SystemExit(f"--originals: at most {len(tiles)} can be made")
    return [cv2.resize(tiles[i], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for i in chosen]


def edit_photo(photo):
    """Name -> pixels or bytes of the copies of a photo."""
    import cv2

    h, w = photo.shape[:2]

    def jpeg(pixels, quality=92):
        return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()

    y, x = h // 20, w // 20
    return {
        "original": jpeg(photo),
        "exact": jpeg(photo),
        "quality": jpeg(photo, 40),
        "half": jpeg(cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)),
        "light": jpeg(cv2.convertScaleAbs(photo, alpha=1.15, beta=8)),
        "blur": jpeg(cv2.GaussianBlur(photo, (0, 0), 1.5)),
        "crop": jpeg(photo[y : h - y, x : w - x]),
    }


def plant_copies(folder, *, n, seed=0):
    """Write the files; return the true pairs (names in order) and the edit of each name."""
    folder.mkdir(parents=True, exist_ok=True)
    families, edits = [], {}
    for i, photo in enumerate(make_originals(n, seed)):
        family = []
        for edit, content in edit_photo(photo).items():
            name = f"{i:04d}-{edit}.jpg"
            (folder / name).write_bytes(content)
            family.append(name)
            edits[name] = edit
        families.append(family)
    return {pair for family in families for pair in all_pairs(family)}, edits


def all_pairs(names):
    """Unordered pairs of ``names``."""
    return set(itertools.combinations(sorted(names), 2))


# The tools: each gives its pairs and its seconds


def time_resight(folder, settings=()):
    """Run our jobs up to ``find-duplicates``; a pair is two images of one group.

    ``settings`` are words for ``resight run``.
    """
    from resight import reader
    from resight.tables import DUPLICATE_GROUPS, IMAGES

    with tempfile.TemporaryDirectory() as workspace:
        command = [sys.executable, "-c", "import sys; from resight.cli import main; sys.exit(main())"]
        command += ["run", "--workspace", workspace, "--source", str(folder)]
        command += ["--until", "find-duplicates", *settings]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr[-1500:]}")
        tables = reader.open(workspace)
        uris = dict(zip(*columns(tables.read(IMAGES), "image_id", "uri"), strict=True))
        groups = {}
        for group, image in zip(*columns(tables.read(DUPLICATE_GROUPS), "group_id", "image_id"), strict=True):
            groups.setdefault(group, []).append(uris[image])
        steps = Counter()
        for run in tables.runs():
            steps[run.job] += run.seconds
    seconds = {"seconds": steps.total(), "with start-up": wall} | steps
    return set().union(*map(all_pairs, groups.values())), seconds


def columns(table, *names):
    """Columns of an Arrow table as lists."""
    return [table[name].to_pylist() for name in names]


def time_imagededup_phash(folder):
    """Run imagededup's perceptual hash at its default distance."""
    from imagededup.methods import PHash

    started = time.perf_counter()
    found = PHash(verbose=False).find_duplicates(
        image_dir=str(folder), max_distance_threshold=PHASH_DISTANCE, num_enc_workers=0
    )
    return pairs_of_lists(found), {"seconds": time.perf_counter() - started}


def time_imagededup_cnn(folder):
    """Run imagededup's CNN method at its default similarity, its model being the embedded network."""
    from imagededup.methods import CNN
    from imagededup.utils import CustomModel

    model = EmbeddedNetwork.load()
    config = CustomModel(name="lite0", model=model, transform=model.transform)
    started = time.perf_counter()
    encoder = CNN(verbose=False, model_config=config)
    found = encoder.find_duplicates(image_dir=str(folder), min_similarity_threshold=CNN_SIMILARITY)
    return pairs_of_lists(found), {"seconds": time.perf_counter() - started}


class EmbeddedNetwork:
    """EfficientNet-Lite0 with average pooling, as imagededup calls a model."""

    def __init__(self, network):
        self.network = network

    @classmethod
    def load(cls):
        """Load the network that our jobs use."""
        from resight.features.backbones import weights_path
        from resight.features.networks import load_lite0
        from resight.features.settings import ExtractSettings

        return cls(load_lite0(weights_path(ExtractSettings()))[0].eval())

    def __call__(self, x):
        """Describe photos (b, 3, h, w) by vectors (b, d)."""
        return self.network(x).mean((2, 3))

    def eval(self):
        """Do nothing: it is in inference mode."""
        return self

    def to(self, device):
        """Move to ``device``."""
        self.network.to(device)
        return self

    def transform(self, image):
        """Scale a picture to 224 x 224, as imagededup's own models do with their size."""
        import numpy as np
        import torch

        pixels = np.asarray(image.convert("RGB").resize((224, 224)), np.float32)
        return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)


def pairs_of_lists(found):
    """Unordered pairs of a mapping name -> names."""
    return {tuple(sorted((a, b))) for a, others in found.items() for b in others if a != b}


SIDES = {"phash": time_imagededup_phash, "cnn": time_imagededup_cnn}


def run_side(side, python, folder):
    """Run a side of imagededup in another process; its pairs and seconds, or why there are none."""
    command = [python, __file__, "--side", side, "--photos", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    answer = json.loads(done.stdout.splitlines()[-1])
    return {tuple(pair) for pair in answer["pairs"]}, answer["seconds"]


def answer_side(side, folder):
    """Print the answer of a side as one line of JSON."""
    try:
        import imagededup  # noqa: F401
    except ImportError:
        raise SystemExit(NOT_INSTALLED) from None
    with contextlib.redirect_stdout(io.StringIO()):
        pairs, seconds = SIDES[side](folder)
    print(json.dumps({"pairs": sorted(pairs), "seconds": seconds}))


# The figures


def report(name, pairs, seconds, truth, edits):
    """Print precision, recall, recall of original and copy per edit, and seconds."""
    right = len(pairs & truth)
    precision, recall = right / max(len(pairs), 1), right / len(truth)
    timed = ", ".join(f"{value:.1f} {word}" for word, value in seconds.items())
    print(f"{name:18} recall {recall:.3f}  precision {precision:.3f}  {timed}")
    with_original = [pair for pair in truth if "original" in (edits[pair[0]], edits[pair[1]])]
    for edit in dict.fromkeys(edits.values()):
        mine = [pair for pair in with_original if edit in (edits[pair[0]], edits[pair[1]])]
        if edit != "original":
            print(f"    {edit:10} {len(pairs & set(mine)) / len(mine):.3f}")


def compare(folder, options):
    """Run every side on the same files."""
    truth, edits = plant_copies(folder, n=options.originals, seed=options.seed)
    print(f"{len(edits)} photos, {len(truth)} true pairs, seed {options.seed}")
    sides = {
        "resight": lambda: time_resight(folder, options.settings),
        "imagededup PHash": lambda: run_side("phash", options.python, folder),
        "imagededup CNN": lambda: run_side("cnn", options.python, folder),
    }
    for name, time_side in sides.items():
        try:
            report(name, *time_side(), truth, edits)
        except RuntimeError as error:
            print(f"{name:18} NOT RUN: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--originals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has imagededup")
    parser.add_argument("--keep", type=Path, help="folder for the planted photos; default: a temporary one")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--photos", type=Path, help=argparse.SUPPRESS)
    options, options.settings = parser.parse_known_args()
    if options.side:
        answer_side(options.side, options.photos)
    elif options.keep:
        compare(options.keep, options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), options)


if __name__ == "__main__":
    main()
