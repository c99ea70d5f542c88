"""Codes made of the indices of nearest codewords, one for each subspace of the descriptor.

K-means hashing lets the Hamming distance of two indices follow the distance of their codewords: He, Wen, Sun,
"K-means hashing: an affinity-preserving quantization method for learning binary compact codes", CVPR 2013.
Product quantisation does not care for Hamming distances, its codes are compared through tables of distances:
Jegou, Douze, Schmid, "Product quantization for nearest neighbor search", TPAMI 2011.
"""

import io
from dataclasses import dataclass

import numpy as np

from resight.hashing.learned import ROWS, principal_directions

__all__ = ["SubspaceModel", "fit_kmh", "fit_pq", "measure_affinity", "split_directions"]

WORD_BITS = {"kmh": 4, "pq": 8}
KMH_WEIGHT, KMH_ITERATIONS, PQ_ITERATIONS = 10.0, 50, 25


@dataclass(frozen=True, eq=False)
class SubspaceModel:
    """Codes of x: of every part of (x - mean) directions, the index of the nearest codeword.

    Parameters
    ----------
    kind : str
        kmh or pq.
    mean : ndarray, (d,) float32
    directions : ndarray, (d, M s) float32
        The columns of part i are those from i s on.
    codewords : ndarray, (M, 2^b, s) float32
    """

    kind: str
    mean: np.ndarray
    directions: np.ndarray
    codewords: np.ndarray

    def __post_init__(self) -> None:
        """Check that the shapes belong together."""
        n_parts, n_words, size = self.codewords.shape
        if self.directions.shape != (len(self.mean), n_parts * size) or n_words & (n_words - 1):
            shapes = self.mean.shape, self.directions.shape, self.codewords.shape
            raise ValueError(f"mean, directions and codewords do not belong together: {shapes}")
        if self.n_bits % 8:
            raise ValueError(f"{self.n_bits} bits; bits come in bytes")

    @property
    def n_bits(self) -> int:
        """Length of a code."""
        return len(self.codewords) * (self.codewords.shape[1].bit_length() - 1)

    def project(self, X: np.ndarray) -> np.ndarray:
        """Give the parts (n, M, s) float64 of ``X`` (n, d)."""
        if X.ndim != 2 or X.shape[1] != len(self.mean):
            raise ValueError(f"vectors {X.shape}, expected (n, {len(self.mean)})")
        parts = (X.astype(np.float64) - self.mean) @ self.directions.astype(np.float64)
        return parts.reshape(len(X), len(self.codewords), -1)

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Encode ``X`` (n, d) of any float dtype as codes (n, L / 8) uint8, little-endian bits."""
        codes = np.empty((len(X), self.n_bits // 8), np.uint8)
        n_bits = self.n_bits // len(self.codewords)
        for start in range(0, len(X), ROWS):
            parts = self.project(X[start : start + ROWS])
            words = np.stack(
                [nearest_words(parts[:, i], C) for i, C in enumerate(self.codewords.astype(np.float64))], 1
            )
            bits = words[:, :, None] >> np.arange(n_bits) & 1
            packed = np.packbits(bits.reshape(len(words), -1).astype(bool), axis=1, bitorder="little")
            codes[start : start + ROWS] = packed
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Give the codewords of codes (n, L / 8) uint8, side by side: (n, M s) float64, in the projection."""
        n_bits = self.n_bits // len(self.codewords)
        bits = np.unpackbits(codes, axis=1, bitorder="little").reshape(
            len(codes), len(self.codewords), n_bits
        )
        words = (bits.astype(np.int64) << np.arange(n_bits)).sum(2)
        parts = [C[words[:, i]] for i, C in enumerate(self.codewords.astype(np.float64))]
        return np.concatenate(parts, axis=1)

    def to_bytes(self) -> bytes:
        """Write as a npz archive; equal models give equal bytes."""
        file = io.BytesIO()
        arrays = {"mean": self.mean, "directions": self.directions, "codewords": self.codewords}
        np.savez(file, kind=np.array(self.kind), **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "SubspaceModel":
        """Read what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return cls(str(stored["kind"]), stored["mean"], stored["directions"], stored["codewords"])


def nearest_words(X: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Index (n,) int64 of the codeword (k, s) nearest to each row (n, s); the first of equal ones."""
    return ((C * C).sum(1) - 2 * X @ C.T).argmin(1)


def fit_kmh(
    X: np.ndarray,
    n_bits: int,
    *,
    seed: int = 0,
    weight: float = KMH_WEIGHT,
    iterations: int = KMH_ITERATIONS,
) -> SubspaceModel:
    """Fit codewords of ``X`` (n, d) whose distances follow the Hamming distances of their indices.

    Every part has 4 bits; ``weight`` is the lambda of the affinity. ``seed`` has no effect.

    Raises
    ------
    ValueError
        More bits than dimensions.
    """
    b = WORD_BITS["kmh"]
    n_parts = n_bits // b
    if n_bits > X.shape[1]:
        raise ValueError(f"{n_bits} bits of {X.shape[1]} dimensions: this kind has at most one per dimension")
    mean, E = principal_directions(X, X.shape[1])
    centred = X.astype(np.float64) - mean
    order = split_directions((centred @ E).var(0), n_parts)
    directions = E[:, order.ravel()]
    parts = (centred @ directions).reshape(len(X), n_parts, -1)
    words = [fit_part(parts[:, i], b, weight=weight, iterations=iterations)[0] for i in range(n_parts)]
    as_float = (np.ascontiguousarray(a, np.float32) for a in (mean, directions, np.stack(words)))
    return SubspaceModel("kmh", *as_float)


def split_directions(variances: np.ndarray, n_parts: int) -> np.ndarray:
    """Share the principal directions out so that the parts have about the same volume.

    ``variances`` (d,) fall. Gives the directions (n_parts, d // n_parts) of each part, the strongest first;
    the weakest that do not fill all parts evenly are left out.
    """
    size = len(variances) // n_parts
    logs = np.log(np.maximum(variances, 1e-12 * max(variances.max(), 1e-300)))
    gains = logs - logs.min() + 1
    filled: list[list[int]] = [[] for _ in range(n_parts)]
    sums = np.zeros(n_parts)
    for direction in range(n_parts * size):
        free = [i for i in range(n_parts) if len(filled[i]) < size]
        chosen = min(free, key=lambda i: (sums[i], i))
        filled[chosen].append(direction)
        sums[chosen] += gains[direction]
    return np.array(filled)


def fit_part(
    X: np.ndarray, b: int, *, weight: float, iterations: int
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Fit the codewords (2^b, s) of one part (n, s), whose strongest directions come first.

    Gives also the objective before and after each step over the codewords, for a fixed assignment.
    """
    scale = float(np.abs(X[:, :b]).mean())
    index = np.arange(1 << b)
    C = np.zeros((1 << b, X.shape[1]))
    C[:, :b] = scale * (2 * (index[:, None] >> np.arange(b) & 1) - 1)
    wanted = 2 * scale * np.sqrt(np.bitwise_count(index[:, None] ^ index[None]))
    steps = []
    for _ in range(iterations):
        words = nearest_words(X, C)
        counts = np.bincount(words, minlength=len(C))
        sums = np.stack([np.bincount(words, column, len(C)) for column in X.T], axis=1)
        before = measure_affinity(X, C, words, wanted, weight)
        for j in np.flatnonzero(counts).tolist():
            C[j] = move_word(C, j, counts, sums[j], wanted[j], weight)
        steps.append((before, measure_affinity(X, C, words, wanted, weight)))
        if before - steps[-1][1] <= 1e-7 * abs(before):
            break
    return C, steps


def move_word(
    C: np.ndarray, j: int, counts: np.ndarray, total: np.ndarray, wanted: np.ndarray, weight: float
) -> np.ndarray:
    """Give codeword j its best place with the others fixed (L-BFGS)."""
    from scipy.optimize import minimize

    n = counts.sum()

    def objective(c: np.ndarray) -> tuple[float, np.ndarray]:
        away = c - C
        away[j] = 0
        lengths = np.sqrt((away * away).sum(1))
        misfit = np.where(np.arange(len(C)) == j, 0, lengths - wanted)
        pull = 2 * weight * counts[j] / n**2 * counts * misfit
        value = (counts[j] * c @ c - 2 * total @ c) / n + float(pull @ misfit)
        slope = 2 * (counts[j] * c - total) / n
        return value, slope + 2 * (pull / np.maximum(lengths, 1e-12)) @ away

    found = minimize(objective, C[j], jac=True, method="L-BFGS-B", options={"maxiter": 20})
    return found.x if found.fun <= objective(C[j])[0] else C[j]


def measure_affinity(
    X: np.ndarray, C: np.ndarray, words: np.ndarray, wanted: np.ndarray, weight: float
) -> float:
    """Mean squared error of the codewords, plus ``weight`` times how badly their distances fit.

    ``wanted`` (k, k) are the distances that the indices stand for.
    """
    shares = np.bincount(words, minlength=len(C)) / len(X)
    lengths = np.sqrt(np.maximum(((C[:, None] - C[None]) ** 2).sum(2), 0))
    affinity = float(shares @ (lengths - wanted) ** 2 @ shares)
    return float(((X - C[words]) ** 2).sum(1).mean()) + weight * affinity


def fit_pq(X: np.ndarray, n_bits: int, *, seed: int = 0, iterations: int = PQ_ITERATIONS) -> SubspaceModel:
    """Fit 256 centroids for each of ``n_bits`` / 8 equal blocks of ``X`` (n, d): product quantisation.

    Raises
    ------
    ValueError
        The dimensions cannot be cut into so many blocks, or there are fewer vectors than centroids.
    """
    import faiss

    d, n_parts, n_words = X.shape[1], n_bits // 8, 1 << WORD_BITS["pq"]
    if d % n_parts:
        raise ValueError(f"{n_bits} bits: {d} dimensions cannot be cut into {n_parts} equal blocks")
    if len(X) < n_words:
        raise ValueError(f"{len(X)} vectors for {n_words} centroids of each block")
    words = []
    for block in np.split(np.ascontiguousarray(X, np.float32), n_parts, axis=1):
        kmeans = faiss.Kmeans(
            block.shape[1], n_words, niter=iterations, seed=seed + 1, min_points_per_centroid=1
        )
        kmeans.train(np.ascontiguousarray(block))
        words.append(np.asarray(kmeans.centroids, np.float32))
    return SubspaceModel("pq", np.zeros(d, np.float32), np.eye(d, dtype=np.float32), np.stack(words))
