"""Descriptors of photos in the network as it is now: for mining, for evaluation, for whitening."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from resight.features.pooling import pool_scales
from resight.training.network import Network
from resight.training.photos import Photos
from resight.training.ranks import Ranks

__all__ = ["describe_rows", "group_maps"]

BLOCK = 64  # photos whose maps are held at a time


def group_maps(maps: dict[int, Tensor], network: Network) -> tuple[list[Tensor], dict[int, int]]:
    """Stack maps of one shape on the device.

    Returns
    -------
    groups : list of Tensor, each (b, c, h, w)
    places : dict
        Row of a photo -> its place in the groups laid end to end.
    """
    shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, x in maps.items():
        shapes[tuple(x.shape)].append(row)
    order = [row for rows in shapes.values() for row in rows]
    device = network.device
    groups = [
        torch.stack([maps[row] for row in rows])
        .to(device, non_blocking=True)
        .contiguous(memory_format=torch.channels_last)
        for rows in shapes.values()
    ]
    return groups, {row: place for place, row in enumerate(order)}


def describe_rows(
    rows: np.ndarray, sides: Sequence[int], *, photos: Photos, network: Network, ranks: Ranks
) -> np.ndarray:
    """Describe photos at several sizes, the work shared by all processes.

    Parameters
    ----------
    rows : ndarray, (r,) int64
        Photos.
    sides : sequence of int
        Longer sides in pixels; the vectors are pooled with the exponent of GeM, or their mean is taken.

    Returns
    -------
    ndarray, (r, d) float32
        Unit vectors; NaN where a photo cannot be read.
    """
    mine = ranks.share(rows)
    p = float(network.trained.p.detach()) if network.trained.how == "gem" else 1.0
    parts = [
        describe_block(mine[begin : begin + BLOCK], sides, photos, network, p)
        for begin in range(0, len(mine), BLOCK)
    ]
    empty = np.zeros((0, count_dims(network)), np.float32)
    return ranks.join(np.concatenate([empty, *parts]), len(rows))


@torch.no_grad()
def describe_block(
    rows: np.ndarray, sides: Sequence[int], photos: Photos, network: Network, p: float
) -> np.ndarray:
    """Describe some photos in this process: (r, d) float32."""
    found: list[Tensor] = []
    for side in sides:
        groups, places = group_maps(photos.maps(rows.tolist(), side), network)
        V = torch.full((len(rows), count_dims(network)), torch.nan)
        if groups:
            known = [i for i, row in enumerate(rows.tolist()) if row in places]
            order = [places[row] for row in rows.tolist() if row in places]
            V[known] = network.trained(groups).float().cpu()[order]
        found.append(V)
    return found[0].numpy() if len(found) == 1 else pool_scales(torch.stack(found, dim=1), p=p).numpy()


def count_dims(network: Network) -> int:
    """Count the dimensions of a descriptor."""
    return int(network.body.num_features)
