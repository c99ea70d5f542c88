"""A colour descriptor: the Lab histogram of a photo, its border's colours suppressed, its centre preferred.

Objects before a background keep their colours when shape and texture look like those of others; the
colours that fill the border belong to the background more often than not. Distances are Hellinger's: the
square root of a histogram that sums to one.
"""

import numpy as np

__all__ = ["BINS", "DIMS", "describe_colour"]

BINS = (6, 12, 12)  # L, a, b
DIMS = BINS[0] * BINS[1] * BINS[2]
BORDER = 0.06  # width of the border band, of each side
SIGMA = 0.3  # width of the central Gaussian, of each side
LEAST = 0.05  # weight that a border colour keeps


def describe_colour(pixels: np.ndarray) -> np.ndarray:
    """Describe a photo (h, w, 3) uint8 RGB by a unit vector (864,) float32.

    A pixel weighs ``clip(1 - H_border / H_all, .05, 1)`` of its chroma bin, ``H`` the normalised
    histograms of the border band and of the whole photo, times a centred Gaussian.
    """
    h, w = pixels.shape[:2]
    lab = lab_bins(pixels)  # (h, w) bin of L, a, b
    chroma = lab % (BINS[1] * BINS[2])
    weights = np.outer(central_weights(h), central_weights(w)) * border_weights(chroma)[chroma]
    histogram = np.bincount(lab.ravel(), weights.ravel(), minlength=DIMS)
    return np.sqrt(histogram / histogram.sum()).astype(np.float32)  # L1, root: its L2 norm is one


def lab_bins(pixels: np.ndarray) -> np.ndarray:
    """Find the Lab bin of every pixel, (h, w) int64; L over 0..100, a and b over -128..127."""
    import cv2

    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)  # uint8: L scaled to 0..255, a and b plus 128
    light, a, b = ((lab[..., i].astype(np.int64) * n) >> 8 for i, n in enumerate(BINS))
    return (light * BINS[1] + a) * BINS[2] + b


def border_weights(chroma: np.ndarray) -> np.ndarray:
    """Weight of every chroma bin (144,) float64: small for what fills the border."""
    h, w = chroma.shape
    top, left = max(round(BORDER * h), 1), max(round(BORDER * w), 1)
    n_bins = BINS[1] * BINS[2]
    everywhere = np.bincount(chroma.ravel(), minlength=n_bins)
    inside = np.bincount(chroma[top : h - top, left : w - left].ravel(), minlength=n_bins)
    border = everywhere - inside
    ratio = (border / border.sum()) / np.maximum(everywhere / chroma.size, 1e-12)
    return np.clip(1 - ratio, LEAST, 1)


def central_weights(length: int) -> np.ndarray:
    """Gaussian around the middle of ``length`` pixels, (length,) float64."""
    place = (np.arange(length) + 0.5) / length - 0.5
    return np.exp(-0.5 * (place / SIGMA) ** 2)
