"""Whitening: a centred linear projection of descriptors, fitted without labels or on matching pairs.

PCA whitening as in Tolias et al. (ICLR 2016, section 3.2) with an exponent; learned whitening as in
Radenovic et al. (TPAMI 2018, section 3.4, eq. 11). Both need only sums over rows, which add up over
shards: one pass, float64, shifted by a provisional mean against cancellation.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from typing import Self

import numpy as np

__all__ = [
    "CovarianceSums",
    "Whitening",
    "fit_learned_whitening",
    "fit_pca_whitening",
    "pair_sums",
    "parse_whitening",
]

TINY = 1e-12
EQUAL = 1e-20  # largest variance, by the squared mean, of vectors that differ by rounding only
ROWS_PER_DIMENSION = 50  # a covariance from fewer rows is mostly noise in its small eigenvalues


@dataclass(frozen=True, eq=False)
class CovarianceSums:
    """Count, sum and sum of outer products of rows minus ``shift``, all float64.

    Parameters
    ----------
    n : int
        Rows seen.
    shift : ndarray, (d,)
        Provisional mean that was taken from every row.
    total : ndarray, (d,)
        Sum of the shifted rows.
    outer : ndarray, (d, d)
        Sum of their outer products.
    """

    n: int
    shift: np.ndarray
    total: np.ndarray
    outer: np.ndarray

    @classmethod
    def of_rows(cls, X: np.ndarray, *, shift: np.ndarray | None = None) -> Self:
        """Sum the rows of ``X`` (n, d); without ``shift`` their own mean is taken."""
        rows = np.asarray(X, np.float64)
        if shift is None:
            shift = rows.mean(0) if len(rows) else np.zeros(rows.shape[1])
        rows = rows - shift
        return cls(len(rows), np.asarray(shift, np.float64), rows.sum(0), rows.T @ rows)

    def __add__(self, other: "CovarianceSums") -> "CovarianceSums":
        """Join the sums of two shards; the shift of the first is kept."""
        if self.shift.shape != other.shift.shape:
            raise ValueError(f"sums of {self.shift.size} and of {other.shift.size} dimensions")
        moved = other.shifted(self.shift)
        return CovarianceSums(
            self.n + other.n, self.shift, self.total + moved.total, self.outer + moved.outer
        )

    def shifted(self, shift: np.ndarray) -> "CovarianceSums":
        """Give the same sums around another provisional mean."""
        step = self.shift - shift
        cross = np.outer(self.total, step)
        outer = self.outer + cross + cross.T + self.n * np.outer(step, step)
        return CovarianceSums(self.n, shift, self.total + self.n * step, outer)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the rows, (d,)."""
        return self.shift + self.total / max(self.n, 1)

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the rows, (d, d), divided by n."""
        return self.shifted(self.mean).outer / max(self.n, 1)

    def to_bytes(self) -> bytes:
        """Pack into a npz archive."""
        return pack(n=np.int64(self.n), shift=self.shift, total=self.total, outer=self.outer)

    @classmethod
    def from_bytes(cls, params: bytes) -> Self:
        """Unpack what `to_bytes` gave."""
        arrays = unpack(params)
        return cls(int(arrays["n"]), arrays["shift"], arrays["total"], arrays["outer"])


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fitted projection: ``y = L2((x - mean) projection)``.

    Parameters
    ----------
    mean : ndarray, (d,) float64
        Taken from every row.
    projection : ndarray, (d, D) float64
        Columns by descending importance, so that the first ones are a shorter whitening.
    """

    mean: np.ndarray
    projection: np.ndarray

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Project rows (n, d) to unit rows (n, D) float32; a row that projects to zero stays zero."""
        if X.ndim != 2 or X.shape[1] != self.mean.size:
            raise ValueError(f"rows of shape {X.shape}, whitening of {self.mean.size} dimensions")
        centred = X.astype(np.float32) - self.mean.astype(np.float32)
        Y = centred @ self.projection.astype(np.float32)
        norms = np.linalg.norm(Y, axis=1, keepdims=True)
        return np.divide(Y, norms, out=np.zeros_like(Y), where=norms > TINY)

    def to_bytes(self) -> bytes:
        """Pack into a npz archive (the ``params`` of a row of ``models``)."""
        return pack(mean=self.mean, projection=self.projection)

    @classmethod
    def from_bytes(cls, params: bytes) -> Self:
        """Unpack what `to_bytes` gave."""
        arrays = unpack(params)
        return cls(arrays["mean"], arrays["projection"])

    @property
    def digest(self) -> str:
        """Short hash of shapes and values."""
        text = hashlib.sha256(str(self.projection.shape).encode())
        for array in (self.mean, self.projection):
            text.update(np.ascontiguousarray(array, "<f8").tobytes())
        return text.hexdigest()[:16]


def parse_whitening(params: bytes) -> Whitening:
    """Unpack a whitening that somebody else made; ``ValueError`` where its arrays are none."""
    try:
        found = Whitening.from_bytes(params)
    except (KeyError, ValueError, OSError, TypeError, AttributeError, zipfile.BadZipFile):
        raise ValueError("not a npz archive of the arrays mean and projection") from None
    mean, P = found.mean, found.projection
    if mean.ndim != 1 or P.ndim != 2 or len(P) != mean.size or not P.size:
        raise ValueError(f"mean of shape {mean.shape} and projection of shape {P.shape} do not fit")
    if not all(a.dtype.kind in "fiu" and np.isfinite(a).all() for a in (mean, P)):
        raise ValueError("mean and projection must be finite numbers")
    return Whitening(mean.astype(np.float64), P.astype(np.float64))


def fit_pca_whitening(
    sums: CovarianceSums, *, dims: int, power: float, floor: float = 1e-10
) -> tuple[Whitening, str | None]:
    """Fit ``y = lam^(-power / 2) V^T (x - mu)`` with the ``dims`` leading directions of the covariance.

    ``power`` 0 only rotates, 1 whitens fully; between them the leading directions keep a part of their
    weight. Eigenvalues below ``floor`` times the largest are raised to it.

    Returns
    -------
    whitening : Whitening
        Float64; every column's largest entry is positive, so that a fit repeats exactly.
    warning : str or None
        What to tell the user when the sample is small for its dimension.
    """
    import scipy.linalg

    d = sums.shift.size
    if not 1 <= dims <= d:
        raise ValueError(f"dims: {dims}, allowed are 1 to {d}, the dimensions of the descriptor")
    if sums.n < 2:
        raise ValueError(f"a whitening needs two vectors at least, got {sums.n}")
    lam, V = scipy.linalg.eigh(sums.covariance, subset_by_index=[d - dims, d - 1])
    lam, V = lam[::-1], orient_columns(V[:, ::-1])
    if lam[0] <= EQUAL * (sums.mean @ sums.mean):
        raise ValueError("a whitening needs vectors that differ")
    scale = np.maximum(lam, floor * lam[0]) ** (-power / 2)
    return Whitening(sums.mean, V * scale), sample_warning(sums.n, d, dims)


def sample_warning(n: int, d: int, dims: int) -> str | None:
    """Say what is wrong with a fit on n rows of d dimensions, if anything."""
    if n <= dims:
        return f"whitening: {n} vectors span fewer than the {dims} dimensions asked for; lower dims"
    if n < ROWS_PER_DIMENSION * d:
        return (
            f"whitening: {n} vectors are few for {d} dimensions (advised: {ROWS_PER_DIMENSION * d}); "
            "keep its power low"
        )
    return None


def pair_sums(X: np.ndarray, pairs: np.ndarray) -> CovarianceSums:
    """Sum the differences of matching rows: ``X`` (n, d), ``pairs`` (m, 2) row numbers.

    ``outer`` is the paper's C_S; the shift is zero, as a pair has no order.
    """
    left, right = np.asarray(pairs).T
    return CovarianceSums.of_rows(X[left] - X[right], shift=np.zeros(X.shape[1]))


def fit_learned_whitening(
    matching: CovarianceSums, everything: CovarianceSums, *, dims: int
) -> tuple[Whitening, float]:
    """Fit the projection that makes matching pairs white and orders the rest by spread (Lw).

    Solves ``T v = lam (C_S + ridge I) v`` with ``C_S`` the scatter of the matching pairs' differences
    and ``T`` the total scatter, which stands for the non-matching pairs (their share of all pairs is
    nearly one). Columns by descending ``lam``.

    Parameters
    ----------
    matching : CovarianceSums
        Of `pair_sums`.
    everything : CovarianceSums
        Of all training descriptors; gives mean and total scatter.
    dims : int
        Columns kept.

    Returns
    -------
    whitening : Whitening
    ridge : float
        What had to be added to make ``C_S`` invertible, 0 if nothing; relative to its mean eigenvalue.
    """
    import scipy.linalg

    d = everything.shift.size
    if not 1 <= dims <= d:
        raise ValueError(f"dims: {dims}, allowed are 1 to {d}, the dimensions of the descriptor")
    mean = everything.mean
    C_S = matching.shifted(np.zeros(d)).outer / max(matching.n, 1)
    level = np.trace(C_S) / d
    if not level > 0:
        raise ValueError("learned whitening needs matching pairs whose vectors differ")
    ridge = find_ridge(C_S / level)
    _, V = scipy.linalg.eigh(
        everything.covariance, C_S + ridge * level * np.eye(d), subset_by_index=[d - dims, d - 1]
    )
    return Whitening(mean, orient_columns(V[:, ::-1])), ridge


def find_ridge(C: np.ndarray) -> float:
    """Smallest of 0, 1e-10, 1e-9, ... whose addition to the diagonal makes ``C`` well invertible."""
    import scipy.linalg

    smallest = float(scipy.linalg.eigvalsh(C, subset_by_index=[0, 0])[0])
    ridges = [0.0, *(10.0**exponent for exponent in range(-10, 1))]
    return next(ridge for ridge in ridges if smallest + ridge > 1e-11 or ridge == 1)


def orient_columns(V: np.ndarray) -> np.ndarray:
    """Flip columns so that the entry of largest magnitude is positive."""
    largest = np.take_along_axis(V, np.abs(V).argmax(0)[None], axis=0)
    return V * np.where(largest < 0, -1.0, 1.0)


def pack(**arrays: np.ndarray | np.generic) -> bytes:
    """Write arrays into an uncompressed npz archive."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(params: bytes) -> dict[str, np.ndarray]:
    """Read the arrays of a npz archive; nothing in it is executed."""
    with np.load(io.BytesIO(params), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
