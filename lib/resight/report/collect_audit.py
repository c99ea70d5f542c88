"""From the figures of an audit to a section of the page."""

import math

from resight.report.metrics import Metric, Metrics
from resight.report.sections import Missing, Section
from resight.report.source import Source
from resight.tables import AUDITS

__all__ = ["collect_audit"]

TITLE = "How well copies are found"
WORDS = {
    "recall": ("planted copies that were found", "recall"),
    "planted_precision": ("pairs of planted copies that are right, at least", "precision"),
    "judged_precision": ("found pairs that a person judged", "precision"),
}
COLUMNS = ["figure", "subject", "strength", "n", "value", "ci_low", "ci_high"]


def collect_audit(source: Source) -> Section:
    """Take the figures of the newest audit: a few rows per transformation and relation."""
    if not source.reader.has(AUDITS):
        words = "Not measured yet: `resight audit-duplicates` plants known copies and looks for them."
        return Missing("audit", TITLE, words)
    build = source.reader.find(AUDITS).name
    rows = source.read(AUDITS, COLUMNS).to_pylist()
    return Metrics(tuple(describe_figure(row, build) for row in rows), anchor="audit", title=TITLE)


def describe_figure(row: dict, build: str) -> Metric:
    """Describe one figure; a strength stands behind its transformation."""
    method, metric = WORDS.get(row["figure"], (row["figure"], "share"))
    strength = "" if row["strength"] is None else f" {row['strength']:g}"
    low, high = (None if math.isnan(row[name]) else row[name] for name in ("ci_low", "ci_high"))
    family = None if row["subject"] == "all" else row["subject"] + strength
    return Metric("by kind", method, family, metric, row["value"], row["n"], low, high, build)
