"""One chunk of an ingest: listed files in, rows of ``images`` and their previews out."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import lru_cache
from importlib import import_module

import pyarrow as pa

from resight.config import SettingError
from resight.images.content import ContentError, ContentReader
from resight.images.inspect import Decoder, ImageFacts, inspect_image
from resight.tables import IMAGES

LISTED = ("image_id", "source_id", "uri", "n_bytes", "byte_offset", "modified_at", "first_seen", "extra")
FACTS = pa.schema(
    [
        ("content_hash", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("pixel_hash", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("taken_at", pa.timestamp("us", tz="UTC")),
        ("sharpness", pa.float32()),
        ("jpeg", pa.binary()),
    ]
)
INGESTED = pa.schema([*(IMAGES.schema.field(name) for name in LISTED), *FACTS])  # what a chunk gives


DECODER = "resight.images.decode:decode_image"  # module:function


@dataclass(frozen=True)
class IngestWork:
    """Settings of a chunk: ``decoder`` is the import path ``module:function`` of the decoder."""

    max_pixels: int
    preview_side: int
    decoder: str

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Read and describe every file of ``rows`` (`LISTED`, ``root``, ``status``, ``error``).

        A row that the listing already gave a status keeps it and is not read.
        """
        decoder = load_decoder(self.decoder)
        facts = [self.describe(content, decoder) for content in read_contents(rows)]
        return join_facts(rows, facts)

    def describe(self, content: bytes | ImageFacts, decoder: Decoder) -> ImageFacts:
        """Describe the bytes of a file; pass on what could not be read."""
        if isinstance(content, ImageFacts):
            return content
        return inspect_image(
            content, max_pixels=self.max_pixels, preview_side=self.preview_side, decoder=decoder
        )


def rescue_files(rows: pa.Table, reason: str) -> pa.Table:
    """Give files whose decoding killed the process the status ``crashed``."""
    return join_facts(rows, [ImageFacts("", "crashed", reason)] * len(rows))


def read_contents(rows: pa.Table) -> Iterator[bytes | ImageFacts]:
    """Read the files one after the other; what cannot be read comes as facts with a status."""
    columns = [
        rows[name].to_pylist() for name in ("root", "uri", "byte_offset", "n_bytes", "status", "error")
    ]
    with ExitStack() as stack:
        readers: dict[str, ContentReader] = {}
        for root, uri, offset, n_bytes, status, error in zip(*columns, strict=True):
            if status is not None:
                yield ImageFacts("", status, error)
                continue
            if root not in readers:
                readers[root] = stack.enter_context(ContentReader(root))
            try:
                yield readers[root].read(uri, offset, n_bytes)
            except ContentError as failure:
                yield ImageFacts("", failure.status, failure.reason)


def join_facts(rows: pa.Table, facts: list[ImageFacts]) -> pa.Table:
    """Put the facts beside the listed columns; an unread file has no content hash."""
    columns = [[astuple(fact)[i] for fact in facts] for i in range(len(FACTS))]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, FACTS.types, strict=True)]
    arrays[0] = pa.array([fact.content_hash or None for fact in facts], pa.string())
    listed = [rows[name].cast(INGESTED.field(name).type) for name in LISTED]
    return pa.table([*listed, *arrays], schema=INGESTED)


@lru_cache(maxsize=8)
def load_decoder(path: str) -> Decoder:
    """Import a decoder by ``module:function``; `SettingError` where there is none."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(f"--decoder: cannot import {path!r} (module:function): {error}") from None
