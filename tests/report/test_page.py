import base64
import hashlib
import re

import pytest

from resight.report.failures import Failure, Failures, Reason
from resight.report.groups import Copy, CutPair, Group, Groups
from resight.report.markup import DECEPTIVE
from resight.report.metrics import Metric, Metrics
from resight.report.neighbours import Histogram, Neighbours, Strip
from resight.report.numbers import JobRun, Numbers
from resight.report.page import render_page
from resight.report.sections import Missing, Photo, ReportData
from tests.report.parsed import Parsed

HOSTILE = [
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> ' onload='x",
    "photo\u202egpj.exe\u2066\x00\n",
    "&lt;b&gt; javascript:alert(1)",
    "x" * 5000,
    "]]><!-- \udcff --><svg/onload=alert(1)>",
]
JPEG = b"\xff\xd8 not decoded here \xff\xd9"


def sections_of(text: str) -> tuple:
    """Every section, with ``text`` wherever a collection can bring its own."""
    a, b = Photo(1, text, 640, 480, 1000), Photo(2, "folder/" + text)
    copies = (Copy(b, "near", 0.95, text), Copy(Photo(3, text), text, None, text))
    group = Group(7, a, text, copies, n_images=5)
    run = JobRun(text, text, text, 1.5, None, {text: 3}, {text: text})
    metric = Metric(text, text, text, text, 0.5, 10, 0.4, 0.6, text)
    return (
        Numbers(((text, 3), ("ok", 4)), 10, 2, (text,), 1, 2, 3, (run,)),
        Groups((group,), 9, (CutPair(a, b, 0.9, text),), 4),
        Neighbours((Strip(a, ((b, 0.5),)), Strip(b, ())), 10, 0.4),
        Histogram((0.8, 0.9, 1.0), (3, 4), 7, 70, 0.9, 4),
        Failures((Failure(text, text, 9, (Reason(text, 9, (text, text)),), 3),)),
        Metrics((metric, Metric(text, text, None, text, 3.5))),
        Missing("more", text, text),
    )


def page_of(text: str) -> str:
    return render_page(ReportData(text, text, sections_of(text), {1: JPEG, 2: JPEG}))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element_and_no_attribute(text):
    tame, parsed = Parsed(page_of("x")), Parsed(page_of(text))
    shape, expected = ([(t, sorted(a)) for t, a in p.elements if t != "span"] for p in (parsed, tame))
    assert shape == expected
    names = {name for tag, a in parsed.elements if tag == "span" for name in a}  # of folders, more or fewer
    assert names == {name for tag, a in tame.elements if tag == "span" for name in a}
    assert parsed.raw == tame.raw


@pytest.mark.parametrize("text", HOSTILE)
def test_page_can_be_written_and_deceives_nobody(text):
    page = page_of(text)
    assert page.encode("utf-8")
    parsed = Parsed(page)
    values = [v for _, a in parsed.elements for v in a.values() if v]
    assert not any(DECEPTIVE.search(v) for v in [parsed.text, *values])


def test_page_requests_nothing_from_outside():
    page = page_of("folder/photo.jpg")
    parsed = Parsed(page)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|import\(", page)
    for tag, attributes in parsed.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "audio", "video"}
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "srcset"}]
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert (attributes.get("href") or "#").startswith("#")


def test_policy_allows_only_the_inlined_style_and_script():
    parsed = Parsed(page_of("x"))
    (meta,) = parsed.having("meta", http_equiv="Content-Security-Policy")
    policy = dict(part.split(" ", 1) for part in meta["content"].split("; "))
    assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["img-src"] == "data:"
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(parsed.raw[tag].encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"


def test_links_and_labels_lead_somewhere():
    parsed = Parsed(page_of("x"))
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    named = [a[k] for _, a in parsed.elements for k in ("for", "aria-labelledby") if k in a]
    linked = [a["href"][1:] for _, a in parsed.elements if "href" in a]
    assert set(named + linked) <= set(ids)


def test_every_photo_has_words_and_every_scroller_takes_the_keyboard():
    parsed = Parsed(page_of("x"))
    assert all(a["alt"] for a in parsed.having("img") if "src" in a)
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in parsed.having("div", class_="scroller"))
    assert all(a["aria-label"] for _, a in parsed.elements if a.get("role") in {"img", "region"})


def test_page_without_sections_is_a_page():
    assert "Nothing here" in Parsed(render_page(ReportData("Nothing here"))).text


def test_same_data_give_the_same_page():
    assert page_of("x") == page_of("x")
