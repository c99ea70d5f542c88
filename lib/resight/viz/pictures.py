"""Photos in rows: grids that wrap, strips with headings, captions, marks and boxes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from resight.viz.figure import (
    GREY,
    INK,
    WIDTH,
    Picture,
    colour_of,
    draw_sentence,
    new_picture,
    place_axes,
    write,
)
from resight.viz.text import elide, families, plain_text

__all__ = ["Box", "Shown", "Strip", "draw_pictures", "draw_strips"]

MARGIN, GAP = 0.15, 0.12  # inches
CAPTION, LINE = 7.0, 0.135  # points of a letter, inches of a line
HEADING, TITLE = 0.24, 0.36  # inches
NARROWEST, WIDEST = 0.7, 1.9  # shapes (width / height) beyond which a photo is shown smaller, whole
BAR = 0.045  # inches
BOLD = 0.078  # inches, the width of a letter of a heading on average


@dataclass(frozen=True)
class Box:
    """A box (y0, x0, y1, x1), half-open, as shares of the height and width of the photo, with a few words."""

    place: tuple[float, float, float, float]
    label: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Shown:
    """A photo as a figure shows it.

    ``pixels`` is (h, w, 3) uint8; ``caption`` may have several lines, each shortened to the photo's width;
    ``mark`` is a word on a coloured frame ("query", "kept", "positive", "wrong", ...); ``share`` of [0, 1] is
    drawn as a bar below the photo.
    """

    pixels: np.ndarray = field(repr=False)
    caption: str = ""
    mark: str = ""
    boxes: tuple[Box, ...] = ()
    share: float | None = None

    def marked(self, mark: str) -> "Shown":
        """Give the same photo with another mark."""
        return replace(self, mark=mark)

    def captioned(self, *lines: str, share: float | None = None) -> "Shown":
        """Give the same photo with other lines below it, the empty ones left out."""
        return replace(self, caption="\n".join(line for line in lines if line), share=share)


@dataclass(frozen=True)
class Strip:
    """Photos side by side under a heading, and a quiet sentence beside it."""

    photos: Sequence[Shown]
    heading: str = ""
    note: str = ""


def draw_pictures(
    photos: Iterable[Shown], *, title: str = "", height: float = 1.3, width: float = WIDTH
) -> Picture:
    """Draw photos of one height in as many rows as they need.

    Examples
    --------
    >>> grey = np.full((60, 90, 3), 128, np.uint8)
    >>> picture = draw_pictures([Shown(grey, "a.jpg"), Shown(grey, "b.jpg", mark="kept")])
    >>> len(picture.axes), [text.get_text() for text in picture.axes[1].texts]
    (2, [' kept '])
    """
    return draw_strips([Strip(list(photos))], title=title, height=height, width=width)


def draw_strips(
    strips: Sequence[Strip],
    *,
    title: str = "",
    height: float = 1.3,
    width: float = WIDTH,
    wrap: bool = True,
    beside: Shown | None = None,
    columns: int = 1,
) -> Picture:
    """Draw strips of photos below each other.

    Parameters
    ----------
    strips : sequence of Strip
        One without photos says so.
    height, width : float
        Of a photo and of the whole figure, inches.
    wrap : bool
        A strip that is too long goes on in the next row; else its photos are drawn smaller, to fit in one.
    beside : Shown
        A photo that all strips are about, drawn at their left.
    columns : int
        In which strips are laid out, from left to right, then down.
    """
    if not any(strip.photos for strip in strips):
        return draw_sentence(title + ": nothing to show." if title else "There is no photo to show.")
    left = MARGIN + (width_of(beside, height) + 2.5 * GAP if beside else 0.0)
    room = (width - left - MARGIN - 2 * GAP * (columns - 1)) / columns
    rows = [
        [
            place_strip(strip, height, left + (room + 2 * GAP) * place, room, wrap)
            for place, strip in enumerate(part)
        ]
        for part in (strips[start : start + columns] for start in range(0, len(strips), columns))
    ]
    above = MARGIN + (TITLE if title else 0.0)
    least = height + caption_height([beside]) if beside else 0.0
    total = max(sum(max(strip.total for strip in row) for row in rows), least)
    picture = new_picture(width, above + total + MARGIN)
    if title:
        write(picture, MARGIN, MARGIN, title, size=11, weight="bold")
    if beside:
        place_photo(picture, beside, MARGIN, above, width_of(beside, height), height)
    for row in rows:
        for strip in row:
            strip.draw(picture, above)
        above += max(strip.total for strip in row)
    return picture


def place_strip(strip: Strip, height: float, left: float, room: float, wrap: bool) -> "Placed":
    """Break a strip into rows of ``room`` inches, or make its photos small enough for one."""
    if wrap:
        return Placed(strip, split_rows(strip.photos, height, room), height, left, room)
    return Placed(strip, [[*strip.photos]], fit_height(strip.photos, height, room), left, room)


def split_rows(photos: Sequence[Shown], height: float, width: float) -> list[list[Shown]]:
    """Break photos into rows that fit in ``width`` inches."""
    rows: list[list[Shown]] = [[]]
    used = 0.0
    for photo in photos:
        needed = width_of(photo, height) + GAP
        if rows[-1] and used + needed - GAP > width:
            rows.append([])
            used = 0.0
        rows[-1].append(photo)
        used += needed
    return rows


def fit_height(photos: Sequence[Shown], height: float, width: float) -> float:
    """Give the height at which photos fit in one row of ``width`` inches, ``height`` at most."""
    shapes = sum(width_of(photo, 1.0) for photo in photos)
    return min(height, (width - GAP * (len(photos) - 1)) / shapes) if photos else height


def width_of(photo: Shown, height: float) -> float:
    """Width in inches of a photo's place in a row."""
    h, w = photo.pixels.shape[:2]
    return height * float(np.clip(w / h, NARROWEST, WIDEST))


