"""Charts of plain numbers: histograms, counts, figures with their intervals, curves of training."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from resight.viz.figure import (
    COLOURS,
    INK,
    WIDTH,
    Picture,
    draw_sentence,
    new_picture,
    place_axes,
    tidy,
    write,
)
from resight.viz.text import plain_text

__all__ = ["Interval", "draw_counts", "draw_histogram", "draw_intervals", "draw_training"]

N_BINS = 50


class Interval(NamedTuple):
    """A figure with its 95 % interval; the ends are None or NaN where there is none."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    group: str = ""


def draw_histogram(
    samples: Mapping[str, np.ndarray],
    *,
    x: str,
    title: str = "",
    lines: Mapping[str, float] | None = None,
    shares: bool = False,
    log: bool = False,
) -> Picture:
    """Draw histograms of one or several samples over each other, with vertical lines at named values.

    Parameters
    ----------
    samples : mapping of str to ndarray, (m,) float
        What is not finite is left out.
    shares : bool
        Compare samples of different sizes: the bars of each add up to 1.
    log : bool
        Heights are ratios, so that few are seen beside many.

    Examples
    --------
    >>> picture = draw_histogram({"nearest": np.array([0.2, 0.4, 0.9])}, x="similarity")
    >>> picture.axes[0].get_xlabel(), picture.axes[0].get_title(loc="left")
    ('similarity', '')
    """
    finite = {name: values[np.isfinite(values)] for name, values in samples.items()}
    finite = {name: values for name, values in finite.items() if len(values)}
    if not finite:
        return draw_sentence(f"No {x} to count.")
    low = min(float(values.min()) for values in finite.values())
    high = max(float(values.max()) for values in finite.values())
    edges = np.linspace(low, high if high > low else low + 1e-3, N_BINS + 1).tolist()
    picture = new_picture(WIDTH * 0.7, 2.9)
    axes = place_axes(picture, 0.6, 0.45, WIDTH * 0.7 - 0.85, 1.95)
    for (name, values), colour in zip(finite.items(), COLOURS * len(finite), strict=False):
        weights = np.full(len(values), 1 / len(values) if shares else 1.0)
        words = f"{name} ({len(values):,})"
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.22)
        outline: dict[str, Any] = {"histtype": "step", "color": colour, "lw": 1.5, "label": plain_text(words)}
        axes.hist(values, edges, weights=weights, **outline)
    tidy(axes, title=title, x=x, y="share" if shares else "count")
    if log:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    top = axes.get_ylim()[1]
    for name, value in (lines or {}).items():
        axes.axvline(value, color=INK, lw=1, ls="--")
        axes.text(value, top, f" {plain_text(name)}", fontsize=7.5, va="top", color=INK, parse_math=False)
    if len(finite) > 1 or next(iter(finite)):
        axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
    return picture


def draw_counts(counts: Mapping[str, int], *, title: str = "", mark: str = "") -> Picture:
    """Draw counts as bars beside their names; the bar called ``mark`` in another colour.

    >>> draw_counts({"ok": 12, "undecodable": 1}, mark="ok").axes[0].texts[0].get_text()
    ' 12'
    """
    if not counts:
        return draw_sentence(f"{title}: nothing to count." if title else "There is nothing to count.")
    names, values = [*counts], [*counts.values()]
    left = 0.4 + 0.068 * max(map(len, names))
    picture = new_picture(WIDTH * 0.7, 0.65 + 0.26 * len(names))
    axes = place_axes(picture, left, 0.42, WIDTH * 0.7 - left - 0.9, 0.26 * len(names))
    places = range(len(names))
    axes.barh(places, values, height=0.62, color=[COLOURS[2 if name == mark else 0] for name in names])
    for place, value in zip(places, values, strict=True):
        axes.text(value, place, f" {value:,}", fontsize=8, va="center", color=INK)
    tidy(axes, title=title, grid="")
    axes.set_yticks(places, [plain_text(name) for name in names], fontsize=8, color=INK, parse_math=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    return picture


def draw_intervals(
    figures: Sequence[Interval], *, title: str = "", x: str = "", limits: tuple[float, float] = (0.0, 1.0)
) -> Picture:
    """Draw figures as points with their 95 % intervals, one line each; those of a group in one colour.

    >>> picture = draw_intervals([Interval("recall", 0.9, 0.8, 0.95)])
    >>> [label.get_text() for label in picture.axes[0].get_yticklabels()]
    ['recall']
    """
    shown = [figure for figure in figures if np.isfinite(figure.value)]
    if not shown:
        return draw_sentence(f"{title}: nothing was measured." if title else "Nothing was measured.")
    left = 0.4 + 0.068 * max(len(figure.name) for figure in shown)
    picture = new_picture(WIDTH * 0.7, 1.0 + 0.24 * len(shown))
    axes = place_axes(picture, left, 0.42, WIDTH * 0.7 - left - 0.9, 0.24 * len(shown))
    groups = list(dict.fromkeys(figure.group for figure in shown))
    for place, figure in enumerate(shown):
        colour = COLOURS[groups.index(figure.group) % len(COLOURS)]
        low, high = (end if end is not None and np.isfinite(end) else figure.value for end in figure[2:4])
        axes.plot([low, high], [place, place], color=colour, lw=2, alpha=0.45, solid_capstyle="round")
        axes.plot(figure.value, place, "o", color=colour, ms=5)
        words = f"  {figure.value:.3f}"
        axes.text(1.0, place, words, fontsize=8, va="center", color=INK, transform=axes.get_yaxis_transform())
    tidy(axes, title=title, x=x, grid="x")
    names = [plain_text(figure.name) for figure in shown]
    axes.set_yticks(range(len(names)), names, fontsize=8, color=INK, parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(*limits)
    return picture


def draw_training(
    log: pa.Table, *, step: str, curves: Mapping[str, Sequence[str]], title: str = ""
) -> Picture:
    """Draw curves over the steps of a training, a panel for each name in ``curves``.

    Parameters
    ----------
    log : Table
        A row per step or epoch; values that are null are skipped.
    step : str
        The column to draw against.
    curves : mapping of str to sequence of str
        Name of a panel -> its columns; columns that the table does not have, or that are empty, are left out.
    """
    there = {
        name: [column for column in columns if is_filled(log, column)] for name, columns in curves.items()
    }
    there = {name: columns for name, columns in there.items() if columns}
    if not there:
        return draw_sentence("The training has logged nothing.")
    picture, width = new_picture(WIDTH, 3.0), (WIDTH - 0.3) / len(there)
    for number, (name, columns) in enumerate(there.items()):
        axes = place_axes(picture, 0.55 + number * width, 0.55, width - 0.75, 1.9)
        for column, colour in zip(columns, COLOURS, strict=False):
            rows = log.filter(log[column].is_valid())
            x, y = rows[step].to_numpy(), rows[column].to_numpy()
            order = np.argsort(x, kind="stable")
            axes.plot(x[order], y[order], color=colour, lw=1.6, marker="o", ms=3.2, label=column)
        tidy(axes, title=name, x=step)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        if len(columns) > 1:
            axes.legend(fontsize=7.5, frameon=False, labelcolor=INK)
    if title:
        write(picture, 0.55, 0.12, title, size=11, weight="bold")
    return picture


def is_filled(log: pa.Table, column: str) -> bool:
    """Whether a column is there and holds a value."""
    return column in log.column_names and log[column].null_count < len(log)
