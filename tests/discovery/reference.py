"""Discovery in one process: the kernels, with dense matrices in the place of graphs and lists."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.discovery.centrality import solve_katz
from resight.discovery.found import describe_patches, find_objects, find_regions
from resight.discovery.maps import map_photos
from resight.discovery.modes import climb
from resight.discovery.pooling import fit_box_whitening, whiten_rows
from resight.discovery.saliency import object_saliency, region_worth
from resight.discovery.settings import pooling_exponent
from resight.features.whitening import CovarianceSums


class Discovered(NamedTuple):
    """``found`` of each image; of all boxes: their ``image``, and the ``top`` that each climbs to."""

    found: list
    image: np.ndarray
    top: np.ndarray


def join_mutual(V, image, *, k, gamma):
    """Affinity (n, n) of boxes of different images that are in each other's lists."""
    C = V.astype(float) @ V.T.astype(float)
    np.fill_diagonal(C, -2)
    nearest = np.zeros(C.shape, bool)
    np.put_along_axis(nearest, np.argsort(-C, axis=1, kind="stable")[:, :k], True, axis=1)
    joined = nearest & nearest.T & (image[:, None] != image)
    return np.where(joined, np.maximum(C, 0) ** gamma, 0)


def gather(found):
    """Image (n,), vectors (n, d) and saliency (n,) of all boxes."""
    image = np.repeat(np.arange(len(found)), [len(one.boxes) for one in found])
    return image, np.concatenate([f.vectors for f in found]), np.concatenate([f.saliency for f in found])


def look(A, F, own, bank, conf, whitening, p):
    """Find the objects of one image by comparison with all boxes ``bank`` (vectors, worth)."""
    V, worth = bank
    C = describe_patches(A, conf, whitening, p=p).astype(float) @ V.T.astype(float)
    C[:, own] = -2
    order = np.argsort(-C, axis=1, kind="stable")[:, : conf.query_neighbors]
    similarity = np.take_along_axis(C, order, 1)
    counted = np.where(similarity > -2, worth[order], 0)
    S = object_saliency(F, similarity.astype(np.float32), counted, gamma=conf.gamma, power=conf.cell_power)
    return find_objects(A, F, S, conf, whitening, p=p)


def discover(contents, network, conf, *, k, similarity=0.5, dims=512):
    """Do what discover-objects does, for files that all can be read and differ."""
    p = pooling_exponent(network)
    seen = map_photos(contents, network, lambda _, A: (A.copy(), find_regions(A, conf, p=p)))
    image, raw, saliency = gather([found for _, found in seen])
    sums = CovarianceSums.of_rows(raw)
    whitening = [fit_box_whitening(sums, dims=dims, power=0.3)]
    V = whiten_rows(raw, whitening)
    S = normalize_affinity(sp.csr_array(join_mutual(V, image, k=k, gamma=conf.gamma))).S
    bank = V, region_worth(saliency, solve_katz(S, alpha=0.99).g, power=conf.region_power)
    found = [look(A, f.features, image == i, bank, conf, whitening, p) for i, (A, f) in enumerate(seen)]
    image, V, _ = gather(found)
    N = normalize_affinity(sp.csr_array(join_mutual(V, image, k=k, gamma=conf.gamma)))
    top = climb(N.S, N.degrees, np.arange(len(V)), 0, len(V), floor=similarity**conf.gamma)
    for _ in range(len(V)):
        top = top[top]
    return Discovered(found, image, top)
