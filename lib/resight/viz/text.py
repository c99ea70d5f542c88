"""Text that fits and that every font can draw: names of a collection come from anywhere."""

from functools import cache

from matplotlib import font_manager

__all__ = ["elide", "families", "file_name", "plain_text", "wrap_text"]

LETTER = 0.6  # width of a letter on average, in units of its height
FURTHER = (  # fonts for scripts that the first one lacks, where a machine has them
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)


@cache
def families() -> list[str]:
    """List the fonts that texts are drawn with: matplotlib's own, then those found for further scripts."""
    there = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FURTHER if name in there)]


@cache
def letters() -> frozenset[int]:
    """Code points that one of the fonts can draw."""
    files = (font_manager.findfont(name) for name in families())
    return frozenset().union(*(font_manager.get_font(file).get_charmap() for file in files))


def plain_text(words: str) -> str:
    """Replace what no font can draw by a box, but keep line breaks.

    >>> len(plain_text("tower" + chr(7) + ".jpg")), plain_text("café.jpg").isascii()
    (10, False)
    """
    return "".join(c if c == "\n" or (c.isprintable() and ord(c) in letters()) else "\u25a1" for c in words)


def file_name(uri: str) -> str:
    """Give the last part of a uri.

    >>> file_name("trips/2021/tower.jpg")
    'tower.jpg'
    """
    return uri.rstrip("/").rpartition("/")[2] or uri


def elide(words: str, width: float, *, size: float = 7) -> str:
    """Shorten a line to ``width`` inches at a letter height of ``size`` points.

    The suffix of a file name goes first, then what is before the last two thirds: names differ at their end.

    >>> elide("tower.jpg", 1.0), elide("the tower in may.jpg", 1.0), len(elide("a tower in the north", 1.0))
    ('tower.jpg', 'the tower in may', 17)
    """
    fits = letters_in(width, size)
    stem, _, suffix = words.rpartition(".")
    if len(words) > fits and stem and len(suffix) <= 4 and suffix.isalpha():
        words = stem
    if len(words) <= fits:
        return words
    tail = 2 * (fits - 1) // 3
    return words[: fits - 1 - tail] + "\u2026" + words[len(words) - tail :]


def wrap_text(words: str, width: float, *, size: float = 8) -> list[str]:
    """Break words into lines of at most ``width`` inches; a word that is longer is elided.

    >>> wrap_text("shows a part of the kept photo", 1.0, size=8)
    ['shows a part of', 'the kept photo']
    """
    fits, lines = letters_in(width, size), [""]
    for word in words.split():
        word = elide(word, width, size=size)
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) <= fits:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def letters_in(width: float, size: float) -> int:
    """Count the letters of ``size`` points that stand in ``width`` inches, 3 at least."""
    return max(3, int(width * 72 / (size * LETTER)))
