"""A tiny collection of photos of planted objects, and a network small enough to train in a test."""

import hashlib

import numpy as np
import pyarrow as pa
import timm
import torch
from PIL import Image

from resight.training.examples import list_examples
from resight.training.settings import TrainSettings

SMALL = "test_efficientnet"  # of timm: 0.1 million weights, five blocks


def save_weights(folder, *, seed=0):
    """Write weights drawn at random for the small network."""
    torch.manual_seed(seed)
    torch.save(timm.create_model(SMALL, num_classes=0).state_dict(), folder / "small.pth")
    return str(folder / "small.pth")


def save_views(folder, *, objects=6, views=4, side=48, seed=0):
    """Draw views of coloured objects on clutter: a file for each; returns the photos of a plan."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(objects):
        pattern = rng.integers(0, 256, (4, 4, 3))
        for j in range(views):
            pixels = rng.integers(0, 256, (side, side if j % 2 else side - 12, 3))
            y, x = rng.integers(0, side - 36, 2)
            pixels[y : y + 24, x : x + 24] = np.kron(pattern, np.ones((6, 6, 1)))
            file = folder / f"{i}-{j}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(file)
            rows.append((file.name, hashlib.sha256(file.read_bytes()).hexdigest()))
    uris, hashes = zip(*rows, strict=True)
    n = len(rows)
    columns = {"root": [str(folder)] * n, "uri": uris, "byte_offset": pa.nulls(n, pa.int64())}
    return pa.table(columns | {"n_bytes": pa.nulls(n, pa.int64()), "content_hash": hashes})


def tuple_rows(*, objects=6, views=4, train=4):
    """List tuples as ``mine-pairs`` does; image 10 i + j is view j of object i, the last ones validate."""
    found = []
    for i in range(objects):
        side = range(train) if i < train else range(train, objects)
        others = [10 * o + j for o in side if o != i for j in range(views)]
        for j in range(views - 1):
            found += [(10 * i + j, 10 * i + j + 1, n, 1.0 + j, i, side) for n in others]
    names = ("anchor", "positive", "negative", "weight", "component_id")
    columns = dict(zip(names, map(list, zip(*[row[:5] for row in found], strict=True)), strict=True))
    splits = ["train" if row[5].start == 0 else "validation" for row in found]
    return pa.table(columns | {"split": splits})


def examples():
    """Give the examples of the views, whose rows are those of `save_views`."""
    return list_examples(tuple_rows())


def settings(weights, **changes):
    """Settings of a training that takes a second."""
    own = {"backbone": f"timm:{SMALL}", "weights": weights, "train_from": "block3", "longer_side": 48}
    own |= {"epochs": 2, "n_negatives": 2, "learning_rate": 1e-3, "scales": (1.0,), "batch_tuples": 4}
    return TrainSettings(**(own | changes))
