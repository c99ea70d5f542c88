"""Write the demo collection to a folder.

FOLDER/photos/ holds the images. Beside it lie ``truth.csv`` (what `evaluate` reads), ``duplicates.csv``,
``expected_status.csv``, ``images.csv`` (what every file is) and ``README.txt``.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from resight.config import SettingError
from resight.demo.collection import Entry, make_entries
from resight.demo.truth import duplicate_rows, image_rows, status_rows, truth_rows

__all__ = ["write_collection"]

FIRST_DAY = 1_709_280_000  # 2024-03-01 08:00 UTC, in seconds
STEP = 1_800  # seconds from one file to the next: some 400 files take eight days

README = """The demo collection of resight

Made by python -m resight.demo from photographs that Python packages carry; the same seed and the same
package versions give the same bytes. It is no data set: use it to see the system work.

photos/              the images ({n_images} files)
truth.csv            query_uri, image_uri, label, family: which images show the object of a query.
                     Copies of the query itself are labelled junk: finding them counts neither way.
                     The queries are the plain and the turned view of each object, all in photos/.
duplicates.csv       uri_a, uri_b, relation: every pair of copies, exact (same bytes), same_pixels
                     (other bytes, equal pixels) or near (recompressed, resized, converted, brightened).
                     Two different views of an object are not duplicates.
expected_status.csv  uri, status: the broken files, and what decoding them should say.
images.csv           uri, object, family, view, copy_of, origin: what every file is.

URIs are relative to photos/. Views: plain (the photograph), aside, above, turned, sideways, close, dusk,
blurred, tiny, hidden (something in front), pasted (a print on some ground), among (a print on top of
others); in formats/ one further view in each unusual file format. others/ shows none of the objects,
though some look alike. Motorcycle and shelf are seen in two real photographs, taken from two places.

{n_objects} objects. Where the photographs come from, and their terms:

{origins}
"""


def write_collection(folder: Path, *, seed: int = 0) -> dict[str, int]:
    """Write the collection into ``folder`` and give the number of rows of each kind.

    Files that are there already are written again, with the same bytes and times; a folder that
    holds anything else is refused.
    """
    if folder.exists() and not is_ours(folder):
        raise SettingError(f"{folder} holds other files; name a new folder for the demo collection")
    entries = make_entries(seed)
    for number, entry in enumerate(entries):
        write_file(folder / "photos" / entry.uri, entry.content, FIRST_DAY + STEP * number)
    tables: dict[str, tuple[str, Sequence[Sequence[str]]]] = {
        "truth": ("query_uri image_uri label family", [*truth_rows(entries)]),
        "duplicates": ("uri_a uri_b relation", [*duplicate_rows(entries)]),
        "expected_status": ("uri status", [*status_rows(entries)]),
        "images": ("uri object family view copy_of origin", [*image_rows(entries)]),
    }
    for name, (header, rows) in tables.items():
        write_file(folder / f"{name}.csv", csv_bytes(header.split(), rows), FIRST_DAY)
    write_file(folder / "README.txt", read_me(entries).encode(), FIRST_DAY)
    return {name: len(rows) for name, (_, rows) in tables.items()}


def is_ours(folder: Path) -> bool:
    """Whether ``folder`` is empty or holds a demo collection."""
    read_me = folder / "README.txt"
    if read_me.is_file():
        return read_me.read_text(encoding="utf-8").startswith(README.splitlines()[0])
    return folder.is_dir() and not any(folder.iterdir())


def write_file(path: Path, content: bytes, modified_at: int) -> None:
    """Write ``content`` and set the file's time (seconds since 1970)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified_at, modified_at))


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Format a CSV file in UTF-8."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue().encode()


def read_me(entries: Sequence[Entry]) -> str:
    """Explain the collection."""
    origins = sorted({entry.origin for entry in entries if entry.origin})
    n_objects = len({entry.object for entry in entries if entry.object})
    lines = "\n".join(f"  {origin}" for origin in origins)
    return README.format(n_images=len(entries), n_objects=n_objects, origins=lines)
