"""The page: sections in order, under a heading and a menu, with all that they need inside."""

import base64
import hashlib

from resight.report.compare import render_compare
from resight.report.compare_parts import COMPARE_SCRIPT, COMPARE_STYLE
from resight.report.markup import Markup, element, fragment
from resight.report.script import SCRIPT
from resight.report.sections import ReportData, Section, Thumbnails
from resight.report.style import STYLE

PAGE_SCRIPT, PAGE_STYLE = Markup(SCRIPT + COMPARE_SCRIPT), Markup(STYLE + COMPARE_STYLE)


def render_page(data: ReportData) -> str:
    """Render a report as one HTML document that needs nothing else.

    Its security policy allows only this style sheet, this script (by their hashes) and images that are
    inside the page; no request leaves it, whatever the texts of the collection contain.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=security_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", data.title),
        element("style", PAGE_STYLE),
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#main", class_="skip"),
        render_header(data),
        element(
            "main",
            *(render_section(section, data.thumbnails) for section in data.sections),
            id="main",
            tabindex=-1,
        ),
        render_viewer(),
        render_compare(),
        element("script", PAGE_SCRIPT),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def security_policy() -> str:
    """Write the Content-Security-Policy of the page."""
    script, style = hash_source(PAGE_SCRIPT), hash_source(PAGE_STYLE)
    return (
        f"default-src 'none'; img-src data:; script-src {script}; style-src {style}; "
        "base-uri 'none'; form-action 'none'"
    )


def hash_source(source: str) -> str:
    """Name an inline script or style by its hash, as the policy wants it."""
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def render_header(data: ReportData) -> Markup:
    """Draw the heading and the menu."""
    links = [element("li", element("a", s.title, href=f"#{s.anchor}")) for s in data.sections]
    return fragment(
        element(
            "header",
            element("h1", data.title),
            element("p", data.subtitle, class_="note") if data.subtitle else None,
            class_="top",
        ),
        element("nav", element("ul", *links), aria_label="Sections") if links else None,
    )


def render_section(section: Section, thumbnails: Thumbnails) -> Markup:
    """Draw a section under its heading."""
    heading = f"{section.anchor}-title"
    return element(
        "section",
        element("h2", section.title, id=heading),
        section.render(thumbnails),
        id=section.anchor,
        aria_labelledby=heading,
    )


def render_viewer() -> Markup:
    """Draw the dialog in which the script enlarges a photo."""
    return element(
        "dialog",
        element(
            "figure",
            element("img", alt=""),
            element("figcaption", element("p", class_="facts"), element("bdi", class_="uri")),
        ),
        element(
            "p",
            element("button", "Previous", type="button", class_="previous"),
            element("span", class_="place"),
            element("button", "Next", type="button", class_="next"),
            element("button", "Close", type="button", class_="close"),
            class_="controls",
        ),
        id="viewer",
        aria_label="Enlarged photo",
    )
