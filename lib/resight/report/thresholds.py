"""What the groups would be at further thresholds, side by side, and what limits left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resight.report.markup import Markup, element, format_count, fragment
from resight.report.numbers import wide

__all__ = ["Threshold", "read_thresholds", "render_left_out", "render_thresholds"]

REASONS = {
    "max_bucket": "comparisons of codes, many of which share a part (--max-bucket)",
    "completed": "pairs of photos that are linked in a chain too long to compare all",
}


@dataclass(frozen=True)
class Threshold:
    """The groups at one threshold of similarity, or of agreement where pixels decide."""

    value: float
    pairs: int
    groups: int
    removable: int
    largest: int


def read_thresholds(notes: Mapping[str, Any]) -> tuple[Threshold, ...]:
    """Read the notes of a run of find-duplicates, the lowest threshold first.

    >>> counted = {"pairs": 5, "groups": 2, "removable": 3, "largest": 4}
    >>> [one.value for one in read_thresholds({"thresholds": {"0.95": counted, "0.9": counted}})]
    [0.9, 0.95]
    """
    found = (Threshold(float(name), **counted) for name, counted in notes.get("thresholds", {}).items())
    return tuple(sorted(found, key=lambda one: one.value))


def render_thresholds(thresholds: tuple[Threshold, ...]) -> Markup | None:
    """Draw a row for every threshold; nothing where none was asked for."""
    if not thresholds:
        return None
    names = ("Threshold", "Pairs", "Groups", "Could go", "Largest group")
    head = element("tr", *(element("th", name, scope="col") for name in names))
    body = [render_threshold(one) for one in thresholds]
    note = "What would be found at further thresholds: what a lower one adds, a person may look at."
    return fragment(
        element("h3", "Thresholds side by side"),
        element("p", note, class_="note"),
        wide(element("table", element("thead", head), element("tbody", *body)), "Thresholds side by side"),
    )


def render_threshold(one: Threshold) -> Markup:
    """Draw one row."""
    counts = (one.pairs, one.groups, one.removable, one.largest)
    cells = (element("td", format_count(count), class_="number") for count in counts)
    return element("tr", element("th", f"{one.value:g}", scope="row"), *cells)


def render_left_out(left_out: Mapping[str, int]) -> Markup | None:
    """Say what limits left out; nothing where they left out nothing."""
    said = [f"{format_count(n)} {REASONS.get(reason, reason)}" for reason, n in sorted(left_out.items())]
    if not said:
        return None
    words = f"Left out by limits, see the table duplicate_limits: {'; '.join(said)}."
    return element("p", words, class_="note")
