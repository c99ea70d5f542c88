"""What queries ask with, unpacked from Arrow rows: vectors, rankings, keypoints, earlier verification."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.arrow import arrow_to_lists, arrow_to_vectors
from resight.features.local.points import unpack_features
from resight.knn.copies import to_offsets
from resight.knn.matrix import normalize_rows
from resight.search.collection import Collection
from resight.search.fused.rank import FusedRecipe, Ranking
from resight.search.fused.verified import Known
from resight.verification.verify import Photo, prepare_photo


def read_rankings(batch: pa.RecordBatch, end: str, collection: Collection) -> list[Ranking]:
    """Unpack one ranking of every query, from the columns whose names have that ``end``."""
    offsets, ids = arrow_to_lists(batch[f"image_ids{end}"], "int64")
    found, scores = collection.X.ordinal_of(ids), arrow_to_lists(batch[f"scores{end}"], "float32")[1]
    return [Ranking(found[a:b], scores[a:b]) for a, b in pairwise(offsets)]


def cut_lists(offsets: np.ndarray, flat: np.ndarray) -> list[np.ndarray]:
    """Cut lists that lie one after the other."""
    return [flat[a:b] for a, b in pairwise(offsets)]


def read_known(batch: pa.RecordBatch) -> list[Known]:
    """Unpack what was verified before of every query."""
    lengths = pc.fill_null(pc.list_value_length(batch["known"]), 0).to_numpy()
    rows, offsets = batch["known"].flatten(), to_offsets(lengths)
    columns = [cut_lists(offsets, rows.field(name).to_numpy()) for name in ("image_id", "n_inliers")]
    return [Known(ids, n.astype(np.int64)) for ids, n in zip(*columns, strict=True)]


def unit_rows(column: pa.Array, dtype: str) -> list[np.ndarray | None]:
    """Unpack unit vectors (d,); None where one is null, zero or not finite."""
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    rows: list[np.ndarray | None] = [None] * len(column)
    if len(there):
        unit, status = normalize_rows(arrow_to_vectors(column.take(pa.array(there)), dtype))
        for place, vector, word in zip(there.tolist(), unit, status, strict=True):
            rows[place] = vector if word == "ok" else None
    return rows


def read_photos(batch: pa.RecordBatch, dtype: str, recipe: FusedRecipe) -> list[Photo | None]:
    """Prepare the keypoints of queries for verification; None where there are none."""
    if not recipe.n_verified:
        return [None] * batch.num_rows
    columns = [batch[name].to_pylist() for name in ("points", "vectors", "width", "height")]
    return [
        None
        if points is None
        else prepare_photo(unpack_features(points, vectors, dtype), (width, height), recipe.verification)
        for points, vectors, width, height in zip(*columns, strict=True)
    ]
