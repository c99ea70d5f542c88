"""A workspace with rows in every table that the notebooks read, written without Spark."""

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from resight import files
from resight.arrow import lists_to_arrow, vectors_to_arrow
from resight.graph.matrix import save_graph
from resight.knn.matrix import Part, VectorFiles, save_part
from resight.tables import (
    AUDITS,
    COMPONENTS,
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    EDGES,
    EXPLANATIONS,
    GLOBAL_DESCRIPTORS,
    IMAGE_STATS,
    IMAGES,
    METRICS,
    NEIGHBORS,
    NODES,
    OBJECT_INSTANCES,
    OBJECTS,
    PLANTED_COPIES,
    PREVIEWS,
    QUERIES,
    SALIENCY_MAPS,
    SOURCES,
    TRAINING_LOG,
    TRAINING_POOLS,
    TRAINING_TUPLES,
)
from tests.pictures import PHOTOS
from tests.report.committed import Committed

IDS = np.arange(1, 8)
NAMES = ("china", "flower", "coffee", "rocket", "chelsea", "astronaut", "china")
SIDE = 120


def read_pixels(name):
    with Image.open(PHOTOS[name]) as photo:
        small = photo.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        return np.asarray(small)


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def commit_photos(made):
    pixels = [read_pixels(name) for name in NAMES]
    n, uris = len(IDS), [f"trip/{name}.jpg" for name in NAMES[:-1]] + ["price $5 & $6.jpg"]
    sizes = {"height": [len(p) for p in pixels], "width": [p.shape[1] for p in pixels]}
    rows = {"image_id": IDS, "uri": uris, "status": ["ok"] * n, "n_bytes": [1000] * n} | sizes
    jpegs = {"image_id": IDS, "jpeg": [encode(p) for p in pixels]}
    made.commit("ingest-images", (IMAGES, rows), (PREVIEWS, jpegs), (SOURCES, {"source_id": []}))
    small = [np.asarray(Image.fromarray(p).resize((4, 4))).astype(np.float32).ravel() for p in pixels]
    X = np.stack(small) - np.mean(small)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def commit_vectors(made, X, name):
    rows = {"image_id": IDS, "status": ["ok"] * len(IDS), "vector": vectors_to_arrow(X).to_pylist()}
    build = made.commit("extract-features", (GLOBAL_DESCRIPTORS, rows), name=name)
    folder = files.join(made.workspace.root, "shards", f"global_descriptors-{build}", "")
    part = Part(save_part(folder, 0, IDS, X), 0, len(X))
    VectorFiles(folder, X.shape[1], "float32", (part,)).save()
    return build


def commit_graph(made, X, described):
    S = np.clip(X @ X.T, 0.05, 1)
    order = np.argsort(-S, axis=1, kind="stable")
    lists = [[j for j in row if j != i] for i, row in enumerate(order)]
    offsets, flat = np.arange(len(IDS) + 1) * (len(IDS) - 1), np.concatenate(lists)
    packed = (
        lists_to_arrow(offsets, IDS[flat]),
        lists_to_arrow(offsets, S[order != IDS[:, None] - 1].astype("<f4")),
    )
    near = pa.table({"src": IDS, "dst": packed[0], "similarity": packed[1]})
    src, dst = np.nonzero(~np.eye(len(IDS), dtype=bool))
    edges = {"src": IDS[src], "dst": IDS[dst], "affinity": S[src, dst] ** 3}
    parts = {"node_id": IDS, "component_id": np.ones_like(IDS)}
    tables = (NEIGHBORS, near), (NODES, {"node_id": IDS}), (EDGES, edges), (COMPONENTS, parts)
    notes = {"recall": 1.0, "low": 0.9, "high": 1.0, "method": "exact"}
    build = made.commit("build-graph", *tables, notes=notes, parents={"global_descriptors": described})
    folder = files.join(made.workspace.root, "shards", f"edges-{build}", "")
    save_graph(folder, IDS, parts["component_id"], tuple(edges.values())).save()


