"""One chunk of images whose keypoints are matched: listed images in, where their keypoints lie out."""

from dataclasses import dataclass

import pyarrow as pa

from resight.features.local.work import LocalWork
from resight.verification.feature_files import keep_features

__all__ = ["KEPT", "KeepWork", "rescue_kept"]

KEPT = pa.schema(
    {
        "image_id": pa.int64(),
        "content_hash": pa.string(),
        "n_keypoints": pa.int32(),
        "file": pa.int64(),
        "first": pa.int64(),
        "status": pa.string(),
        "error": pa.string(),
    }
)


@dataclass(frozen=True)
class KeepWork:
    """Settings of a chunk: how images are described, and the folder of the `FeatureFiles` to come."""

    described: LocalWork
    folder: str

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Describe the images of ``rows`` and write their keypoints: `KEPT` rows in the same order."""
        found = self.described.extract(rows)
        there = [one for one in found.features if one is not None]
        kept = iter(keep_features(self.folder, there, dtype=self.described.dtype) if there else [])
        places = [None if one is None else next(kept) for one in found.features]
        columns = {
            "n_keypoints": [place and place.n for place in places],
            "file": [place and place.file for place in places],
            "first": [place and place.first for place in places],
        }
        return lay_out(rows, columns | {"status": found.status, "error": found.error})


def rescue_kept(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    n = len(rows)
    nothing = {name: [None] * n for name in ("n_keypoints", "file", "first")}
    return lay_out(rows, nothing | {"status": ["crashed"] * n, "error": [reason] * n})


def lay_out(rows: pa.Table, columns: dict[str, list]) -> pa.Table:
    """Put the keys before the columns."""
    keys = {name: rows[name].combine_chunks() for name in KEPT.names[:2]}
    typed = {name: pa.array(values, KEPT.field(name).type) for name, values in columns.items()}
    return pa.table(keys | typed, schema=KEPT)
