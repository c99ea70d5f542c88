"""A photo made ready to be compared: its brightness, reduced, and its keypoints, found once when wanted."""

from functools import cached_property

import cv2
import numpy as np

from resight.dedup.relating.settings import RelateSettings
from resight.features.local.points import LocalFeatures
from resight.features.local.rootsift import RootSift
from resight.verification.match import Prepared, prepare_features
from resight.verification.mirror import mirror_features
from resight.verification.overlap import Size

__all__ = ["THUMB", "View", "find_keypoints", "frame_size", "prepare_view"]

THUMB = 32  # side of the square on which frames are laid on each other
CONTRAST, EDGE = 0.01, 12.0  # of SIFT


class View:
    """A photo of ``size`` (width, height), as brightness ``grey`` (h, w) uint8 of a limited size.

    ``limit`` keypoints are looked for, at the longer side ``side``; 0: that of ``grey``.
    """

    def __init__(self, grey: np.ndarray, size: Size, limit: int = 1000, side: int = 0) -> None:
        self.grey = grey
        self.size = size
        self.limit, self.side = limit, side
        self.frame: Size = (grey.shape[1], grey.shape[0])  # of what is compared

    @cached_property
    def luma(self) -> np.ndarray:
        """Brightness (h, w) float32, 0 to 255."""
        return self.grey.astype(np.float32)

    @cached_property
    def thumb(self) -> np.ndarray:
        """Brightness on a square (32, 32) float64, without mean, of unit norm; zeros where it is flat."""
        small = cv2.resize(self.luma, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float64)
        small -= small.mean()
        norm = np.sqrt((small * small).sum())
        return small / norm if norm > THUMB else np.zeros_like(small)  # a level of grey per pixel

    @cached_property
    def keypoints(self) -> Prepared:
        """Keypoints in pixels of `frame`."""
        return find_keypoints(self.grey, self.limit, self.side)

    @cached_property
    def mirrored(self) -> Prepared:
        """Keypoints of the mirrored photo."""
        own = self.keypoints
        turned = mirror_features(LocalFeatures(own.points, own.vectors), self.frame[0])
        return own._replace(points=turned.points, vectors=turned.vectors)


def find_keypoints(grey: np.ndarray, limit: int, side: int = 0) -> Prepared:
    """Find the ``limit`` strongest keypoints of brightness (h, w) uint8, in its pixels.

    They are looked for in a smaller picture where ``side``, its longer side, is less than that given.
    """
    h, w = grey.shape
    zoom = min(1.0, side / max(h, w)) if side else 1.0
    small = grey
    if zoom < 1:
        reduced = max(1, round(w * zoom)), max(1, round(h * zoom))
        small = cv2.resize(grey, reduced, interpolation=cv2.INTER_AREA)
    found = RootSift(CONTRAST, EDGE).describe(cv2.cvtColor(small, cv2.COLOR_GRAY2RGB), limit=limit)
    across, down = w / small.shape[1], h / small.shape[0]
    points = found.points.copy()
    points[:, 0] = (points[:, 0] + 0.5) * across - 0.5
    points[:, 1] = (points[:, 1] + 0.5) * down - 0.5
    points[:, 2] *= np.sqrt(across * down)
    return prepare_features(LocalFeatures(points, found.vectors), max_keypoints=limit)


def frame_size(size: Size, settings: RelateSettings) -> Size:
    """Give the size at which a photo of ``size`` is compared.

    It is reduced to the side of ``settings``; smaller than half of that, it is enlarged.

    >>> frame_size((2000, 1000), RelateSettings()), frame_size((400, 300), RelateSettings())
    ((512, 256), (400, 300))
    """
    w, h = size
    side = settings.max_side * (2 if settings.strict else 1)
    zoom = min(side / max(h, w), 2.0)
    if 0.99 < zoom < 2.0 and max(h, w) <= side:
        zoom = 1.0
    return max(1, round(w * zoom)), max(1, round(h * zoom))


def prepare_view(pixels: np.ndarray, settings: RelateSettings, size: Size | None = None) -> View:
    """Reduce a photo (h, w, 3) uint8 RGB to `frame_size`; ``size`` is that of the photo, if reduced already.

    Raises
    ------
    ValueError
        No such pixels.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"pixels {pixels.shape} {pixels.dtype}, expected (h, w, 3) uint8")
    given: Size = (pixels.shape[1], pixels.shape[0])
    whole = size or given
    frame = frame_size(whole, settings)
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    if frame != given:
        how = cv2.INTER_AREA if frame[0] < given[0] else cv2.INTER_LINEAR
        grey = cv2.resize(grey, frame, interpolation=how)
    return View(grey, whole, settings.max_keypoints, settings.keypoint_side)
