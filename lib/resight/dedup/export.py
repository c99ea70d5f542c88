"""A dry list of what could go, for other tools: CSV, JSON and JSON lines. Nothing is ever deleted.

The ``uri`` of a member of a tar is the tar's path, ``/`` and the member's name: no tool that deletes files
by it can take a whole tar away. ``archive`` and ``member`` hold the two apart.

JSON holds every value as it is, ids as strings (63 bits do not fit a JavaScript number): an array with one
object a line (``.json``), or lines alone (``.jsonl``), which can be read one by one. CSV is
opened in spreadsheets, which run a cell that begins with ``= + - @``, a tab or a line break as a
formula: there such a ``uri`` is written with ``./`` in front, which names the same file (and is no
option to a shell command either), and any other such text with ``'`` in front.
"""

import csv
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

REMOVABLE = pa.schema(
    [
        ("uri", pa.string()),
        ("image_id", pa.int64()),
        ("group_id", pa.int64()),
        ("kept_uri", pa.string()),
        ("relation", pa.string()),  # of the image to the kept one
        ("similarity", pa.float32()),
        ("reason", pa.string()),  # what the kept one has over it
        ("n_bytes", pa.int64()),
    ]
)
EXPORTED = pa.schema(  # what a list holds; ``uri`` is the path of the image, absolute on a local disk
    [
        *REMOVABLE,
        ("archive", pa.string()),  # path of the tar that the image is a member of, else null
        ("member", pa.string()),  # its name in there
    ]
)
URIS = ("uri", "kept_uri", "archive")
FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are fullwidth = + - @
Writer = Callable[[list[dict[str, Any]]], None]


def write_list(batches: Iterable[pa.RecordBatch], files: Sequence[Path]) -> int:
    """Write rows of `EXPORTED` to every one of ``files`` in one pass; return how many.

    The suffix says how: ``.csv``, ``.json`` for an array, ``.jsonl`` for JSON lines. A file appears when it
    is complete.
    """
    kinds = [writer_kind(file) for file in files]
    n_rows = 0
    with ExitStack() as stack:
        streams = [stack.enter_context(CompleteFile(file)) for file in files]
        opened = [kind(stream) for kind, stream in zip(kinds, streams, strict=True)]
        writers = [stack.enter_context(one) for one in opened]
        for batch in batches:
            if batch.schema.names != EXPORTED.names:
                raise ValueError(f"expected columns {EXPORTED.names}, got {batch.schema.names}")
            rows = batch.to_pylist()
            n_rows += len(rows)
            for write in writers:
                write(rows)
    return n_rows


def writer_kind(file: Path) -> Callable[[TextIO], AbstractContextManager[Writer]]:
    """Choose the format by the suffix; ValueError names one that is unknown."""
    kinds = {".csv": csv_writer, ".json": array_writer, ".jsonl": line_writer}
    if file.suffix not in kinds:
        raise ValueError(f"export: {file} must end in {', '.join(kinds)}")
    return kinds[file.suffix]


@contextmanager
def csv_writer(stream: TextIO) -> Iterator[Writer]:
    """Write a header now, and rows when called."""
    rows_out = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows_out.writerow(EXPORTED.names)

    def write(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            rows_out.writerow([csv_cell(name, row[name]) for name in EXPORTED.names])

    yield write


def csv_cell(column: str, value: Any) -> Any:
    """Make a text harmless in a spreadsheet; numbers stay, null is empty.

    >>> csv_cell("uri", "=cmd.jpg"), csv_cell("reason", "+1"), csv_cell("similarity", -0.5)
    ('./=cmd.jpg', "'+1", -0.5)
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS):
        return ("./" if column in URIS else "'") + value
    return short_float(value)


@contextmanager
def line_writer(stream: TextIO) -> Iterator[Writer]:
    """Write one JSON object a line."""
    yield lambda rows: stream.writelines(f"{as_json(row)}\n" for row in rows)


@contextmanager
def array_writer(stream: TextIO) -> Iterator[Writer]:
    """Write a JSON array with one object a line; it ends with the block."""
    separator = "["

    def write(rows: list[dict[str, Any]]) -> None:
        nonlocal separator
        for row in rows:
            stream.write(f"{separator}\n{as_json(row)}")
            separator = ","

    yield write
    stream.write("\n]\n" if separator == "," else "[]\n")


def as_json(row: dict[str, Any]) -> str:
    """Write a row as JSON: ids as text, a similarity that is no number as null."""
    ids = {name: str(row[name]) for name in ("image_id", "group_id")}
    similarity = short_float(row["similarity"])
    return json.dumps(row | ids | {"similarity": similarity}, allow_nan=False)


def short_float(value: Any) -> Any:
    """Write a float32 with the digits that it has, NaN and infinities as nothing."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.7g}") if math.isfinite(value) else None


class CompleteFile:
    """A text file that takes its name only when its writing ended without an error."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> TextIO:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.stream = tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=self.file.parent, delete=False
        )
        return self.stream  # type: ignore[return-value]

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.stream.close()
        partial = Path(self.stream.name)
        if kind is None:
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o666 & ~umask)
            partial.replace(self.file)
        else:
            partial.unlink()
