"""Describe photos of one shape: what runs between the decoder and the table.

A describer hides whether vectors come from a network on some device or from plain arithmetic.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from resight.features.settings import ExtractSettings
from resight.features.whitening import Whitening

if TYPE_CHECKING:
    from torch import Tensor

    from resight.features.backbones import Backbone
    from resight.features.rmac import Level

__all__ = ["Described", "Describer", "build_describer"]

BATCH_PIXELS = {"cpu": 1 << 18, "cuda": 1 << 23}  # on a CPU small batches stay in its cache


class Described(NamedTuple):
    """Vectors of b photos of one shape, still on their device.

    Parameters
    ----------
    vectors : (b, d)
        Of norm one or zero.
    regions : (b, r, D), optional
        Unit vectors of the R-MAC regions, where the settings ask for them.
    boxes : ndarray, (r, 4) float32, optional
        ``y0 x0 y1 x1`` of the regions as shares of the photo's height and width.
    """

    vectors: "np.ndarray | Tensor"
    regions: "Tensor | None" = None
    boxes: np.ndarray | None = None


class Describer(Protocol):
    """Photos of one shape to vectors, ``batch_pixels`` pixels at a time."""

    batch_pixels: int
    ahead: bool  # whether it computes elsewhere, so that decoding always runs ahead of it

    def describe(self, pixels: np.ndarray) -> Described:
        """Describe (b, h, w, 3) uint8 RGB by vectors (b, d) float32."""

    def count_dims(self) -> int:
        """Count the dimensions d, also where no photo can be described."""


@dataclass(eq=False)
class ColourDescriber:
    """Colour histograms."""

    batch_pixels: int
    ahead: bool = False

    def describe(self, pixels: np.ndarray) -> Described:
        """Describe (b, h, w, 3) uint8 RGB."""
        from resight.features.colour import describe_colour

        return Described(np.stack([describe_colour(photo) for photo in pixels]))

    def count_dims(self) -> int:
        """Count the bins."""
        from resight.features.colour import DIMS

        return DIMS


@dataclass(eq=False)
class NetworkDescriber:
    """Pooled activations; ``region_whitening`` is (mean, projection) on the device."""

    backbone: "Backbone"
    settings: ExtractSettings
    region_whitening: "tuple[Tensor, Tensor] | None"
    batch_pixels: int
    ahead: bool

    def describe(self, pixels: np.ndarray) -> Described:
        """Describe (b, h, w, 3) uint8 RGB."""
        import torch

        from resight.features.pooling import join_layers

        with torch.inference_mode():
            maps = self.backbone.maps(pixels)
            if self.settings.regions:
                return self.describe_regions(maps[0])
            return Described(join_layers([self.pool(x) for x in maps]))

    def describe_regions(self, x: "Tensor") -> Described:
        """Keep the regions of the maps (b, d, h, w) beside their sum."""
        from resight.features import pooling, rmac

        grid, regions = self.pool_regions(x)
        if self.region_whitening:
            regions = rmac.whiten_regions(regions, *self.region_whitening)
        h, w = x.shape[2:]
        cells = rmac.region_boxes(h, w, grid=grid, include_whole=self.settings.include_whole)
        boxes = (cells.numpy() / (h, w, h, w)).astype(np.float32)
        return Described(pooling.normalize(regions.sum(1)), regions, boxes)

    def count_dims(self) -> int:
        """Describe a black square to see how long its vector is."""
        return self.describe(np.zeros((1, 32, 32, 3), np.uint8)).vectors.shape[1]

    def pool(self, x: "Tensor") -> "Tensor":
        """Pool one layer's maps (b, d, h, w) to (b, d); vectors (b, d) are left as they are."""
        from resight.features import pooling, rmac

        conf = self.settings
        if x.ndim == 2:
            return x
        if conf.pooling == "rmac":
            return rmac.sum_regions(self.pool_regions(x)[1], whitening=self.region_whitening)
        if conf.pooling == "gem":
            return pooling.gem(x, conf.p)
        return pooling.mac(x) if conf.pooling == "mac" else pooling.spoc(x)

    def pool_regions(self, x: "Tensor") -> "tuple[list[Level], Tensor]":
        """Lay the windows of R-MAC over maps (b, d, h, w): the grid, and the regions (b, r, d)."""
        from resight.features import rmac

        conf = self.settings
        grid = rmac.region_grid(*x.shape[2:], levels=conf.levels, grid=conf.rmac_grid)
        return grid, rmac.pool_regions(x, grid=grid, include_whole=conf.include_whole)


def build_describer(
    settings: ExtractSettings, *, whitening: Whitening | None = None, device: str | None = None
) -> Describer:
    """Make the describer of ``settings``; ``whitening`` is used here only to whiten regions."""
    if settings.is_colour:
        return ColourDescriber(settings.batch_pixels or BATCH_PIXELS["cpu"])
    import torch

    from resight.features.backbones import load_backbone

    backbone = load_backbone(settings, device)
    kind = backbone.device.type
    batch_pixels = settings.batch_pixels or BATCH_PIXELS.get(kind, BATCH_PIXELS["cuda"])
    if settings.whiten_regions:
        if whitening is None:
            raise ValueError("whiten_regions: no whitening was given")
        arrays = (whitening.mean, whitening.projection)
        mean, projection = (torch.tensor(a).float().to(backbone.device) for a in arrays)
        of_regions = (mean, projection)
    else:
        of_regions = None
    return NetworkDescriber(backbone, settings, of_regions, batch_pixels, kind != "cpu")
