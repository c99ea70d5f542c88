"""Evidence of a copy: facts in words, and its place in the kept photo, for the dialog that compares both.

Also the marks: a person ticks copies, and the page gives a list of them as a file, which
``resight quarantine --list`` reads. Both need the script and stay hidden without it.
"""

from dataclasses import dataclass

import numpy as np

from resight.report.markup import Markup, element, format_percent, format_similarity
from resight.report.sections import Photo
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE

__all__ = ["Evidence", "find_place", "render_compare", "render_export", "render_tools"]

WHOLE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # the frames laid on each other
PLACE_LIMIT = 50.0  # of the corners of a copy, in sides of the kept photo: beyond, nothing could be seen


@dataclass(frozen=True)
class Evidence:
    """What was measured of two photos.

    ``place`` maps the frame of the copy to that of the kept photo, both taken as squares from (0, 0) to
    (1, 1): the rows of a (3, 3) matrix. Numbers are None where they were not measured.
    """

    place: tuple[float, ...] = WHOLE
    is_aligned: bool = False
    agreement: float | None = None
    overlap: float | None = None  # share of the kept photo that the copy shows
    n_inliers: int | None = None
    found_by: str = ""

    def describe(self) -> str:
        """Write the evidence for people."""
        parts = []
        if self.agreement is not None:
            parts.append(f"aligned pixels agree to {format_similarity(self.agreement)}")
        if self.overlap is not None:
            parts.append(f"shows {format_percent(self.overlap, 1)} of the kept photo")
        if self.n_inliers:
            parts.append(f"{self.n_inliers:,} keypoints explained")
        if self.found_by:
            parts.append(f"found by {self.found_by.replace('+', ' and ')}")
        if not self.is_aligned:
            parts.append("frames laid on each other")
        return ", ".join(parts)


def find_place(transform: np.ndarray, kept: Photo, copy: Photo) -> tuple[float, ...] | None:
    """Give the place of a copy from the map (3, 3) of its pixels to those of the kept photo.

    None where sizes are unknown, the map has no inverse, or a corner goes to infinity.
    """
    sizes = (kept.width, kept.height, copy.width, copy.height)
    if not all(sizes) or transform.shape != (3, 3) or not np.isfinite(transform).all():
        return None
    M = FROM_CENTRE @ transform @ TO_CENTRE @ np.diag([float(copy.width or 1), float(copy.height or 1), 1])
    M = np.diag([1 / float(kept.width or 1), 1 / float(kept.height or 1), 1]) @ M
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1.0]]) @ M.T
    depths = corners[:, 2] * np.sign(M[2, 2])
    if depths.min() <= 1e-6 or np.abs(corners[:, :2] / corners[:, 2:]).max() > PLACE_LIMIT:
        return None
    return tuple((M / M[2, 2]).ravel().tolist())


def render_tools(evidence: Evidence | None, photo: Photo, *, markable: bool = True) -> Markup:
    """Draw the button that compares a copy with the kept photo, and the box that marks it."""
    evidence = evidence or Evidence()
    compare = element(
        "button",
        "Compare",
        type="button",
        class_="compare",
        data_place=" ".join(f"{value:.6g}" for value in evidence.place),
        data_evidence=evidence.describe(),
    )
    box = element("input", type="checkbox", class_="mark", autocomplete="off", aria_label=f"Mark {photo.uri}")
    mark = element("label", box, " mark") if markable else None
    return element("p", compare, mark, class_="tools", hidden=True)


def render_export() -> Markup:
    """Draw the line that marks what is shown and writes the list of what is marked."""
    return element(
        "p",
        element("button", "Mark all shown", type="button", id="mark-all"),
        element("button", "Clear marks", type="button", id="mark-none"),
        element("button", "Save list of marked", type="button", id="export"),
        element("span", id="marked", role="status", class_="note"),
        id="marks",
        hidden=True,
    )


def render_compare() -> Markup:
    """Draw the dialog in which the script lays a copy over the kept photo."""
    modes = (("side", "Side by side"), ("overlay", "Overlay"), ("difference", "Difference"))
    choices = [
        element(
            "label",
            element("input", type="radio", name="mode", value=value, autocomplete="off"),
            f" {words}",
        )
        for value, words in modes
    ]
    return element(
        "dialog",
        element("div", *(element("img", alt="", class_=c) for c in ("under", "over")), class_="stage"),
        element("p", class_="facts"),
        element(
            "form",
            element("fieldset", element("legend", "View"), *choices),
            element(
                "p",
                element("label", "Copy shown ", for_="opacity"),
                element("input", type="range", id="opacity", min=0, max=1, step=0.05, value=0.5),
                class_="opacity",
            ),
            element("button", "Close", type="button", class_="close"),
            class_="controls",
        ),
        id="compare",
        aria_label="The copy and the kept photo",
    )
