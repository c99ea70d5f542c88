"""The section of duplicate groups: which photo stays, why, and what the others are to it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from resight.report.compare import Evidence, render_export, render_tools
from resight.report.figures import describe_size, draw_photo, draw_uri
from resight.report.markup import (
    Markup,
    element,
    format_bytes,
    format_count,
    format_similarity,
    fragment,
)
from resight.report.sections import Photo, Thumbnails
from resight.report.thresholds import read_thresholds, render_left_out, render_thresholds

INDIRECT = "indirect"  # no stored pair with the kept photo
RELATIONS = {  # relation -> what people read, what it means
    "exact": ("same file", "the bytes are equal"),
    "same_pixels": ("same pixels", "equal once decoded"),
    "near": ("near copy", "the same picture, resized, recompressed, filtered or drawn over"),
    "turned": ("turned", "a turned copy"),
    "mirrored": ("mirrored", "a mirrored copy"),
    "crop": ("crop", "a part of the kept photo"),
    "contains": ("contains", "the kept photo is a part of it"),
    "composite": ("composite", "made from one photo and something else"),
    "same_scene": ("same scene", "another photo of the same"),
    INDIRECT: ("indirect", "tied to the kept photo by another copy"),
}


@dataclass(frozen=True)
class Copy:
    """A member of a group beside the kept one."""

    photo: Photo
    relation: str
    similarity: float | None  # to the kept photo
    reason: str = ""  # what the kept one has over it
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Group:
    """Photos that are copies of one another; ``copies`` may be the shown part of ``n_images - 1``."""

    group_id: int
    kept: Photo
    reason: str
    copies: tuple[Copy, ...]
    n_images: int


@dataclass(frozen=True)
class CutPair:
    """Two photos alike enough to be copies that do not share a group, and why."""

    a: Photo
    b: Photo
    similarity: float | None
    reason: str
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Groups:
    """The largest groups of a collection that has ``n_groups`` of them."""

    groups: tuple[Group, ...]
    n_groups: int
    cuts: tuple[CutPair, ...] = ()  # the most alike of ``n_cuts``
    n_cuts: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)  # of the run that made them
    anchor: str = "copies"
    title: str = "Copies"

    def image_ids(self) -> Iterable[int]:
        """List the kept photos and their copies."""
        for group in self.groups:
            yield group.kept.image_id
            yield from (copy.photo.image_id for copy in group.copies)
        for pair in self.cuts:
            yield from (pair.a.image_id, pair.b.image_id)

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw the filter, the groups, and what is not shown."""
        if not self.groups:
            words = "No two photos of the collection are copies of each other."
            none = None if self.n_groups else element("p", words, class_="empty")
            return fragment(none, self.render_rest(), self.render_cuts(thumbnails), self.render_notes())
        intro = element(
            "p",
            "The largest groups come first. Inside a group the copies that resemble the kept photo least "
            "come first, where a mistake would show. Press a photo to enlarge it, then use the arrow keys "
            "to flip between the members of its group.",
            class_="note",
        )
        cards = [render_group(group, thumbnails) for group in self.groups]
        return fragment(
            intro,
            self.render_filter(),
            render_export(),
            element("div", *cards, id="groups"),
            element("p", "No group matches the filter.", id="no-match", class_="empty", hidden=True),
            self.render_rest(),
            self.render_cuts(thumbnails),
            self.render_notes(),
        )

    def render_notes(self) -> Markup:
        """Draw what the run noted beside the groups."""
        left_out = render_left_out(self.notes.get("left_out", {}))
        return fragment(render_thresholds(read_thresholds(self.notes)), left_out)

    def render_filter(self) -> Markup:
        """Draw the form that the script shows and obeys; without scripts it stays hidden."""
        copies = [copy for group in self.groups for copy in group.copies]
        found = {copy.relation for copy in copies}
        ordered = [r for r in RELATIONS if r in found] + sorted(found - set(RELATIONS))
        known = [c.similarity for c in copies if c.similarity is not None and is_known(c.similarity)]
        least = max(-1.0, math.floor(100 * min(known, default=0)) / 100)
        slider = element(
            "input", type="range", name="least", min=least, max=1, step=0.01, value=least, id="least"
        )
        return element(
            "form",
            element(
                "fieldset",
                element("legend", "Relation to the kept photo"),
                *(render_choice(r) for r in ordered),
            ),
            element(
                "p",
                element("label", "Similarity at least ", for_="least"),
                slider,
                element("output", f"{least:.2f}", id="least-value", for_="least"),
            ),
            element("p", id="shown", role="status", class_="note"),
            id="filter",
            hidden=True,
            autocomplete="off",
        )

    def render_rest(self) -> Markup | None:
        """Say how many groups the page leaves out."""
        rest = self.n_groups - len(self.groups)
        if rest <= 0:
            return None
        words = f"{format_count(rest, 'smaller group')} not shown, of {format_count(self.n_groups)} in all."
        if not self.groups:
            words = f"{format_count(rest, 'group')} found, none of them shown."
        return element("p", words, class_="more")

    def render_cuts(self, thumbnails: Thumbnails) -> Markup | None:
        """Draw pairs that the guard kept apart, so that a person can judge it."""
        if not self.cuts:
            return None
        count = f"{format_count(self.n_cuts, 'pair')}, the most alike {len(self.cuts)} shown"
        note = (
            "Alike enough to be copies, but in different groups: a group may not chain unlike photos "
            "together."
        )
        return fragment(
            element("h3", "Kept apart ", element("small", count)),
            element("p", note, class_="note"),
            element("ul", *(render_cut(pair, thumbnails) for pair in self.cuts), class_="cuts"),
        )


