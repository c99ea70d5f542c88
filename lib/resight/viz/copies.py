"""Copies: groups with the kept photo, two photos laid over each other, pairs that were kept apart."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from resight.report.groups import RELATIONS
from resight.report.markup import format_similarity
from resight.verification.agreement import align_pixels, resize_matrix
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE
from resight.viz.album import Album
from resight.viz.figure import Picture, draw_sentence
from resight.viz.pictures import Shown, Strip, draw_strips

__all__ = ["Relations", "align_previews", "align_strip", "draw_alignment", "draw_groups", "draw_pairs"]

Relations = Mapping[tuple[int, int], str]  # (kept, copy) -> what the copy is to the kept photo
CANVAS = 420  # pixels of the longer side of an overlap


def draw_groups(
    groups: pa.Table, album: Album, *, relations: Relations | None = None, depth: int = 9, title: str = ""
) -> Picture:
    """Draw duplicate groups, a strip each: the photo to keep, then its copies.

    Parameters
    ----------
    groups : Table
        Rows of `DUPLICATE_GROUPS`; groups appear in the order of their first row.
    relations : mapping of (int, int) to str
        What a copy is to the kept photo, as `DUPLICATE_PAIRS` names it; not said where it is unknown.
    depth : int
        Copies that are shown of each.
    """
    members: dict[int, list[dict]] = {}
    for row in groups.to_pylist():
        members.setdefault(row["group_id"], []).append(row)
    album.load(row["image_id"] for rows in members.values() for row in rows)
    strips = []
    for rows in members.values():
        rows.sort(key=lambda row: (not row["keep"], row["similarity"] or 0.0, row["image_id"]))
        kept = rows[0]
        shown = [album.show(kept["image_id"], size_line(album, kept["image_id"]), mark="kept")]
        for row in rows[1 : depth + 1]:
            relation = (relations or {}).get((kept["image_id"], row["image_id"]), "")
            lines = [size_line(album, row["image_id"]), *describe_copy(relation, row["similarity"])]
            shown.append(album.show(row["image_id"], *lines))
        strips.append(Strip(shown, f"{len(rows)} photos", note_of(kept["reason"], len(rows) - 1 - depth)))
    return draw_strips(strips, title=title, wrap=False)


def size_line(album: Album, image_id: int) -> str:
    """Write the pixels of an image."""
    w, h = album.size_of(image_id)
    return f"{w}\N{MULTIPLICATION SIGN}{h}"


def describe_copy(relation: str, similarity: float | None) -> list[str]:
    """Write what a copy is, and its similarity where it is known.

    >>> describe_copy("same_pixels", 1.0), describe_copy("", None)
    (['same pixels', '1.000'], [])
    """
    words = RELATIONS.get(relation, (relation, ""))[0]
    value = "" if similarity is None or np.isnan(similarity) else format_similarity(similarity)
    return [part for part in (words, value) if part]


def note_of(reason: str | None, n_hidden: int) -> str:
    """Write why a photo is kept, and how many copies are not shown."""
    words = f"kept: {reason}" if reason else ""
    more = f"{n_hidden} more not shown" if n_hidden > 0 else ""
    return ", ".join(part for part in (words, more) if part)


def draw_pairs(pairs: pa.Table, album: Album, *, title: str = "") -> Picture:
    """Draw pairs of photos beside each other, with their relation, similarity, and why they were kept apart.

    ``pairs`` are rows of `DUPLICATE_PAIRS` (``cut`` may be missing).
    """
    rows = pairs.to_pylist()
    album.load(row[name] for row in rows for name in ("image_a", "image_b"))
    strips = []
    for row in rows:
        shown = [album.show(row[name], size_line(album, row[name])) for name in ("image_a", "image_b")]
        words = ", ".join(describe_copy(row["relation"] or "", row["similarity"]))
        strips.append(Strip(shown, words, row.get("cut") or ""))
    if not strips:
        return draw_sentence(title + ": there are none." if title else "There are no such pairs.")
    return draw_strips(strips, title=title, height=1.05, wrap=False, columns=2)


def align_previews(
    a: np.ndarray, b: np.ndarray, transform: np.ndarray, sizes: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Draw the overlap of two photos on one canvas.

    Parameters
    ----------
    a, b : ndarray, (h, w, 3) uint8
        Smaller versions of the photos.
    transform : ndarray, (3, 3) float64
        Pixels of a -> pixels of b, in photos of ``sizes`` (width, height each), as `DUPLICATE_PAIRS` has it.

    Returns
    -------
    tuple of ndarray, (h, w, 3) uint8, twice, and (h, w) bool; or None
        Both photos and where both are; None where they hardly overlap.
    """
    forth = FROM_CENTRE @ transform @ TO_CENTRE
    H = resize_matrix(b, sizes[1]) @ forth @ np.linalg.inv(resize_matrix(a, sizes[0]))
    aligned = align_pixels(a, b, H, side=CANVAS)
    if aligned is None:
        return None
    drawn = (np.clip(np.rint(pixels), 0, 255).astype(np.uint8) for pixels in (aligned.a, aligned.b))
    return (*drawn, aligned.inside)


def draw_alignment(
    a: Shown,
    b: Shown,
    transform: np.ndarray,
    *,
    sizes: Sequence[tuple[int, int]],
    heading: str = "",
    title: str = "",
) -> Picture:
    """Draw two photos, their overlap in one frame, one over the other, and what differs.

    ``transform`` (3, 3) maps pixels of a to pixels of b in photos of ``sizes`` (width, height each). The
    overlay shows a in red and b in cyan, so what agrees is grey; the difference is dark where it is none.
    """
    return draw_strips(
        [Strip(align_strip(a, b, transform, sizes), heading)], title=title, height=1.35, wrap=False
    )


def align_strip(a: Shown, b: Shown, transform: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[Shown]:
    """Give the photos that `draw_alignment` draws; only the two where they hardly overlap."""
    aligned = align_previews(a.pixels, b.pixels, transform, sizes)
    if aligned is None:
        return [a, b]
    drawn_a, drawn_b, inside = aligned
    grey = [pixels.astype(np.float64).mean(2) for pixels in (drawn_a, drawn_b)]
    overlay = np.stack([grey[0], grey[1], grey[1]], axis=2)
    difference = np.abs(drawn_a.astype(np.int16) - drawn_b.astype(np.int16)).max(2)
    off = float(difference[inside].mean()) if inside.any() else float("nan")
    heat = colour_heat(difference / 96.0)
    for layer in (overlay, heat):
        layer[~inside] = 255
    return [
        a,
        b,
        Shown(drawn_a, "first, aligned"),
        Shown(drawn_b, "second, aligned"),
        Shown(np.rint(overlay).astype(np.uint8), "overlaid\nred and cyan"),
        Shown(np.rint(heat).astype(np.uint8), f"difference\n{off:.1f} grey levels"),
    ]


def colour_heat(values: np.ndarray) -> np.ndarray:
    """Colour values (h, w) from 0 (dark) to 1 (bright): (h, w, 3) float64 from 0 to 255."""
    from matplotlib import colormaps

    coloured: np.ndarray = colormaps["inferno"](np.clip(values, 0, 1))[..., :3] * 255.0
    return coloured
