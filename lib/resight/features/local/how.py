"""Local features from the activations of a network, as HOW chooses them (Tolias, Jenicek, Chum, ECCV 2020).

Section 3: the strength of a cell is the L2 norm of its activations, before they are smoothed; vectors are
averaged over neighbouring cells and projected by a whitening; the strongest cells over all scales are kept.
Vectors are not normalised, as residuals are taken in the whitened space.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resight.config import SettingError
from resight.features.backbones import MIN_SIDE, Backbone, load_backbone
from resight.features.local.points import LocalFeatures
from resight.features.local.settings import LocalSettings
from resight.features.whitening import Whitening

__all__ = ["Activations", "Projection", "load_activations", "smooth_map"]

PROBE_SIDE = 448  # a multiple of the strides and patches that networks have
FLOOR = 1e-10  # under the root of the norm: a cell without activations has a strength


class Projection(NamedTuple):
    """Whitening on the device: ``x matrix + shift``, ``matrix`` (D, d) and ``shift`` (d,) float32."""

    matrix: Tensor
    shift: Tensor


class Cells(NamedTuple):
    """Cells of one scale: points (n, 5) float32 and the activations (n, D) float32, still on the device."""

    points: np.ndarray
    vectors: Tensor


@dataclass(eq=False)
class Activations:
    """A network whose cells are keypoints; ``stride`` is pixels per cell, ``smoothing`` cells averaged."""

    backbone: Backbone
    projection: Projection | None
    smoothing: int
    scales: tuple[float, ...]
    stride: float
    ahead: bool

    def describe(self, pixels: np.ndarray, *, limit: int | None = None) -> LocalFeatures:
        """Describe (h, w, 3) uint8 RGB; ties of strength by scale in the order asked for, then y, x."""
        size = pixels.shape[:2]
        with torch.inference_mode():
            x = self.backbone.prepare(pixels[None])
            cells = [self.find_cells(x, size, s) for s in self.scales if min(size) * s >= 1]
            points = np.concatenate([np.zeros((0, 5), np.float32), *(c.points for c in cells)])
            order = np.argsort(-points[:, 4], kind="stable")[:limit]
            vectors = [c.vectors for c in cells] or [
                torch.zeros(0, probe_map(self.backbone)[0], device=x.device)
            ]
            chosen = torch.cat(vectors)[torch.from_numpy(order).to(vectors[0].device)]
            if self.projection is not None:
                chosen = chosen @ self.projection.matrix + self.projection.shift
        return LocalFeatures(points[order], chosen.cpu().numpy())

    def find_cells(self, x: Tensor, size: tuple[int, ...], scale: float) -> Cells:
        """Run one photo (1, 3, h, w) of ``size`` at ``scale``; cells in the order y, x."""
        if scale != 1:
            x = functional.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            down, right = (max(MIN_SIDE - side, 0) for side in x.shape[2:])
            x = functional.pad(x, (0, right, 0, down)) if down or right else x
        found = self.backbone.run(x)[0]
        step = self.stride / scale  # pixels of the photo per cell
        rows, columns = (
            np.arange(n, dtype=np.float64) * step for n in found.shape[2:]
        )  # where cells begin; those that lie in what was filled up are left out
        rows, columns = rows[rows < size[0]], columns[columns < size[1]]
        n_rows, n_columns = len(rows), len(columns)
        strength = (found.square().sum(1) + FLOOR).sqrt()[0, :n_rows, :n_columns]
        smooth = smooth_map(found, self.smoothing)[0, :, :n_rows, :n_columns]
        points = np.zeros((n_rows * n_columns, 5), np.float32)
        y, x_ = np.meshgrid(rows + step / 2, columns + step / 2, indexing="ij")
        points[:, 0] = np.minimum(x_.ravel(), size[1]) - 0.5
        points[:, 1] = np.minimum(y.ravel(), size[0]) - 0.5
        points[:, 2] = step
        points[:, 4] = strength.reshape(-1).cpu().numpy()
        return Cells(points, smooth.flatten(1).T)


def smooth_map(x: Tensor, side: int) -> Tensor:
    """Average maps (b, D, h, w) over ``side`` x ``side`` cells; at the border over those that are there."""
    if side == 1:
        return x
    return functional.avg_pool2d(x, side, stride=1, padding=side // 2, count_include_pad=False)


@functools.lru_cache(maxsize=16)
def probe_map(backbone: Backbone) -> tuple[int, float]:
    """Count the channels of the map of ``backbone``, and the pixels per cell."""
    found = backbone.maps(np.zeros((1, PROBE_SIDE, PROBE_SIDE, 3), np.uint8))[0]
    if found.ndim != 4:
        raise SettingError("layer: the network gives one vector of a photo there, not a map")
    return found.shape[1], PROBE_SIDE / found.shape[3]


def load_activations(
    settings: LocalSettings, whitening: Whitening | None = None, device: str | None = None
) -> Activations:
    """Load the network, once per process; ``whitening`` is fitted on its smoothed activations.

    Raises
    ------
    SettingError
        The weights are of another network, or the whitening is of other dimensions.
    """
    if settings.is_checkpoint:
        from resight.features.local.checkpoint import load_checkpoint

        backbone, projection, smoothing = load_checkpoint(settings, device)
    else:
        backbone, smoothing = load_backbone(settings.network_settings(), device), settings.smoothing
        projection = None
    n_channels, stride = probe_map(backbone)
    if whitening is not None:
        if whitening.mean.size != n_channels:
            raise SettingError(
                f"whitening: for {whitening.mean.size} dimensions, the activations have {n_channels}"
            )
        arrays = (whitening.projection, -whitening.mean @ whitening.projection)
        projection = Projection(*(torch.tensor(a).float().to(backbone.device) for a in arrays))
    ahead = backbone.device.type != "cpu"
    return Activations(backbone, projection, smoothing, settings.scales, stride, ahead)
