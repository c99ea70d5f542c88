"""What a graph of a collection looks like: degrees, components, and what diffusion adds to similarity."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from resight.viz.figure import (
    COLOURS,
    GREY,
    INK,
    WIDTH,
    Picture,
    draw_sentence,
    new_picture,
    place_axes,
    tidy,
    write,
)

__all__ = ["draw_graph", "draw_manifold"]

KINDS = (COLOURS[2], COLOURS[1], COLOURS[0], "#b5b5b5")


def draw_graph(degrees: np.ndarray, component_sizes: np.ndarray) -> Picture:
    """Draw how many edges nodes have, and how large components are.

    Parameters
    ----------
    degrees : ndarray, (n,) int64
        Of every node, or of a sample.
    component_sizes : ndarray, (c,) int64
        Nodes of every component; on both axes of its panel, distances are ratios.

    Examples
    --------
    >>> picture = draw_graph(np.array([1, 1, 2, 0]), np.array([3, 1]))
    >>> [axes.get_title(loc="left") for axes in picture.axes]
    ['Edges of a photo', 'Size of components']
    """
    if not len(degrees):
        return draw_sentence("The graph holds no photo.")
    picture, width = new_picture(WIDTH, 3.0), WIDTH / 2
    axes = place_axes(picture, 0.6, 0.5, width - 0.9, 1.95)
    most = int(degrees.max())
    step = max(1, -(-(most + 1) // 60))
    counts = np.bincount(degrees // step)
    axes.bar(
        np.arange(len(counts)) * step, counts, width=step * 0.9, color=COLOURS[0], align="edge", alpha=0.8
    )
    median = float(np.median(degrees))
    tidy(axes, title="Edges of a photo", x=f"edges (median {median:g}, none: {int((degrees == 0).sum()):,})")
    axes.set_ylabel("photos", fontsize=8, color=GREY)
    axes = place_axes(picture, width + 0.6, 0.5, width - 0.9, 1.95)
    draw_sizes(axes, np.sort(component_sizes)[::-1])
    return picture


def draw_sizes(axes: Axes, sizes: np.ndarray) -> None:
    """Draw sizes (c,), descending, against their rank; distances are ratios."""
    ranks = np.arange(1, len(sizes) + 1)
    shown = np.unique(np.geomspace(1, max(len(sizes), 1), 400).astype(int)) - 1
    axes.plot(ranks[shown], sizes[shown], "-o", color=COLOURS[1], ms=4, lw=1, alpha=0.8)
    largest = int(sizes.max(initial=1))
    n_alone = int((sizes == 1).sum())
    words = f"components by size ({len(sizes):,}; the largest has {largest:,}, {n_alone:,} have 1)"
    tidy(axes, title="Size of components", x=words, grid="both")
    axes.set_ylabel("photos", fontsize=8, color=GREY)
    axes.set_xlim(0.8, max(2.0, len(sizes) * 1.3))
    axes.set_ylim(0.7, max(2.0, largest * 1.6))
    for scale, axis in ((axes.set_xscale, axes.xaxis), (axes.set_yscale, axes.yaxis)):
        scale("log")
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
        axis.set_minor_locator(NullLocator())


def draw_manifold(
    euclidean: np.ndarray,
    manifold: np.ndarray,
    *,
    kinds: np.ndarray | None = None,
    names: tuple[str, ...] = ("pairs",),
    title: str = "",
) -> Picture:
    """Draw the similarity of descriptors against that over the graph, a point for each pair of photos.

    Pairs near the diagonal are judged alike by both. High and left are photos that only the graph brings
    together (hard positives); low and right those that merely look alike (hard negatives): Iscen et al.,
    "Mining on manifolds", CVPR 2018, section 3.

    Parameters
    ----------
    euclidean, manifold : ndarray, (m,) float
        What is not finite in one of them is left out.
    kinds : ndarray, (m,) int
        Which of ``names`` a pair is; by default all are the first.
    """
    kinds = np.zeros(len(euclidean), int) if kinds is None else kinds
    known = np.isfinite(euclidean) & np.isfinite(manifold)
    if not known.any():
        return draw_sentence("No pair has both similarities.")
    picture = new_picture(WIDTH * 0.62, 4.6)
    axes = place_axes(picture, 0.75, 0.95, WIDTH * 0.62 - 1.0, 3.1)
    for kind in reversed(range(len(names))):  # the first ones on top
        own = known & (kinds == kind)
        size = float(np.clip(4000 / max(own.sum(), 1), 4, 20))
        words, colour = f"{names[kind]} ({int(own.sum()):,})", KINDS[kind % len(KINDS)]
        axes.scatter(euclidean[own], manifold[own], s=size, color=colour, alpha=0.5, lw=0, label=words)
    tidy(axes, x="similarity of descriptors", grid="both")
    axes.set_ylabel("similarity over the graph", fontsize=8, color=GREY)
    spread = manifold[known & (manifold > 0)]
    if len(spread) and spread.max() > 20 * np.median(spread):
        axes.set_yscale("log")
        axes.set_ylim(max(spread.min(), spread.max() / 1e5) * 0.7, spread.max() * 1.5)
        axes.minorticks_off()
    handles, labels = axes.get_legend_handles_labels()
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 2}
    axes.legend(handles[::-1], labels[::-1], fontsize=8, frameon=False, labelcolor=INK, **above)
    if title:
        write(picture, 0.75, 0.12, title, size=10)
    return picture
