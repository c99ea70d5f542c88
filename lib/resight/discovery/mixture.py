"""Boxes in a saliency map: a mixture of Gaussians that begins with one per cell and loses those that repeat.

C, section 3.2, after Avrithis and Kalantidis, "Approximate Gaussian mixtures for large scale vocabularies",
ECCV 2012. A cell is itself a Gaussian of its saliency and of width sigma, so that all products are in closed
form. Both papers leave the size of a box open: here it is that of the uniform box with the same variance.
"""

from typing import Literal, NamedTuple

import numpy as np

__all__ = ["Detected", "Mixture", "detect_regions", "fit_mixture", "mark_cells"]

MIN_VARIANCE = 1 / 12  # of a box of one cell
SETTLED = 1e-3  # cells that a centre may still move in the last iteration
TINY = 1e-300

MStep = Literal["weighted", "literal"]


class Mixture(NamedTuple):
    """Gaussians with diagonal covariance over the cells of a grid.

    ``weights`` (m,) float64, descending, sum one; ``centres`` (m, 2) and ``variances`` (m, 2) float64 along
    rows and columns, in cells; ``counts`` how many there were after each iteration, the start included.
    """

    weights: np.ndarray
    centres: np.ndarray
    variances: np.ndarray
    counts: tuple[int, ...] = ()


class Detected(NamedTuple):
    """Boxes (r, 4) int32 ``y0 x0 y1 x1``, half-open cells, heaviest first, and their weights (r,) float64."""

    boxes: np.ndarray
    weights: np.ndarray


def mark_cells(S: np.ndarray, *, tau: float, rho: float) -> np.ndarray:
    """Scale a map (h, w) to the maximum one, drop what is not above ``tau``, raise the rest to ``rho``."""
    top = float(S.max(initial=0.0))
    if not top > 0:
        return np.zeros(S.shape)
    scaled = S.astype(np.float64) / top
    return np.where(scaled > tau, scaled, 0.0) ** rho


def fit_mixture(
    S: np.ndarray, *, sigma: float, eta: float = 0.55, mstep: MStep = "weighted", max_iter: int = 30
) -> Mixture:
    """Fit a mixture to the cells of a map that are above zero.

    Parameters
    ----------
    S : ndarray, (h, w) float64
        Saliency, see `mark_cells`.
    sigma : float
        Standard deviation of a cell, in cells.
    eta : float
        A component goes where its own share of the product with those kept before it is below this.
    mstep : {"weighted", "literal"}
        Whether a cell counts by its saliency when components move, or, as printed, all count the same.
    max_iter : int
        Most iterations.

    Returns
    -------
    Mixture
        No component where no cell is above zero.
    """
    rows, columns = np.nonzero(S)
    P, s = np.stack([rows, columns], axis=1).astype(np.float64), S[rows, columns]
    if not len(P):
        return Mixture(np.zeros(0), P, P.copy())
    count = s if mstep == "weighted" else np.ones(len(s))
    model = Mixture(s / s.sum(), P, np.full(P.shape, sigma**2))
    counts = [len(P)]
    for _ in range(max_iter):
        moved = maximise(P, expect(P, model, sigma) * count[:, None])
        step = np.abs(moved.centres - model.centres).max(axis=1)
        kept = choose_kept(moved, eta)
        model = select(moved, kept)
        counts.append(len(kept))
        if counts[-1] == counts[-2] and step.max() < SETTLED:
            break
    model = select(model, np.argsort(-model.weights, kind="stable"))
    return model._replace(counts=tuple(counts))


def expect(P: np.ndarray, model: Mixture, sigma: float) -> np.ndarray:
    """Share of each component (l, m) in every cell ``P`` (l, 2); rows sum to one."""
    variances = model.variances + sigma**2
    apart = ((P[:, None] - model.centres) ** 2 / variances).sum(axis=2)  # (l, m)
    logs = np.log(np.maximum(model.weights, TINY)) - 0.5 * (apart + np.log(variances).sum(axis=1))
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def maximise(P: np.ndarray, G: np.ndarray) -> Mixture:
    """Move the components to the cells ``P`` (l, 2) that count ``G`` (l, m) for each."""
    totals = np.maximum(G.sum(axis=0), TINY)
    centres = G.T @ P / totals[:, None]
    variances = np.stack([((P[:, a, None] - centres[:, a]) ** 2 * G).sum(axis=0) for a in (0, 1)], axis=1)
    return Mixture(totals / totals.sum(), centres, np.maximum(variances / totals[:, None], MIN_VARIANCE))


def choose_kept(model: Mixture, eta: float) -> np.ndarray:
    """Positions (j,) int64, ascending, of the components that do not repeat heavier ones."""
    variances = model.variances[:, None] + model.variances  # (m, m, 2)
    apart = ((model.centres[:, None] - model.centres) ** 2 / variances).sum(axis=2)
    density = np.exp(-0.5 * apart) / (2 * np.pi * np.sqrt(variances.prod(axis=2)))
    products = np.outer(model.weights, model.weights) * density
    own = np.diagonal(products)
    kept, shared = np.zeros(len(own), bool), np.zeros(len(own))
    for i in np.argsort(-model.weights, kind="stable"):
        if own[i] >= eta * (own[i] + shared[i]) or not kept.any():
            kept[i] = True
            shared += products[i]
    return np.flatnonzero(kept)


def select(model: Mixture, kept: np.ndarray) -> Mixture:
    """Keep some components, in this order, and let their weights sum to one."""
    weights = model.weights[kept]
    return Mixture(weights / weights.sum(), model.centres[kept], model.variances[kept])


def detect_regions(
    S: np.ndarray,
    *,
    tau: float,
    rho: float,
    sigma: float,
    eta: float = 0.55,
    min_weight: float = 0.0,
    max_regions: int = 0,
) -> Detected:
    """Find the boxes of what stands out in a map.

    Parameters
    ----------
    S : ndarray, (h, w) float, not negative
        A saliency map; its scale does not matter.
    tau, rho : float
        Share of the maximum below which a cell counts as nothing, and the exponent of the others.
    sigma, eta : float
        See `fit_mixture`.
    min_weight : float
        Weight below which a component is left out: background that no other component covers.
    max_regions : int
        Most boxes, the heaviest; 0 is no limit.

    Returns
    -------
    Detected
        No box for a map of zeros.
    """
    model = fit_mixture(mark_cells(S, tau=tau, rho=rho), sigma=sigma, eta=eta)
    n = int((model.weights >= min_weight).sum())
    n = min(n, max_regions) if max_regions else n
    half = np.sqrt(3 * model.variances[:n])
    low = np.floor(model.centres[:n] - half + 1.0)  # centres are those of cells: a cell begins half before
    high = np.ceil(model.centres[:n] + half)
    limits = np.array(S.shape, np.float64)
    low, high = np.clip(low, 0, limits - 1), np.clip(high, 1, limits)
    boxes = np.concatenate([low, np.maximum(high, low + 1)], axis=1).astype(np.int32)
    return Detected(boxes, model.weights[:n])
