"""Queries of every kind to unit vectors: files and pixels are described as the collection was."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resight import files
from resight.config import SettingError
from resight.discovery import recipe
from resight.features.photos import Box
from resight.features.settings import ExtractSettings
from resight.features.trained import resolve_backbone
from resight.features.whitening import Whitening
from resight.knn.copies import to_offsets
from resight.knn.matrix import OpenVectors, normalize_rows
from resight.reader import Reader
from resight.search.regional import QueryRegions
from resight.tables import GLOBAL_DESCRIPTORS, MODELS
from resight.workspace import Run

if TYPE_CHECKING:
    from resight.features.extract import Extracted

Query = str | Path | int | np.integer | np.ndarray
Boxes = Box | Sequence[Box | None] | None
BOX = ("y0", "x0", "y1", "x1")


class Recipe(NamedTuple):
    """How the images of a build were described; whitening is applied one after the other."""

    settings: ExtractSettings
    whitening: tuple[Whitening, ...]

    def describe(
        self,
        contents: Sequence[bytes | None],
        *,
        threads: int = 1,
        boxes: Sequence[Box | None] | None = None,
    ) -> "Extracted":
        """Describe image files, or the ``boxes`` of them; None is one that could not be read."""
        from resight.features.extract import extract_contents

        device = os.environ.get("RESIGHT_DEVICE") or None
        return extract_contents(
            contents,
            self.settings,
            whitening=self.whitening,
            n_threads=threads,
            device=device,
            boxes=boxes,
        )


class Asked(NamedTuple):
    """Queries as the kernels take them.

    ``Q`` (s, d) float32 unit rows, zero where the status is not ``ok``; ``own`` (s,) int64 the ordinal of a
    query that is of the collection, else -1; ``status`` and ``error`` of each; ``regions`` the vectors (r, d)
    of the regions of each picture, where the collection has such.
    """

    Q: np.ndarray
    own: np.ndarray
    status: list[str]
    error: list[str | None]
    regions: list[np.ndarray | None]


def find_recipe(reader: Reader, described: Run) -> Recipe:
    """Follow a build of descriptors back to the extraction that it comes from.

    Raises
    ------
    SettingError
        The descriptors were made elsewhere.
    """
    builds, base = reader.workspace.builds(), described
    whitening: tuple[Whitening, ...] = ()
    if base.job == recipe.JOB:
        like = find_recipe(reader, builds[base.parents[GLOBAL_DESCRIPTORS.name]])
        packed = tuple(model.to_bytes() for model in like.whitening)
        settings, packed = recipe.describe_like_boxes(reader, base, like.settings, packed)
        return Recipe(settings, tuple(Whitening.from_bytes(params) for params in packed))
    while base.job == "extract-features":
        if base.settings.get("whitening"):
            rows = reader.read(MODELS, base.parents[MODELS.name]).to_pylist()
            params = next(row["params"] for row in rows if row["kind"] == "whitening")
            whitening = (Whitening.from_bytes(params), *whitening)
        if not base.settings.get("descriptors"):
            names = ExtractSettings.__struct_fields__
            known = {name: value for name, value in base.settings.items() if name in names}
            settings, _ = resolve_backbone(reader, ExtractSettings.from_mapping(known), base.parents)
            return Recipe(settings, whitening)
        base = builds[base.parents[GLOBAL_DESCRIPTORS.name]]
    raise SettingError(
        f"the descriptors {base.name!r} were made elsewhere, so that images cannot be described: ask with "
        "vectors or ids"
    )


def list_queries(query: Query | Sequence[Query]) -> list[Query]:
    """Take what was asked apart: a list, rows of vectors (s, d), ids (s,), or a single query."""
    if isinstance(query, list | tuple):
        return list(query)
    if isinstance(query, np.ndarray) and (
        query.ndim in (2, 4) or (query.ndim == 1 and query.dtype.kind in "iu")
    ):
        return list(query)
    return [query]  # type: ignore[list-item]


def is_picture(query: Query) -> bool:
    """Whether a query has to be described first."""
    return isinstance(query, str | Path) or (isinstance(query, np.ndarray) and query.ndim == 3)


def list_boxes(boxes: Boxes, queries: Sequence[Query]) -> list[Box | None]:
    """Give the box of every query, None where it has none.

    Raises
    ------
    ValueError
        There are not as many boxes as queries, one is empty, or one is of a query that is no image file.
    """
    if boxes is None:
        return [None] * len(queries)
    single = len(boxes) == len(BOX) and all(isinstance(side, int | np.integer) for side in boxes)
    listed = [boxes] if single else list(boxes)
    if len(listed) != len(queries):
        raise ValueError(f"{len(listed)} boxes for {len(queries)} queries")
    found: list[Box | None] = []
    for query, box in zip(queries, listed, strict=True):
        if box is not None:
            y0, x0, y1, x1 = (int(side) for side in box)  # type: ignore[union-attr, arg-type]
            if not (0 <= y0 < y1 and 0 <= x0 < x1):
                raise ValueError(f"a box is (y0, x0, y1, x1) with y0 < y1 and x0 < x1, got {box}")
            if not is_picture(query):
                raise ValueError(f"a box belongs to an image file or pixels, not to {query!r}")
            box = y0, x0, y1, x1
        found.append(box)
    return found


def read_content(query: Query) -> bytes | None:
    """Give the bytes of an image file, None where it cannot be read; pixels are packed without loss.

    Raises
    ------
    ValueError
        Pixels that are not (h, w, 3) uint8.
    """
    if not isinstance(query, np.ndarray):
        try:
            return files.read_bytes(str(query))
        except OSError:
            return None
    if query.dtype != np.uint8 or query.shape[2] != 3:
        raise ValueError(f"an image is (h, w, 3) uint8, got {query.shape} {query.dtype}")
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(query).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def collect_vectors(queries: Sequence[Query], X: OpenVectors, described: "Extracted | None") -> Asked:
    """Give the unit vectors of queries.

    Parameters
    ----------
    queries : sequence
        Ids of the collection, vectors (d,), and images.
    described : Extracted
        What became of the images among them, in their order; None where there are none.

    Raises
    ------
    ValueError
        A vector or an image of other dimensions than the collection.
    """
    Q, own = np.zeros((len(queries), X.d), np.float32), np.full(len(queries), -1, np.int64)
    status, error = ["ok"] * len(queries), [None] * len(queries)  # type: list[str], list[str | None]
    regions: list[np.ndarray | None] = [None] * len(queries)
    n_pictures = 0
    for i, query in enumerate(queries):
        if isinstance(query, int | np.integer):
            own[i] = X.ordinal_of(np.array([query]))[0]
            if own[i] < 0:
                status[i], error[i] = "missing", "no image of the collection with a vector has this id"
            continue
        if is_picture(query) and described is not None:
            query = described.vectors[n_pictures]
            status[i], error[i] = described.status[n_pictures], described.error[n_pictures]
            found = described.regions[n_pictures] if described.regions else None
            regions[i] = found.vectors if found else None
            n_pictures += 1
        Q[i], fault = unit_row(query, X.d)
        status[i] = status[i] if status[i] != "ok" else fault
    Q[own >= 0] = X.gather(own[own >= 0])
    return Asked(Q, own, status, error, regions)


def pack_regions(regions: Sequence[np.ndarray | None], d: int) -> QueryRegions:
    """Join the regions (r, d) of queries as the kernels take them; what is zero or not finite is left out."""
    held = [np.zeros((0, d)) if one is None else one for one in regions]
    X, status = normalize_rows(np.concatenate([np.zeros((0, d)), *held]))
    ok = status == "ok"
    return QueryRegions(to_offsets(ok)[to_offsets(np.array([len(one) for one in held]))], X[ok])


def unit_row(row: Query, d: int) -> tuple[np.ndarray, str]:
    """Scale one vector (d,) to unit norm; its status is ``ok``, ``zero`` or ``nan``."""
    if not isinstance(row, np.ndarray) or row.shape != (d,):
        raise ValueError(
            f"expected a vector of {d} dimensions, got {getattr(row, 'shape', type(row).__name__)}"
        )
    unit, status = normalize_rows(row[None])
    return unit[0], str(status[0])
