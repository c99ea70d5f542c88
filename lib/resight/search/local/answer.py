"""Queries of every kind against an index, without Spark and with the ranking of the job ``search``."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.asmk.search import encode_query, search_index
from resight.asmk.searching.index import Index
from resight.asmk.searching.recipe import read_recipe
from resight.asmk.work import describe_like
from resight.codebook.model import Codebook
from resight.features.local.points import join_features
from resight.features.local.work import LocalWork
from resight.features.work import read_images
from resight.reader import Reader
from resight.rerank.hqe import search_expanded
from resight.search.answer import Answer
from resight.search.collection import Collection
from resight.search.describe import Query, is_picture, read_content
from resight.search.local.locate import locate_index
from resight.search.settings import SearchSettings
from resight.tables import IMAGE_STATS, IMAGES, LOCAL_DESCRIPTORS, SOURCES
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
    """Descriptors (n, d) of each query, None where the status is not ``ok``."""

    vectors: list[np.ndarray | None]
    status: list[str]
    error: list[str | None]


def open_local_index(reader: Reader, build: str) -> LocalIndex:
    """Open an index; `SettingError` where there is none."""
    layout, indexed = locate_index(reader.workspace, build)
    index = layout.open()
    return LocalIndex(index, layout.codebook.open(), indexed, Collection(index.X))


def ask_index(queries: Sequence[Query], reader: Reader, local: LocalIndex, *, threads: int) -> Keypoints:
    """Find the keypoints of images, and those of images of the collection that are named by their ids.

    Raises
    ------
    ValueError
        A query is a vector.
    """
    found = Keypoints([None] * len(queries), ["ok"] * len(queries), [None] * len(queries))
    contents: dict[int, bytes | None] = {}
    for i, query in enumerate(queries):
        if is_picture(query):
            contents[i] = read_content(query)
        elif isinstance(query, int | np.integer):
            read_indexed(int(query), i, reader, local, found, contents)
        else:
            raise ValueError("a search by local features takes images and ids, not vectors")
    if contents:
        described = extract([*contents.values()], describe_like(local.codebook), threads)
        for i, vectors, status, error in zip(contents, *described, strict=True):
            found.vectors[i] = vectors
            if found.status[i] == "ok":
                found.status[i], found.error[i] = status, error
    return found


def read_indexed(
    image_id: int,
    i: int,
    reader: Reader,
    local: LocalIndex,
    found: Keypoints,
    contents: dict[int, bytes | None],
) -> None:
    """Take the stored keypoints of an indexed image, or its file, to be described as query ``i``."""
    build, own = local.indexed.build_id, pc.field("image_id") == image_id
    rows = reader.read(IMAGE_STATS, build, filter=own & (pc.field("status") == "ok"))
    if not len(rows):
        found.status[i], found.error[i] = "missing", "no indexed image has this id"
        return
    held = (
        build
        if LOCAL_DESCRIPTORS.name in local.indexed.outputs
        else local.indexed.parents.get(LOCAL_DESCRIPTORS.name, "")
    )
    state = rows.select(["content_hash", "n_keypoints"]).to_pylist()[0]
    if held:
        same = own & (pc.field("status") == "ok")
        for name, value in state.items():
            same &= pc.field(name) == value
        stored = reader.read(LOCAL_DESCRIPTORS, held, filter=same)
        if len(stored):
            found.vectors[i] = join_features(stored, reader.properties(LOCAL_DESCRIPTORS, held)["dtype"])[2]
            return
    failures: dict[int, tuple[str, str]] = {}
    contents[i] = next(iter(read_images(locate_content(reader, image_id, state["content_hash"]), failures)))
    if failures:
        found.status[i], found.error[i] = failures[0]


def locate_content(reader: Reader, image_id: int, content_hash: str) -> pa.Table:
    """Give where the bytes of an image lie, as an extraction takes it."""
    columns = ["source_id", "uri", "byte_offset", "n_bytes"]
    row = reader.read(IMAGES, columns=columns, filter=pc.field("image_id") == image_id)
    source = pc.field("source_id") == row["source_id"][0].as_py()
    root = reader.read(SOURCES, columns=["root"], filter=source)["root"]
    return row.append_column("root", root).append_column("content_hash", pa.array([content_hash]))


def extract(contents: Sequence[bytes | None], work: LocalWork, threads: int) -> Keypoints:
    """Describe image files as the codebook says; None is one that could not be read."""
    from resight.features.local.extract import extract_local
    from resight.features.whitening import Whitening

    described = extract_local(
        contents,
        work.settings,
        whitening=Whitening.from_bytes(work.whitening) if work.whitening else None,
        n_threads=threads,
        device=os.environ.get("RESIGHT_DEVICE") or None,
    )
    vectors = [one and one.vectors.astype(work.dtype) for one in described.features]
    return Keypoints(vectors, described.status, described.error)


def answer_index(
    queries: Sequence[Query],
    keypoints: Keypoints,
    local: LocalIndex,
    settings: SearchSettings,
    allowed: np.ndarray | None,
) -> Mapping[int, Answer]:
    """Rank the images of an index for the queries that are usable: query -> answer."""
    index = local.index if allowed is None else local.index.restrict(allowed)
    recipe = read_recipe(settings, local.codebook.n_bits, local.indexed)
    given = {i: vectors for i, vectors in enumerate(keypoints.vectors) if vectors is not None}
    usable = [i for i in given if keypoints.status[i] == "ok"]
    asked = [encode_query(given[i], local.codebook, recipe.m, aggregate=recipe.aggregate) for i in usable]
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
