"""Answers laid out as Arrow tables, as a search without Spark gives them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from resight.knn.matrix import OpenVectors
from resight.search.answer import Answer


class Found(NamedTuple):
    """Answers: ``results`` has query, rank, image_id, uri, score and region_ix; ``queries`` a row per query.

    ``query`` counts from 0 in the order of asking; ``region_ix`` is the region that adds most to the score
    where diffusion over regions reached the image, else null. ``queries`` has query, status, error,
    no_support (the graph has nothing near the query: similarity alone ranks), iterations and residual of the
    solver, null where nothing was solved. A query whose status is not ok has no results.
    """

    results: pa.Table
    queries: pa.Table


class Told(Protocol):
    """What became of each query."""

    @property
    def status(self) -> list[str]:
        """``ok``, or why it has no results."""

    @property
    def error(self) -> list[str | None]:
        """The reason in words."""


class Names(Protocol):
    """Knows the uris of images."""

    def uris_of(self, ids: np.ndarray) -> pa.Array:
        """Look up the uris (m,) of image ``ids`` (m,)."""


def tabulate(names: Names, X: OpenVectors, asked: Told, answers: Mapping[int, Answer]) -> Found:
    """Lay out the answers, ordinals of ``X``, of the queries that are usable."""
    n = len(asked.status)
    ids = X.id_of(join([answer.ordinals for answer in answers.values()], np.int64))
    counts = [len(answer.ordinals) for answer in answers.values()]
    results = pa.table(
        {
            "query": np.repeat(np.array([*answers], np.int32), counts),
            "rank": join([np.arange(count) for count in counts], np.int32),
            "image_id": ids,
            "uri": names.uris_of(ids),
            "score": join([answer.scores for answer in answers.values()], np.float32),
            "region_ix": join_regions([*answers.values()]),
        }
    )
    flags = [answers.get(i) for i in range(n)]
    queries = pa.table(
        {
            "query": np.arange(n, dtype=np.int32),
            "status": pa.array(asked.status, pa.string()),
            "error": pa.array(asked.error, pa.string()),
            "no_support": pa.array([answer and answer.no_support for answer in flags], pa.bool_()),
            "iterations": pa.array([answer and answer.iterations for answer in flags], pa.int32()),
            "residual": pa.array([answer and answer.residual for answer in flags], pa.float64()),
        }
    )
    return Found(results, queries)


def join_regions(answers: Sequence[Answer]) -> pa.Array:
    """Give the regions (m,) int32 of all results; null where diffusion over regions did not reach one."""
    nowhere = [np.full(len(a.ordinals), -1) if a.regions is None else a.regions for a in answers]
    regions = join(nowhere, np.int32)
    return pa.array(regions, pa.int32(), mask=regions < 0)


def join(pieces: Iterable[np.ndarray], dtype: type) -> np.ndarray:
    """Concatenate pieces (m,), of which there may be none."""
    return np.concatenate([np.zeros(0, dtype), *pieces]).astype(dtype)
