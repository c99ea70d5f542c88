"""What is found in one image, and its row between tasks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from resight.discovery.mixture import Detected, detect_regions
from resight.discovery.pooling import (
    mean_in_boxes,
    pool_boxes,
    pool_patches,
    sum_boxes,
    unit_rows,
    whiten_rows,
)
from resight.discovery.saliency import feature_saliency
from resight.discovery.settings import DiscoverySettings
from resight.features.photos import Failure
from resight.features.whitening import Whitening

__all__ = ["FOUND", "Found", "find_objects", "find_regions", "lay_out", "rescue_found"]

PACKED = ("boxes", "weights", "saliency", "vectors", "features", "objects", "vector")
FOUND = pa.schema(
    [
        pa.field("image_id", pa.int64()),
        pa.field("content_hash", pa.string()),
        pa.field("status", pa.string()),
        pa.field("error", pa.string()),
        pa.field("height", pa.int32()),  # of the grid, in cells
        pa.field("width", pa.int32()),
        *(pa.field(name, pa.binary()) for name in PACKED),
    ]
)


class Found(NamedTuple):
    """Boxes of one image.

    ``boxes`` (r, 4) float32, shares of height and width; ``weights`` (r,) float32 of the mixture;
    ``saliency`` (r,) float32, the mean of the map that they were found in; ``vectors`` (r, d) float32, units
    or zero. The maps ``features`` and ``objects`` are (h, w) float32, ``vector`` (d,) describes the image.
    """

    boxes: np.ndarray
    weights: np.ndarray
    saliency: np.ndarray
    vectors: np.ndarray
    features: np.ndarray
    objects: np.ndarray | None = None
    vector: np.ndarray | None = None


def find_regions(A: np.ndarray, conf: DiscoverySettings, *, p: float) -> Found:
    """Find the boxes of feature saliency in activations ``A`` (h, w, c), described but not whitened."""
    F = feature_saliency(A)
    found = detect(F, conf, tau=conf.feature_tau, rho=conf.feature_rho)
    pooled = unit_rows(pool_boxes(A, found.boxes, p=p))
    return to_shares(found, F.shape, mean_in_boxes(F, found.boxes), pooled, F)


def describe_patches(
    A: np.ndarray, conf: DiscoverySettings, whitening: Sequence[Whitening], *, p: float
) -> np.ndarray:
    """Describe the patch around every cell of ``A`` (h, w, c): (h * w, d) float32, units or zero."""
    h, w, c = A.shape
    pooled = pool_patches(A, side=conf.patch_side(h, w), p=p)
    return whiten_rows(unit_rows(pooled.reshape(h * w, c)), whitening)


def find_objects(
    A: np.ndarray,
    F: np.ndarray,
    S: np.ndarray,
    conf: DiscoverySettings,
    whitening: Sequence[Whitening],
    *,
    p: float,
) -> Found:
    """Find the boxes of object saliency ``S`` (h, w) and describe the image by them.

    Where nothing of the image recurs, it has no boxes and is described as a whole.
    """
    found = detect(S, conf, tau=conf.object_tau, rho=conf.object_rho)
    pooled = unit_rows(pool_boxes(A, found.boxes, p=p))
    whole = np.array([[0, 0, *S.shape]])
    summed = pooled if len(pooled) else unit_rows(pool_boxes(A, whole, p=p))
    vectors = whiten_rows(pooled, whitening)
    boxes = to_shares(found, S.shape, mean_in_boxes(S, found.boxes), vectors, F)
    return boxes._replace(objects=S, vector=sum_boxes(summed, whitening))


def detect(S: np.ndarray, conf: DiscoverySettings, *, tau: float, rho: float) -> Detected:
    """Find boxes in a map as the settings say."""
    return detect_regions(
        S,
        tau=tau,
        rho=rho,
        sigma=conf.count_cells(conf.sigma, *S.shape),
        eta=conf.eta,
        min_weight=conf.min_weight,
        max_regions=conf.max_regions,
    )


def to_shares(
    found: Detected, grid: tuple[int, ...], saliency: np.ndarray, vectors: np.ndarray, F: np.ndarray
) -> Found:
    """Give boxes of cells as shares of the sides."""
    boxes = (found.boxes / np.array(grid * 2)).astype(np.float32).reshape(-1, 4)
    return Found(boxes, found.weights.astype(np.float32), saliency, vectors, F)


def lay_out(rows: pa.Table, found: Sequence[Found | Failure], *, dtype: str) -> pa.Table:
    """Lay out what was found in the images of ``rows`` (image_id, content_hash); vectors become ``dtype``."""
    columns = {name: rows[name] for name in ("image_id", "content_hash")}
    packed: dict[str, list[bytes | None]] = {name: [] for name in PACKED}
    status, error, sides = list[str](), list[str | None](), list[tuple[int | None, ...]]()
    for one in found:
        status.append(one.status if isinstance(one, Failure) else "ok")
        error.append(one.error if isinstance(one, Failure) else None)
        sides.append((None, None) if isinstance(one, Failure) else one.features.shape)
        for name in PACKED:
            array = None if isinstance(one, Failure) else getattr(one, name)
            kind = dtype if name in ("vectors", "vector") else "float32"
            packed[name].append(None if array is None else array.astype(kind).tobytes())
    columns |= {"status": pa.array(status, pa.string()), "error": pa.array(error, pa.string())}
    for side, values in zip(("height", "width"), zip(*sides, strict=True), strict=True):
        columns[side] = pa.array(values, pa.int32())
    columns |= {name: pa.array(values, pa.binary()) for name, values in packed.items()}
    return pa.table(columns).select(FOUND.names).cast(FOUND)


def rescue_found(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    return lay_out(rows, [Failure("crashed", reason)] * len(rows), dtype="float32")
