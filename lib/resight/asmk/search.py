"""Queries against an index: one code per visual word, scores of every shard, the best by the tie rule.

``K(Q, Y) = gamma(Q) gamma(Y) sum_c w_c sigma(u_c)`` (Tolias, Avrithis and Jegou, IJCV 2015, eq. 2 and 19),
with ``w_c`` and ``gamma(Y)`` from the index. Images that share no word with a query have the score 0 and
follow by id; none is dropped. A query without keypoints gives every image 0.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from resight.asmk.aggregate import aggregate_image, aggregate_vectors
from resight.asmk.binarize import count_differences
from resight.asmk.kernel import Rule, Selectivity, sigma
from resight.asmk.score import score_shard
from resight.asmk.searching.index import Index
from resight.codebook.model import Codebook
from resight.codebook.quantize import assign
from resight.topk import rank_order

PART_ROWS = 128  # descriptors that are worth a thread


class Asked(NamedTuple):
    """A query as an index takes it: words (q,) int32 ascending, packed codes (q, w) or vectors (q, d)."""

    words: np.ndarray
    codes: np.ndarray


class Ranked(NamedTuple):
    """Images, best first: ids (k,) int64 and scores (k,) float64."""

    image_ids: np.ndarray
    scores: np.ndarray


def encode_query(
    vectors: np.ndarray,
    codebook: Codebook,
    m: int,
    *,
    aggregate: bool = True,
    real: bool = False,
    threads: int = 1,
) -> Asked:
    """Give the words and codes of a query: each descriptor (n, d) counts in its ``m`` nearest words.

    ``real``: unit vectors instead of codes.
    """
    wide = np.asarray(vectors, np.float32).reshape(-1, codebook.d)
    words = assign_over(wide, codebook, m, threads=threads)
    if real:
        return Asked(*aggregate_vectors(wide, words, codebook.centroids, aggregate=aggregate))
    return Asked(*aggregate_image(wide, words, codebook, aggregate=aggregate))


def assign_over(X: np.ndarray, codebook: Codebook, m: int, *, threads: int) -> np.ndarray:
    """Find the words of descriptors, see `assign`; each thread takes a part of them, which changes nothing.

    Where all centroids are compared, the library that does it has threads of its own.
    """
    n_parts = min(threads, len(X) // PART_ROWS)
    if n_parts < 2 or not codebook.n_probes:
        return assign(X, codebook, m)
    codebook.quantizer.prepare()
    with ThreadPoolExecutor(n_parts) as pool:
        parts = pool.map(lambda part: assign(part, codebook, m), np.array_split(X, n_parts))
        return np.concatenate([*parts])


def search_index(
    queries: Sequence[Asked], own: np.ndarray, index: Index, table: Rule, *, depth: int
) -> list[Ranked]:
    """Rank the images of an index for every query, see `search_shards`; scores include the query's norm."""
    ranked = search_shards(queries, own, index, table, depth=depth, numbers=range(len(index.shards)))
    factors = [query_norm(query, index.weights, table) for query in queries]
    return [one._replace(scores=one.scores * f) for one, f in zip(ranked, factors, strict=True)]


def search_shards(
    queries: Sequence[Asked],
    own: np.ndarray,
    index: Index,
    table: Rule,
    *,
    depth: int,
    numbers: Sequence[int],
) -> list[Ranked]:
    """Rank the images of some shards for every query.

    Parameters
    ----------
    queries : sequence of Asked
        One shard is open at a time, for all of them.
    own : ndarray, (s,) int64
        Image that is the query itself and left out of its answer; -1 where there is none.
    table : ndarray, (B + 1,) float32
        Value of a pair by its Hamming distance.
    depth : int
        Images per query.
    numbers : sequence of int
        Shards that are searched.

    Returns
    -------
    list of Ranked
        Scores lack the query's norm, which ranks nothing: rankings of other shards can be merged exactly.

    Raises
    ------
    CorruptShardError
        The files of a shard are damaged.
    """
    parts: list[list[Ranked]] = [[] for _ in queries]
    for number in numbers:
        shard, norms = index.open(number)
        for i, query in enumerate(queries):
            raw = score_shard(shard, query.words, query.codes, index.weights, table)
            scores = np.where(norms >= 0, raw * norms, -np.inf)
            scores[find(shard.image_ids, int(own[i]))] = -np.inf
            best = best_of(scores, depth)
            parts[i].append(Ranked(shard.image_ids[best], scores[best]))
        parts = [[merge_ranked(some, depth)] for some in parts]
    return [merge_ranked(some, depth) for some in parts]


def find(ids: np.ndarray, wanted: int) -> np.ndarray:
    """Position of an id among ascending ``ids`` (n,), as an array of one or none."""
    at = np.searchsorted(ids, [wanted])
    return at[(at < len(ids)) & (ids[np.minimum(at, len(ids) - 1)] == wanted)] if len(ids) else at[:0]


def best_of(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` best of ``scores`` (n,), best first, ties by position; ``-inf`` is never one."""
    there = int((scores > -np.inf).sum())
    k = min(k, there)
    if not k:
        return np.zeros(0, np.int64)
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > kth)
    chosen = np.append(above, np.flatnonzero(scores == kth)[: k - len(above)])
    return chosen[np.lexsort((chosen, -scores[chosen]))]


def merge_ranked(parts: Sequence[Ranked], depth: int) -> Ranked:
    """Merge rankings of different images by the tie rule."""
    if len(parts) == 1:
        return Ranked(parts[0].image_ids[:depth], parts[0].scores[:depth])
    ids = np.concatenate([np.zeros(0, np.int64), *(one.image_ids for one in parts)])
    scores = np.concatenate([np.zeros(0), *(one.scores for one in parts)])
    order = rank_order(scores, ids)[:depth]
    return Ranked(ids[order], scores[order])


def query_norm(query: Asked, weights: np.ndarray, table: Rule) -> float:
    """Norm of a query: ``(sum_c w_c M(Q_c, Q_c))^(-1/2)``, 0 where no word has a weight.

    Where every word occurs once, ``M = sigma(1) = 1``; else all pairs inside a word count.
    """
    words, starts, counts = np.unique(query.words, return_index=True, return_counts=True)
    one = sigma(np.ones(1), table)[0] if isinstance(table, Selectivity) else table[0]
    own = np.full(len(words), float(one))
    for i in np.flatnonzero(counts > 1):
        codes = query.codes[starts[i] : starts[i] + counts[i]]
        if isinstance(table, Selectivity):
            pairs = sigma(codes @ codes.T, table)
        else:
            pairs = table[count_differences(codes, codes)]
        own[i] = pairs.sum(dtype=np.float64)
    total = float(weights[words].astype(np.float64) @ own) if len(words) else 0.0
    return total**-0.5 if total > 0 else 0.0
