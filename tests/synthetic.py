"""Collections of descriptors with planted truth: k objects, m views each, distractors, known duplicates."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Planted:
    """``vectors`` (n, d) float32 of length 1 in random order, and what is true about row i.

    ``object_ids`` (n,) int64: the object that row i shows, -1 for a distractor. ``copy_of`` (n,) int64:
    the row whose exact vector row i repeats, i itself where it is an original.
    """

    vectors: np.ndarray
    object_ids: np.ndarray
    copy_of: np.ndarray

    @property
    def duplicate_pairs(self) -> set[tuple[int, int]]:
        """All pairs (a < b) of rows with equal vectors."""
        same = np.equal.outer(self.copy_of, self.copy_of)
        return set(zip(*(i.tolist() for i in np.nonzero(np.triu(same, 1))), strict=True))

    def positives(self, row: int) -> np.ndarray:
        """The other rows that show the object of ``row``, ascending."""
        rows = np.flatnonzero((self.object_ids == self.object_ids[row]) & (self.object_ids >= 0))
        return rows[rows != row]


def planted(rng, *, k=10, m=5, n_distractors=20, n_copies=4, d=32, noise=0.7) -> Planted:
    """Draw ``k`` objects with ``m`` views each, ``n_distractors`` and ``n_copies`` exact copies.

    A view is its object's centre plus noise: each component has standard deviation ``noise / sqrt(d)``, so
    the expected cosine of two views is about ``1 / (1 + noise ** 2)``; distractors are directions at random.
    """
    centres = unit(rng.normal(size=(k, d)))
    views = unit(np.repeat(centres, m, axis=0) + noise / np.sqrt(d) * rng.normal(size=(k * m, d)))
    originals = np.vstack([views, unit(rng.normal(size=(n_distractors, d)))])
    object_ids = np.r_[np.repeat(np.arange(k), m), np.full(n_distractors, -1)]
    sources = np.r_[np.arange(len(originals)), rng.choice(len(originals), n_copies, replace=False)]
    order = rng.permutation(len(sources))
    first = np.argsort(order)[: len(originals)]  # where each original lies after the shuffle
    sources = sources[order]
    return Planted(originals[sources].astype(np.float32), object_ids[sources], first[sources])


def anchor_vectors(n, d, rng) -> np.ndarray:
    """Draw the vectors that the benchmarks of neighbour graphs use: (n, d) float32 of length 1.

    n / 20 instances, each row a noisy view of one; 2 % of the rows repeat other rows exactly.
    """
    centres = unit(rng.normal(size=(max(n // 20, 1), d)))
    views = centres[rng.integers(len(centres), size=n)] + 0.7 / np.sqrt(d) * rng.normal(size=(n, d))
    vectors = unit(views).astype(np.float32)
    rows = rng.permutation(n)
    copies, originals = rows[: n // 50], rows[n // 50 :]
    vectors[copies] = vectors[rng.choice(originals, len(copies))]
    return vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
