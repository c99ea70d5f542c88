"""A hash function that is fitted as a binary autoencoder: the code must rebuild the descriptor.

Do, Le Tan, Pham, Cheung, "Simultaneous feature aggregating and hashing for large-scale image search", CVPR
2017 (the relaxed binary autoencoder), whose bits are found by discrete coordinate descent (Shen, Shen, Liu,
Shen, "Supervised discrete hashing", CVPR 2015).
"""

from dataclasses import dataclass

import numpy as np

from resight.hashing.learned import HashModel, fit_itq, make_model

__all__ = ["fit_rba"]

SWEEPS = 10  # over all bits, at most, while some bit still changes


@dataclass
class Autoencoder:
    """The unknowns of the objective: columns are samples.

    ``B`` (L, m) holds signs, ``W1`` (L, d) and ``c1`` (L, 1) encode, ``W2`` (d, L) and ``c2`` (d, 1) decode.
    """

    B: np.ndarray
    W1: np.ndarray
    W2: np.ndarray
    c1: np.ndarray
    c2: np.ndarray


def fit_rba(
    X: np.ndarray,
    n_bits: int,
    *,
    seed: int = 0,
    weight: float = 0.01,
    ridge: float = 0.1,
    iterations: int = 10,
) -> HashModel:
    """Fit an encoder whose signs rebuild ``X`` (n, d) best, from the codes of ITQ on.

    ``weight`` is lambda and ``ridge`` beta of the objective.

    Raises
    ------
    ValueError
        More bits than dimensions.
    """
    start = fit_itq(X, n_bits, seed=seed)
    B = np.where(start.project(X) >= 0, 1.0, -1.0).T
    mean = X.mean(0, dtype=np.float64)
    centred = (X.astype(np.float64) - mean).T
    parts, _ = solve_autoencoder(centred, B, weight=weight, ridge=ridge, iterations=iterations)
    shift = np.linalg.lstsq(parts.W1, parts.c1[:, 0], rcond=None)[0]  # W1 (x + shift) = W1 x + c1
    return make_model("rba", mean - shift, parts.W1.T)


def solve_autoencoder(
    X: np.ndarray, B: np.ndarray, *, weight: float, ridge: float, iterations: int
) -> tuple[Autoencoder, np.ndarray]:
    """Alternate between the maps and the bits of ``X`` (d, m), which begin as ``B`` (L, m).

    Returns
    -------
    parts : Autoencoder
    objective : ndarray
        After the maps and after every sweep over the bits; it never grows.
    """
    d, n_bits = len(X), len(B)
    maps = np.zeros((n_bits, d)), np.zeros((d, n_bits))
    parts = Autoencoder(B, *maps, np.zeros((n_bits, 1)), np.zeros((d, 1)))
    inverse = np.linalg.inv(weight * X @ X.T + ridge * np.eye(d))
    objective = []
    for _ in range(iterations):
        parts.W1 = weight * (parts.B - parts.c1) @ X.T @ inverse
        gram = parts.B @ parts.B.T + ridge * np.eye(n_bits)
        parts.W2 = np.linalg.solve(gram, parts.B @ (X - parts.c2).T).T
        parts.c1 = (parts.B - parts.W1 @ X).mean(1, keepdims=True)
        parts.c2 = (X - parts.W2 @ parts.B).mean(1, keepdims=True)
        objective.append(measure_objective(X, parts, weight, ridge))
        for _ in range(SWEEPS):
            changed = sweep_bits(X, parts, weight)
            objective.append(measure_objective(X, parts, weight, ridge))
            if not changed:
                break
    return parts, np.array(objective)


def sweep_bits(X: np.ndarray, parts: Autoencoder, weight: float) -> int:
    """Choose each bit of all samples with the others fixed, one after the other; count what changed."""
    B, G = parts.B, parts.W2.T @ parts.W2
    Q = parts.W2.T @ (X - parts.c2) + weight * (parts.W1 @ X + parts.c1)
    n_changed = 0
    for k in range(len(B)):
        pull = Q[k] - G[k] @ B + G[k, k] * B[k]
        signs = np.where(pull > 0, 1.0, np.where(pull < 0, -1.0, B[k]))
        n_changed += int((signs != B[k]).sum())
        B[k] = signs
    return n_changed


def measure_objective(X: np.ndarray, parts: Autoencoder, weight: float, ridge: float) -> float:
    """Half the squared errors of rebuilding and encoding, and of the sizes of the maps."""
    rebuilt = X - parts.W2 @ parts.B - parts.c2
    encoded = parts.B - parts.W1 @ X - parts.c1
    sizes = (parts.W1**2).sum() + (parts.W2**2).sum()
    return float((rebuilt**2).sum() + weight * (encoded**2).sum() + ridge * sizes) / 2
