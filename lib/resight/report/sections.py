"""What a report is made of: sections that draw themselves, and the thumbnails they share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from resight.report.markup import Markup, element

Thumbnails = Mapping[int, bytes]  # image_id -> JPEG


class Section(Protocol):
    """One section of the page: data and how it is drawn."""

    @property
    def anchor(self) -> str:
        """Name of the section in links, a word."""

    @property
    def title(self) -> str:
        """Its heading."""

    def image_ids(self) -> Iterable[int]:
        """List the images that it shows: their previews are read, no others."""

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw what follows the heading."""


@dataclass(frozen=True)
class Photo:
    """An image as a report names it; sizes are None where they are not known."""

    image_id: int
    uri: str
    width: int | None = None
    height: int | None = None
    n_bytes: int | None = None


@dataclass(frozen=True)
class Missing:
    """Stands for a section whose tables were never written; ``sentence`` says how to get them."""

    anchor: str
    title: str
    sentence: str

    def image_ids(self) -> Iterable[int]:
        """Show no image."""
        return ()

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw the sentence."""
        return element("p", self.sentence, class_="empty")


@dataclass(frozen=True)
class ReportData:
    """Everything that a page shows."""

    title: str
    subtitle: str = ""
    sections: tuple[Section, ...] = ()
    thumbnails: Thumbnails = field(default_factory=dict)
