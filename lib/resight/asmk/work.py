"""One chunk of an index: listed images in, their entries out; their keypoints need not be stored."""

import json
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from resight.asmk.aggregate import aggregate_image, aggregate_vectors
from resight.codebook.model import Codebook, CodebookFiles
from resight.codebook.quantize import Quantizer, assign
from resight.features.local.points import COLUMNS, join_features
from resight.features.local.settings import LocalSettings
from resight.features.local.work import LOCAL_DESCRIBED, LocalWork, rescue_local

__all__ = ["INDEXED", "KEEP_ALL", "IndexWork", "check_words", "describe_like", "rescue_indexed"]

KEEP_ALL = -1
PACKED = {"words": pa.binary(), "codes": pa.binary()}  # (e,) int32 ascending, (e, w) uint8 or (e, d)
CHECKED = {"agrees": pa.bool_()}  # see `check_words`
INDEXED = pa.schema([*LOCAL_DESCRIBED, *(pa.field(name, kind) for name, kind in (PACKED | CHECKED).items())])
STORED = ("image_id", "content_hash", "n_keypoints", "points", "vectors")


def describe_like(codebook: Codebook) -> LocalWork:
    """Give the work that describes an image as those were that ``codebook`` was fitted on."""
    settings = LocalSettings.from_mapping(json.loads(codebook.settings))
    whitening = b"" if codebook.whitening is None else codebook.whitening.tobytes()
    return LocalWork(settings, codebook.dtype, codebook.sha256, whitening)


@dataclass(frozen=True)
class IndexWork:
    """Settings of a chunk.

    Parameters
    ----------
    codebook : CodebookFiles
        Also says how images are described.
    aggregate : bool
        One code per visual word, else one per descriptor.
    keep : int
        Strongest keypoints of an image that are given back beside its entries; `KEEP_ALL`: every one.
    values : str
        ``bits``, or the dtype of unit vectors that entries keep.
    """

    codebook: CodebookFiles
    aggregate: bool = True
    keep: int = 0
    values: str = "bits"

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Index the images of ``rows``: `INDEXED` rows in some order.

        Rows whose ``vectors`` are stored already, as `LOCAL_DESCRIPTORS` has them, are not described again.
        An image of which a descriptor holds a NaN gets the status ``nan`` and no entries.
        """
        codebook = self.codebook.open()
        described = self.describe(rows, codebook)
        offsets, _, vectors = join_features(described, codebook.dtype)
        status, error = described["status"].to_pylist(), described["error"].to_pylist()
        X = vectors.astype(np.float32) if len(vectors) else np.zeros((0, codebook.d), np.float32)
        finite = np.isfinite(X).all(axis=1)
        spoiled = np.diff(np.append(0, np.cumsum(~finite))[offsets])  # descriptors of each image
        X[~finite] = 0
        nearest = assign(X, codebook)  # all images together: a product of many rows is faster
        words, codes = list[bytes | None](), list[bytes | None]()
        for i, own in enumerate(slice(a, b) for a, b in pairwise(offsets)):
            if status[i] == "ok" and spoiled[i]:
                status[i], error[i] = "nan", "a descriptor holds a NaN or an infinity"
            found = self.pack_entries(X[own], nearest[own], codebook) if status[i] == "ok" else (None, None)
            words.append(found[0])
            codes.append(found[1])
        columns = {name: described[name] for name in STORED[:3]} | self.keep_strongest(described)
        columns |= {"status": pa.array(status, pa.string()), "error": pa.array(error, pa.string())}
        columns |= {"words": pa.array(words, pa.binary()), "codes": pa.array(codes, pa.binary())}
        columns |= {"agrees": check_words(X, nearest, offsets, codebook.quantizer)}
        return pa.table(columns, schema=INDEXED)

    def describe(self, rows: pa.Table, codebook: Codebook) -> pa.Table:
        """Give `LOCAL_DESCRIBED` rows: the stored ones, then those that must be described."""
        if "vectors" not in rows.column_names:
            return describe_like(codebook)(rows)
        there = rows["vectors"].is_valid()
        stored = rows.filter(there).select(STORED)
        says = {
            "status": pa.array(["ok"] * len(stored), pa.string()),
            "error": pa.nulls(len(stored), pa.string()),
        }
        known = pa.table({name: stored[name] for name in STORED} | says, schema=LOCAL_DESCRIBED)
        rest = rows.filter(rows["vectors"].is_null())
        return pa.concat_tables([known, describe_like(codebook)(rest)] if len(rest) else [known])

    def pack_entries(self, X: np.ndarray, nearest: np.ndarray, codebook: Codebook) -> tuple[bytes, bytes]:
        """Pack the words and the codes of an image with the descriptors ``X`` (n, d)."""
        if self.values == "bits":
            words, codes = aggregate_image(X, nearest, codebook, aggregate=self.aggregate)
        else:
            words, codes = aggregate_vectors(X, nearest, codebook.centroids, aggregate=self.aggregate)
            codes = codes.astype(np.dtype(self.values).newbyteorder("<"))
        return words.astype("<i4").tobytes(), codes.tobytes()

    def keep_strongest(self, described: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        """Give the columns of keypoints cut to what is kept; null where nothing is."""
        if self.keep == KEEP_ALL:
            return {name: described[name] for name in ("points", "vectors")}
        if not self.keep:
            return {name: pa.nulls(len(described), pa.binary()) for name in ("points", "vectors")}
        cut: dict[str, list[bytes | None]] = {"points": [], "vectors": []}
        for n, points, vectors in zip(*(described[c].to_pylist() for c in STORED[2:]), strict=True):
            share = min(self.keep, n or 0)
            cut["points"].append(points and points[: share * 4 * len(COLUMNS)])
            cut["vectors"].append(vectors and vectors[: share * (len(vectors) // n)])
        return {name: pa.array(column, pa.binary()) for name, column in cut.items()}


def check_words(
    X: np.ndarray, nearest: np.ndarray, offsets: np.ndarray, quantizer: Quantizer
) -> pa.BooleanArray:
    """Compare the word of one descriptor of each image, that in the middle, with its true one.

    Parameters
    ----------
    X : ndarray, (n, d) float32
        Descriptors of all images; those of image i are ``offsets[i]`` to ``offsets[i + 1]``.
    nearest : ndarray, (n, m) int32
        Their words, nearest first, as ``quantizer`` found them.

    Returns
    -------
    BooleanArray, (i,)
        Null of an image without descriptors, and of all where every centroid is compared anyway.
    """
    counts = np.diff(offsets)
    checked = (counts > 0) & bool(quantizer.n_probes)
    rows, agrees = (offsets[:-1] + counts // 2)[checked], np.zeros(len(counts), bool)
    if len(rows):
        agrees[checked] = quantizer.compare_all(X[rows])[:, 0] == nearest[rows, 0]
    return pa.array(agrees, mask=~checked)


def rescue_indexed(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    crashed, nothing = rescue_local(rows, reason), pa.nulls(len(rows), pa.binary())
    columns = {name: crashed[name] for name in LOCAL_DESCRIBED.names} | {"words": nothing, "codes": nothing}
    columns |= {"agrees": pa.nulls(len(rows), pa.bool_())}
    return pa.table(columns, schema=INDEXED)