def caption_height(row: Sequence[Shown]) -> float:
    """Inches that the captions of a row take."""
    lines = max((len(photo.caption.split("\n")) if photo.caption else 0 for photo in row), default=0)
    bar = BAR + 0.04 if any(photo.share is not None for photo in row) else 0.0
    return bar + LINE * lines + 0.06


@dataclass(frozen=True)
class Placed:
    """A strip in its rows, whose photos are ``height`` inches high, from ``left`` on in ``room`` inches."""

    strip: Strip
    rows: list[list[Shown]]
    height: float
    left: float
    room: float

    @property
    def total(self) -> float:
        """Inches from its top to the top of the next one."""
        shown = sum(self.height + caption_height(row) + GAP for row in self.rows if row)
        heading = HEADING if self.strip.heading or self.strip.note else 0.0
        return shown + heading + (0.0 if self.strip.photos else LINE)

    def draw(self, picture: Picture, top: float) -> None:
        """Draw it from ``top`` inches on."""
        if self.strip.heading or self.strip.note:
            self.write_heading(picture, top)
            top += HEADING
        for row in self.rows:
            left = self.left
            for photo in row:
                width = width_of(photo, self.height)
                place_photo(picture, photo, left, top, width, self.height)
                left += width + GAP
            top += self.height + caption_height(row) + GAP

    def write_heading(self, picture: Picture, top: float) -> None:
        """Write the heading, and the note behind it."""
        heading = elide(self.strip.heading, self.room * 0.7, size=9)
        write(picture, self.left, top + 0.02, heading, size=9, weight="bold")
        taken = BOLD * len(heading) + 0.15 if heading else 0.0
        note = elide(self.strip.note, self.room - taken, size=8)
        write(picture, self.left + taken, top + 0.03, note, size=8, colour=GREY)


def place_photo(picture: Picture, photo: Shown, left: float, top: float, width: float, height: float) -> Axes:
    """Draw one photo with its frame, boxes, bar and caption."""
    axes = place_axes(picture, left, top, width, height, bare=True)
    axes.imshow(photo.pixels, aspect="equal", interpolation="antialiased")
    h, w = photo.pixels.shape[:2]
    axes.set_anchor("SW" if w / h <= WIDEST else "W")
    for box in photo.boxes:
        draw_box(axes, box, (h, w))
    if photo.mark:
        frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, lw=2.5, clip_on=False)
        frame.set_edgecolor(colour_of(photo.mark))
        axes.add_patch(frame)
        put_label(axes, 0.0, 1.0, photo.mark, colour=colour_of(photo.mark), inside=True)
    below = top + height + 0.05
    if photo.share is not None:
        draw_bar(picture, photo, left, below, width)
        below += BAR + 0.04
    lines = [elide(line, width, size=CAPTION) for line in photo.caption.split("\n")]
    write(picture, left, below, "\n".join(lines), size=CAPTION, colour=INK)
    return axes


def draw_bar(picture: Picture, photo: Shown, left: float, top: float, width: float) -> None:
    """Draw the share of a photo as a bar as wide as the photo at 1."""
    W, H = picture.get_size_inches()
    share = min(max(photo.share or 0.0, 0.0), 1.0)
    for part, colour in ((1.0, "#ededed"), (share, "#8aa9c4")):
        place = (left / W, 1 - (top + BAR) / H)
        bar = Rectangle(place, width * part / W, BAR / H, transform=picture.transFigure, color=colour, lw=0)
        picture.add_artist(bar)


def draw_box(axes: Axes, box: Box, size: tuple[int, int]) -> None:
    """Draw a box on a photo of (h, w) pixels, light on dark, so that it is seen on any ground."""
    h, w = size
    y0, x0, y1, x1 = box.place
    corner = (x0 * w - 0.5, y0 * h - 0.5)
    colour = colour_of(box.mark) if box.mark else "#ffd400"
    for lw, edge in ((3.0, "#000000"), (1.6, colour)):
        axes.add_patch(Rectangle(corner, (x1 - x0) * w, (y1 - y0) * h, fill=False, lw=lw, ec=edge))
    if box.label:
        put_label(axes, x0, 1 - y0, box.label, colour="#000000", inside=True)


def put_label(axes: Axes, x: float, y: float, words: str, *, colour: str, inside: bool) -> None:
    """Write a few words in white on a colour, at a place in shares of the axes."""
    axes.text(
        x,
        y,
        f" {plain_text(words)} ",
        transform=axes.transAxes,
        fontsize=6.5,
        color="white",
        va="top" if inside else "bottom",
        ha="left",
        parse_math=False,
        family=families(),
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2},
    )
