import doctest
import math

import pytest

from resight.report import figures, markup
from resight.report.markup import Markup, element, escape, format_similarity, fragment

HOSTILE = [
    "<script>alert(1)</script>",
    '" onerror="x',
    "' onload='x",
    "a & b",
    "<!--",
    "]]>",
    "`x`",
    "</style>",
]


@pytest.mark.parametrize("module", [markup, figures])
def test_examples_of_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_text_and_attributes_are_escaped(text):
    made = element("p", text, title=text)
    inside = made[len('<p title="') : -len("</p>")]
    assert "<" not in inside
    assert inside.count('"') == 1
    assert "'" not in inside
    assert inside.count(">") == 1


@pytest.mark.parametrize("code", [0x00, 0x0A, 0x1B, 0x7F, 0x85, 0x200B, 0x202E, 0x2066, 0xFEFF, 0xDC80])
def test_characters_that_deceive_are_spelled_out(code):
    shown = escape(f"a{chr(code)}gpj.exe")
    assert shown == f"a[U+{code:04X}]gpj.exe"
    assert shown.encode("utf-8")


@pytest.mark.parametrize("text", ["שלום.jpg", "写真.png", "e\u0301te\u0301.jpg", "👩\u200d🚀.jpg"])
def test_honest_letters_of_any_script_stay(text):
    assert escape(text) == text


def test_markup_that_was_joined_or_formatted_is_escaped_again():
    bold = element("b", "x")
    assert fragment(bold) == "<b>x</b>"
    for mixed in (bold + "<i>", f"{bold}", bold.replace("x", "y"), bold.strip()):
        assert not isinstance(mixed, Markup)
        assert "<" not in fragment(mixed)


def test_attribute_names_cannot_be_data():
    with pytest.raises(ValueError, match="not an attribute name"):
        element("p", **{"x onclick": "1"})


def test_attributes_are_left_out_or_bare():
    assert element("input", hidden=True, checked=False, value=None, for_="a") == '<input hidden for="a">'


@pytest.mark.parametrize(("value", "shown"), [(0.99951, "0.999"), (1 + 1e-7, "1.000"), (-0.5, "-0.500")])
def test_only_equals_read_as_one(value, shown):
    assert format_similarity(value) == shown
    assert format_similarity(math.nan) == "unknown"
