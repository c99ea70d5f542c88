"""Query vectors to rankings by diffusion over the graph of images: solved, cut to a shortlist, or offline.

Copies of a vector have the score of the image that stands for them; what diffusion does not reach follows by
similarity.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.explain import Path, explain_result, leave_from
from resight.diffusion.observe import Observations, QueryLists, observe_queries
from resight.diffusion.offline import answer_offline
from resight.diffusion.rank import Reached, rank_images
from resight.diffusion.solve import solve_diffusion
from resight.diffusion.truncate import slice_matrix, solve_truncated
from resight.knn.blocks import Lists, search_blocks
from resight.knn.copies import Rows, list_copies, to_offsets
from resight.knn.matrix import OpenVectors
from resight.knn.search import BLOCK_ROWS, search_collection
from resight.search.answer import Answer
from resight.search.collection import Collection
from resight.search.settings import SearchSettings


class Scores(NamedTuple):
    """What diffusion gives for a chunk of s queries: a column per query, over ordinals of vectors."""

    columns: list[tuple[np.ndarray, np.ndarray]]  # ordinals (m,) int64 ascending, scores (m,) float64
    solved: Sequence[tuple[int | None, float | None]]  # iterations and residual of each


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
    n_listed = max(depth + 1, settings.k_q, settings.shortlist)
    lists = search_distinct(Q, X, k=n_listed)
    observed = observe_queries(QueryLists(*lists), k_q=settings.k_q, gamma=settings.gamma, n_queries=len(Q))
    scores = score_queries(lists, observed, collection, settings, threads)
    filled = list_images(Q, lists, collection, depth + 1)
    for i, column in enumerate(scores.columns):
        reached = reach_images(*column, collection, Q[i], depth + 1)
        rest = slice(filled.offsets[i], filled.offsets[i + 1])
        ranking = rank_images(reached, filled.dst[rest], filled.similarity[rest], depth=depth + 1)
        others = ranking.ordinals != own[i]
        ordinals, found = ranking.ordinals[others][:depth], ranking.scores[others][:depth]
        explained = ordinals[: settings.explain]
        paths = explain_answer(explained, i, observed, collection, settings, own=int(own[i]))
        yield Answer(ordinals, found, bool(observed.no_support[i]), *scores.solved[i], paths)


def search_distinct(Q: np.ndarray, X: OpenVectors, *, k: int) -> Lists:
    """List the ``k`` nearest distinct vectors of every query: offsets, ordinals, similarities."""
    nothing = np.full(len(Q), -1, np.int64)
    if not len(Q):
        return np.zeros(1, np.int64), nothing, np.zeros(0, np.float32)
    if k <= X.n // 8:
        return search_blocks((nothing, Q), X.blocks(BLOCK_ROWS), X.blocks(BLOCK_ROWS), X.gather, k=k)
    counts, parts = [], []
    for _, (offsets, ordinals, similarity) in search_collection(Q, nothing, X, depth=X.n):
        first = X.representative_of(ordinals) == ordinals
        counts.append(np.add.reduceat(first, offsets[:-1]))
        parts.append((ordinals[first], similarity[first]))
    ordinals, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    return to_offsets(np.concatenate(counts)), ordinals, similarity


def list_images(Q: np.ndarray, lists: Lists, collection: Collection, depth: int) -> Rows:
    """List the ``depth`` most similar images, or more, of those that may be returned, for every query."""
    if collection.allowed is None:
        rows = Rows(np.arange(len(Q)), *lists)
        return list_copies(rows, collection.X.grouped_copies, np.iinfo(np.int32).max)
    found = [part for _, part in search_allowed(Q, collection, depth=depth)]
    counts = np.concatenate([np.zeros(0, np.int64), *(np.diff(offsets) for offsets, _, _ in found)])
    ordinals = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in found)])
    similarity = np.concatenate([np.zeros(0, np.float32), *(part[2] for part in found)])
    return Rows(np.arange(len(Q)), to_offsets(counts), ordinals, similarity)


def search_allowed(Q: np.ndarray, collection: Collection, *, depth: int) -> Iterator[tuple[slice, Lists]]:
    """Search the images that may be returned, a query's own among them, see `search_collection`."""
    nothing = np.full(len(Q), -1, np.int64)
    return search_collection(Q, nothing, collection.X, depth=depth, allowed=collection.allowed)


def reach_images(
    ordinals: np.ndarray, scores: np.ndarray, collection: Collection, q: np.ndarray, limit: int
) -> Reached:
    """Give what diffusion scored, copies included, as far as it may be returned; see `spread_to_copies`."""
    kept = collection.standing_for_allowed(ordinals)
    reached = spread_to_copies(ordinals[kept], scores[kept], collection.X, q, limit)
    if collection.allowed is None:
        return reached
    allowed = collection.allowed[reached.ordinals]
    return Reached(*(part[allowed] for part in reached))


def score_queries(
    lists: Lists, observed: Observations, collection: Collection, settings: SearchSettings, threads: int
) -> Scores:
    """Diffuse what the queries observe, by the path that the settings name."""
    if settings.method == "offline_diffusion":
        return combine_rows(observed, collection)
    if settings.shortlist:
        return score_shortlists(lists, observed, collection, settings, threads)
    graph = collection.nodes
    Y = to_places(observed, collection)
    solution = solve_diffusion(
        graph.S, Y, alpha=settings.alpha, tol=settings.tol, precision=settings.precision, threads=threads
    )
    return Scores(
        [by_ordinal(np.flatnonzero(f), f, collection) for f in np.ascontiguousarray(solution.F.T)],
        list(zip(solution.iterations.tolist(), solution.residuals.tolist(), strict=True)),
    )


