"""Small collections with known copies, as the tables that the operators read."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from resight.store import spark_schema
from resight.tables import IMAGES, NEIGHBORS

TIME = datetime(2020, 1, 1, tzinfo=UTC)


def image(image_id, **facts):
    """A row of `IMAGES`; without further facts it is a copy of nothing."""
    row = dict.fromkeys(IMAGES.schema.names) | {
        "image_id": image_id,
        "uri": f"photo-{image_id}.jpg",
        "content_hash": f"bytes {image_id}",
        "pixel_hash": f"pixels {image_id}",
        "width": 640,
        "height": 480,
        "n_bytes": 1000,
        "sharpness": 5.0,
        "modified_at": TIME,
        "status": "ok",
    }
    return row | facts


def to_frame(spark, table, rows, n_partitions=3):
    """Rows in a random order, spread over partitions."""
    shuffled = [rows[i] for i in np.random.default_rng(len(rows)).permutation(len(rows))]
    schema = pa.schema([f for f in table.schema if f.name != "build_id"])
    arrow = pa.Table.from_pylist(shuffled, schema)
    if not rows:
        return spark.createDataFrame([], spark_schema(table))
    return spark.createDataFrame(arrow).repartition(n_partitions)


def lists_frame(spark, lists, n_partitions=3):
    """Neighbour lists {src: [(dst, similarity), ...]} as `NEIGHBORS` rows."""
    rows = [
        {
            "src": src,
            "dst": np.array([d for d, _ in entries], "<i8").tobytes(),
            "similarity": np.array([s for _, s in entries], "<f4").tobytes(),
        }
        for src, entries in lists.items()
    ]
    return to_frame(spark, NEIGHBORS, rows, n_partitions)


def neighbour_lists(ids, X, k):
    """Exact lists of the k most similar by cosine."""
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    similarity = (X @ X.T).astype(np.float32)
    np.fill_diagonal(similarity, -np.inf)
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return {int(ids[i]): [(int(ids[j]), float(similarity[i, j])) for j in best[i]] for i in range(len(ids))}


def random_collection(seed, n=60):
    """Images with exact copies, same-pixel copies, near ones, removed and broken ones; vectors."""
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(10 * n, n, replace=False)) + 2**40
    rows, X = [], rng.normal(size=(n, 8)).astype(np.float32)
    for i, image_id in enumerate(ids.tolist()):
        facts = {
            "width": int(rng.integers(1, 4) * 100),
            "sharpness": float(rng.choice([0, 0.5, 5, 7.9, 8, 9])) if rng.random() < 0.9 else float("nan"),
            "n_bytes": int(rng.integers(3)),
            "removed_at": TIME if rng.random() < 0.05 else None,
            "status": "undecodable" if rng.random() < 0.05 else "ok",
        }
        kind, j = rng.integers(5), int(rng.integers(max(i, 1)))
        if i and kind <= 1:
            facts |= {name: rows[j][name] for name in ("pixel_hash", "width")}
            facts |= {"content_hash": rows[j]["content_hash"]} if kind == 0 else {}
            X[i] = X[j]
        elif i and kind <= 3:
            X[i] = X[j] + rng.normal(size=8) * 0.25
        rows.append(image(image_id, **facts))
    return rows, ids, X


def vectors_frame(spark, ids, X, n_partitions=3):
    """Vectors in float16, as `GLOBAL_DESCRIPTORS` hold them."""
    packed = [row.astype("<f2").tobytes() for row in X]
    order = np.random.default_rng(1).permutation(len(ids))
    vectors = pa.array([packed[i] for i in order], pa.binary())
    table = pa.table({"image_id": ids[order], "vector": vectors})
    return spark.createDataFrame(table).repartition(n_partitions)


def components_frame(spark, pairs):
    """Connected components of ``pairs`` [(a, b), ...], by repeated relabelling."""
    label = {i: i for pair in pairs for i in pair}
    for _ in label:
        before = dict(label)
        for a, b in pairs:
            label[a] = label[b] = min(label[a], label[b])
        if label == before:
            break
    return spark.createDataFrame(list(label.items()), "node_id long, component_id long")
