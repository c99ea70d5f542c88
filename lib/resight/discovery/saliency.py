"""Where an image has something of its own, and where that recurs in the collection.

Feature saliency weighs the channels of an activation map by how seldom they fire, as CroW does over
channels (Kalantidis et al., ECCV-W 2016), but weighs before it sums (C, eq. 1-3). Object saliency keeps of it
what resembles central regions of other images (C, eq. 12; J, eq. 14).
"""

import numpy as np

__all__ = ["channel_weights", "feature_saliency", "object_saliency", "region_worth"]

EPSILON = 1e-6  # of a share of cells: the weight of a channel that never fires is finite


def channel_weights(A: np.ndarray) -> np.ndarray:
    """Weigh channels by their sparsity: ``b_j = log(sum_i (a_i + eps) / (a_j + eps))``.

    Parameters
    ----------
    A : ndarray, (h, w, c) float, not negative
        Activations; ``a_j`` is the share of cells in which channel j is above zero.

    Returns
    -------
    ndarray, (c,) float64
        Not negative; the seldom a channel fires, the larger.
    """
    share = (A > 0).mean(axis=(0, 1)) + EPSILON
    return np.log(share.sum() / share)


def feature_saliency(A: np.ndarray) -> np.ndarray:
    """Sum the weighted channels of activations ``A`` (h, w, c), divide by the norm, take the root.

    Returns
    -------
    ndarray, (h, w) float32
        ``(F / ||F||)^(1/2)`` with ``F = sum_j b_j A_j``; zeros where nothing fires.
    """
    F = A.astype(np.float64) @ channel_weights(A)
    norm = np.sqrt(np.einsum("hw,hw->", F, F))
    return np.sqrt(F / norm if norm > 0 else F).astype(np.float32)


def region_worth(saliency: np.ndarray, centrality: np.ndarray, *, power: float = 3.0) -> np.ndarray:
    """Say what a region counts as a neighbour: ``f^theta g``, (n,) float64.

    ``saliency`` (n,) is the mean feature saliency inside each region, ``centrality`` (n,) that in the graph.
    """
    return saliency.astype(np.float64) ** power * centrality


def object_saliency(
    F: np.ndarray, similarity: np.ndarray, worth: np.ndarray, *, gamma: float = 3.0, power: float = 3.0
) -> np.ndarray:
    """Weigh feature saliency by the worth of the regions that the patch around each cell resembles.

    Parameters
    ----------
    F : ndarray, (h, w) float32
        Feature saliency.
    similarity : ndarray, (h * w, k) float32
        Cosine of a cell's patch with its nearest regions; zero or less counts as none.
    worth : ndarray, (h * w, k) float64
        Of these regions, see `region_worth`; zero where there are fewer than k.
    gamma : float
        Exponent of the similarity, as in the graph.
    power : float
        Exponent of the feature saliency (the papers' Theta).

    Returns
    -------
    ndarray, (h, w) float32
        ``F_p^Theta sum_i max(0, v_i u_p)^gamma f_i^theta g_i``.
    """
    if similarity.shape != worth.shape or len(similarity) != F.size:
        shapes = f"F {F.shape}, similarity {similarity.shape}, worth {worth.shape}"
        raise ValueError(f"shapes do not fit: {shapes}")
    from resight.graph.affinity import power_similarity

    support = np.einsum("pk,pk->p", power_similarity(similarity, gamma), worth)
    return (F.astype(np.float64) ** power * support.reshape(F.shape)).astype(np.float32)
