"""Losses of training tuples: an anchor, a positive and some negatives, all unit vectors.

Contrastive: Radenovic, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI
2018, eq. 3. Triplet and weights: Iscen, Tolias, Avrithis, Chum, "Mining on manifolds", CVPR 2018, section
3.4.
"""

import torch
from torch import Tensor

__all__ = ["contrastive_loss", "triplet_loss", "tuple_losses"]


def contrastive_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, *, margin: float, valid: Tensor | None = None
) -> Tensor:
    """Half the squared distance to the positive, and half of what negatives lack to the margin, squared.

    ``L = d_+^2 / 2 + sum_j max(0, margin - d_j)^2 / 2``. A negative that equals the anchor has a
    gradient of zero.

    Parameters
    ----------
    anchors, positives : Tensor, (t, d)
        Unit vectors.
    negatives : Tensor, (t, k, d)
        Unit vectors.
    margin : float
        Of distances, below the square root of 2 to mean anything for vectors without negative entries.
    valid : Tensor, (t, k) bool, optional
        Which negatives there are; the others add nothing.

    Returns
    -------
    Tensor, (t,)
        Loss of each tuple.
    """
    near = 0.5 * (anchors - positives).square().sum(1)
    squares = (anchors[:, None] - negatives).square().sum(2)
    apart = squares > 0
    distances = torch.where(apart, squares, 1.0).sqrt() * apart  # no square root at 0: its slope is infinite
    lacking = 0.5 * (margin - distances).clamp_min(0).square()
    return near + keep_valid(lacking, valid).sum(1)


def triplet_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, *, margin: float, valid: Tensor | None = None
) -> Tensor:
    """Add up, over the negatives, how much nearer the positive should be: squared distances.

    ``L = sum_j max(0, margin + d_+^2 - d_j^2)``; arguments and result as for `contrastive_loss`.
    """
    near = (anchors - positives).square().sum(1, keepdim=True)
    squares = (anchors[:, None] - negatives).square().sum(2)
    return keep_valid((margin + near - squares).clamp_min(0), valid).sum(1)


def keep_valid(losses: Tensor, valid: Tensor | None) -> Tensor:
    """Set the entries (t, k) of negatives that there are not to zero."""
    return losses if valid is None else losses * valid


LOSSES = {"contrastive": contrastive_loss, "triplet": triplet_loss}


def tuple_losses(
    vectors: Tensor, slots: Tensor, *, loss: str, margin: float, weights: Tensor | None = None
) -> Tensor:
    """Losses of tuples whose photos are rows of ``vectors``: a photo in several tuples is described once.

    Parameters
    ----------
    vectors : Tensor, (b, d)
        Unit vectors.
    slots : Tensor, (t, 2 + k) int64
        Row of the anchor, of the positive, of each negative; -1: there is no such negative.
    loss : str
        ``contrastive`` or ``triplet``.
    margin : float
        Of the loss.
    weights : Tensor, (t,), optional
        What each tuple counts.

    Returns
    -------
    Tensor, (t,)
    """
    negatives = slots[:, 2:]
    anchors, positives = vectors[slots[:, 0]], vectors[slots[:, 1]]
    found = LOSSES[loss](
        anchors, positives, vectors[negatives.clamp_min(0)], margin=margin, valid=negatives >= 0
    )
    return found if weights is None else found * weights
