"""The section of discovered objects: a wall of what recurs, each cut out of the photos that show it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from resight.report.figures import draw_photo, draw_strip, draw_uri
from resight.report.markup import Markup, element, format_count, fragment
from resight.report.sections import Photo, Thumbnails


@dataclass(frozen=True)
class Instance:
    """A box of a photo that shows an object, as a picture of its own."""

    photo: Photo
    jpeg: bytes = field(repr=False)
    score: float | None = None


@dataclass(frozen=True)
class Object:
    """Something that recurs, with its best instances, one of a photo."""

    object_id: int
    n_images: int
    n_instances: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Objects:
    """The most frequent of ``n_objects``."""

    objects: tuple[Object, ...]
    n_objects: int
    anchor: str = "objects"
    title: str = "Things that recur"

    def image_ids(self) -> Iterable[int]:
        """Show no whole image: the boxes bring their own pictures."""
        return ()

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw a strip for each object."""
        if not self.objects:
            return element("p", "Nothing in the collection was found to recur.", class_="empty")
        words = (
            f"The {len(self.objects)} most frequent of {format_count(self.n_objects, 'object')} that no one "
            "named, each cut out of the photos that show it best."
        )
        strips = (self.render_object(found) for found in self.objects)
        return fragment(element("p", words, class_="note"), *strips)

    def render_object(self, found: Object) -> Markup:
        """Draw the instances of one object side by side."""
        cards = []
        for number, instance in enumerate(found.instances):
            shown = Photo(number, instance.photo.uri, instance.photo.width, instance.photo.height)
            words = "" if instance.score is None else f"{instance.score:.2f} "
            text = element(
                "figcaption", element("span", words, class_="similarity"), draw_uri(instance.photo.uri)
            )
            picture = draw_photo(shown, {number: instance.jpeg}, role="part")
            cards.append(element("figure", picture, text))
        images = format_count(found.n_images, "photo")
        words = f"in {images}, {format_count(found.n_instances, 'box', 'boxes')}"
        strip = draw_strip(cards, label=f"An object {words}")
        return element("div", element("h3", words), strip, data_set=True)
