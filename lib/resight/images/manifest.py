"""The rows of a manifest: which file each one names, and whether it is there."""

import csv
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from resight.config import SettingError
from resight.images.content import ContentError, normal_uri, open_root
from resight.images.listing import Entry, stat_uris


def check_uri(uri: str | None) -> Entry:
    """Normalise one uri of a manifest; what cannot be one keeps its text and gets a status."""
    try:
        name = normal_uri((uri or "").strip())
    except ContentError as error:
        return Entry(uri or "", status=error.status, error=error.reason)
    return Entry(name) if name else Entry("", status="missing", error="the row names no file")


def measure_rows(root: str, batch: pa.RecordBatch) -> Iterator[Entry]:
    """Add size and time to the rows of a manifest that name a file."""
    rows = batch.to_pylist()
    uris = [row["uri"] for row in rows if row["status"] is None]
    found = {entry.uri: entry for entry in stat_uris(root, uris)}
    for row in rows:
        entry = found.get(row["uri"]) or Entry(
            row["uri"], None, None, None, None, row["status"], row["error"]
        )
        note = f"the first of {row['n_rows']} rows of the manifest" if row["n_rows"] > 1 else None
        error = "; ".join(filter(None, (entry.error, note))) or None
        extra = dict(row["extra"]) if row["extra"] else None
        yield entry._replace(extra=extra, error=error)


def read_names(path: str) -> list[str]:
    """Read the names of the columns of a CSV or Parquet manifest."""
    return parquet_names(path) if path.lower().endswith(".parquet") else read_header(path)


def parquet_names(path: str) -> list[str]:
    """Read the names of the columns of a Parquet file or folder."""
    filesystem, name = open_root(path)
    try:
        return list(pq.ParquetDataset(name, filesystem=filesystem).schema.names)
    except (OSError, pa.ArrowException):
        raise SettingError(f"--source: cannot read {path} as Parquet") from None


def find_uri(names: list[str], path: str) -> str:
    """Choose the column of the uris, in whatever case its name is written."""
    found = [name for name in names if name.lower() == "uri"]
    if not found:
        raise SettingError(f"--source: {path} has no column uri, but {', '.join(names)}")
    return found[-1]


def read_header(path: str) -> list[str]:
    """Read the names of a CSV file's columns."""
    filesystem, name = open_root(path)
    try:
        with (
            filesystem.open_input_stream(name) as stream,
            io.TextIOWrapper(stream, "utf-8-sig", newline="") as text,
        ):
            names = next(csv.reader(text), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"--source: cannot read the manifest {path}: {error}") from None
    names = [title or f"column{i}" for i, title in enumerate(names)]
    lower = [title.lower() for title in names]  # Spark's columns have no case
    twice = sorted({title for title in lower if lower.count(title) > 1})
    if twice:
        raise SettingError(f"--source: {path} has two columns {twice[0]}")
    return names
