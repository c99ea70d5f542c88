"""Queries, rankings and entries as packed Arrow rows, which travel between the tasks of a search."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from resight.arrow import arrow_to_lists, lists_to_arrow
from resight.asmk.search import Asked, Ranked
from resight.knn.copies import to_offsets
from resight.rerank.hqe import Entries

ENCODED = "query_id long, own long, words binary, codes binary"
RANKED = "query_id long, image_ids binary, scores binary, factor double"
COLLECTED = "query_id long, owners binary, words binary, codes binary"


def read_asked(rows: pa.RecordBatch, dtype: str = "uint8") -> list[Asked]:
    """Unpack queries, whose codes or vectors are of ``dtype``."""
    offsets, words = arrow_to_lists(rows["words"], "int32")
    codes = arrow_to_lists(rows["codes"], dtype)[1].reshape(len(words), -1) if len(words) else None
    empty = Asked(np.zeros(0, np.int32), np.zeros((0, 1), np.uint8))
    return [empty if codes is None or a == b else Asked(words[a:b], codes[a:b]) for a, b in pairwise(offsets)]


def pack_asked(query_id: pa.Array, own: pa.Array, asked: list[Asked]) -> pa.RecordBatch:
    """Lay out queries as `ENCODED` rows."""
    words = pa.array([query.words.astype("<i4").tobytes() for query in asked], pa.binary())
    codes = pa.array([query.codes.tobytes() for query in asked], pa.binary())
    return pa.record_batch({"query_id": query_id, "own": own, "words": words, "codes": codes})


def pack_ranked(query_id: pa.Array, found: list[Ranked], factors: list[float]) -> pa.RecordBatch:
    """Lay out rankings as `RANKED` rows."""
    offsets = to_offsets(np.array([len(one.image_ids) for one in found], np.int64))
    ids = np.concatenate([np.zeros(0, np.int64), *(one.image_ids for one in found)])
    scores = np.concatenate([np.zeros(0), *(one.scores for one in found)])
    columns = [
        query_id,
        lists_to_arrow(offsets, ids),
        lists_to_arrow(offsets, scores),
        pa.array(factors, pa.float64()),
    ]
    return pa.record_batch(columns, names=["query_id", "image_ids", "scores", "factor"])


def read_ranked(rows: pa.RecordBatch | pa.Table) -> Iterator[Ranked]:
    """Unpack rankings."""
    offsets, ids = arrow_to_lists(rows["image_ids"], "int64")
    scores = arrow_to_lists(rows["scores"], "float64")[1]
    yield from (Ranked(ids[a:b], scores[a:b]) for a, b in pairwise(offsets))


def pack_entries(query_id: pa.Array, found: list[Entries]) -> pa.RecordBatch:
    """Lay out the entries of the short list of each query as `COLLECTED` rows."""
    columns = {
        "owners": [one.image_ids.astype("<i8").tobytes() for one in found],
        "words": [one.words.astype("<i4").tobytes() for one in found],
        "codes": [one.codes.tobytes() for one in found],
    }
    packed = {name: pa.array(values, pa.binary()) for name, values in columns.items()}
    return pa.record_batch({"query_id": query_id} | packed)


def read_entries(rows: pa.Table) -> list[Entries]:
    """Unpack what `pack_entries` packed; rows without entries are left out."""
    found = []
    for row in rows.to_pylist():
        ids, words = np.frombuffer(row["owners"], "<i8"), np.frombuffer(row["words"], "<i4")
        if len(ids):
            found.append(Entries(ids, words, np.frombuffer(row["codes"], np.uint8).reshape(len(ids), -1)))
    return found
