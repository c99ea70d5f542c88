"""One chunk of images that ask an index: listed images in, their words and codes out; no keypoint is kept."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resight.asmk.search import encode_query
from resight.codebook.model import CodebookFiles
from resight.features.local.work import LocalWork

__all__ = ["ENCODED_IMAGES", "EncodeWork", "rescue_encoded"]

ENCODED_IMAGES = pa.schema(
    {
        "image_id": pa.int64(),
        "words": pa.binary(),
        "codes": pa.binary(),
        "status": pa.string(),
        "error": pa.string(),
    }
)


@dataclass(frozen=True)
class EncodeWork:
    """Settings of a chunk.

    Parameters
    ----------
    described : LocalWork
        How keypoints are found and described.
    codebook : CodebookFiles
        Its words, of which each descriptor counts in the ``m`` nearest.
    aggregate, real : bool
        What the entries of the index are, see `resight.asmk.search.encode_query`.
    """

    described: LocalWork
    codebook: CodebookFiles
    m: int = 1
    aggregate: bool = True
    real: bool = False

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Describe and encode the images of ``rows``: `ENCODED_IMAGES` rows in the same order."""
        codebook, found = self.codebook.open(), self.described.extract(rows)
        words, codes = list[bytes | None](), list[bytes | None]()
        for features in found.features:
            if features is None:
                words.append(None)
                codes.append(None)
                continue
            vectors = features.vectors.astype(self.described.dtype).astype(np.float32)  # as if stored
            asked = encode_query(vectors, codebook, self.m, aggregate=self.aggregate, real=self.real)
            words.append(asked.words.astype("<i4").tobytes())
            codes.append(asked.codes.tobytes())
        return lay_out(rows, words, codes, (found.status, found.error))


def rescue_encoded(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    n = len(rows)
    return lay_out(rows, [None] * n, [None] * n, (["crashed"] * n, [reason] * n))


def lay_out(
    rows: pa.Table,
    words: list[bytes | None],
    codes: list[bytes | None],
    told: tuple[list[str], list[str | None]] | tuple[list[str], list[str]],
) -> pa.Table:
    """Put the status and the error that are ``told`` behind the packed columns."""
    columns = [words, codes, *told]
    names = ENCODED_IMAGES.names[1:]
    packed = {
        name: pa.array(c, ENCODED_IMAGES.field(name).type) for name, c in zip(names, columns, strict=True)
    }
    return pa.table({"image_id": rows["image_id"].combine_chunks()} | packed, schema=ENCODED_IMAGES)
