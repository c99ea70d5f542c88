"""A photo made ready to be compared with others: reduced, its keypoints found once and only when wanted."""

from functools import cached_property

import cv2
import numpy as np

from resight.dedup.relating.settings import RelateSettings
from resight.features.local.points import LocalFeatures
from resight.features.local.rootsift import RootSift
from resight.verification.match import Prepared, prepare_features
from resight.verification.mirror import mirror_features
from resight.verification.overlap import Size

__all__ = ["THUMB", "View", "find_keypoints", "prepare_view"]

THUMB = 32  # side of the square on which frames are laid on each other
CONTRAST, EDGE = 0.01, 12.0  # of SIFT
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class View:
    """A photo of ``size`` (width, height), as ``pixels`` (h, w, 3) uint8 of a limited size."""

    def __init__(self, pixels: np.ndarray, size: Size, found: LocalFeatures | int = 1000) -> None:
        self.pixels = pixels
        self.size = size
        self.found = found  # its keypoints, or how many are to be looked for

    @property
    def frame(self) -> Size:
        """Width and height of the pixels that are compared."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def luma(self) -> np.ndarray:
        """Brightness (h, w) float32, 0 to 255."""
        luma: np.ndarray = self.pixels.astype(np.float32) @ LUMA
        return luma

    @cached_property
    def thumb(self) -> np.ndarray:
        """Brightness on a square (32, 32) float64, without mean, of unit norm; zeros where it is flat."""
        small = cv2.resize(self.luma, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float64)
        small -= small.mean()
        norm = np.sqrt((small * small).sum())
        return small / norm if norm > THUMB else np.zeros_like(small)  # a level of grey per pixel

    @cached_property
    def keypoints(self) -> tuple[Prepared, Prepared]:
        """Keypoints in pixels of `frame`, and those of the mirrored photo."""
        found = find_keypoints(self.pixels, self.found) if isinstance(self.found, int) else self.found
        turned = mirror_features(found, self.frame[0])
        return tuple(prepare_features(f, max_keypoints=len(f.points)) for f in (found, turned))  # type: ignore[return-value]


def find_keypoints(pixels: np.ndarray, limit: int) -> LocalFeatures:
    """Find the ``limit`` strongest keypoints of a view, their vectors rounded as they are stored."""
    found = RootSift(CONTRAST, EDGE).describe(pixels, limit=limit)
    return LocalFeatures(found.points, found.vectors.astype(np.float16).astype(np.float32))


def prepare_view(pixels: np.ndarray, settings: RelateSettings) -> View:
    """Reduce a photo (h, w, 3) uint8 RGB to the side of ``settings``; smaller than half of it, enlarge it.

    Raises
    ------
    ValueError
        No such pixels.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"pixels {pixels.shape} {pixels.dtype}, expected (h, w, 3) uint8")
    h, w = pixels.shape[:2]
    side = settings.max_side * (2 if settings.strict else 1)
    zoom = min(side / max(h, w), 2.0)
    if 0.99 < zoom < 2.0 and max(h, w) <= side:
        zoom = 1.0
    size = max(1, round(w * zoom)), max(1, round(h * zoom))
    if size != (w, h):
        how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        return View(cv2.resize(pixels, size, interpolation=how), (w, h), settings.max_keypoints)
    return View(np.ascontiguousarray(pixels), (w, h), settings.max_keypoints)
