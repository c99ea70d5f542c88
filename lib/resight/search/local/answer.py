"""Queries of every kind against an index, without Spark and with the ranking of the job ``search``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resight.asmk.search import encode_query, search_index
from resight.asmk.searching.index import Index
from resight.asmk.searching.recipe import read_recipe
from resight.asmk.work import describe_like
from resight.codebook.model import Codebook
from resight.features.local.points import LocalFeatures
from resight.features.photos import Box
from resight.reader import Reader
from resight.rerank.hqe import search_expanded
from resight.search.answer import Answer
from resight.search.collection import Collection
from resight.search.describe import Query, is_picture, read_content
from resight.search.local.locate import locate_index
from resight.search.local.stored import Described, describe_contents, read_indexed
from resight.search.queries.like import measure_sides
from resight.search.settings import SearchSettings
from resight.workspace import Run


@dataclass(frozen=True)
class LocalIndex:
    """An opened index: its codebook, the run that made it, and its images as a collection."""

    index: Index
    codebook: Codebook
    indexed: Run
    collection: Collection

    @property
    def described(self) -> Run:
        """The run whose images are ranked."""
        return self.indexed


class Keypoints(NamedTuple):
    """Keypoints of each query, None where the status is not ``ok``; sizes (width, height) of image files."""

    features: list[LocalFeatures | None]
    status: list[str]
    error: list[str | None]
    sizes: list[tuple[int, int] | None]


def open_local_index(reader: Reader, build: str) -> LocalIndex:
    """Open an index; `SettingError` where there is none."""
    layout, indexed = locate_index(reader.workspace, build)
    index = layout.open()
    return LocalIndex(index, layout.codebook.open(), indexed, Collection(index.X))


def ask_index(
    queries: Sequence[Query],
    reader: Reader,
    local: LocalIndex,
    *,
    threads: int,
    boxes: Sequence[Box | None] | None = None,
) -> Keypoints:
    """Find the keypoints of images, and those of images of the collection that are named by their ids.

    ``boxes`` are parts of the image files, one per query or None.

    Raises
    ------
    ValueError
        A query is a vector.
    """
    n, work = len(queries), describe_like(local.codebook)
    found = Keypoints([None] * n, ["ok"] * n, [None] * n, [None] * n)
    pictures = [i for i, query in enumerate(queries) if is_picture(query)]
    named = {i: int(q) for i, q in enumerate(queries) if isinstance(q, int | np.integer)}
    if len(pictures) + len(named) < n:
        raise ValueError("a search by local features takes images and ids, not vectors")
    contents = [read_content(queries[i]) for i in pictures]
    parts = [boxes[i] for i in pictures] if boxes else None
    described = describe_contents(contents, work, threads=threads, boxes=parts) if pictures else None
    for place, i in enumerate(pictures):
        found.sizes[i] = measure_sides(contents[place])
        set_keypoints(found, i, place, described)
    known = read_indexed(named.values(), reader, local.indexed, work, threads=threads) if named else None
    for i, image_id in named.items():
        set_keypoints(found, i, image_id, known)
    return found


def set_keypoints(found: Keypoints, i: int, key: int, described: Described | None) -> None:
    """Enter what became of query ``i``, which ``described`` knows by ``key``."""
    if described is not None:
        found.features[i] = described.features.get(key)
        found.status[i], found.error[i] = described.faults.get(key, ("ok", None))


def answer_index(
    queries: Sequence[Query],
    keypoints: Keypoints,
    local: LocalIndex,
    settings: SearchSettings,
    allowed: np.ndarray | None,
    *,
    threads: int = 1,
) -> Mapping[int, Answer]:
    """Rank the images of an index for the queries that are usable: query -> answer."""
    index = local.index if allowed is None else local.index.restrict(allowed)
    recipe = read_recipe(settings, local.codebook.n_bits, local.indexed)
    given = {i: one.vectors for i, one in enumerate(keypoints.features) if one is not None}
    usable = [i for i in given if keypoints.status[i] == "ok"]
    kind = {"aggregate": recipe.aggregate, "real": recipe.real}
    asked = [encode_query(given[i], local.codebook, recipe.m, **kind, threads=threads) for i in usable]
    own = np.array([-1 if is_picture(queries[i]) else int(queries[i]) for i in usable], np.int64)  # type: ignore[arg-type]
    depth, table = recipe.limit(index.X.n), recipe.table()
    if recipe.expansion:
        ranked = search_expanded(asked, own, index, table, recipe.expansion, depth=depth)
    else:
        ranked = search_index(asked, own, index, table, depth=depth)
    rows = [index.X.ordinal_of(one.image_ids) for one in ranked]
    return {
        i: Answer(ordinals, one.scores, no_support=not (one.scores > 0).any())
        for i, ordinals, one in zip(usable, rows, ranked, strict=True)
    }
