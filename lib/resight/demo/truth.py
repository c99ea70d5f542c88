"""What is true about the demo collection: what a query should find, which files are copies."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations

from resight.demo.collection import Entry
from resight.demo.formats import decode

__all__ = ["duplicate_rows", "image_rows", "status_rows", "truth_rows"]

QUERY_VIEWS = ("plain", "turned")


def truth_rows(entries: Sequence[Entry]) -> Iterator[tuple[str, str, str, str]]:
    """List what each query should find: query_uri, image_uri, label, family.

    Copies of the query itself are ``junk``: finding them is neither right nor wrong here.
    """
    for query in entries:
        if query.view not in QUERY_VIEWS or query.copy_of:
            continue
        for entry in entries:
            if entry.object == query.object and entry.uri != query.uri:
                label = "junk" if entry.copy_of == query.uri else "positive"
                yield query.uri, entry.uri, label, query.family


def duplicate_rows(entries: Sequence[Entry]) -> Iterator[tuple[str, str, str]]:
    """Every pair of copies: uri_a < uri_b, and the closest relation that holds."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.copy_of:
            groups.setdefault(entry.copy_of, []).append(entry)
    originals = {entry.uri: entry for entry in entries}
    for uri, copies in groups.items():
        members = sorted([originals[uri], *copies], key=lambda entry: entry.uri)
        for a, b in combinations(members, 2):
            yield a.uri, b.uri, relation(a.content, b.content)


def relation(a: bytes, b: bytes) -> str:
    """How two copies of one photograph relate."""
    if a == b:
        return "exact"
    return "same_pixels" if pixel_hash(a) == pixel_hash(b) else "near"


def pixel_hash(content: bytes) -> str:
    """Hash of a file's pixels and shape."""
    pixels = decode(content)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def status_rows(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """List the files that are no readable images: uri and the status that decoding gives."""
    return ((entry.uri, entry.status) for entry in entries if entry.status != "ok")


def image_rows(entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    """List what every file is: uri, object, family, view, copy_of, origin."""
    return (
        (entry.uri, entry.object, entry.family, entry.view, entry.copy_of, entry.origin) for entry in entries
    )
