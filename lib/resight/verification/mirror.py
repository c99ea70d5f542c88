"""Keypoints of the mirrored photo from those of the photo: no second extraction."""

import numpy as np

from resight.features.local.points import LocalFeatures

CELLS, BINS = 4, 8  # of a SIFT vector: rows and columns of cells, directions in each


def mirror_features(features: LocalFeatures, width: int) -> LocalFeatures:
    """Give the keypoints that the photo, mirrored left to right, has, with their SIFT vectors.

    In the frame of a keypoint the mirror turns the order of the rows round, and the sign of directions.

    Raises
    ------
    ValueError
        The vectors are not those of SIFT: another extractor has to see the mirrored photo.
    """
    n, d = features.vectors.shape
    if not n:
        return features
    if d != CELLS * CELLS * BINS:
        raise ValueError(f"only SIFT vectors (128 numbers) can be mirrored, not {d}")
    points = features.points.copy()
    points[:, 0] = width - 1 - points[:, 0]
    points[:, 3] = (180.0 - points[:, 3]) % 360.0
    cells = features.vectors.reshape(n, CELLS, CELLS, BINS)
    vectors = cells[:, ::-1][..., -np.arange(BINS)]
    return LocalFeatures(points, np.ascontiguousarray(vectors.reshape(n, d)))
