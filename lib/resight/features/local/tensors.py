"""What the extractors with a network share: sides that are large enough, tensors to points."""

import cv2
import numpy as np
from torch import Tensor

__all__ = ["grow_sides", "points_of"]


def grow_sides(pixels: np.ndarray, side: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Stretch the sides of (h, w, 3) that are below ``side`` to it; give pixels per new pixel, x and y.

    Only photos that are a few pixels thin are touched.
    """
    h, w = pixels.shape[:2]
    if min(h, w) >= side:
        return pixels, (1.0, 1.0)
    size = max(w, side), max(h, side)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), (w / size[0], h / size[1])


def points_of(
    places: Tensor, strengths: Tensor, scale: float, step: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Lay out upright keypoints of one scale as points (n, 5) float32.

    ``places`` (n, 2) are multiplied by ``step``; ``strengths`` (n,).
    """
    points = np.zeros((len(places), 5), np.float32)
    points[:, :2] = places.detach().float().cpu().numpy() * np.array(step, np.float32)
    points[:, 2] = scale
    points[:, 4] = strengths.detach().float().cpu().numpy()
    return points
