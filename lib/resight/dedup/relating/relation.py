"""What was found between two photos."""

from typing import NamedTuple

import numpy as np

__all__ = ["REVERSED", "Relation"]

REVERSED = {"crop": "contains", "contains": "crop"}
NAN = float("nan")


class Relation(NamedTuple):
    """What photo a is to photo b, and the evidence.

    Attributes
    ----------
    relation : str or None
        As `resight.dedup.relations` lists them, read a -> b; None where nothing was found.
    transform : ndarray, (3, 3) float64, or None
        Pixels of a -> pixels of b, of the photos as they were given.
    n_inliers : int
        Distinct keypoints that it explains; 0 where the frames were laid on each other.
    overlap_a, overlap_b : float
        Share of a that lies inside b, and of b that lies inside a.
    agreement : float
        Normalised correlation of the aligned pixels over the overlap; NaN where they were not compared.
    share : float
        Share of the overlap, in blocks with a pattern, in which the pixels agree.
    difference : float
        Largest difference of a small place, after brightness and contrast were matched, in units of the noise
        between the two photos.
    seam : float
        How much stronger the outline of the part is in the whole than the edges along it; NaN without a part.
    """

    relation: str | None = None
    transform: np.ndarray | None = None
    n_inliers: int = 0
    overlap_a: float = NAN
    overlap_b: float = NAN
    agreement: float = NAN
    share: float = NAN
    difference: float = NAN
    seam: float = NAN

    def reverse(self) -> "Relation":
        """Read it b -> a."""
        back = None if self.transform is None else np.linalg.inv(self.transform)
        word = None if self.relation is None else REVERSED.get(self.relation, self.relation)
        return self._replace(
            relation=word,
            transform=back if back is None else back / back[2, 2],
            overlap_a=self.overlap_b,
            overlap_b=self.overlap_a,
        )
