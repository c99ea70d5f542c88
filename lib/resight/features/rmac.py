"""Regional maximum activations (R-MAC): windows of several sizes, their maxima, one sum.

Tolias, Sicre, Jegou, "Particular object retrieval with integral max-pooling of CNN activations", ICLR
2016, section 3.2. Every region's vector is normalised (and whitened, where asked) before the sum.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from resight.features.pooling import normalize

__all__ = ["Grid", "Level", "pool_regions", "region_boxes", "region_grid", "sum_regions", "whiten_regions"]

Grid = Literal["quality", "paper"]
MAX_LONG = 7  # windows of the first level along the longer axis


class Level(NamedTuple):
    """Square windows of one size: their side and their starts along both axes, in cells."""

    side: int
    y0: tuple[int, ...]
    x0: tuple[int, ...]


def region_grid(h: int, w: int, *, levels: int = 3, grid: Grid = "quality") -> list[Level]:
    """Lay windows over a map of (h, w) cells.

    ``quality``: side ``ceil(2 min(h, w) / (l + 1))``, as many windows as make the step at most 0.6 of
    the side. ``paper``: side ``floor(2 min(h, w) / (l + 1))``, l windows along the shorter axis and
    ``l + m - 1`` along the longer, m chosen for an overlap close to 40 %. A level whose side is 0 is
    left out.
    """
    lay = step_level if grid == "quality" else overlap_level
    found = [lay(h, w, level) for level in range(1, levels + 1)]
    return [level for level in found if level.side > 0]


def step_level(h: int, w: int, level: int) -> Level:
    """Lay windows whose step is at most 0.6 of their side."""
    side = -(-2 * min(h, w) // (level + 1))
    counts = [1 + -(-5 * (length - side) // (3 * side)) for length in (h, w)]
    return Level(side, starts(h, side, counts[0]), starts(w, side, counts[1]))


def overlap_level(h: int, w: int, level: int) -> Level:
    """Lay the paper's windows: l along the shorter axis, l + m - 1 along the longer."""
    side = 2 * min(h, w) // (level + 1)
    extra = n_long_windows(h, w) - 1
    counts = (level + extra * (h > w), level + extra * (w > h))
    return Level(side, starts(h, side, counts[0]), starts(w, side, counts[1]))


def n_long_windows(h: int, w: int) -> int:
    """Count the full-size squares along the longer axis whose overlap is closest to 40 %."""
    short, long = sorted((h, w))
    if short == long:
        return 1
    # |(short - (long - short) / (m - 1)) / short - 2 / 5|, times 5 short (m - 1): integers, no ties lost
    gaps = {m: abs(3 * short * (m - 1) - 5 * (long - short)) for m in range(2, MAX_LONG + 1)}
    best = 2
    for m in range(3, MAX_LONG + 1):
        if gaps[m] * (best - 1) < gaps[best] * (m - 1):
            best = m
    return best


def starts(length: int, side: int, n: int) -> tuple[int, ...]:
    """Spread the starts of n windows evenly over ``length`` cells; the last one ends at the border."""
    return tuple(j * (length - side) // max(n - 1, 1) for j in range(n))


def region_boxes(h: int, w: int, *, grid: list[Level], include_whole: bool = False) -> Tensor:
    """List the regions in the order of `pool_regions`: (r, 4) int64 ``y0 x0 y1 x1``, half-open."""
    boxes = [(y, x, y + g.side, x + g.side) for g in grid for y in g.y0 for x in g.x0]
    return torch.tensor(boxes + [(0, 0, h, w)] * include_whole, dtype=torch.int64)


def pool_regions(x: Tensor, *, grid: list[Level], include_whole: bool = False) -> Tensor:
    """Take the unit vector of channel maxima of every region.

    Parameters
    ----------
    x : Tensor, (b, d, h, w) float32
        Activations; fastest in channels_last order.
    grid : list of Level
        Windows, of `region_grid`.
    include_whole : bool
        Whether the whole map is the last region.

    Returns
    -------
    Tensor, (b, r, d) float32
        Unit vectors; a region without activation has the zero vector.
    """
    cells = x.permute(0, 2, 3, 1)  # (b, h, w, d): slices of whole channel vectors
    maxima = [level_maxima(cells, level) for level in grid]
    if include_whole:
        maxima.append(cells.amax((1, 2))[:, None])
    return normalize(torch.cat(maxima, dim=1))


def level_maxima(cells: Tensor, level: Level) -> Tensor:
    """Maxima of one level's windows, rows before columns: (b, h, w, d) to (b, windows, d)."""
    side = level.side
    rows = torch.stack([cells[:, y : y + side].amax(1) for y in level.y0], dim=1)  # (b, ny, w, d)
    windows = [rows[:, :, x : x + side].amax(2) for x in level.x0]  # each (b, ny, d)
    return torch.stack(windows, dim=2).flatten(1, 2)


def sum_regions(regions: Tensor, *, whitening: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Add the regions' vectors (b, r, d) to one vector per photo (b, d), not normalised.

    With ``whitening``, a mean (d,) and a projection (d, D), every region is whitened and normalised
    first, as the paper does; a zero region adds nothing. The result is then (b, D).
    """
    return (regions if whitening is None else whiten_regions(regions, *whitening)).sum(1)


def whiten_regions(regions: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    """Project regions (b, r, d) to unit vectors (b, r, D); a zero region stays zero."""
    whitened = normalize((regions - mean) @ projection)
    return whitened * (regions != 0).any(2, keepdim=True)
