"""A colour descriptor: the Lab histogram of a photo, its border's colours suppressed, its centre preferred.

Objects before a background keep their colours when shape and texture look like those of others; the
colours that fill the border belong to the background more often than not. A pixel counts in the eight
bins around its colour, so that a small change of light changes little. Distances are Hellinger's: the
square root of a histogram that sums to one.
"""

from itertools import product

import numpy as np

__all__ = ["BINS", "DIMS", "describe_colour"]

BINS = (6, 12, 12)  # L, a, b
DIMS = BINS[0] * BINS[1] * BINS[2]
LOWEST = np.array([0, -100, -100], np.float32)  # nearly all of sRGB; the rest joins the outer bins
WIDTH = np.array([100 / 6, 200 / 12, 200 / 12], np.float32)  # of a bin
BORDER = 0.06  # width of the border band, of each side
SIGMA = 0.3  # width of the central Gaussian, of each side
LEAST = 0.05  # weight that a border colour keeps


def describe_colour(pixels: np.ndarray) -> np.ndarray:
    """Describe a photo (h, w, 3) uint8 RGB by a unit vector (864,) float32.

    A pixel weighs ``clip(1 - H_border / H_all, .05, 1)`` of its chroma bin, ``H`` the normalised
    histograms of the border band and of the whole photo, times a centred Gaussian.
    """
    h, w = pixels.shape[:2]
    places = lab_places(pixels)  # (h, w, 3)
    nearest = clip_bins(np.floor(places))
    chroma = nearest[..., 1] * BINS[2] + nearest[..., 2]  # (h, w)
    weights = np.outer(central_weights(h), central_weights(w)) * border_weights(chroma)[chroma]
    histogram = soft_histogram(places.reshape(-1, 3), weights.ravel())
    return np.sqrt(histogram / histogram.sum()).astype(np.float32)  # L1, root: its L2 norm is one


def lab_places(pixels: np.ndarray) -> np.ndarray:
    """Give every pixel's Lab colour in units of bins, (h, w, 3) float32; bin i reaches from i to i + 1."""
    import cv2

    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return (lab - LOWEST) / WIDTH


def clip_bins(bins: np.ndarray) -> np.ndarray:
    """Move bins (..., 3) outside the histogram to its border, as int64."""
    return np.clip(bins.astype(np.int64), 0, np.array(BINS) - 1)


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


def soft_histogram(places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share every pixel among the eight bins whose centres surround it: (n, 3), (n,) to (864,)."""
    low = np.floor(places - 0.5)
    high_share = (places - 0.5 - low).astype(np.float64)  # (n, 3), of the upper bin of each axis
    histogram = np.zeros(DIMS)
    for corner in product((0, 1), repeat=3):
        shares = np.where(corner, high_share, 1 - high_share).prod(axis=1)
        light, a, b = clip_bins(low + np.array(corner)).T
        bins = (light * BINS[1] + a) * BINS[2] + b
        histogram += np.bincount(bins, shares * weights, minlength=DIMS)
    return histogram
