"""The section of mined pairs: anchors, each with what a network shall put near it and far from it."""

from collections.abc import Iterable
from dataclasses import dataclass

from resight.report.figures import draw_photo, draw_strip, draw_uri
from resight.report.markup import Markup, element, format_count, format_similarity, fragment
from resight.report.sections import Photo, Thumbnails


@dataclass(frozen=True)
class Item:
    """A photo of a pool, with what is known of it and its anchor."""

    photo: Photo
    reason: str = ""
    similarity: float | None = None  # of descriptors
    score: float | None = None  # over the graph


@dataclass(frozen=True)
class Pool:
    """An anchor with the first of its positives or negatives."""

    anchor: Photo
    role: str
    items: tuple[Item, ...]
    n_items: int


@dataclass(frozen=True)
class Mined:
    """Pools of some anchors, and how many there are."""

    pools: tuple[Pool, ...]
    n_anchors: int
    n_positives: int
    n_negatives: int
    n_tuples: int
    anchor: str = "mined"
    title: str = "Pairs to train with"

    def image_ids(self) -> Iterable[int]:
        """List the anchors and what is shown of their pools."""
        for pool in self.pools:
            yield pool.anchor.image_id
            yield from (item.photo.image_id for item in pool.items)

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw the counts, then two strips for each anchor."""
        words = (
            f"{format_count(self.n_anchors, 'anchor')} with {format_count(self.n_positives, 'positive')} and "
            f"{format_count(self.n_negatives, 'negative')}, {format_count(self.n_tuples, 'training tuple')}. "
            "A good positive shows the same and looks different; a good negative looks alike and shows "
            "something else."
        )
        return fragment(
            element("p", words, class_="note"), *(self.render_pool(pool, thumbnails) for pool in self.pools)
        )

    def render_pool(self, pool: Pool, thumbnails: Thumbnails) -> Markup:
        """Draw an anchor and its pool side by side."""
        cards = [
            element(
                "figure",
                draw_photo(pool.anchor, thumbnails),
                caption_of("anchor", pool.anchor),
                class_="asked",
            )
        ]
        for item in pool.items:
            text = caption_of(describe_item(item), item.photo)
            cards.append(element("figure", draw_photo(item.photo, thumbnails, role=pool.role), text))
        label = f"{format_count(pool.n_items, pool.role)} of {pool.anchor.uri}"
        return element(
            "div", element("p", label, class_="note"), draw_strip(cards, label=label), data_set=True
        )


def caption_of(words: str, photo: Photo) -> Markup:
    """Draw what is below a photo."""
    return element("figcaption", element("span", words, class_="similarity"), " ", draw_uri(photo.uri))


def describe_item(item: Item) -> str:
    """Write what is known of an item.

    >>> describe_item(Item(Photo(1, "a.jpg"), "shares points", 0.25, 0.0123))
    'similarity 0.250, over the graph 0.0123, shares points'
    """
    parts = [] if item.similarity is None else [f"similarity {format_similarity(item.similarity)}"]
    parts += [] if item.score is None else [f"over the graph {item.score:.3g}"]
    parts += [item.reason] if item.reason else []
    return ", ".join(parts)
