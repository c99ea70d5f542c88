"""Rows of ``codes``: from previews, by hashes of pixels, or from vectors, by a learned hash function."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from resight.arrow import arrow_to_vectors
from resight.hashing.kinds import CodeModel
from resight.hashing.perceptual import BITS, N_TURNS, PixelCodes, hash_pixels
from resight.images.decode import DecodeError, decode_image, describe_error
from resight.tables import CODES

__all__ = ["CODED", "MISSING", "encode_vectors", "hash_previews"]

CODED = pa.schema([field for field in CODES.schema if field.name != "build_id"])
MISSING = "missing"  # the status of an image without a preview: tried again by the next run
Hashed = tuple[PixelCodes | None, str, str | None]


def hash_previews(rows: pa.RecordBatch, kinds: Sequence[str]) -> pa.RecordBatch:
    """Hash previews (image_id, content_hash, jpeg) in all positions: `CODED` rows, 8 for each of ``kinds``.

    An image without a preview, or with one that cannot be decoded, has its rows too, with the reason.
    """
    names = ("image_id", "content_hash", "jpeg")
    coded = []
    for image_id, content_hash, jpeg in zip(*(rows[name].to_pylist() for name in names), strict=True):
        found, status, error = hash_preview(jpeg, kinds)
        for kind in kinds:
            for turn in range(N_TURNS):
                code = found.codes[kind][turn].tobytes() if found else None
                quality = found.quality if found else None
                row = (image_id, content_hash, kind, turn, code, BITS[kind], quality, status, error)
                coded.append(dict(zip(CODED.names, row, strict=True)))
    return pa.RecordBatch.from_pylist(coded, schema=CODED)


def hash_preview(jpeg: bytes | None, kinds: Sequence[str]) -> Hashed:
    """Hash one preview: codes, status, error."""
    if jpeg is None:
        return None, MISSING, "the image has no preview"
    try:
        return hash_pixels(decode_image(jpeg).pixels, kinds), "ok", None
    except DecodeError as error:
        return None, error.status, error.reason
    except Exception as error:
        return None, "undecodable", describe_error(error)


def encode_vectors(rows: pa.RecordBatch, model: CodeModel, dtype: str) -> pa.RecordBatch:
    """Encode vectors (image_id, content_hash, vector, status, error) of ``dtype``: one `CODED` row each.

    A row whose status is not ok keeps it.
    """
    ok = np.array([status == "ok" for status in rows["status"].to_pylist()], bool)
    codes: list[bytes | None] = [None] * len(rows)
    if ok.any():
        X = arrow_to_vectors(rows["vector"].filter(pa.array(ok)), dtype)
        for i, code in zip(np.flatnonzero(ok), model.encode(X), strict=True):
            codes[i] = code.tobytes()
    n = len(rows)
    columns = [
        rows["image_id"],
        rows["content_hash"],
        pa.array([model.kind] * n, pa.string()),
        pa.array(np.zeros(n, np.int32)),
        pa.array(codes, pa.binary()),
        pa.array(np.full(n, model.n_bits, np.int32)),
        pa.nulls(n, pa.float32()),
        rows["status"],
        rows["error"],
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CODED)
