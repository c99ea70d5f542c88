"""The section of measured quality: metric, value, interval."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from resight.report.figures import draw_interval
from resight.report.markup import Markup, element, format_count, fragment
from resight.report.numbers import wide
from resight.report.sections import Thumbnails

MAX_FAMILIES = 200  # rows per method beyond the aggregates


@dataclass(frozen=True)
class Metric:
    """A figure over many queries, with its 95 % interval where one was computed."""

    protocol: str
    method: str
    family: str | None  # None: over all of them
    metric: str
    value: float
    n_queries: int | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    build: str = ""  # name of the evaluation


@dataclass(frozen=True)
class Metrics:
    """The aggregates of an evaluation, in the order of protocol and method."""

    metrics: tuple[Metric, ...]
    anchor: str = "quality"
    title: str = "Measured quality"

    def image_ids(self) -> Iterable[int]:
        """Show no image."""
        return ()

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw a table per protocol and method."""
        if not self.metrics:
            return element("p", "The evaluation holds no figures.", class_="empty")
        parts = groupby(sorted(self.metrics, key=name_of_table), key=name_of_table)
        return fragment(*(render_method(*name, list(rows)) for name, rows in parts))


def name_of_table(metric: Metric) -> tuple[str, str, str]:
    """Give what the figures of one table have in common."""
    return metric.protocol or "", metric.method or "", metric.build


def render_method(protocol: str, method: str, build: str, metrics: list[Metric]) -> Markup:
    """Draw the figures over all families, those per family folded below."""
    title = ", ".join(part for part in (method, protocol, build) if part)
    overall = [m for m in metrics if m.family is None]
    families = [m for m in metrics if m.family is not None]
    folded = None
    if families:
        hidden = len(families) - MAX_FAMILIES
        folded = element(
            "details",
            element("summary", "Per family ", element("small", format_count(len(families), "figure"))),
            render_table(families[:MAX_FAMILIES], title + ", per family"),
            element("p", f"{format_count(hidden)} more not shown", class_="more") if hidden > 0 else None,
        )
    table = render_table(overall, title) if overall else None
    where = ", ".join(part for part in (protocol, build) if part)
    return fragment(element("h3", f"{method} ", element("small", where)), table, folded)


def render_table(metrics: list[Metric], label: str) -> Markup:
    """Draw metrics as rows, with a picture of the interval where it fits a scale from 0 to 1."""
    names = ["Family"] if any(m.family is not None for m in metrics) else []
    names += ["Metric", "Value", "0 to 1", "95 % interval", "Queries"]
    head = element("tr", *(element("th", name, scope="col") for name in names))
    body = [render_metric(m, with_family="Family" in names) for m in metrics]
    return wide(element("table", element("thead", head), element("tbody", *body)), label)


def render_metric(m: Metric, *, with_family: bool) -> Markup:
    """Draw one row."""
    known = m.ci_low is not None and m.ci_high is not None
    interval = f"{m.ci_low:.3f} to {m.ci_high:.3f}" if known else "\N{EM DASH}"
    return element(
        "tr",
        element("th", m.family or "", scope="row") if with_family else None,
        element("td" if with_family else "th", m.metric, scope=None if with_family else "row"),
        element("td", format_value(m), class_="number strong"),
        element("td", draw_interval(m.value, m.ci_low, m.ci_high)),
        element("td", interval, class_="number"),
        element("td", format_count(m.n_queries) if m.n_queries is not None else "", class_="number"),
    )


def format_value(m: Metric) -> str:
    """Write a figure with three decimals, a count without, and a dash where there is nothing to divide by."""
    if math.isnan(m.value):
        return "\N{EM DASH}"
    return format_count(round(m.value)) if m.metric.startswith("n_") else f"{m.value:.3f}"
