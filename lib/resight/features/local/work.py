"""One chunk of an extraction: listed images in, rows of ``local_descriptors`` out."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from resight.features.local.points import pack_features
from resight.features.local.settings import LocalSettings
from resight.features.work import read_boxes, read_images
from resight.tables import LOCAL_DESCRIPTORS

if TYPE_CHECKING:
    from resight.features.local.extract import LocalExtracted

__all__ = ["LOCAL_DESCRIBED", "LocalWork", "rescue_local"]

LOCAL_DESCRIBED = pa.schema([f for f in LOCAL_DESCRIPTORS.schema if f.name != "build_id"])


@dataclass(frozen=True)
class LocalWork:
    """Settings of a chunk; ``whitening`` is a packed `Whitening` or empty.

    ``sha256`` is that of the weight file which the build was begun with; empty: any will do.
    """

    settings: LocalSettings
    dtype: str = "float16"
    sha256: str = ""
    whitening: bytes = b""

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Read and describe the images of ``rows``: `LOCAL_DESCRIBED` rows in the same order."""
        found = self.extract(rows)
        columns = pack_features(found.features, self.dtype)
        return lay_out(rows, columns, found.status, found.error)

    def extract(self, rows: pa.Table) -> "LocalExtracted":
        """Read and describe the images of ``rows``, nothing packed.

        ``rows`` has ``root``, ``uri``, ``byte_offset``, ``n_bytes`` and ``content_hash`` (null: not compared)
        and may have the box ``y0 x0 y1 x1``.
        """
        from resight.features.local.extract import LocalExtracted, extract_local
        from resight.features.local.weights import require_local_weights
        from resight.features.whitening import Whitening

        require_local_weights(self.settings, self.sha256)
        failures: dict[int, tuple[str, str]] = {}
        found = extract_local(
            read_images(rows, failures),
            self.settings,
            whitening=Whitening.from_bytes(self.whitening) if self.whitening else None,
            n_threads=int(os.environ.get("OMP_NUM_THREADS") or 1),  # Spark sets it to the task's cores
            device=os.environ.get("RESIGHT_DEVICE") or None,
            boxes=read_boxes(rows),
        )
        status, error = list(found.status), list(found.error)
        for i, (word, reason) in failures.items():
            status[i], error[i] = word, reason
        return LocalExtracted(found.features, status, error)


def rescue_local(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    n = len(rows)
    return lay_out(rows, pack_features([None] * n), ["crashed"] * n, [reason] * n)


def lay_out(
    rows: pa.Table, columns: tuple[pa.Array, ...], status: list[str], error: list[str | None]
) -> pa.Table:
    """Put the columns of `pack_features` between the keys and the status."""
    keys = [rows["image_id"].combine_chunks(), rows["content_hash"].combine_chunks()]
    says = [pa.array(status, pa.string()), pa.array(error, pa.string())]
    return pa.table([*keys, *columns, *says], schema=LOCAL_DESCRIBED)
