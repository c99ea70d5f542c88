"""Which files the demo collection has: views, copies, strangers and broken files."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import cv2
import numpy as np

from resight.demo.formats import BROKEN, UNUSUAL, decode, jpeg, png, webp, with_comment, with_exif
from resight.demo.photos import BACKDROPS, DISTRACTORS, OBJECTS, PRINTS, Photo, load_photo
from resight.demo.views import VIEWS, Props

__all__ = ["Entry", "make_entries"]


@dataclass(frozen=True)
class Entry:
    """A file of the collection: what it holds and what is known about it."""

    uri: str
    content: bytes
    view: str
    object: str = ""
    family: str = ""
    copy_of: str = ""
    status: str = "ok"
    origin: str = ""


def make_entries(seed: int) -> list[Entry]:
    """Make every file of the collection, originals before their copies."""
    views = [entry for photo in OBJECTS for entry in object_entries(photo, seed)]
    views += unusual_entries(seed)
    strangers = [distractor_entry(photo) for photo in DISTRACTORS]
    plain = [entry for entry in views if entry.view == "plain"]
    return [*views, *strangers, *copy_entries(plain, views), *broken_entries()]


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers of one file, which do not depend on the other files."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def object_entries(photo: Photo, seed: int) -> Iterator[Entry]:
    """Make the views of one object; every second from its second photograph, if there is one."""
    props = other_props(photo)
    sources = (photo, photo.second or photo)
    for number, (name, view) in enumerate(VIEWS.items()):
        source, rng = sources[number % 2], generator(seed, photo.name, name)
        pixels = view(load_photo(source), props, rng)
        quality = 92 if name == "plain" else int(rng.integers(68, 90))
        content = jpeg(pixels, 35 if name == "tiny" else quality)
        if name == "plain":
            content = png(pixels) if photo.family == "graphics" else dated(content, photo)
        suffix = ".png" if content.startswith(b"\x89PNG") else ".jpg"
        yield known(source, f"{photo.family}/{photo.name}/{name}{suffix}", content, name)


def other_props(photo: Photo) -> Props:
    """Load the grounds and prints that are no part of the same picture as ``photo``."""
    grounds, prints = (
        [load_photo(prop) for prop in props if prop.path != photo.path] for props in (BACKDROPS, PRINTS)
    )
    return Props(grounds, prints)


def dated(content: bytes, photo: Photo) -> bytes:
    """Give a JPEG the day on which it was taken."""
    day = 1 + OBJECTS.index(photo)
    return with_exif(content, f"2023:07:{day:02d} 10:30:00")


def known(photo: Photo, uri: str, content: bytes, view: str) -> Entry:
    """Make the entry of a known object."""
    return Entry(uri, content, view, photo.name, photo.family, origin=origin(photo))


def origin(photo: Photo) -> str:
    """Where a photograph comes from, for the list of images."""
    return f"{photo.path} ({photo.licence})"


def unusual_entries(seed: int) -> Iterator[Entry]:
    """Make one further view in each unusual format, of one object after the other."""
    page = next(i for i, photo in enumerate(OBJECTS) if photo.name == "page")
    nothing = Props([], [])
    for number, (name, (suffix, encode)) in enumerate(UNUSUAL.items()):
        photo = OBJECTS[page if name == "bilevel" else (3 * number) % len(OBJECTS)]
        view = VIEWS[("above", "aside", "turned")[number % 3]]
        pixels = view(load_photo(photo), nothing, generator(seed, photo.name, name))
        uri = f"formats/{photo.name} ({name}){suffix}"
        yield known(photo, uri, encode(pixels), name)


def distractor_entry(photo: Photo) -> Entry:
    """Make the entry of a photograph that shows none of the objects."""
    content = jpeg(load_photo(photo), 85)
    return Entry(f"others/{photo.name}.jpg", content, "distractor", origin=origin(photo))


ODD_NAMES = (
    "backup 2019/{0} (1){1}",
    "Téléchargements/{0} - copie{1}",
    "写真/{0} コピー{1}",
    "inbox/IMG_0001 {0}{1}",
    "to sort/#1 100% [new] {{{0}}} x&'y'{1}",
    "a/b/c/d/e/f/g/h/i/{0}{1}",
    "albums/trip.jpg/{0}{1}",
    "_DSC0042 {0}{1}",
    "e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT}/{0}{1}",
    "emoji/\N{CAMERA}\N{SPARKLES} {0}{1}",
    'quotes/say "cheese", {0}{1}',
    "dots/{0}.final.v2.png{1}",
    "plus+equal=;,/{0}%20{1}",
    "long/{0}-" + "very-" * 30 + "long{1}",
)


def resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Scale both sides."""
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def brighter(pixels: np.ndarray) -> np.ndarray:
    """Raise the light a little."""
    return cv2.convertScaleAbs(pixels, alpha=1.06, beta=3)


COPIES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "re-encoded": (".png", lambda content: png(decode(content), 9)),
    "commented": (".jpg", lambda content: with_comment(content, "scanned by the family archive")),
    "recompressed": (".jpg", lambda content: jpeg(decode(content), 55)),
    "resized": (".jpg", lambda content: jpeg(resized(decode(content), 0.7), 88)),
    "converted": (".webp", lambda content: webp(decode(content))),
    "brightened": (".jpg", lambda content: jpeg(brighter(decode(content)), 85)),
}
NEAR_KINDS = ("recompressed", "resized", "converted", "brightened")


def copy_entries(plain: Sequence[Entry], views: Sequence[Entry]) -> Iterator[Entry]:
    """Copy plain photographs and some other views: exactly, same pixels, or nearly."""
    others = [entry for entry in views if entry.view in ("aside", "above", "hidden")][::9]
    exact = [*plain[: len(ODD_NAMES) - 3], *others[:3]]
    for entry, name in zip(exact, ODD_NAMES, strict=True):
        yield copy(entry, "copy", name, entry.content, PurePosixPath(entry.uri).suffix)
    yield copy(plain[0], "copy", "backup 2020/{0}{1}", plain[0].content, ".jpg")
    for number, entry in enumerate(plain[::3]):
        is_jpeg = entry.uri.endswith(".jpg")
        yield edited(entry, "commented" if is_jpeg and number % 2 else "re-encoded")
    for number, entry in enumerate([*plain, *others]):
        yield edited(entry, NEAR_KINDS[number % len(NEAR_KINDS)])


def edited(entry: Entry, kind: str) -> Entry:
    """Copy through a program that writes the file anew."""
    suffix, change = COPIES[kind]
    return copy(entry, kind, f"shared/{{0}} {kind}{{1}}", change(entry.content), suffix)


def copy(entry: Entry, kind: str, name: str, content: bytes, suffix: str) -> Entry:
    """Copy ``entry`` under a name made from its object and view."""
    uri = name.format(f"{entry.object} {entry.view}", suffix)
    return replace(entry, uri=uri, content=content, view=kind, copy_of=entry.uri)


def broken_entries() -> Iterator[Entry]:
    """Files that are no images, though their names say so."""
    pixels = load_photo(OBJECTS[0])
    for name, (status, damage) in BROKEN.items():
        yield Entry(f"broken/{name}", damage(pixels), "broken", status=status)
