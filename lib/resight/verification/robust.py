"""Homographies and fundamental matrices by MAGSAC++ (Barath et al., CVPR 2020), as OpenCV computes them.

OpenCV's sampler starts from a fixed state: equal matches give equal results.
"""

from typing import Literal

import cv2
import numpy as np

from resight.verification.estimate import Estimate, count_distinct

CONFIDENCE, MAX_ITERATIONS = 0.9999, 5000
LEAST = {"homography": 4, "fundamental": 8}  # matches


def estimate_robustly(
    points_a: np.ndarray,
    points_b: np.ndarray,
    *,
    model: Literal["homography", "fundamental"],
    tolerance: float,
) -> Estimate | None:
    """Find the homography, or the fundamental matrix, that explains most matches (m, 2) float64.

    Returns
    -------
    Estimate or None
        ``transform`` maps a to b, or has ``x_b F x_a = 0``; None where there is none.
    """
    if len(points_a) < LEAST[model]:
        return None
    find = cv2.findHomography if model == "homography" else cv2.findFundamentalMat
    try:
        H, mask = find(
            points_a, points_b, cv2.USAC_MAGSAC, tolerance, maxIters=MAX_ITERATIONS, confidence=CONFIDENCE
        )
    except cv2.error:  # matches of which no sample is in general position
        return None
    if H is None or H.shape != (3, 3) or not np.isfinite(H).all():
        return None
    inliers = mask.ravel().astype(bool)
    n = count_distinct(np.concatenate([points_a, points_b], axis=1), inliers)
    if n < LEAST[model]:
        return None
    return Estimate(H / (H[2, 2] if abs(H[2, 2]) > 1e-12 else np.linalg.norm(H)), inliers, n)
