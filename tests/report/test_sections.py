import base64
import re

import pytest

from resight.report.failures import Failure, Failures, Reason
from resight.report.figures import draw_histogram
from resight.report.groups import Copy, CutPair, Group, Groups
from resight.report.markup import Markup
from resight.report.metrics import Metric, Metrics
from resight.report.neighbours import Histogram, Neighbours, Strip
from resight.report.numbers import JobRun, Numbers
from resight.report.sections import Photo
from tests.report.parsed import Parsed

NOTHING: dict[int, bytes] = {}


def copies(*similarities: float | None) -> tuple[Copy, ...]:
    return tuple(Copy(Photo(i + 2, f"{i}.jpg", 10, 10, 500), "near", s) for i, s in enumerate(similarities))


def test_numbers_tell_what_could_be_freed():
    numbers = Numbers((("ok", 1200), ("undecodable", 34)), 5_000_000, 2, ("/photos",), 7, 11, 1_500_000)
    text = Parsed(numbers.render(NOTHING)).text
    for words in ("1,234", "34 failed", "5.0 MB", "1.5 MB", "in 7 groups", "2 photos removed", "97.2 %"):
        assert words in text


def test_jobs_are_listed_with_seconds_rows_and_settings():
    run = JobRun(
        "find-duplicates", "nightly", "abc", 75, None, {"duplicate_pairs": 12345}, {"threshold": 0.9}
    )
    text = Parsed(Numbers((("ok", 1),), runs=(run,)).render(NOTHING)).text
    for words in ("1 min 15 s", "duplicate_pairs 12,345", "nightly by find-duplicates abc", "threshold 0.9"):
        assert words in text


def test_a_collection_never_searched_for_copies_says_so():
    assert "not looked for yet" in Parsed(Numbers((("ok", 1),)).render(NOTHING)).text


def test_group_shows_the_kept_photo_its_reason_and_the_evidence():
    group = Group(1, Photo(1, "a/kept.jpg", 20, 30, 900), "largest of 3", copies(0.934, 1.0), 3)
    parsed = Parsed(Groups((group,), 1).render({1: b"K", 2: b"C"}))
    assert "kept largest of 3" in parsed.text
    for words in ("a/", "kept.jpg", "20\N{MULTIPLICATION SIGN}30, 900", "near copy 0.934", "frees 1.0 kB"):
        assert words in parsed.text
    source = "data:image/jpeg;base64," + base64.b64encode(b"K").decode()
    assert parsed.having("img", src=source, alt="kept: a/kept.jpg")
    assert parsed.having("li", data_relation="near", data_similarity="0.934000")
    assert len(parsed.having("span", class_="photo none")) == 1


def test_what_is_not_shown_is_counted():
    group = Group(1, Photo(1, "a"), "", copies(0.9), 100_000)
    text = Parsed(Groups((group,), 10_000, (), 0).render(NOTHING)).text
    assert "and 99,998 more copies" in text
    assert "9,999 smaller groups not shown, of 10,000 in all" in text


def test_filter_offers_the_relations_and_similarities_that_are_there():
    group = Group(1, Photo(1, "a"), "", (*copies(0.934), Copy(Photo(9, "b"), "crop", None)), 3)
    parsed = Parsed(Groups((group,), 1).render(NOTHING))
    assert [a["value"] for a in parsed.having("input", name="relation")] == ["near", "crop"]
    (slider,) = parsed.having("input", name="least")
    assert slider["min"] == slider["value"] == "0.93"
    assert parsed.having("form", id="filter", hidden=None)


def test_pairs_that_the_guard_kept_apart_are_shown():
    pair = CutPair(Photo(1, "a"), Photo(2, "b"), 0.95, "0.7 to the kept photo")
    section = Groups((), 0, (pair,), 12)
    text = Parsed(section.render(NOTHING)).text
    assert "12 pairs, the most alike 1 shown" in text
    assert "0.950 0.7 to the kept photo" in text
    assert list(section.image_ids()) == [1, 2]


def test_neighbours_at_the_threshold_are_ringed():
    near = ((Photo(2, "b"), 0.9), (Photo(3, "c"), 0.89))
    parsed = Parsed(Neighbours((Strip(Photo(1, "a"), near),), 50, 0.9).render(NOTHING))
    assert len(parsed.having("figure", class_="copy")) == 1
    assert "1 photo drawn by chance from 50" in parsed.text
    assert parsed.text.index("0.900") < parsed.text.index("0.890")


def test_histogram_bars_are_as_high_as_their_counts():
    chart = draw_histogram((0.0, 0.5, 0.8, 1.0), (5, 0, 10), threshold=0.8, label="x")
    bars = [a for t, a in Parsed(chart).elements if t == "rect"]
    assert [float(b["height"]) for b in bars] == [100, 0, 200]
    assert [b["class"] for b in bars] == ["bar", "bar", "bar copy"]
    (line,) = Parsed(chart).having("line", class_="threshold")
    assert line["x1"] == "80.000%"


@pytest.mark.parametrize("threshold", [None, -0.5, 1.5])
def test_histogram_without_a_threshold_in_its_range_has_no_line(threshold):
    chart = draw_histogram((0.0, 1.0), (5,), threshold=threshold, label="x")
    assert not Parsed(chart).having("line", class_="threshold")


def test_histogram_is_a_table_too():
    text = Parsed(Histogram((0.8, 0.9, 1.0), (30, 70), 100, 1000, 0.9, 70).render(NOTHING)).text
    assert "100 photos drawn by chance from 1,000. 70 of them (70.0 %)" in text
    assert re.search(r"0\.80 to 0\.90 ?30 ?0\.90 to 1\.00 ?70", text)


def test_failures_give_reasons_and_examples():
    failure = Failure("decoding", "undecodable", 12, (Reason("truncated", 10, ("a.jpg", "b.jpg")),), 3)
    text = Parsed(Failures((failure,)).render(NOTHING)).text
    for words in ("12 images, while decoding", "10 truncated", "a.jpg", "and 8 more", "2 rarer reasons"):
        assert words in text


def test_metrics_have_value_and_interval_and_families_apart():
    rows = (
        Metric("p", "global", None, "ap_step", 0.8125, 64, 0.75, 0.875),
        Metric("p", "global", "f", "ukb", 3.5),
    )
    parsed = Parsed(Metrics(rows).render(NOTHING))
    assert "0.750 to 0.875" in parsed.text
    (dot,) = parsed.having("circle", class_="dot")  # 3.5 is on no scale from 0 to 1
    assert dot["cx"] == "81.25%"


def test_counts_among_metrics_have_no_decimals_and_an_empty_figure_is_a_dash():
    rows = (
        Metric("pairs", "duplicates", None, "n_truth", 1204.0),
        Metric("pairs", "duplicates", None, "precision", float("nan")),
    )
    text = Parsed(Metrics(rows).render(NOTHING)).text
    assert "1,204" in text
    assert "1,204." not in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (Numbers(()), "The collection is empty"),
        (Groups((), 0), "No two photos"),
        (Neighbours((), 5), "5 photos in the graph, none drawn"),
        (Neighbours((), 0), "The graph holds no photo"),
        (Histogram((0.8, 1.0), (0,), 0, 0), "No photo has a neighbour"),
        (Failures(()), "Nothing failed"),
        (Metrics(()), "no figures"),
    ],
)
def test_a_section_without_data_says_so_in_a_sentence(section, words):
    drawn = section.render(NOTHING)
    assert isinstance(drawn, Markup)
    assert words in Parsed(drawn).text
