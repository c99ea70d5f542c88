"""Thresholds side by side, and what limits left out, as a page shows them."""

from resight.report.groups import Groups
from resight.report.thresholds import read_thresholds, render_left_out, render_thresholds

COUNTED = {"pairs": 1200, "groups": 40, "removable": 60, "largest": 7}


def test_every_threshold_is_a_row_the_lowest_first():
    notes = {"thresholds": {"0.97": COUNTED | {"groups": 31}, "0.9": COUNTED}}
    page = render_thresholds(read_thresholds(notes))
    assert page.index("0.9</th>") < page.index("0.97</th>")
    for words in ("1,200", ">40<", ">31<", ">60<", ">7<", "Largest group"):
        assert words in page
    assert render_thresholds(read_thresholds({})) is None


def test_what_limits_left_out_is_said_in_words():
    page = render_left_out({"max_bucket": 12345, "completed": 8})
    assert "12,345 comparisons of codes" in page
    assert "8 pairs of photos that are linked" in page
    assert render_left_out({}) is None


def test_the_section_of_copies_has_both_with_and_without_groups():
    notes = {"thresholds": {"0.9": COUNTED}, "left_out": {"max_bucket": 3}}
    page = Groups((), n_groups=0, notes=notes).render(lambda image_id: None)
    assert "Thresholds side by side" in page
    assert "Left out by limits" in page
    assert "Thresholds" not in Groups((), n_groups=0).render(lambda image_id: None)
