"""The figures of an audit on the page."""

from resight.report.collect_audit import collect_audit
from resight.report.source import Source
from resight.tables import AUDITS
from tests.report.committed import Committed
from tests.report.parsed import Parsed

FIGURES = {
    "figure": ["recall", "recall", "recall", "judged_precision"],
    "subject": ["cropped", "cropped", "all", "all"],
    "strength": [0.3, None, None, None],
    "n": [10, 20, 20, 5],
    "n_right": [6, 16, 16, 5],
    "value": [0.6, 0.8, 0.8, float("nan")],
    "ci_low": [0.31, 0.58, 0.58, float("nan")],
    "ci_high": [0.83, 0.92, 0.92, float("nan")],
}


def section_of(committed):
    return collect_audit(Source(committed.reader, 5, 5, 0))


def test_a_collection_that_was_not_audited_says_so(tmp_path):
    assert "Not measured yet" in Parsed(section_of(Committed(tmp_path)).render({})).text


def test_figures_stand_by_transformation_with_their_intervals(tmp_path):
    committed = Committed(tmp_path)
    committed.commit("audit-duplicates", (AUDITS, FIGURES), name="nightly")
    text = Parsed(section_of(committed).render({})).text
    for words in ("cropped 0.3recall0.6000.310 to 0.83010", "recall0.8000.580 to 0.92020", "nightly"):
        assert words.replace(" ", "") in text.replace(" ", "")
    assert "nan" not in text
