"""The sections of nearest neighbours: strips of sampled photos, and how alike neighbours are overall."""

from collections.abc import Iterable
from dataclasses import dataclass

from resight.report.figures import draw_histogram, draw_photo, draw_strip, draw_uri
from resight.report.markup import (
    Markup,
    element,
    format_count,
    format_percent,
    format_similarity,
    fragment,
)
from resight.report.sections import Photo, Thumbnails


@dataclass(frozen=True)
class Strip:
    """A photo and the photos nearest to it, the nearest first, with their similarities."""

    photo: Photo
    neighbours: tuple[tuple[Photo, float], ...]


@dataclass(frozen=True)
class Neighbours:
    """Strips of sampled photos; neighbours from ``threshold`` on are copies."""

    strips: tuple[Strip, ...]
    n_photos: int  # of which the strips are a sample
    threshold: float | None = None
    anchor: str = "neighbours"
    title: str = "Nearest neighbours"

    def image_ids(self) -> Iterable[int]:
        """List the sampled photos and their neighbours."""
        for strip in self.strips:
            yield strip.photo.image_id
            yield from (photo.image_id for photo, _ in strip.neighbours)

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw one strip per sampled photo."""
        if not self.strips:
            words = f"{format_count(self.n_photos, 'photo')} in the graph, none drawn to be shown."
            return element("p", words if self.n_photos else "The graph holds no photo.", class_="empty")
        words = (
            f"{format_count(len(self.strips), 'photo')} drawn by chance from "
            f"{format_count(self.n_photos)}, each followed by the photos nearest to it with "
            "their similarity."
        )
        copies = "" if self.threshold is None else f" Ringed ones reach {self.threshold:.3g}: copies."
        strips = (self.render_strip(strip, thumbnails) for strip in self.strips)
        return fragment(element("p", words + copies, class_="note"), *strips)

    def render_strip(self, strip: Strip, thumbnails: Thumbnails) -> Markup:
        """Draw a photo and its neighbours side by side."""
        caption = element("figcaption", draw_uri(strip.photo.uri))
        cards = [
            element("figure", draw_photo(strip.photo, thumbnails), caption, class_="asked"),
            *(self.render_neighbour(p, s, thumbnails) for p, s in strip.neighbours),
        ]
        if len(cards) == 1:
            cards.append(element("p", "no neighbour", class_="empty"))
        label = f"Nearest neighbours of {strip.photo.uri}"
        return element("div", draw_strip(cards, label=label), data_set=True)

    def render_neighbour(self, photo: Photo, similarity: float, thumbnails: Thumbnails) -> Markup:
        """Draw a neighbour with its similarity."""
        is_copy = self.threshold is not None and similarity >= self.threshold
        words = format_similarity(similarity)
        role = f"copy {words}" if is_copy else f"similarity {words}"
        return element(
            "figure",
            draw_photo(photo, thumbnails, role=role),
            element("figcaption", element("span", words, class_="similarity"), " ", draw_uri(photo.uri)),
            class_="copy" if is_copy else None,
        )


@dataclass(frozen=True)
class Histogram:
    """How alike each photo and its nearest neighbour are, over a sample of ``n_sampled`` photos."""

    edges: tuple[float, ...]  # (m + 1,)
    counts: tuple[int, ...]  # (m,)
    n_sampled: int
    n_photos: int
    threshold: float | None = None
    n_copies: int = 0  # of the sampled, those whose nearest neighbour reaches the threshold
    anchor: str = "similarities"
    title: str = "How alike nearest neighbours are"

    def image_ids(self) -> Iterable[int]:
        """Show no image."""
        return ()

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw the histogram, and the same figures as a table."""
        if not self.n_sampled:
            return element("p", "No photo has a neighbour, so there is nothing to count.", class_="empty")
        words = self.summarize()
        chart = draw_histogram(self.edges, self.counts, threshold=self.threshold, label=words)
        return fragment(element("p", words, class_="note"), chart, self.render_table())

    def summarize(self) -> str:
        """Say what the histogram shows."""
        sample = f"{format_count(self.n_sampled, 'photo')}"
        if self.n_sampled < self.n_photos:
            sample += f" drawn by chance from {format_count(self.n_photos)}"
        words = f"Similarity of each photo to its nearest neighbour, over {sample}."
        if self.threshold is None:
            return words
        share = format_percent(self.n_copies, self.n_sampled)
        return words + (
            f" {format_count(self.n_copies)} of them ({share}) reach the duplicate threshold of "
            f"{self.threshold:.3g}."
        )

    def render_table(self) -> Markup:
        """Draw the counts as a table, for those who cannot see the bars."""
        rows = [
            element(
                "tr",
                element("th", f"{left:.2f} to {right:.2f}", scope="row"),
                element("td", format_count(n), class_="number"),
            )
            for left, right, n in zip(self.edges[:-1], self.edges[1:], self.counts, strict=True)
            if n
        ]
        head = [element("th", name, scope="col") for name in ("Similarity", "Photos")]
        table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
        return element("details", element("summary", "The same as a table"), table)
