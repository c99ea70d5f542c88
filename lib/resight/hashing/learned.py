"""Hash functions of descriptors: an affine map and its signs (LSH, PCAH, PCA-RR, ITQ).

All four centre a vector, project it and keep signs; they differ in the projection. They are fitted without
labels, so that the Hamming distance of codes follows the angle, or the distance, of vectors.

Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002 (LSH); Gong, Lazebnik,
"Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011 (PCAH, PCA-RR, ITQ).
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["FITS", "HashModel", "fit_itq", "fit_lsh", "fit_pca_rr", "fit_pcah", "rotate_itq"]

ROWS = 8192  # projected together


@dataclass(frozen=True, eq=False)
class HashModel:
    """Bits of x: the signs of (x - mean) projection, where zero counts as positive.

    Parameters
    ----------
    kind : str
        lsh, pcah, pca_rr or itq.
    mean : ndarray, (d,) float32
    projection : ndarray, (d, L) float32
        L is a multiple of 8.
    """

    kind: str
    mean: np.ndarray
    projection: np.ndarray

    def __post_init__(self) -> None:
        """Check that the shapes belong together."""
        d, n_bits = self.projection.shape
        if self.mean.shape != (d,) or n_bits % 8 or not n_bits:
            raise ValueError(f"mean {self.mean.shape} and projection {(d, n_bits)}; bits come in bytes")

    @property
    def n_bits(self) -> int:
        """Length of a code."""
        return self.projection.shape[1]

    def project(self, X: np.ndarray) -> np.ndarray:
        """Give the real values (n, L) float64 whose signs are the bits of ``X`` (n, d)."""
        if X.ndim != 2 or X.shape[1] != len(self.mean):
            raise ValueError(f"vectors {X.shape}, expected (n, {len(self.mean)})")
        return (X.astype(np.float64) - self.mean) @ self.projection.astype(np.float64)

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Encode ``X`` (n, d) of any float dtype as codes (n, L / 8) uint8, little-endian bits."""
        codes = np.empty((len(X), self.n_bits // 8), np.uint8)
        for start in range(0, len(X), ROWS):
            bits = self.project(X[start : start + ROWS]) >= 0
            codes[start : start + ROWS] = np.packbits(bits, axis=1, bitorder="little")
        return codes

    def to_bytes(self) -> bytes:
        """Write as a npz archive; equal models give equal bytes."""
        file = io.BytesIO()
        np.savez(file, kind=np.array(self.kind), mean=self.mean, projection=self.projection)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "HashModel":
        """Read what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return cls(str(stored["kind"]), stored["mean"], stored["projection"])


def fit_lsh(X: np.ndarray, n_bits: int, *, seed: int = 0) -> HashModel:
    """Draw ``n_bits`` directions at random; of ``X`` (n, d) only the mean matters.

    Two bits of vectors at angle theta around the mean differ with probability theta / pi.
    """
    W = np.random.default_rng(seed).normal(size=(n_bits, X.shape[1]))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    return make_model("lsh", X.mean(0, dtype=np.float64), W.T)


def fit_pcah(X: np.ndarray, n_bits: int, *, seed: int = 0) -> HashModel:
    """Take the signs of the first ``n_bits`` principal components of ``X`` (n, d); ``seed`` has no effect."""
    mean, E = principal_directions(X, n_bits)
    return make_model("pcah", mean, E)


def fit_pca_rr(X: np.ndarray, n_bits: int, *, seed: int = 0) -> HashModel:
    """Turn the first ``n_bits`` principal components of ``X`` (n, d) at random, which evens out variances."""
    mean, E = principal_directions(X, n_bits)
    return make_model("pca_rr", mean, E @ random_rotation(n_bits, seed))


def fit_itq(X: np.ndarray, n_bits: int, *, seed: int = 0, iterations: int = 50) -> HashModel:
    """Turn the first ``n_bits`` principal components of ``X`` (n, d) so that signs lose least.

    Raises
    ------
    ValueError
        More bits than dimensions.
    """
    mean, E = principal_directions(X, n_bits)
    V = (X.astype(np.float64) - mean) @ E
    R, _ = rotate_itq(V, random_rotation(n_bits, seed), iterations=iterations)
    return make_model("itq", mean, E @ R)


def rotate_itq(V: np.ndarray, R: np.ndarray, *, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Alternate signs and rotation: minimise ``||B - V R||^2`` over B in {-1, 1} and orthogonal R.

    Parameters
    ----------
    V : ndarray, (n, L) float64
        Centred projections.
    R : ndarray, (L, L) float64
        Orthogonal start.

    Returns
    -------
    R : ndarray, (L, L) float64
    objective : ndarray, (2 iterations,) float64
        After every half-step; it never grows.
    """
    norm, n = float((V * V).sum()), V.size
    objective = []
    for _ in range(iterations):
        B = np.where(V @ R >= 0, 1.0, -1.0)
        C = V.T @ B
        objective.append(n + norm - 2 * float((C * R).sum()))
        U, S, Wt = np.linalg.svd(C)
        R = U @ Wt
        objective.append(n + norm - 2 * float(S.sum()))
    return R, np.array(objective)


def principal_directions(X: np.ndarray, n_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the mean (d,) and the first ``n_bits`` principal directions (d, L) float64, signs fixed."""
    if n_bits > X.shape[1]:
        raise ValueError(f"{n_bits} bits of {X.shape[1]} dimensions: this kind has at most one per dimension")
    mean = X.mean(0, dtype=np.float64)
    centred = X.astype(np.float64) - mean
    _, E = np.linalg.eigh(centred.T @ centred / len(X))
    E = E[:, ::-1][:, :n_bits]
    return mean, E * np.where(E[np.abs(E).argmax(0), np.arange(n_bits)] < 0, -1.0, 1.0)


def random_rotation(n: int, seed: int) -> np.ndarray:
    """Draw an orthogonal matrix (n, n) float64, uniformly: QR of a Gaussian with the signs of R fixed."""
    Q, R = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def make_model(kind: str, mean: np.ndarray, projection: np.ndarray) -> HashModel:
    """Round a fitted model to what is stored."""
    return HashModel(kind, mean.astype(np.float32), np.ascontiguousarray(projection, np.float32))


FITS: dict[str, Callable[..., HashModel]] = {
    "lsh": fit_lsh,
    "pcah": fit_pcah,
    "pca_rr": fit_pca_rr,
    "itq": fit_itq,
}
