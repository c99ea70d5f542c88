"""One chunk of an extraction: listed images in, rows of ``global_descriptors`` out."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from resight.arrow import vectors_to_arrow
from resight.features.settings import ExtractSettings
from resight.images.content import ContentError, ContentReader
from resight.tables import GLOBAL_DESCRIPTORS

if TYPE_CHECKING:
    from resight.features.extract import Extracted

REGION_COLUMNS = {"region_boxes": pa.binary(), "region_vectors": pa.binary()}  # packed (r, 4), (r, d)
DESCRIBED = pa.schema(
    [f for f in GLOBAL_DESCRIPTORS.schema if f.name != "build_id"]
    + [pa.field(name, kind) for name, kind in REGION_COLUMNS.items()]
)


@dataclass(frozen=True)
class ExtractWork:
    """Settings of a chunk; ``whitening`` holds packed `Whitening` models, applied one after the other.

    ``sha256`` is that of the weight file which the build was begun with; empty: any will do.
    """

    settings: ExtractSettings
    dtype: str
    whitening: tuple[bytes, ...] = ()
    sha256: str = ""

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Read and describe the images of ``rows`` (id, content hash and where its bytes lie)."""
        from resight.features.backbones import require_weights
        from resight.features.extract import extract_contents
        from resight.features.whitening import Whitening

        require_weights(self.settings, self.sha256)
        failures: dict[int, tuple[str, str]] = {}
        extracted = extract_contents(
            read_images(rows, failures),
            self.settings,
            whitening=[Whitening.from_bytes(params) for params in self.whitening],
            n_threads=int(os.environ.get("OMP_NUM_THREADS") or 1),  # Spark sets it to the task's cores
            device=os.environ.get("RESIGHT_DEVICE") or None,
            boxes=read_boxes(rows),
        )
        status, error = list(extracted.status), list(extracted.error)
        for i, (word, reason) in failures.items():
            status[i], error[i] = word, reason
        ok = np.array([word == "ok" for word in status], bool)
        vectors = vectors_to_arrow(extracted.vectors.astype(self.dtype), ok)
        return described(rows, vectors, status, error, pack_regions(extracted, self.dtype))


def read_images(rows: pa.Table, failures: dict[int, tuple[str, str]]) -> Iterator[bytes | None]:
    """Read the files in order; None, and an entry in ``failures``, for one that cannot be used."""
    columns = [rows[name].to_pylist() for name in ("root", "uri", "byte_offset", "n_bytes", "content_hash")]
    with ExitStack() as stack:
        readers: dict[str, ContentReader] = {}
        for i, (root, uri, offset, n_bytes, content_hash) in enumerate(zip(*columns, strict=True)):
            if root not in readers:
                readers[root] = stack.enter_context(ContentReader(root))
            try:
                content = readers[root].read(uri, offset, n_bytes)
            except ContentError as failure:
                failures[i] = (failure.status, failure.reason)
                yield None
                continue
            if content_hash in (None, hashlib.sha256(content).hexdigest()):
                yield content
            else:
                failures[i] = ("changed", "the file changed after it was ingested")
                yield None


def read_boxes(rows: pa.Table) -> list[tuple[int, int, int, int] | None] | None:
    """Give the box of each row where there are columns of boxes; a row without one is a whole image."""
    if "y0" not in rows.column_names:
        return None
    corners = zip(*(rows[name].to_pylist() for name in ("y0", "x0", "y1", "x1")), strict=True)
    return [None if None in box else box for box in corners]


def rescue_images(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    n = len(rows)
    return described(rows, pa.nulls(n, pa.binary()), ["crashed"] * n, [reason] * n)


def pack_regions(extracted: "Extracted", dtype: str) -> list[pa.Array] | None:
    """Pack boxes (float32 shares of the sides) and vectors of each photo's regions; None without any."""
    if not extracted.regions:
        return None
    packed = [
        (r.boxes.tobytes(), r.vectors.astype(dtype).tobytes()) if r else (None, None)
        for r in extracted.regions
    ]
    return [pa.array(column, pa.binary()) for column in zip(*packed, strict=True)]


def described(
    rows: pa.Table,
    vectors: pa.Array,
    status: list[str],
    error: list[str | None],
    regions: list[pa.Array] | None = None,
) -> pa.Table:
    """Lay out rows of descriptors."""
    ids, hashes = rows["image_id"].combine_chunks(), rows["content_hash"].combine_chunks()
    columns = [ids, hashes, vectors, pa.array(status, pa.string()), pa.array(error, pa.string())]
    nothing = [pa.nulls(len(rows), kind) for kind in REGION_COLUMNS.values()]
    return pa.table(columns + (regions or nothing), schema=DESCRIBED)
