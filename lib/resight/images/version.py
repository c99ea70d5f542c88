"""What a place of images holds, in one hash: whether it must be looked at again."""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from resight.images.content import open_root
from resight.images.listing import Entry, stat_uris, walk_files
from resight.images.manifest import check_uri, find_uri, read_names
from resight.images.sources import Source, select_files

STEP = 10_000  # uris that are looked up together


def version_of_source(source: Source) -> str:
    """Hash names, sizes and times of a source's files, and the rows of a manifest.

    Empty where a file's time is not kept by its store: then only its bytes could tell. Memory does not depend
    on the number of files.
    """
    total = hashlib.sha256(repr(source).encode())
    if source.kind == "manifest":
        filesystem, path = open_root(source.path)
        with filesystem.open_input_stream(path) as stream:
            while part := stream.read(1 << 20):
                total.update(part)
    for entry in list_entries(source):
        if entry.n_bytes is not None and entry.modified_at is None:
            return ""
        total.update(repr(entry).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def list_entries(source: Source) -> Iterator[Entry]:
    """List the files of a source, those of a manifest in the order of its rows."""
    if source.kind != "manifest":
        yield from walk_files(source.root, select_files(source))
        return
    held: list[str] = []
    for uri in read_uris(source.path):
        entry = check_uri(uri)
        if entry.status is not None:
            yield entry
            continue
        held.append(entry.uri)
        if len(held) == STEP:
            yield from stat_uris(source.root, held)
            held = []
    yield from stat_uris(source.root, held)


def read_uris(path: str) -> Iterator[str | None]:
    """Read the column ``uri`` of a CSV or Parquet manifest as text, part by part, as `read_manifest` does."""
    filesystem, name = open_root(path)
    uri = find_uri(read_names(path), path)
    if path.lower().endswith(".parquet"):
        for part in pq.ParquetDataset(name, filesystem=filesystem).fragments:
            for batch in part.to_batches(columns=[uri]):
                yield from (None if value is None else str(value) for value in batch[uri].to_pylist())
        return
    text = pyarrow.csv.ConvertOptions(column_types={uri: pa.string()}, include_columns=[uri])
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with filesystem.open_input_stream(name) as stream:
        for batch in pyarrow.csv.open_csv(stream, parse_options=lines, convert_options=text):
            yield from batch[uri].to_pylist()
