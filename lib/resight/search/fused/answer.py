"""Queries of every kind by everything that is known, without Spark and with the ranking of the job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from msgspec import structs

from resight.asmk.work import describe_like
from resight.features.local.points import LocalFeatures
from resight.features.photos import Box
from resight.knn.matrix import OpenVectors
from resight.reader import Reader
from resight.rerank.fuse import MOST
from resight.search.answer import Answer
from resight.search.collection import Collection
from resight.search.describe import Asked, Query
from resight.search.fused.locate import choose_fused, locate_searched, locate_vectors
from resight.search.fused.rank import (
    FusedQuery,
    FusedRecipe,
    Ranking,
    choose_images,
    list_similar,
    rank_fused,
)
from resight.search.fused.recipe import index_settings, read_fused_recipe
from resight.search.fused.similarity import Descriptors, Part
from resight.search.fused.verified import NOTHING, Extraction, Known, check_verified, read_known
from resight.search.local.answer import Keypoints, LocalIndex, answer_index, ask_index, open_local_index
from resight.search.local.stored import read_indexed
from resight.search.settings import SearchSettings
from resight.tables import IMAGES, MODELS, VERIFIED_PAIRS
from resight.verification.overlap import Size
from resight.verification.settings import VerifySettings
from resight.verification.verify import Photo, prepare_photo
from resight.workspace import Run

HELD = 512  # images whose keypoints are kept between searches, at half a megabyte each
AskVectors = Callable[[OpenVectors, Run], Asked]


class Further(NamedTuple):
    """A further index, and how it is searched."""

    local: LocalIndex
    settings: SearchSettings


@dataclass(frozen=True)
class FusedCollection:
    """An opened collection with its graph, the builds of its descriptors, and its indexes."""

    collection: Collection
    parts: tuple[tuple[OpenVectors, Run], ...]
    local: LocalIndex
    further: Further | None = None
    held: dict[int, LocalFeatures] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def described(self) -> Run:
        """The run whose images are ranked."""
        return self.parts[0][1]


class FusedAsked(NamedTuple):
    """What is known of each query: by descriptor, by index; its status is ``ok`` where anything is.

    ``own`` (s,) int64: the ids of images of the collection, else -1; ``sizes``: width and height, or None.
    """

    vectors: tuple[Asked, ...]
    keypoints: tuple[Keypoints, ...]
    own: np.ndarray
    sizes: list[Size | None]
    status: list[str]
    error: list[str | None]


def open_fused(reader: Reader, named: Mapping[str, str]) -> FusedCollection:
    """Open what a fused search reads; `SettingError` where a job has yet to make it."""
    builds = choose_fused(reader.workspace, named)
    collection = locate_searched(reader.workspace, builds).open()
    parts = [(collection.X, builds.described)]
    if builds.colour:
        parts.append((locate_vectors(reader.workspace, builds.colour).open(), builds.colour))
    local = open_local_index(reader, builds.indexed.build_id)
    return FusedCollection(collection, tuple(parts), local, open_further(reader, builds.further))


def open_further(reader: Reader, ranked: Run | None) -> Further | None:
    """Open the index that a further search went by."""
    if ranked is None:
        return None
    names = SearchSettings.__struct_fields__
    known = {name: value for name, value in ranked.settings.items() if name in names}
    settings = structs.replace(SearchSettings.from_mapping(known), depth=MOST + 1)
    return Further(open_local_index(reader, ranked.parents["shards"]), settings)


def ask_fused(
    queries: Sequence[Query],
    reader: Reader,
    fused: FusedCollection,
    ask_vectors: AskVectors,
    *,
    threads: int,
    boxes: Sequence[Box | None] | None = None,
) -> FusedAsked:
    """Describe images and ids by every descriptor (``ask_vectors``) and by the keypoints of each index.

    Raises
    ------
    ValueError
        A query is a vector.
    """
    own = np.array([int(q) if isinstance(q, int | np.integer) else -1 for q in queries], np.int64)
    indexes = [fused.local, *([fused.further.local] if fused.further else [])]
    keypoints = tuple(ask_index(queries, reader, one, threads=threads, boxes=boxes) for one in indexes)
    sizes = read_sizes(own[own >= 0].tolist(), reader)
    vectors = tuple(ask_vectors(X, run) for X, run in fused.parts)
    some = [a == "ok" or b == "ok" for a, b in zip(vectors[0].status, keypoints[0].status, strict=True)]
    return FusedAsked(
        vectors,
        keypoints,
        own,
        [sizes.get(i, of_file) for i, of_file in zip(own.tolist(), keypoints[0].sizes, strict=True)],
        ["ok" if usable else word for usable, word in zip(some, vectors[0].status, strict=True)],
        [None if usable else why for usable, why in zip(some, vectors[0].error, strict=True)],
    )


def read_sizes(image_ids: Sequence[int], reader: Reader) -> dict[int, Size]:
    """Look up the width and the height of images."""
    columns = ["image_id", "width", "height"]
    rows = reader.read(IMAGES, columns=columns, filter=pc.field("image_id").isin(list(image_ids)))
    return {row["image_id"]: (row["width"], row["height"]) for row in rows.to_pylist()}


def answer_fused(
    queries: Sequence[Query],
    asked: FusedAsked,
    reader: Reader,
    fused: FusedCollection,
    settings: SearchSettings,
    *,
    allowed: np.ndarray | None = None,
    threads: int = 1,
) -> dict[int, Answer]:
    """Rank the collection for the queries that are usable: query -> answer."""
    collection = fused.collection if allowed is None else fused.collection.restrict(allowed)
    weights = (1.0, settings.colour_weight)
    descriptors = Descriptors(tuple(Part(X, w) for (X, _), w in zip(fused.parts, weights, strict=False)))
    recipe = read_fused_recipe(settings, collection.X.n)
    asking = lay_out(queries, asked, fused, settings, recipe, threads=threads)
    usable = [i for i, word in enumerate(asked.status) if word == "ok"]
    Q = np.stack([asked.vectors[0].Q[i] for i in usable]) if usable else np.zeros((0, collection.X.d), "f4")
    own = np.array([asking[i].own for i in usable], np.int64)
    near = list_similar(Q, own, collection, recipe.depth)
    known = find_known([int(i) for i in asked.own], reader, settings, recipe, fused.local)
    chosen = [
        asking[i]._replace(near=some, known=known.get(int(asked.own[i]), NOTHING))
        for i, some in zip(usable, near, strict=True)
    ]
    photos = open_candidates(chosen, descriptors, recipe, reader, fused, threads=threads)
    answers = rank_fused(chosen, collection, descriptors, recipe, features=photos, threads=threads)
    return dict(zip(usable, answers, strict=True))


def find_known(
    image_ids: Sequence[int],
    reader: Reader,
    settings: SearchSettings,
    recipe: FusedRecipe,
    local: LocalIndex,
) -> dict[int, Known]:
    """Find what the build of verify-pairs that the settings name says of some images, by their ids."""
    if not settings.verified:
        return {}
    verified = reader.workspace.find_build(VERIFIED_PAIRS, settings.verified)
    builds = reader.workspace.builds()
    extraction = Extraction(builds[local.indexed.parents[MODELS.name]], local.codebook.sha256)
    check_verified(verified, recipe.verification, extraction, builds)
    return read_known(image_ids, reader, verified)


def lay_out(
    queries: Sequence[Query],
    asked: FusedAsked,
    fused: FusedCollection,
    settings: SearchSettings,
    recipe: FusedRecipe,
    *,
    threads: int,
) -> list[FusedQuery]:
    """Give queries their rankings by every index, and what is verified; not what is near by descriptor."""
    X, nothing = fused.collection.X, np.zeros(0, np.int64)
    searches = [(fused.local, index_settings(settings)), *([fused.further] if fused.further else [])]
    listed = [
        answer_index(queries, keypoints, local, how, None, threads=threads)
        for keypoints, (local, how) in zip(asked.keypoints, searches, strict=True)
    ]
    found = []
    for i in range(len(queries)):
        rankings = []
        for answers, (local, _) in zip(listed, searches, strict=True):
            ids = local.index.X.id_of(answers[i].ordinals) if i in answers else nothing
            scores = answers[i].scores if i in answers else nothing
            rankings.append(Ranking(X.ordinal_of(ids), scores.astype(np.float32)))
        vectors = tuple(one.Q[i] if one.status[i] == "ok" else None for one in asked.vectors)
        own = int(X.ordinal_of(asked.own[[i]])[0])
        photo = prepare_query(asked, i, recipe)
        found.append(FusedQuery(vectors, own, nothing, *rankings[0], photo, tuple(rankings[1:])))
    return found


def prepare_query(asked: FusedAsked, i: int, recipe: FusedRecipe) -> Photo | None:
    """Prepare the keypoints of a query for verification; None where there are none."""
    features, size = asked.keypoints[0].features[i], asked.sizes[i]
    if features is None or size is None or not recipe.n_verified:
        return None
    return prepare_photo(features, size, recipe.verification)


class Candidates:
    """The keypoints of some images, see `resight.search.fused.rank.Photos`."""

    def __init__(self, features: Mapping[int, LocalFeatures], sizes: Mapping[int, Size]) -> None:
        self.features, self.sizes = features, sizes

    def find(self, image_id: int) -> bool:
        """Whether the keypoints of an image are there."""
        return image_id in self.features

    def preparer(self, settings: VerifySettings) -> Callable[[int], Photo]:
        """Make the function that prepares an image, once."""

        @cache
        def prepare(image_id: int) -> Photo:
            return prepare_photo(self.features[image_id], self.sizes[image_id], settings)

        return prepare


def open_candidates(
    queries: Sequence[FusedQuery],
    descriptors: Descriptors,
    recipe: FusedRecipe,
    reader: Reader,
    fused: FusedCollection,
    *,
    threads: int,
) -> Candidates | None:
    """Read or find the keypoints of the images that the queries are verified with; None where nothing is."""
    chosen = [choose_images(query, descriptors, recipe) for query in queries if query.photo is not None]
    if not chosen:
        return None
    ids = descriptors.X.id_of(np.unique(np.concatenate(chosen))).tolist()
    with fused.lock:
        lacking = [i for i in ids if i not in fused.held]
        if lacking:
            work = describe_like(fused.local.codebook)
            indexed = fused.local.indexed
            found = read_indexed(lacking, reader, indexed, work, threads=threads, complete=False)
            fused.held.update(found.features)
        features = {i: fused.held[i] for i in ids if i in fused.held}
        for oldest in list(fused.held)[:-HELD]:
            del fused.held[oldest]
    return Candidates(features, read_sizes(ids, reader))
