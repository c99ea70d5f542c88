"""Scale images without distortion."""

import cv2
import numpy as np


def fitted_size(width: int, height: int, longer_side: int) -> tuple[int, int]:
    """Size (width, height) with the longer side exactly ``longer_side``.

    The other side is rounded to the nearest pixel, halves up, and never below 1.

    >>> fitted_size(640, 481, 320)
    (320, 241)
    >>> fitted_size(1, 5000, 256)
    (1, 256)
    """
    longest = max(width, height)
    return (
        max(1, (2 * width * longer_side + longest) // (2 * longest)),
        max(1, (2 * height * longer_side + longest) // (2 * longest)),
    )


def fit_longer_side(pixels: np.ndarray, longer_side: int, *, enlarge: bool = False) -> np.ndarray:
    """Scale an image so that its longer side is ``longer_side``.

    Parameters
    ----------
    pixels : ndarray, (h, w, 3) uint8
        The image.
    longer_side : int
        Pixels, at least 1.
    enlarge : bool
        Whether a smaller image grows; otherwise it is returned as it is, not copied.

    Returns
    -------
    ndarray, (h', w', 3) uint8
        Of the size that `fitted_size` gives: averaged over areas when it shrinks, bicubic when it
        grows.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"expected pixels of shape (h, w, 3), got {pixels.shape}")
    if longer_side < 1:
        raise ValueError(f"longer_side must be at least 1, got {longer_side}")
    longest = max(pixels.shape[:2])
    if longest == longer_side or (longest < longer_side and not enlarge):
        return pixels
    size = fitted_size(pixels.shape[1], pixels.shape[0], longer_side)
    how = cv2.INTER_AREA if longer_side < longest else cv2.INTER_CUBIC
    return cv2.resize(pixels, size, interpolation=how)
