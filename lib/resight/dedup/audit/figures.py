"""Rows of ``audits``: counts as shares with their intervals."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from resight.dedup.audit.estimate import Share, estimate_share

__all__ = ["JUDGED", "Figure", "judged_figures", "precision_figures", "recall_figures"]

RECALL, PRECISION, JUDGED = "recall", "planted_precision", "judged_precision"
ALL = "all"


class Figure(NamedTuple):
    """A row of `AUDITS`."""

    figure: str
    subject: str
    strength: float | None
    n: int
    n_right: int
    value: float
    ci_low: float
    ci_high: float


def make_figure(
    figure: str,
    subject: str,
    n: int,
    n_right: int,
    *,
    strength: float | None = None,
    share: Share | None = None,
) -> Figure:
    """Lay counts out with their share."""
    return Figure(figure, subject, strength, n, n_right, *(share or estimate_share(n_right, n)))


def recall_figures(counted: Iterable[tuple[str, float, int, int]]) -> list[Figure]:
    """Make the figures of (transformation, strength, copies, found ones): of each, each together, and all."""
    rows = sorted(counted)
    figures = [make_figure(RECALL, name, n, found, strength=strength) for name, strength, n, found in rows]
    for name in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == name]
        figures.append(make_figure(RECALL, name, *sum_counts(own)))
    return [*figures, make_figure(RECALL, ALL, *sum_counts(rows))]


def precision_figures(counted: Iterable[tuple[str, int, int]]) -> list[Figure]:
    """Make the figures of (relation, pairs of planted copies, right ones): of each, and all."""
    rows = sorted(counted)
    figures = [make_figure(PRECISION, name, n, right) for name, n, right in rows]
    return [*figures, make_figure(PRECISION, ALL, *sum_counts(rows))]


def judged_figures(estimates: Mapping[str, tuple[int, int, Share]]) -> list[Figure]:
    """Make the figures of what `resight.dedup.audit.judge.estimate_judged` gives."""
    return [make_figure(JUDGED, name, n, right, share=share) for name, (n, right, share) in estimates.items()]


def sum_counts(rows: Iterable[tuple]) -> tuple[int, int]:
    """Sum the last two columns."""
    counts = [row[-2:] for row in rows]
    return sum(n for n, _ in counts), sum(right for _, right in counts)
