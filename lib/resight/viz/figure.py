"""The figure that every function of this package returns, its colours and its axes."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resight.viz.text import families, plain_text, wrap_text

__all__ = [
    "COLOURS",
    "GREY",
    "INK",
    "Picture",
    "colour_of",
    "draw_sentence",
    "new_picture",
    "place_axes",
    "tidy",
]

DPI = 110
WIDTH = 10.0  # inches of a whole figure
INK, GREY, PALE = "#222222", "#6b6b6b", "#d9d9d9"
COLOURS = (  # told apart by most eyes, after Okabe and Ito, "Color Universal Design", 2008
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
BLUE, RED, GREEN, PURPLE, AMBER, SKY = COLOURS
MEANINGS: Mapping[str, str] = {
    "query": BLUE,
    "anchor": BLUE,
    "kept": GREEN,
    "positive": GREEN,
    "right": GREEN,
    "found": GREEN,
    "negative": RED,
    "wrong": RED,
    "missed": RED,
    "only here": AMBER,
    "copy": GREY,
}


class Picture(Figure):
    """A figure that Jupyter draws without a line of set-up.

    >>> picture = new_picture(4, 2)
    >>> picture.get_size_inches().tolist(), picture._repr_png_()[1:4]
    ([4.0, 2.0], b'PNG')
    """

    def _repr_png_(self) -> bytes:
        return self.to_png()

    def to_png(self, *, dpi: float = DPI) -> bytes:
        """Draw the figure into the bytes of a PNG file."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=dpi)
        return file.getvalue()


def new_picture(width: float, height: float) -> Picture:
    """Make an empty white figure of a size in inches."""
    picture = Picture(figsize=(width, height), dpi=DPI, facecolor="white")
    return picture


def place_axes(
    picture: Picture, left: float, top: float, width: float, height: float, *, bare: bool = False
) -> Axes:
    """Add axes at a place in inches, measured from the upper left corner; ``bare`` ones have no frame."""
    W, H = picture.get_size_inches()
    axes = picture.add_axes((left / W, 1 - (top + height) / H, width / W, height / H))
    if bare:
        axes.set_axis_off()
    return axes


def write(
    picture: Picture,
    left: float,
    top: float,
    words: str,
    *,
    size: float = 8,
    colour: str = INK,
    weight: str = "normal",
) -> None:
    """Write one or more lines whose upper left corner is at a place in inches; no letter means a formula."""
    W, H = picture.get_size_inches()
    picture.text(
        left / W,
        1 - top / H,
        plain_text(words),
        fontsize=size,
        color=colour,
        weight=weight,
        va="top",
        ha="left",
        parse_math=False,
        family=families(),
        linespacing=1.25,
    )


def draw_sentence(words: str, *, width: float = WIDTH) -> Picture:
    """Draw a sentence where there is nothing else to draw.

    >>> draw_sentence("No copies were found.").texts[0].get_text()
    'No copies were found.'
    """
    lines = wrap_text(words, width - 0.4, size=10)
    picture = new_picture(width, 0.35 + 0.19 * len(lines))
    write(picture, 0.2, 0.15, "\n".join(lines), size=10, colour=GREY)
    return picture


def colour_of(mark: str) -> str:
    """Give the colour of a mark: of the words that have a meaning, else grey.

    >>> colour_of("kept") == colour_of("positive"), colour_of("nothing")
    (True, '#6b6b6b')
    """
    return MEANINGS.get(mark, GREY)


def tidy(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "y") -> Axes:
    """Give axes a quiet frame, small numbers, and a title that begins at their left."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(PALE)
    axes.tick_params(labelsize=8, colors=GREY, length=0)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="both" if grid == "both" else "x" if grid == "x" else "y", color="#ececec", lw=0.8)
    plain: dict[str, Any] = {"parse_math": False, "family": families()}
    axes.set_xlabel(plain_text(x), fontsize=8, color=GREY, **plain)
    axes.set_ylabel(plain_text(y), fontsize=8, color=GREY, **plain)
    axes.set_title(plain_text(title), fontsize=10, color=INK, loc="left", pad=8, **plain)
    return axes