def to_places(observed: Observations, collection: Collection) -> sp.csc_array:
    """Give the right-hand sides (n_nodes, s) of observations by ordinal; what is no node is left out."""
    places = collection.places[observed.ordinals]
    rows = np.repeat(np.arange(len(observed.offsets) - 1), np.diff(observed.offsets))
    known = places >= 0
    shape = (collection.nodes.n, len(observed.offsets) - 1)
    return sp.csc_array((observed.weights[known], (places[known], rows[known])), shape=shape)


def by_ordinal(places: np.ndarray, f: np.ndarray, collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    """Give the scores of some places as (ordinals, scores); a node that has no vector any more has none."""
    places = places[collection.ordinals[places] >= 0]
    return collection.ordinals[places], f[places]


def combine_rows(observed: Observations, collection: Collection) -> Scores:
    """Combine rows of the offline diffusion: no solve."""
    if collection.manifold is None:
        raise ValueError("offline_diffusion needs the table manifold_neighbors: run diffuse")
    Y = observed.to_matrix(collection.X.n)
    F = answer_offline(collection.manifold.rows(np.unique(Y.indices).astype(np.int64)), Y)
    spans = zip(F.indptr[:-1], F.indptr[1:], strict=True)
    columns = [(F.indices[a:b].astype(np.int64), F.data[a:b]) for a, b in spans]
    return Scores(columns, [(None, None)] * len(columns))


def score_shortlists(
    lists: Lists, observed: Observations, collection: Collection, settings: SearchSettings, threads: int
) -> Scores:
    """Solve one small system per query, over its nearest images."""
    Y, columns, solved = to_places(observed, collection), [], []
    graph = collection.nodes
    slice_graph = graph.affinity_among if settings.renormalise else partial(slice_matrix, graph.S)
    for i in range(Y.shape[1]):
        nearest = lists[1][lists[0][i] : lists[0][i + 1]][: settings.shortlist]
        places = collection.places[nearest]
        places = places[places >= 0]
        entries = slice(Y.indptr[i], Y.indptr[i + 1])
        y = pick_entries(Y.indices[entries], Y.data[entries], places)[:, np.newaxis]
        solution = solve_truncated(
            slice_graph(places),
            np.arange(len(places)),
            y,
            renormalise=settings.renormalise,
            alpha=settings.alpha,
            tol=settings.tol,
            precision=settings.precision,
            threads=threads,
        )
        f = solution.F[:, 0]
        columns.append((collection.ordinals[places[f != 0]], f[f != 0]))
        solved.append((int(solution.iterations[0]), float(solution.residuals[0])))
    return Scores(columns, solved)


def pick_entries(nodes: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Give the value of each of ``wanted`` (t,), different ones; 0 where ``nodes`` (m,) do not name it."""
    order, picked = np.argsort(wanted), np.zeros(len(wanted))
    at = np.searchsorted(wanted, nodes, sorter=order)
    there = np.append(wanted[order], -1)[at] == nodes
    picked[order[at[there]]] = values[there]
    return picked


def spread_to_copies(
    ordinals: np.ndarray, scores: np.ndarray, X: OpenVectors, q: np.ndarray, limit: int
) -> Reached:
    """Keep the ``limit`` best and give their copies the same score; similarities are computed for these."""
    kept = keep_best(scores, limit)
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


def keep_best(scores: np.ndarray, limit: int) -> np.ndarray:
    """Positions, ascending, of the ``limit`` best scores and of what ties with the last of them."""
    n = len(scores)
    if n <= limit:
        return np.arange(n)
    return np.flatnonzero(scores >= np.partition(scores, n - limit)[n - limit])


def explain_answer(
    ordinals: np.ndarray,
    query: int,
    observed: Observations,
    collection: Collection,
    settings: SearchSettings,
    *,
    own: int = -1,
) -> tuple[Path, ...]:
    """Find the chain of images to each of the first results; its hops are ordinals of vectors.

    ``own`` is the query's ordinal where it is of the collection: its chains begin there. The last hop leads
    to the result also where another image with the same vector stands for it in the graph.
    """
    if not len(ordinals):
        return ()
    entries = slice(observed.offsets[query], observed.offsets[query + 1])
    places = collection.places[observed.ordinals[entries]]
    support, weights = places[places >= 0], np.minimum(observed.weights[entries][places >= 0], 1.0)
    targets = collection.places[collection.X.representative_of(ordinals)]
    explain = partial(explain_result, max_hops=settings.explain_hops, max_nodes=settings.explain_nodes)
    found = [explain(collection.row, support, weights, int(target)) for target in targets]
    named = (
        path._replace(src=to_ordinals(path.src, collection), dst=to_ordinals(path.dst, collection))
        for path in found
    )
    return tuple(finish_path(*pair, own, collection.X) for pair in zip(named, ordinals, strict=True))


def finish_path(path: Path, result: int, own: int, X: OpenVectors) -> Path:
    """Let a chain begin at the query and end at the result: other images may stand for them in the graph."""
    if own >= 0:
        path = leave_from(path, int(X.representative_of(np.array([own]))[0]))
    return path._replace(dst=np.append(path.dst[:-1], result)) if len(path.dst) else path


def to_ordinals(places: np.ndarray, collection: Collection) -> np.ndarray:
    """Translate places; -1, the query, stays."""
    return np.where(places >= 0, collection.ordinals[np.maximum(places, 0)], -1)