def commit_searches(made):
    hops = {"query_id": [1, 1], "image_id": [3, 3], "hop": [0, 1], "dst": [2, 3]}
    chains = (EXPLANATIONS, hops | {"affinity": [0.5, 0.4], "product": [0.5, 0.2]})
    made.commit("search", (QUERIES, {"query_id": [1], "image_id": [1], "uri": ["trip/china.jpg"]}), chains)
    metrics = {
        "method": ["global"],
        "metric": ["map_step"],
        "value": [0.8],
        "ci_low": [0.7],
        "ci_high": [0.9],
    }
    made.commit("evaluate", (METRICS, metrics), name="quality")
    made.commit(
        "build-index", (IMAGE_STATS, {"image_id": [1, 2], "n_keypoints": [90, 0], "n_words": [80, 0]})
    )


def commit_copies(made):
    pairs = {"image_a": [1, 2], "image_b": [7, 3], "relation": ["near", "near"], "similarity": [0.99, 0.9]}
    pairs |= {"transform": [np.eye(3).tobytes(), None], "agreement": [0.98, None], "cut": [None, "too far"]}
    groups = {"group_id": [1, 1], "image_id": [1, 7], "keep": [True, False], "similarity": [1.0, 0.99]}
    made.commit("find-duplicates", (DUPLICATE_PAIRS, pairs), (DUPLICATE_GROUPS, groups))
    audits = {"figure": ["recall"] * 2, "subject": ["all", "cropped"], "value": [0.9, 0.8]}
    planted = {"image_id": [1], "transformation": ["cropped"], "found": [False]}
    audits |= {"ci_low": [0.8, 0.6], "ci_high": [0.95, 0.9]}
    made.commit("audit-duplicates", (AUDITS, audits), (PLANTED_COPIES, planted))


def commit_training(made):
    pools = {"anchor": [1, 1], "item": [7, 3], "role": ["positive", "negative"], "rank": [0, 0]}
    pools |= {"source": ["manifold"] * 2, "score": [0.5, 0.01], "similarity": [0.3, 0.8]}
    tuples = {"anchor": [1], "positive": [7], "negative": [3], "rank": [0], "split": ["train"]}
    tuples |= {"positive_similarity": [0.3], "negative_similarity": [0.8], "source": ["manifold"]}
    made.commit("mine-pairs", (TRAINING_POOLS, pools), (TRAINING_TUPLES, tuples))
    log = {"epoch": [0, 1, 1], "step": [0, 1, 2], "loss": [None, 0.4, 0.3], "p": [3.0, 2.9, 2.8]}
    log |= {"map": [0.5, None, 0.6], "learning_rate": [None, 1e-4, 1e-4]}
    made.commit("train-network", (TRAINING_LOG, log), name="trained")


def commit_objects(made):
    boxes = {"object_id": [1, 1, 2], "image_id": [1, 7, 2], "region_ix": [0, 0, 0], "score": [0.9, 0.8, 0.7]}
    boxes |= {"y0": [10, 20, 0], "x0": [10, 20, 0], "y1": [60, 70, 30], "x1": [60, 70, 30]}
    found = {"object_id": [1, 2], "n_images": [2, 1], "n_instances": [2, 1], "score": [1.7, 0.7]}
    cells = np.arange(12, dtype="<f4").tobytes()
    maps = {"image_id": [1], "height": [3], "width": [4], "features": [cells], "objects": [cells]}
    maps |= {"n_regions": [1], "status": ["ok"]}
    made.commit("discover-objects", (OBJECTS, found), (OBJECT_INSTANCES, boxes), (SALIENCY_MAPS, maps))


def commit_all(root):
    """Commit rows of every table, and the files that a search maps."""
    made = Committed(root)
    X = commit_photos(made)
    commit_vectors(made, np.roll(X, 1, axis=0), "before")
    described = commit_vectors(made, X, "after")
    commit_graph(made, X, described)
    for commit in (commit_searches, commit_copies, commit_training, commit_objects):
        commit(made)
    return made.workspace.root
