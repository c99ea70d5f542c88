"""Drawings that sections share: photos, strips of photos, bars, a histogram, an interval.

Charts are inline SVG in percentages of their width, so that text keeps its size on a narrow screen; no
element has a ``style`` attribute, which the page's security policy would refuse.
"""

import base64
import math
from collections.abc import Sequence

from resight.report.markup import (
    Markup,
    element,
    format_bytes,
    format_count,
    format_percent,
    format_similarity,
    fragment,
)
from resight.report.sections import Photo, Thumbnails

PLOT_HEIGHT = 200  # pixels of the histogram's bars
AXIS_HEIGHT = 28  # pixels below them


def describe_size(photo: Photo) -> str:
    """Write what is known of a photo's size: ``1024 x 768, 210 kB``."""
    parts = [f"{photo.width}\N{MULTIPLICATION SIGN}{photo.height}"] if photo.width and photo.height else []
    if photo.n_bytes is not None:
        parts.append(format_bytes(photo.n_bytes).replace(" ", "\N{NO-BREAK SPACE}"))
    return ", ".join(parts) or "size unknown"


def draw_uri(uri: str) -> Markup:
    """Draw a uri: its folder quiet, the file name clear, both isolated from the text around."""
    folder, _, name = uri.rpartition("/")
    quiet = element("span", folder + "/", class_="folder") if folder else None
    return element("bdi", quiet, element("span", name or uri, class_="name"), class_="uri", title=uri)


def draw_photo(photo: Photo, thumbnails: Thumbnails, *, role: str = "") -> Markup:
    """Draw a thumbnail in a button that enlarges it, or a frame where there is no preview.

    ``role`` says what the photo is in its set, for those who cannot see it: "kept photo".
    """
    jpeg = thumbnails.get(photo.image_id)
    words = f"{role}: {photo.uri}" if role else photo.uri
    if jpeg is None:
        return element("span", "no preview", class_="photo none", role="img", aria_label=words)
    image = element(
        "img",
        src="data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"),
        alt=words,
        width=photo.width or None,
        height=photo.height or None,
        loading="lazy",
        decoding="async",
    )
    caption = " \N{MIDDLE DOT} ".join(part for part in (role, describe_size(photo)) if part)
    return element("button", image, type="button", class_="photo", data_uri=photo.uri, data_caption=caption)


def draw_strip(cards: Sequence[Markup], *, label: str) -> Markup:
    """Draw cards side by side, scrolling where they do not fit; the keyboard reaches it."""
    items = [element("li", card) for card in cards]
    return element(
        "div",
        element("ol", *items, class_="strip"),
        class_="scroller",
        role="region",
        tabindex=0,
        aria_label=label,
    )


def draw_share_bar(parts: Sequence[tuple[str, int]], *, label: str) -> Markup:
    """Draw counts as parts of one bar with a legend; kinds are told apart by words, colour only helps."""
    whole = sum(n for _, n in parts)
    bars, legend, start = [], [], 0
    for ix, (name, n) in enumerate(parts):
        kind = "ok" if name == "ok" else f"bad{ix % 5}"
        x, width = 100 * start / max(whole, 1), 100 * n / max(whole, 1)
        bars.append(element("rect", x=f"{x:.3f}%", width=f"{width:.3f}%", height=14, class_=f"fill-{kind}"))
        swatch = element("span", class_=f"swatch back-{kind}", aria_hidden="true")
        text = f" {name} {format_count(n)}"
        share = element("small", f" {format_percent(n, whole)}")
        legend.append(element("li", swatch, text, share))
        start += n
    chart = element("svg", *bars, class_="share", width="100%", height=14, role="img", aria_label=label)
    return fragment(chart, element("ul", *legend, class_="legend"))


