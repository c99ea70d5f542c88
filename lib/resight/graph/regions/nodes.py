"""Region vectors of images to the nodes of a graph, image by image."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from resight.diffusion.compress import compress_regions
from resight.diffusion.pooling import gmp_weights
from resight.knn.copies import to_offsets
from resight.knn.matrix import normalize_rows

Piece = tuple[np.ndarray, np.ndarray, np.ndarray]  # vectors (m, d), region_ix (m,), status (m,)


class RegionNodes(NamedTuple):
    """Nodes of some images, those of one together.

    ``offsets`` (n_images + 1,) int64; ``vectors`` (n, d) float32, unit rows where the ``status`` (n,) is ok;
    ``region_ix`` (n,) int32, the region that a node is, or the nearest to it; ``weights`` (n,) float64, NaN
    where the status is not ok.
    """

    offsets: np.ndarray
    vectors: np.ndarray
    region_ix: np.ndarray
    status: np.ndarray
    weights: np.ndarray


def make_nodes(
    X: np.ndarray,
    offsets: np.ndarray,
    region_ix: np.ndarray,
    *,
    compress: int = 0,
    lam: float = 1.0,
    seed: int = 0,
) -> RegionNodes:
    """Make the nodes of images; what an image becomes depends on its own regions alone.

    Parameters
    ----------
    X : ndarray, (m, d) float
        Region vectors. A zero vector or one that is not finite stays a node, with a status.
    offsets : ndarray, (n_images + 1,) int64
        Where the regions of each image begin.
    region_ix : ndarray, (m,) int32
        Number of each region in its image.
    compress : int
        Components that stand for the regions of an image; 0 keeps all regions.
    lam : float
        Regularisation of the weights, see `gmp_weights`.
    seed : int
        Of the mixtures.
    """
    unit, status = normalize_rows(X)
    vectors = np.where((status == "ok")[:, None], unit, X).astype(np.float32)
    pieces = [(vectors[a:b], region_ix[a:b], status[a:b]) for a, b in pairwise(offsets)]
    if compress:
        pieces = [compress_image(*piece, g=compress, seed=seed) for piece in pieces]
    empty: Piece = (vectors[:0], region_ix[:0], status[:0])
    vectors, region_ix, status = (np.concatenate(column) for column in zip(empty, *pieces, strict=True))
    ok = status == "ok"
    n_ok = [int((piece[2] == "ok").sum()) for piece in pieces]
    weights = np.full(len(vectors), np.nan)
    weights[ok] = gmp_weights(vectors[ok], to_offsets(np.array(n_ok, np.int64)), lam=lam)
    counts = np.array([len(piece[0]) for piece in pieces], np.int64)
    return RegionNodes(to_offsets(counts), vectors, region_ix, status, weights)


def compress_image(
    vectors: np.ndarray, region_ix: np.ndarray, status: np.ndarray, *, g: int, seed: int
) -> Piece:
    """Replace the usable regions of one image by ``g`` means, each named by its nearest region."""
    ok = status == "ok"
    if not ok.any():
        return vectors, region_ix, status
    means = compress_regions(vectors[ok], g=g, seed=seed)
    nearest = region_ix[ok][np.argmax(vectors[ok].astype(np.float64) @ means.T.astype(np.float64), axis=0)]
    return (
        np.concatenate([means, vectors[~ok]]),
        np.concatenate([nearest, region_ix[~ok]]),
        np.concatenate([np.full(len(means), "ok"), status[~ok]]),
    )
