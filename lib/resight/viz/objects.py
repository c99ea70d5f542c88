"""What recurs in a collection: maps of what is salient in a photo, boxes, and walls of discovered objects."""

from collections.abc import Sequence

import cv2
import numpy as np

from resight.viz.figure import Picture
from resight.viz.pictures import Box, Shown, Strip, draw_strips

__all__ = ["crop_box", "draw_saliency", "draw_wall", "heat_over"]

OPACITY = 0.55  # of the brightest place of a map


def heat_over(pixels: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Lay a map of saliency over a photo, the more salient the less of the photo is seen.

    Parameters
    ----------
    pixels : ndarray, (h, w, 3) uint8
    saliency : ndarray, (a, b) float
        From 0 on, at any resolution over the same frame; scaled by its largest value.

    Returns
    -------
    ndarray, (h, w, 3) uint8

    Examples
    --------
    >>> heat_over(np.full((4, 4, 3), 100, np.uint8), np.zeros((2, 2))).max()
    np.uint8(100)
    """
    from matplotlib import colormaps

    h, w = pixels.shape[:2]
    known = np.nan_to_num(np.maximum(saliency.astype(np.float32), 0), posinf=0.0)
    share = cv2.resize(known, (w, h), interpolation=cv2.INTER_LINEAR)
    share = share / share.max() if share.max() > 0 else share
    heat = colormaps["inferno"](share)[..., :3] * 255
    weight = OPACITY * share[..., None]
    return np.rint(pixels * (1 - weight) + heat * weight).astype(np.uint8)


def draw_saliency(
    photos: Sequence[tuple[Shown, np.ndarray]], *, title: str = "", height: float = 1.7
) -> Picture:
    """Draw photos beside themselves under their map of saliency, with their boxes on both.

    Parameters
    ----------
    photos : sequence of (Shown, ndarray (a, b) float)
    """
    shown = []
    for photo, saliency in photos:
        low, high = float(np.nanmin(saliency)), float(np.nanmax(saliency))
        words = f"saliency {low:.2g} to {high:.2g}"
        shown += [photo, Shown(heat_over(photo.pixels, saliency), words, boxes=photo.boxes)]
    return draw_strips([Strip(shown)], title=title, height=height)


def crop_box(photo: Shown, box: Box, *, margin: float = 0.15) -> Shown:
    """Cut a photo to one of its boxes and some ground around it.

    >>> grey = Shown(np.zeros((100, 200, 3), np.uint8))
    >>> crop_box(grey, Box((0.4, 0.4, 0.6, 0.6)), margin=0.0).pixels.shape
    (20, 40, 3)
    """
    h, w = photo.pixels.shape[:2]
    y0, x0, y1, x1 = box.place
    dy, dx = margin * (y1 - y0), margin * (x1 - x0)
    top, left = max(0, round((y0 - dy) * h)), max(0, round((x0 - dx) * w))
    bottom, right = min(h, round((y1 + dy) * h)), min(w, round((x1 + dx) * w))
    if bottom - top < 2 or right - left < 2:
        return photo
    return Shown(photo.pixels[top:bottom, left:right], photo.caption, photo.mark)


def draw_wall(objects: Sequence[Strip], *, title: str = "", height: float = 1.0) -> Picture:
    """Draw a wall of discovered objects, a strip of their instances for each, the most frequent first."""
    return draw_strips(objects, title=title, height=height, wrap=False)