def render_choice(relation: str) -> Markup:
    """Draw the check box of a relation."""
    name, meaning = name_relation(relation)
    box = element("input", type="checkbox", name="relation", value=relation, checked=True)
    return element(
        "label", box, element("span", name, class_=f"chip {chip_kind(relation)}"), title=meaning or None
    )


def render_group(group: Group, thumbnails: Thumbnails) -> Markup:
    """Draw a group as a card: the kept photo, then its copies."""
    freed = sum(copy.photo.n_bytes or 0 for copy in group.copies)
    n_hidden = group.n_images - 1 - len(group.copies)
    size = f"{format_count(group.n_images, 'photo')}"
    saving = f"frees {'at least ' if n_hidden else ''}{format_bytes(freed)}"
    heading = f"group-{group.group_id}"
    more = None
    if n_hidden > 0:
        words = f"and {format_count(n_hidden, 'more copy', 'more copies')}, all at least as alike"
        more = element("p", words, class_="more")
    return element(
        "article",
        element(
            "header",
            element("h3", f"{size} ", element("small", saving), id=heading),
        ),
        element(
            "div",
            render_kept(group, thumbnails),
            element("ul", *(render_copy(copy, group, thumbnails) for copy in group.copies), class_="copies"),
            class_="members",
        ),
        more,
        class_="group" + {2: " couple", 3: " small"}.get(group.n_images, ""),
        data_set=True,
        aria_labelledby=heading,
    )


def render_kept(group: Group, thumbnails: Thumbnails) -> Markup:
    """Draw the photo that stays, and why."""
    return element(
        "figure",
        draw_photo(group.kept, thumbnails, role="kept"),
        element(
            "figcaption",
            element("p", element("span", "kept", class_="chip keep"), f" {group.reason}"),
            draw_uri(group.kept.uri),
            element("p", describe_size(group.kept), class_="size"),
        ),
        class_="kept",
    )


def render_copy(copy: Copy, group: Group, thumbnails: Thumbnails) -> Markup:
    """Draw a photo that could go, with what it is to the kept one."""
    name, meaning = name_relation(copy.relation)
    known = is_known(copy.similarity)
    evidence = element(
        "p",
        element("span", name, class_=f"chip {chip_kind(copy.relation)}", title=meaning or None),
        " ",
        element("span", format_similarity(copy.similarity), class_="similarity", title="similarity"),
    )
    figure = element(
        "figure",
        draw_photo(copy.photo, thumbnails, role=f"{name} {format_similarity(copy.similarity)}"),
        element(
            "figcaption",
            evidence,
            draw_uri(copy.photo.uri),
            element("p", describe_size(copy.photo), class_="size"),
            element("p", copy.reason, class_="reason") if copy.reason else None,
            render_tools(copy.evidence, copy.photo),
        ),
    )
    return element(
        "li",
        figure,
        data_copy=True,
        data_relation=copy.relation,
        data_similarity=f"{copy.similarity:.6f}" if known else None,
        data_image=copy.photo.image_id,
        data_group=group.group_id,
        data_uri=copy.photo.uri,
    )


def render_cut(pair: CutPair, thumbnails: Thumbnails) -> Markup:
    """Draw two photos side by side with their similarity and why they are kept apart."""
    photos = (
        element("figure", draw_photo(p, thumbnails), element("figcaption", draw_uri(p.uri)))
        for p in (pair.a, pair.b)
    )
    words = element("span", format_similarity(pair.similarity), class_="similarity")
    return element(
        "li",
        element("div", *photos, class_="pair-of-photos"),
        element("p", words, " ", pair.reason),
        render_tools(pair.evidence, pair.b, markable=False),
        data_set=True,
    )


def name_relation(relation: str) -> tuple[str, str]:
    """Give what people read for a relation, and what it means (empty where it speaks for itself)."""
    return RELATIONS.get(relation, (relation.replace("_", " "), ""))


def chip_kind(relation: str) -> str:
    """Give the style of a relation's chip."""
    return relation.replace("_", "-") if relation in RELATIONS else "other"


def is_known(similarity: float | None) -> bool:
    """Whether a similarity is a number."""
    return similarity is not None and math.isfinite(similarity)
