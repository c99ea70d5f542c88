"""RootSIFT: SIFT (Lowe, IJCV 2004) by OpenCV, and square roots (Arandjelovic, Zisserman, CVPR 2012)."""

from dataclasses import dataclass

import cv2
import numpy as np

from resight.features.local.points import LocalFeatures, take_strongest

__all__ = ["RootSift", "root_vectors"]

DIMS = 128


@dataclass(frozen=True)
class RootSift:
    """SIFT keypoints with unit vectors; ``scale`` is the diameter that OpenCV calls size."""

    contrast: float
    edge: float

    @property
    def ahead(self) -> bool:
        """It computes where it is called."""
        return False

    def describe(self, pixels: np.ndarray, *, limit: int | None = None) -> LocalFeatures:
        """Describe (h, w, 3) uint8 RGB; keypoints whose region is flat are left out."""
        sift = cv2.SIFT.create(
            nfeatures=limit or 0, contrastThreshold=self.contrast, edgeThreshold=self.edge
        )  # of equal strengths at the limit it keeps all: the order of ties is ours
        keypoints, vectors = sift.detectAndCompute(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None)
        if not keypoints:
            return LocalFeatures(np.zeros((0, 5), np.float32), np.zeros((0, DIMS), np.float32))
        points = np.array([(*k.pt, k.size, k.angle % 360, k.response) for k in keypoints], np.float32)
        full = vectors.any(axis=1)
        return take_strongest(LocalFeatures(points[full], root_vectors(vectors[full])), limit)


def root_vectors(vectors: np.ndarray) -> np.ndarray:
    """Square roots of the L1-normalised rows of non-negative ``vectors`` (n, d): unit rows, float32."""
    rows = vectors.astype(np.float64)
    return np.sqrt(rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
