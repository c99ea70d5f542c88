"""Read a list of images that could go: what `find-duplicates` exports, or a person marked in the report."""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from resight.config import SettingError
from resight.dedup.export import FORMULA_STARTS

__all__ = ["Listed", "read_list"]

WANTED = ("image_id", "uri")


class Listed(NamedTuple):
    """A row of a list."""

    image_id: int
    uri: str


def read_list(file: Path, *, n_rows: int = 20_000) -> Iterator[list[Listed]]:
    """Read a CSV, JSON or JSON lines file in parts of ``n_rows``; only image_id and uri are needed.

    Raises
    ------
    SettingError
        The file, or a row of it, cannot be understood: the message names the line.
    """
    readers = {".csv": read_csv, ".json": read_array, ".jsonl": read_lines}
    if file.suffix not in readers:
        raise SettingError(f"--list: {file} must end in {', '.join(readers)}")
    try:
        rows = readers[file.suffix](file)
        while part := list(islice(rows, n_rows)):
            yield part
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"--list: cannot read {file}: {error}") from None


def read_csv(file: Path) -> Iterator[Listed]:
    """Read rows; what was put before a text because of spreadsheets is taken off."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        lacking = [name for name in WANTED if name not in (rows.fieldnames or ())]
        if lacking:
            raise SettingError(f"--list: {file} has no column {lacking[0]}")
        for row in rows:
            yield parse_row(row, f"{file}, line {rows.line_num}", plain_text(row["uri"] or ""))


def read_lines(file: Path) -> Iterator[Listed]:
    """Read one JSON object a line."""
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            yield parse_object(parse_json(line, f"{file}, line {number}"), f"{file}, line {number}")


def read_array(file: Path) -> Iterator[Listed]:
    """Read a JSON array of objects."""
    rows = parse_json(file.read_text(encoding="utf-8"), str(file))
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        yield parse_object(row, f"{file}, entry {number}")


def parse_json(text: str, where: str) -> Any:
    """Read JSON; `SettingError` says where it is broken."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingError(f"--list: {where}: {error}") from None


def parse_object(row: Any, where: str) -> Listed:
    """Check that a row is an object with what is needed."""
    if not isinstance(row, dict) or not all(name in row for name in WANTED):
        raise SettingError(f"--list: {where}: no object with {' and '.join(WANTED)}")
    return parse_row(row, where, str(row["uri"]))


def parse_row(row: dict, where: str, uri: str) -> Listed:
    """Check the id of a row."""
    try:
        return Listed(int(str(row["image_id"])), uri)
    except ValueError:
        raise SettingError(
            f"--list: {where}: image_id {row['image_id']!r} is no whole number (spreadsheets round long ones)"
        ) from None


def plain_text(uri: str) -> str:
    """Take off the ``./`` that `resight.dedup.export` puts before what a spreadsheet would run.

    >>> plain_text("./=cmd.jpg"), plain_text("./a.jpg")
    ('=cmd.jpg', './a.jpg')
    """
    rest = uri.removeprefix("./")
    return rest if rest.lstrip(" ").startswith(FORMULA_STARTS) else uri
