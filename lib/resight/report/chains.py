"""The section of chains: for results of a diffusion, the photos that lead from the query to them."""

from collections.abc import Iterable
from dataclasses import dataclass

from resight.report.figures import draw_photo, draw_strip, draw_uri
from resight.report.markup import Markup, element, format_count, fragment
from resight.report.sections import Photo, Thumbnails


@dataclass(frozen=True)
class Chain:
    """A query, and the photos on the way to one of its results, the result last, with affinities."""

    query: Photo
    hops: tuple[tuple[Photo, float], ...]


@dataclass(frozen=True)
class Chains:
    """Filmstrips of some explained results."""

    chains: tuple[Chain, ...]
    n_explained: int  # results of which these are a sample
    anchor: str = "chains"
    title: str = "Why diffusion found it"

    def image_ids(self) -> Iterable[int]:
        """List the photos of all chains."""
        for chain in self.chains:
            yield chain.query.image_id
            yield from (photo.image_id for photo, _ in chain.hops)

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw one filmstrip per result."""
        words = (
            f"{format_count(len(self.chains), 'result')} of {format_count(self.n_explained)} that were "
            "explained: the query first, then the photos that lead to the result, each with the affinity of "
            "the step. Of the ways through the graph that the search followed (explain_hops, "
            "explain_nodes), it is that with the greatest product of affinities."
        )
        strips = (self.render_chain(chain, thumbnails) for chain in self.chains)
        return fragment(element("p", words, class_="note"), *strips)

    def render_chain(self, chain: Chain, thumbnails: Thumbnails) -> Markup:
        """Draw a query and the steps away from it side by side."""
        caption = element(
            "figcaption", element("span", "query", class_="similarity"), " ", draw_uri(chain.query.uri)
        )
        cards = [element("figure", draw_photo(chain.query, thumbnails), caption, class_="asked")]
        for photo, affinity in chain.hops:
            words = f"\u2192 {affinity:.2f}"
            text = element(
                "figcaption", element("span", words, class_="similarity"), " ", draw_uri(photo.uri)
            )
            role = f"step with affinity {affinity:.2f}"
            cards.append(element("figure", draw_photo(photo, thumbnails, role=role), text))
        label = f"Chain from {chain.query.uri} to {chain.hops[-1][0].uri}"
        return element("div", draw_strip(cards, label=label), data_set=True)
