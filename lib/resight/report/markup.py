"""HTML elements whose text is always escaped, and numbers as people write them.

Only a `Markup` enters a page as it is, and only `element` and `fragment` (and the constants of `style` and
`script`) make one: text from a collection cannot become markup by being forgotten somewhere.
"""

import html
import math
import re

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# Characters that move, hide or reorder the text around them, that HTML forbids, or that UTF-8 cannot hold.
DECEPTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)


class Markup(str):
    """Text that is HTML already. Joining or formatting one gives a plain `str`, to be escaped again."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Escape ``text`` for element content and quoted attributes; deceptive characters become visible."""
    return Markup(html.escape(DECEPTIVE.sub(spell_character, text), quote=True))


def spell_character(match: re.Match[str]) -> str:
    """Spell a character by its code point: a right-to-left override reads ``[U+202E]``."""
    return f"[U+{ord(match[0]):04X}]"


def fragment(*children: str | None) -> Markup:
    """Join children: `Markup` as it is, other text escaped, None left out."""
    parts = (c if isinstance(c, Markup) else escape(c) for c in children if c is not None)
    return Markup("".join(parts))


def element(tag: str, *children: str | None, **attributes: str | float | bool | None) -> Markup:
    """Make an element.

    Attribute names lose a trailing underscore and turn the others into hyphens (``class_``,
    ``data_relation``); None and False leave an attribute out, True writes its name alone.

    >>> element("p", "5 < 6", class_="note", hidden=True)
    '<p class="note" hidden>5 &lt; 6</p>'
    """
    written = [tag]
    for key, value in attributes.items():
        name = key.rstrip("_").replace("_", "-")
        if not NAME.fullmatch(name):
            raise ValueError(f"not an attribute name: {name!r}")
        if value is True:
            written.append(name)
        elif value is not None and value is not False:
            written.append(f'{name}="{escape(str(value))}"')
    opened = f"<{' '.join(written)}>"
    if tag in VOID:
        return Markup(opened)
    return Markup(f"{opened}{fragment(*children)}</{tag}>")


def format_count(n: int, noun: str = "", plural: str = "") -> str:
    """Write a count with its noun.

    >>> format_count(1, "photo"), format_count(12345, "photo"), format_count(2, "copy", "copies")
    ('1 photo', '12,345 photos', '2 copies')
    """
    if not noun:
        return f"{n:,}"
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def format_bytes(n: int) -> str:
    """Write a number of bytes in decimal units.

    >>> format_bytes(999), format_bytes(12_345), format_bytes(12_345_678_901)
    ('999 B', '12.3 kB', '12.3 GB')
    """
    size, units = float(n), iter(("B", "kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while size >= 999.5 and unit != "PB":
        size, unit = size / 1000, next(units)
    digits = 0 if unit == "B" or size >= 99.95 else 1
    return f"{size:,.{digits}f} {unit}"


def format_seconds(seconds: float) -> str:
    """Write a duration.

    >>> format_seconds(0.42), format_seconds(75), format_seconds(7384)
    ('0.4 s', '1 min 15 s', '2 h 03 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def format_similarity(similarity: float | None) -> str:
    """Write a similarity with three digits, never rounded up to 1: only equals are equal.

    >>> format_similarity(0.99999), format_similarity(1.0), format_similarity(None)
    ('0.999', '1.000', 'unknown')
    """
    if similarity is None or not math.isfinite(similarity):
        return "unknown"
    if 0.9995 <= similarity < 1 - 1e-6:
        return "0.999"
    return f"{similarity:.3f}"


def format_percent(part: float, whole: float) -> str:
    """Write a share; a small one is not rounded away, nor a large one up to all.

    >>> format_percent(1, 3), format_percent(1, 5000), format_percent(4999, 5000), format_percent(0, 0)
    ('33.3 %', '< 0.1 %', '> 99.9 %', '0 %')
    """
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent < 100 else "100 %"
