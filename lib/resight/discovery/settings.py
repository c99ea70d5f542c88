"""What discovery looks for in an image and in the graph, without importing any network."""

from typing import Annotated, Literal

import msgspec

from resight.config import Config, Meta
from resight.features.settings import ExtractSettings

__all__ = ["DiscoverySettings", "network_settings", "pooling_exponent"]

GRID = 32  # cells along the longer side for which the papers state lengths
MIN_PATCH = 3
POOLED = {"mac": 0.0, "rmac": 0.0, "spoc": 1.0}  # exponent by the name of a pooling; 0: the maximum


class DiscoverySettings(Config, frozen=True):
    """Settings of the kernels; lengths are in cells of a grid whose longer side has 32 of them.

    The papers' thresholds and exponents (J: .01 and 7 for features, .01 and 2 for objects) are for grids four
    times as fine as that of the embedded network; on its own, their boxes shrink to a cell or two.
    """

    longer_side: Annotated[
        int, Meta(ge=64, le=8192, description="pixels of a photo; lite0 has a cell for each 32 of them")
    ] = 512
    sigma: Annotated[
        float, Meta(gt=0, description="width of a cell when boxes are found, in 32nds of the longer side")
    ] = 2.5
    eta: Annotated[
        float, Meta(gt=0, lt=1, description="boxes that share more than this are one; .5 to .6")
    ] = 0.55
    feature_tau: Annotated[
        float, Meta(ge=0, lt=1, description="share of the maximum where feature saliency begins")
    ] = 0.3
    feature_rho: Annotated[
        float, Meta(gt=0, description="exponent of feature saliency before boxes are found")
    ] = 3.0
    object_tau: Annotated[
        float, Meta(ge=0, lt=1, description="share of the maximum where object saliency begins")
    ] = 0.05
    object_rho: Annotated[
        float, Meta(gt=0, description="exponent of object saliency before boxes are found")
    ] = 0.5
    min_weight: Annotated[
        float, Meta(ge=0, lt=1, description="boxes of a smaller share of the saliency are left out")
    ] = 0.02
    max_regions: Annotated[int, Meta(ge=1, le=256, description="most boxes of a photo")] = 16
    patch: Annotated[
        float, Meta(gt=0, description="side of the patch around a cell, in 32nds of the longer side")
    ] = 5.0
    query_neighbors: Annotated[int, Meta(ge=1, description="boxes that a patch is compared with")] = 50
    gamma: Annotated[float, Meta(gt=0, description="exponent of the similarity in graph and saliency")] = 3.0
    cell_power: Annotated[
        float, Meta(ge=0, description="exponent of a cell's feature saliency (the papers' Theta)")
    ] = 3.0
    region_power: Annotated[
        float, Meta(ge=0, description="exponent of a box's mean feature saliency (theta)")
    ] = 3.0
    keep_own: Annotated[
        bool, Meta(description="boxes of one photo count as each other's neighbours, as in the papers")
    ] = False

    def count_cells(self, length: float, h: int, w: int) -> float:
        """Turn a length in 32nds of the longer side into cells of a grid (h, w)."""
        return length * max(h, w) / GRID

    def patch_side(self, h: int, w: int) -> int:
        """Side of a patch on a grid (h, w): the nearest odd number of cells, at least 3."""
        half = round((self.count_cells(self.patch, h, w) - 1) / 2)
        return max(MIN_PATCH, 2 * half + 1)


def network_settings(described: ExtractSettings, longer_side: int) -> ExtractSettings:
    """Describe boxes by the network that described images: one size, MAC instead of R-MAC, no regions.

    Raises
    ------
    ValueError
        Not a network, or several layers.
    """
    if described.is_colour or len(described.layers) != 1:
        raise ValueError("descriptors: discovery needs those of a network, from one layer")
    pooling: Literal["mac", "spoc", "gem"] = "mac" if described.pooling == "rmac" else described.pooling
    return msgspec.structs.replace(
        described,
        pooling=pooling,
        scale_pooling="mean",
        longer_side=longer_side,
        scales=(1.0,),
        regions=False,
        whiten_regions=False,
    )


def pooling_exponent(network: ExtractSettings) -> float:
    """Give the exponent of the generalised mean that pools a box; 0 is the maximum."""
    return POOLED.get(network.pooling, network.p)
