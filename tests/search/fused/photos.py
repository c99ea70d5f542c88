"""A workspace of a few photos that a fused search without Spark can open, committed without Spark."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np

from resight.asmk.search import encode_query
from resight.codebook.model import Codebook, save_codebook
from resight.features.extract import extract_contents
from resight.features.local.extract import extract_local
from resight.features.local.points import LocalFeatures, pack_features
from resight.features.local.settings import LocalSettings
from resight.features.settings import ExtractSettings
from resight.graph.matrix import save_graph
from resight.knn.matrix import normalize_rows
from resight.search.local.locate import index_folder
from resight.search.locate import shard_folder
from resight.tables import (
    EDGES,
    GLOBAL_DESCRIPTORS,
    IMAGE_STATS,
    IMAGES,
    LOCAL_DESCRIPTORS,
    MODELS,
    RESULTS,
    SHARDS,
    SOURCES,
    WORD_STATS,
)
from resight.workspace import Workspace
from tests.asmk.indexes import save_index
from tests.search.collections import save_vectors
from tests.search.committed import commit
from tests.verification.scenes import draw_scene, turn, warp_scene

SIZE = (200, 160)
LOCAL = LocalSettings(max_keypoints=120, min_side=0)
COLOUR = ExtractSettings(extractor="colour", longer_side=64)
STORED = 2  # photos whose keypoints are stored


class Photos(NamedTuple):
    """Ids ascending, names and files of the photos, their keypoints, unit vectors and entries."""

    root: Path
    ids: np.ndarray
    files: list[Path]
    features: list[LocalFeatures]
    X: np.ndarray
    codebook: Codebook
    weights: np.ndarray


def draw_photos(folder):
    """Two views of each of two scenes, and a photo without a keypoint."""
    folder.mkdir(parents=True)
    view, files = turn(20, 0.9, (40, -10)), []
    scenes = [draw_scene(seed, width=SIZE[0], height=SIZE[1]) for seed in (1, 5)]
    pixels = [p for scene in scenes for p in (scene, warp_scene(scene, view, SIZE))]
    for name, one in zip("abcde", [*pixels, np.full((*SIZE[::-1], 3), 90, np.uint8)], strict=True):
        files.append(folder / f"{name}.png")
        cv2.imwrite(str(files[-1]), one[:, :, ::-1])
    return files


def commit_photos(root):
    """Commit what build-graph --of fused comes from, and the files of all."""
    workspace = Workspace.open(str(root / "w"), "parquet", create=True)
    files, ids = draw_photos(root / "photos"), np.array([3, 14, 15, 92, 653])
    contents = [file.read_bytes() for file in files]
    X = normalize_rows(np.stack(extract_contents(contents, COLOUR).vectors).astype("f2").astype("f4"))[0]
    found = extract_local(contents, LOCAL).features
    features = [LocalFeatures(one.points, one.vectors.astype("f2").astype("f4")) for one in found]
    centroids = np.concatenate([one.vectors for one in features])[::7][:40]
    codebook = Codebook(centroids, settings=json.dumps(msgspec.to_builtins(LOCAL)), dtype="float16")
    photos = Photos(root, ids, files, features, X, codebook, np.ones(len(centroids)))
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    commit_collection(workspace, photos, hashes)
    index_photos(workspace, photos, hashes)
    link_photos(workspace, photos)
    return photos


def commit_collection(workspace, photos, hashes):
    """Commit images, both kinds of descriptors, and the codebook."""
    n, ids = len(photos.ids), photos.ids.tolist()
    images = {"image_id": ids, "source_id": ["s"] * n, "uri": [file.name for file in photos.files]}
    images |= {"content_hash": hashes, "width": [SIZE[0]] * n, "height": [SIZE[1]] * n, "format": ["png"] * n}
    source = {"source_id": ["s"], "root": [str(photos.files[0].parent)]}
    commit(workspace, 1, "ingest-images", {IMAGES: images, SOURCES: source})
    settings = msgspec.to_builtins(COLOUR)
    run = commit(workspace, 2, "extract-features", {GLOBAL_DESCRIPTORS: {"image_id": ids}}, settings=settings)
    save_vectors(Path(shard_folder(workspace, GLOBAL_DESCRIPTORS, run)), photos.ids, photos.X).save()
    counts, points, vectors = (c[:STORED] for c in pack_features(photos.features, "float16"))
    stored = {"image_id": ids[:STORED], "content_hash": hashes[:STORED], "status": ["ok"] * STORED}
    stored |= {"n_keypoints": counts, "points": points, "vectors": vectors}
    kind = {LOCAL_DESCRIPTORS.name: {"dtype": "float16"}}
    commit(workspace, 3, "extract-local-features", {LOCAL_DESCRIPTORS: stored}, properties=kind)
    fitted = {"kind": ["codebook"], "params": [photos.codebook.to_bytes()]}
    commit(workspace, 4, "fit-model", {MODELS: fitted}, settings={"kind": "codebook"})


def index_photos(workspace, photos, hashes):
    """Commit an index of all photos, two to a shard, and a search of the collection by it."""
    ids, entries = photos.ids.tolist(), [encode_query(f.vectors, photos.codebook, 1) for f in photos.features]
    counts = [len(one.points) for one in photos.features]
    stats = {"image_id": ids, "content_hash": hashes, "n_keypoints": counts, "status": ["ok"] * len(ids)}
    facts = {
        "settings": {"aggregate": True, "alpha": 3.0, "tau": 0.0},
        "parents": {"models": "fit-model", "local_descriptors": "extract-local-features"},
    }
    run = commit(workspace, 5, "build-index", {SHARDS: {}, WORD_STATS: {}, IMAGE_STATS: stats}, **facts)
    norms = [len(one.words) ** -0.5 if len(one.words) else 0.0 for one in entries]
    folder = index_folder(workspace.root, run)
    index = save_index(folder, entries, photos.ids, norms, photos.weights, per_shard=2)
    index.images.save()
    replace(index, codebook=save_codebook(photos.codebook, folder)).save(workspace.root)
    asked = {"method": "asmk", "queries_from": "collection", "depth": 101, "assignments": 1}
    parents = {"shards": "build-index", "models": "fit-model"}
    commit(workspace, 6, "search", {RESULTS: {}}, settings=asked, parents=parents)


def link_photos(workspace, photos):
    """Commit a graph in which the views of a scene are neighbours."""
    parents = {"global_descriptors": "extract-features", "results": "search"}
    run = commit(workspace, 7, "build-graph", {EDGES: {}}, settings={"of": "fused"}, parents=parents)
    src, dst = photos.ids[[0, 1, 2, 3]], photos.ids[[1, 0, 3, 2]]
    edges = (src, dst, np.full(4, 0.8))
    save_graph(shard_folder(workspace, EDGES, run), photos.ids, np.zeros(5, np.int64), edges).save()
