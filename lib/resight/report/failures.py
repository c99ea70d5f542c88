"""The section of images that could not be used, by status, with reasons and examples."""

from collections.abc import Iterable
from dataclasses import dataclass

from resight.report.figures import draw_uri
from resight.report.markup import Markup, element, format_count, fragment
from resight.report.sections import Thumbnails

MEANINGS = {
    "undecodable": "the file is no image, or a broken one",
    "too_large": "more pixels than the limit allows",
    "empty": "the file has no bytes",
    "missing": "the file could not be read",
    "crashed": "the decoder or the network died on it, twice",
    "zero": "its descriptor has no direction",
    "nan": "its descriptor holds values that are not numbers",
}


@dataclass(frozen=True)
class Reason:
    """Why images failed, how many, and some of them; texts that differ in numbers are one reason."""

    text: str
    n_images: int
    examples: tuple[str, ...]  # uris


@dataclass(frozen=True)
class Failure:
    """The images of one status; ``reasons`` may be the most frequent ones of ``n_reasons``."""

    stage: str  # what was being done: decoding, describing
    status: str
    n_images: int
    reasons: tuple[Reason, ...]
    n_reasons: int


@dataclass(frozen=True)
class Failures:
    """Everything that did not end as ``ok``."""

    failures: tuple[Failure, ...]
    anchor: str = "failures"
    title: str = "What failed"

    def image_ids(self) -> Iterable[int]:
        """Show no image: most of these have no preview."""
        return ()

    def render(self, thumbnails: Thumbnails) -> Markup:
        """Draw one card per status."""
        if not self.failures:
            return element("p", "Nothing failed: every image is ok.", class_="empty good")
        return element("div", *(render_failure(failure) for failure in self.failures), class_="cards")


def render_failure(failure: Failure) -> Markup:
    """Draw a status with its reasons."""
    meaning = MEANINGS.get(failure.status)
    count = f"{format_count(failure.n_images, 'image')}, while {failure.stage}"
    more = None
    if failure.n_reasons > len(failure.reasons):
        n_more = failure.n_reasons - len(failure.reasons)
        words_more = f"and {format_count(n_more, 'rarer reason')} not shown"
        more = element("p", words_more, class_="more")
    return element(
        "article",
        element("h3", f"{failure.status} ", element("small", count)),
        element("p", meaning, class_="note") if meaning else None,
        *(render_reason(reason) for reason in failure.reasons),
        more,
    )


def render_reason(reason: Reason) -> Markup:
    """Draw a reason, open when one looks at it, with some of its images."""
    examples = [element("li", draw_uri(uri)) for uri in reason.examples]
    rest = reason.n_images - len(examples)
    if rest > 0:
        examples.append(element("li", f"and {format_count(rest)} more", class_="more"))
    head = element(
        "p",
        element("span", format_count(reason.n_images), class_="strong"),
        " ",
        element("bdi", reason.text or "no reason recorded", class_="reason"),
    )
    return fragment(head, element("ul", *examples, class_="plain examples"))
