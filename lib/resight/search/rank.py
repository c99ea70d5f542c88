"""Query vectors to rankings of a collection, by every method, with the same arithmetic on Spark and off it.

Methods differ in how they score; what follows is shared: copies of a vector have the score of the image that
stands for them, the query's own image is left out, ties go by similarity, then by id.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.expansion import expand_queries
from resight.diffusion.explain import Path, explain_result
from resight.diffusion.observe import Observations, QueryLists, observe_queries
from resight.diffusion.offline import answer_offline
from resight.diffusion.rank import Reached, rank_images
from resight.diffusion.solve import solve_diffusion
from resight.diffusion.truncate import solve_truncated
from resight.knn.blocks import Lists, search_blocks
from resight.knn.copies import Rows, list_copies, to_offsets
from resight.knn.matrix import OpenVectors
from resight.knn.search import BLOCK_ROWS, search_collection
from resight.search.collection import Collection
from resight.search.settings import SearchSettings

SOLVE_BYTES = 256 << 20  # of the scores of all nodes for the queries solved together


class Answer(NamedTuple):
    """One query's ranking: ordinals (k,) int64 and scores (k,) float64, best first.

    ``no_support``: the graph has nothing near the query, so that similarity alone ranks. ``iterations`` and
    ``residual`` are those of the solver; ``paths`` lead to the first results, where they were asked for.
    """

    ordinals: np.ndarray
    scores: np.ndarray
    no_support: bool = False
    iterations: int = 0
    residual: float = 0.0
    paths: tuple[Path, ...] = ()


class Scores(NamedTuple):
    """What diffusion gives for a chunk of s queries: a column per query, over ordinals of vectors."""

    columns: list[tuple[np.ndarray, np.ndarray]]  # ordinals (m,) int64 ascending, scores (m,) float64
    iterations: np.ndarray
    residuals: np.ndarray


def answer_queries(
    Q: np.ndarray, own: np.ndarray, collection: Collection, settings: SearchSettings, *, threads: int = 1
) -> Iterator[Answer]:
    """Rank the collection for every query, in their order.

    Parameters
    ----------
    Q : ndarray, (s, d) float32
        Unit queries.
    own : ndarray, (s,) int64
        Ordinal of the query in the collection, which is left out of its answer; -1 where there is none.
    threads : int
        Of the solver; results do not depend on it.

    Raises
    ------
    ValueError
        The queries have other dimensions than the collection, or the method needs files that are not open.
    """
    X = collection.X
    depth = X.n if settings.depth == "all" else min(int(settings.depth), X.n)
    if settings.method in ("global", "average_qe", "alpha_qe"):
        yield from rank_similar(Q, own, X, settings, depth)
        return
    n_scores = X.n if settings.method == "offline_diffusion" else collection.nodes.n
    step = max(1, SOLVE_BYTES // (8 * max(n_scores, 1)))
    for i in range(0, len(Q), step):
        some = slice(i, i + step)
        yield from rank_diffused(Q[some], own[some], collection, settings, depth, threads)


def rank_similar(
    Q: np.ndarray, own: np.ndarray, X: OpenVectors, settings: SearchSettings, depth: int
) -> Iterator[Answer]:
    """Rank by similarity, after query expansion where that is the method."""
    if settings.method != "global":
        power = 0.0 if settings.method == "average_qe" else settings.expansion_power
        expanded = [
            expand_queries(Q[chunk], lists, X.gather, n=settings.expansion, alpha=power)
            for chunk, lists in search_collection(Q, own, X, depth=settings.expansion)
        ]
        Q = np.concatenate([Q[:0], *expanded])
    for _, (offsets, ordinals, scores) in search_collection(Q, own, X, depth=depth):
        for start, stop in pairwise(offsets):
            yield Answer(ordinals[start:stop], scores[start:stop].astype(np.float64))


def rank_diffused(
    Q: np.ndarray,
    own: np.ndarray,
    collection: Collection,
    settings: SearchSettings,
    depth: int,
    threads: int,
) -> Iterator[Answer]:
    """Rank by diffusion, then what it did not reach by similarity."""
    X = collection.X
    n_listed = max(depth + 1, settings.query_neighbors, settings.shortlist)
    lists = search_distinct(Q, X, k=n_listed)
    observed = observe_queries(
        QueryLists(*lists), k_q=settings.query_neighbors, gamma=settings.gamma, n_queries=len(Q)
    )
    scores = score_queries(lists, observed, collection, settings, threads)
    no_limit = np.iinfo(np.int32).max
    filled = list_copies(Rows(np.arange(len(Q)), *lists), X.grouped_copies, no_limit)
    for i, column in enumerate(scores.columns):
        reached = spread_to_copies(*column, X, Q[i], depth + 1)
        rest = slice(filled.offsets[i], filled.offsets[i + 1])
        ranking = rank_images(reached, filled.dst[rest], filled.similarity[rest], depth=depth + 1)
        others = ranking.ordinals != own[i]
        ordinals, found = ranking.ordinals[others][:depth], ranking.scores[others][:depth]
        paths = explain_answer(ordinals[: settings.explain], i, observed, collection)
        steps, residual = int(scores.iterations[i]), float(scores.residuals[i])
        yield Answer(ordinals, found, bool(observed.no_support[i]), steps, residual, paths)


def search_distinct(Q: np.ndarray, X: OpenVectors, *, k: int) -> Lists:
    """List the ``k`` nearest distinct vectors of every query: offsets, ordinals, similarities."""
    nothing = np.full(len(Q), -1, np.int64)
    if k <= X.n // 8:
        return search_blocks((nothing, Q), X.blocks(BLOCK_ROWS), X.blocks(BLOCK_ROWS), X.gather, k=k)
    counts, parts = [], []
    for _, (offsets, ordinals, similarity) in search_collection(Q, nothing, X, depth=X.n):
        first = X.representative_of(ordinals) == ordinals
        counts.append(np.add.reduceat(first, offsets[:-1]))
        parts.append((ordinals[first], similarity[first]))
    ordinals, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    return to_offsets(np.concatenate(counts)), ordinals, similarity


def score_queries(
    lists: Lists, observed: Observations, collection: Collection, settings: SearchSettings, threads: int
) -> Scores:
    """Diffuse what the queries observe, by the path that the settings name."""
    if settings.method == "offline_diffusion":
        return combine_rows(observed, collection)
    if settings.shortlist:
        return score_shortlists(lists, observed, collection, settings)
    graph = collection.nodes
    Y = to_places(observed, collection)
    solution = solve_diffusion(
        graph.S, Y, alpha=settings.alpha, tol=settings.tol, precision=settings.precision, threads=threads
    )
    return Scores(
        [by_ordinal(np.flatnonzero(f), f, collection) for f in np.ascontiguousarray(solution.F.T)],
        solution.iterations,
        solution.residuals,
    )


def to_places(observed: Observations, collection: Collection) -> sp.csc_array:
    """Give the right-hand sides (n_nodes, s) of observations by ordinal; what is no node is left out."""
    places = collection.places[observed.ordinals]
    rows = np.repeat(np.arange(len(observed.offsets) - 1), np.diff(observed.offsets))
    known = places >= 0
    shape = (collection.nodes.n, len(observed.offsets) - 1)
    return sp.csc_array((observed.weights[known], (places[known], rows[known])), shape=shape)


def by_ordinal(places: np.ndarray, f: np.ndarray, collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    """Give the scores of some places as (ordinals, scores)."""
    return collection.ordinals[places], f[places]


def combine_rows(observed: Observations, collection: Collection) -> Scores:
    """Combine rows of the offline diffusion: no solve."""
    if collection.manifold is None:
        raise ValueError("offline_diffusion needs the table manifold_neighbors: run diffuse")
    Y = observed.to_matrix(collection.X.n)
    F = answer_offline(collection.manifold.rows(np.unique(Y.indices).astype(np.int64)), Y)
    spans = zip(F.indptr[:-1], F.indptr[1:], strict=True)
    columns = [(F.indices[a:b].astype(np.int64), F.data[a:b]) for a, b in spans]
    nothing = np.zeros(len(columns), np.int64)
    return Scores(columns, nothing, nothing * 0.0)


def score_shortlists(
    lists: Lists, observed: Observations, collection: Collection, settings: SearchSettings
) -> Scores:
    """Solve one small system per query, over its nearest images."""
    Y, columns, steps, residuals = to_places(observed, collection), [], [], []
    graph = collection.affinity if settings.renormalise else collection.nodes.S
    for i in range(Y.shape[1]):
        nearest = lists[1][lists[0][i] : lists[0][i + 1]][: settings.shortlist]
        places = collection.places[nearest]
        places = places[places >= 0]
        y = Y[:, [i]].toarray()[places]
        solution = solve_truncated(
            graph, places, y, renormalise=settings.renormalise, alpha=settings.alpha, tol=settings.tol
        )
        f = solution.F[:, 0]
        columns.append((collection.ordinals[places[f != 0]], f[f != 0]))
        steps.append(solution.iterations[0])
        residuals.append(solution.residuals[0])
    return Scores(columns, np.array(steps, np.int64), np.array(residuals))


def spread_to_copies(
    ordinals: np.ndarray, scores: np.ndarray, X: OpenVectors, q: np.ndarray, limit: int
) -> Reached:
    """Keep the ``limit`` best and give their copies the same score; similarities are computed for these."""
    if len(scores) > limit:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - limit)[len(scores) - limit])
        ordinals, scores = ordinals[kept], scores[kept]
    similarity = np.minimum(X.gather(ordinals).astype(np.float64) @ q.astype(np.float64), 1.0)
    counts = 1 + X.grouped_copies.counts_of(ordinals)
    if (counts == 1).all():
        return Reached(ordinals, scores, similarity)
    one = Rows(
        np.zeros(1, np.int64), to_offsets(np.array([len(ordinals)])), ordinals, np.arange(len(ordinals))
    )
    full = list_copies(one, X.grouped_copies, np.iinfo(np.int32).max)
    which = full.similarity.astype(np.int64)  # carries the position of the image that stands for each
    return Reached(full.dst, scores[which], similarity[which])


def explain_answer(
    ordinals: np.ndarray, query: int, observed: Observations, collection: Collection
) -> tuple[Path, ...]:
    """Find the chain of images to each of the first results; its hops are ordinals of vectors."""
    if not len(ordinals):
        return ()
    own = slice(observed.offsets[query], observed.offsets[query + 1])
    places = collection.places[observed.ordinals[own]]
    support, weights = places[places >= 0], np.minimum(observed.weights[own][places >= 0], 1.0)
    targets = collection.places[collection.X.representative_of(ordinals)]
    found = [explain_result(collection.affinity, support, weights, int(target)) for target in targets]
    return tuple(
        path._replace(src=to_ordinals(path.src, collection), dst=to_ordinals(path.dst, collection))
        for path in found
    )


def to_ordinals(places: np.ndarray, collection: Collection) -> np.ndarray:
    """Translate places; -1, the query, stays."""
    return np.where(places >= 0, collection.ordinals[np.maximum(places, 0)], -1)