def draw_interval(value: float, low: float | None, high: float | None) -> Markup | None:
    """Draw a value of [0, 1] and its interval on a line; None for another range."""
    if not all(0 <= v <= 1 for v in (value, low, high) if v is not None):
        return None
    whisker = None
    if low is not None and high is not None:
        left, right = f"{100 * low:.2f}%", f"{100 * high:.2f}%"
        whisker = element("line", x1=left, x2=right, y1=9, y2=9, class_="whisker")
    base = element("line", x1="0%", x2="100%", y1=9, y2=9, class_="rail")
    dot = element("circle", cx=f"{100 * value:.2f}%", cy=9, r=3, class_="dot")
    return element("svg", base, whisker, dot, class_="interval", height=18, aria_hidden="true")


def draw_histogram(
    edges: Sequence[float], counts: Sequence[int], *, threshold: float | None, label: str
) -> Markup:
    """Draw ``counts`` (m,) between ``edges`` (m + 1,), the part from ``threshold`` on in another colour."""
    low, span, top = edges[0], edges[-1] - edges[0], round_up(max(counts))
    bars = []
    for left, right, n in zip(edges[:-1], edges[1:], counts, strict=True):
        height = PLOT_HEIGHT * n / top
        words = f"{left:.2f} to {right:.2f}: {format_count(n, 'photo')}"
        bars.append(
            element(
                "rect",
                element("title", words),
                x=f"{100 * (left - low) / span:.3f}%",
                y=f"{PLOT_HEIGHT + 12 - height:.2f}",
                width=f"{max(100 * (right - left) / span - 0.3, 0.1):.3f}%",
                height=f"{height:.2f}",
                class_="bar copy" if threshold is not None and left >= threshold - 1e-9 else "bar",
            )
        )
    return element(
        "svg",
        draw_counts_axis(top),
        *bars,
        *(draw_tick(low + span * part / 4, part / 4) for part in range(5)),
        draw_threshold(threshold, low, span),
        class_="histogram",
        width="100%",
        height=PLOT_HEIGHT + AXIS_HEIGHT + 12,
        role="img",
        aria_label=label,
    )


def draw_counts_axis(top: int) -> Markup:
    """Draw two lines to measure the bars by: all and half of ``top``."""
    lines = []
    for n in (top, top // 2) if top > 1 else (top,):
        y = 12 + PLOT_HEIGHT * (1 - n / top)
        lines.append(element("line", x1="0%", x2="100%", y1=y, y2=y, class_="grid"))
        lines.append(element("text", format_count(n), x=0, y=y - 3, class_="tick"))
    return fragment(*lines)


def draw_tick(value: float, part: float) -> Markup:
    """Draw a number under the histogram at ``part`` of its width."""
    anchor = "start" if part == 0 else "end" if part == 1 else "middle"
    y = PLOT_HEIGHT + AXIS_HEIGHT
    words = f"{value:.2f}"
    return element("text", words, x=f"{100 * part:g}%", y=y, text_anchor=anchor, class_="tick")


def draw_threshold(threshold: float | None, low: float, span: float) -> Markup | None:
    """Draw the line from which on two photos count as copies."""
    if threshold is None or not low <= threshold <= low + span:
        return None
    part = 100 * (threshold - low) / span
    left_of_line = part > 50
    line = element(
        "line", x1=f"{part:.3f}%", x2=f"{part:.3f}%", y1=0, y2=PLOT_HEIGHT + 12, class_="threshold"
    )
    words = element(
        "text",
        f"copies from {format_similarity(threshold)}",
        x=f"{part:.3f}%",
        y=22,
        dx=-6 if left_of_line else 6,
        text_anchor="end" if left_of_line else "start",
        class_="threshold-name",
    )
    return fragment(line, words)


def round_up(n: int) -> int:
    """Round a count up to an even digit, or one, times a power of ten.

    >>> round_up(0), round_up(7), round_up(101), round_up(5000)
    (1, 8, 200, 6000)
    """
    power = 10 ** int(math.log10(max(n, 1)))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= n)
