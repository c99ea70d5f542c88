"""Several descriptors of the same images as one similarity, without a joined descriptor on disk."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resight.knn.matrix import OpenVectors, VectorFiles

COLOUR = "colour"  # role of the second build of descriptors that a job reads


class Part(NamedTuple):
    """Vectors of one kind and their weight beside the first."""

    X: OpenVectors
    weight: float = 1.0


@dataclass(frozen=True)
class Descriptors:
    """Opened descriptors; *ordinals* are those of the first, in which images without it do not occur.

    The similarity is the dot product of the joined vectors ``[x_1; w_2 x_2; ...]`` at unit length: the mean
    of the parts' similarities with weights 1, w_2^2, ...; an image that lacks a part adds nothing by it.
    """

    parts: tuple[Part, ...]

    @property
    def X(self) -> OpenVectors:  # noqa: N802 - as in `Collection`
        """The first descriptor."""
        return self.parts[0].X

    def compare(self, queries: tuple[np.ndarray | None, ...], ordinals: np.ndarray) -> np.ndarray:
        """Similarity (m,) float64 of a query, one unit vector (d,) per part, with images (m,)."""
        total = np.zeros(len(ordinals))
        for (X, weight), q in zip(self.parts, queries, strict=True):
            there, rows = self.rows_of(X, ordinals)
            if q is not None and len(rows):
                total[there] += weight**2 * (X.gather(rows).astype(np.float64) @ q.astype(np.float64))
        return total / sum(weight**2 for _, weight in self.parts)

    def compare_pairs(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity (m,) float64 of pairs of images, ordinals (m,) each."""
        total = np.zeros(len(a))
        for X, weight in self.parts:
            ids = X is not self.X
            rows_a, rows_b = (X.ordinal_of(self.X.id_of(o)) if ids else o for o in (a, b))
            there = np.flatnonzero((rows_a >= 0) & (rows_b >= 0))
            A, B = (X.gather(rows[there]).astype(np.float64) for rows in (rows_a, rows_b))
            total[there] += weight**2 * np.einsum("md,md->m", A, B)
        return total / sum(weight**2 for _, weight in self.parts)

    def rows_of(self, X: OpenVectors, ordinals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the images that have a vector in ``X``, and its rows there."""
        rows = ordinals if X is self.X else X.ordinal_of(self.X.id_of(ordinals))
        there = np.flatnonzero(rows >= 0)
        return there, rows[there]


@dataclass(frozen=True)
class DescriptorFiles:
    """Files of the descriptors with their weights; small, so a task carries it whole."""

    parts: tuple[tuple[VectorFiles, float], ...]

    def open(self) -> Descriptors:
        """Map the files into memory."""
        return Descriptors(tuple(Part(layout.open(), weight) for layout, weight in self.parts))
