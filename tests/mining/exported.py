"""A committed workspace with photos and mined tuples, written without Spark."""

import numpy as np
from PIL import Image

from resight.tables import IMAGES, SOURCES, TRAINING_TUPLES
from tests.report.committed import Committed

# anchor, positive, negatives, split; images are numbered from 10 to 19
PAIRS = [
    (10, 11, [14, 15], "train"),
    (11, 12, [14], "train"),
    (13, 10, [15], "train"),
    (16, 17, [18, 19], "validation"),
]


def tuple_columns():
    rows = []
    for anchor, positive, negatives, split in PAIRS:
        for rank, negative in enumerate(negatives):
            row = {"anchor": anchor, "positive": positive, "negative": negative, "rank": rank, "split": split}
            row |= {"source": "manifold", "weight": 0.5 + rank, "positive_score": 0.25, "component_id": 10}
            rows.append(row | {"positive_similarity": 0.75})
    rows.reverse()  # whoever reads them has to put them in order
    return {name: [row[name] for row in rows] for name in rows[0]}


def commit_photos(root, *, gone=()):
    """Ten photos of 30 x 20 pixels, whose red tells their number."""
    photos = root / "photos"
    photos.mkdir(parents=True)
    for i in range(10, 20):
        Image.fromarray(np.full((20, 30, 3), (i * 10, 5, 5), np.uint8)).save(photos / f"p {i}.png")
    committed = Committed(root / "w")
    n = 10
    images = {"image_id": list(range(10, 20)), "source_id": ["s"] * n, "format": ["png"] * n}
    images |= {"uri": [f"p {i}.png" for i in range(10, 20)], "status": ["ok"] * n, "n_bytes": [90] * n}
    sources = {"source_id": ["s"], "root": [str(photos)]}
    committed.commit("ingest-images", (IMAGES, images), (SOURCES, sources))
    committed.commit("mine-pairs", (TRAINING_TUPLES, tuple_columns()))
    for i in gone:
        (photos / f"p {i}.png").unlink()
    return committed
