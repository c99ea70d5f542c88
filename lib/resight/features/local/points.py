"""Arrays of local features, their order, and the packed columns of ``local_descriptors``.

Places are in pixels with the centre of the first pixel at (0, 0), as in OpenCV.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from resight.arrow import arrow_to_lists

__all__ = [
    "COLUMNS",
    "LocalFeatures",
    "inside_box",
    "join_features",
    "pack_features",
    "take_strongest",
    "unpack_features",
]

COLUMNS = ("x", "y", "scale", "angle", "strength")
POINT = np.dtype("<f4")


class LocalFeatures(NamedTuple):
    """The n keypoints of a photo, strongest first.

    Parameters
    ----------
    points : ndarray, (n, 5) float32
        Per row ``x y scale angle strength``: place and diameter of the described region in pixels of the
        upright original photo; angle in degrees in [0, 360), from the x axis towards the y axis (clockwise to
        the eye), 0 where the extractor finds none; strength comparable within an extractor only.
    vectors : ndarray, (n, d) float32
        Descriptors.
    """

    points: np.ndarray
    vectors: np.ndarray


def take_strongest(found: LocalFeatures, limit: int | None) -> LocalFeatures:
    """Sort by strength, strongest first, ties by y, x, angle and scale; keep the first ``limit``."""
    x, y, scale, angle, strength = found.points.T
    order = np.lexsort((scale, angle, x, y, -strength))[:limit]
    return LocalFeatures(found.points[order], found.vectors[order])


def inside_box(points: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Mark the points (n, 5) strictly inside ``box`` (y0, x0, y1, x1): (n,) bool."""
    y0, x0, y1, x1 = box
    x, y = points[:, 0], points[:, 1]
    return (x > x0) & (x < x1) & (y > y0) & (y < y1)


def pack_features(
    features: Sequence[LocalFeatures | None], dtype: str = "float16"
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Pack photos to the columns ``n_keypoints`` int32, ``points`` and ``vectors`` binary.

    ``vectors`` are stored as ``dtype``. None becomes null in all three; a photo without keypoints has 0 and
    two empty binaries.

    >>> one = LocalFeatures(np.ones((2, 5), np.float32), np.ones((2, 3), np.float32))
    >>> [len(v) if v else v for v in pack_features([one, None], "float16")[2].to_pylist()]
    [12, None]
    """
    value = np.dtype(dtype).newbyteorder("<")
    counts = [None if one is None else len(one.points) for one in features]
    points = [None if one is None else one.points.astype(POINT).tobytes() for one in features]
    vectors = [None if one is None else one.vectors.astype(value).tobytes() for one in features]
    return (
        pa.array(counts, pa.int32()),
        pa.array(points, pa.binary()),
        pa.array(vectors, pa.binary()),
    )


def unpack_features(points: bytes, vectors: bytes, dtype: str = "float16") -> LocalFeatures:
    """Unpack one photo; without keypoints its vectors are (0, 0).

    Raises
    ------
    ValueError
        The lengths of the binaries do not fit each other.
    """
    value = np.dtype(dtype).newbyteorder("<")
    if len(points) % (5 * POINT.itemsize) or len(vectors) % value.itemsize:
        raise ValueError(f"points of {len(points)} bytes, vectors of {len(vectors)} bytes in {dtype}")
    P = np.frombuffer(points, POINT).reshape(-1, 5).astype(np.float32)
    V = np.frombuffer(vectors, value).astype(np.float32)
    if len(V) % len(P) if len(P) else len(V):
        raise ValueError(f"{len(V)} values of vectors do not fit {len(P)} keypoints")
    return LocalFeatures(P, V.reshape(len(P), -1) if len(P) else V.reshape(0, 0))


def join_features(rows: pa.Table, dtype: str = "float16") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the features of all rows of ``local_descriptors`` joined, without a copy per photo.

    Returns
    -------
    offsets : ndarray, (m + 1,) int64
        Keypoints ``offsets[i]:offsets[i + 1]`` are of row i; a null row has none.
    points : ndarray, (n, 5) float32
    vectors : ndarray, (n, d) of ``dtype``
        d is 0 where no row has a keypoint.
    """
    bounds, flat = arrow_to_lists(rows["points"], "<f4")
    _, values = arrow_to_lists(rows["vectors"], np.dtype(dtype).newbyteorder("<").str)
    offsets, P = bounds // 5, flat.reshape(-1, 5)
    if len(values) % len(P) if len(P) else len(values):
        raise ValueError(f"{len(values)} values of vectors do not fit {len(P)} keypoints")
    return offsets, P, values.reshape(len(P), -1) if len(P) else values.reshape(0, 0)
