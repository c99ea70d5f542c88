"""Query vectors to rankings of a collection, by every method, with the same arithmetic on Spark and off it.

Methods differ in how they score (here: by similarity; `resight.search.diffused`, `resight.search.regional`);
in all of them the query's own image is left out, and ties go by similarity, then by id.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np

from resight.diffusion.expansion import expand_queries
from resight.knn.search import search_collection
from resight.search.answer import Answer
from resight.search.collection import Collection
from resight.search.diffused import explain_answer, rank_diffused, search_distinct
from resight.search.regional import QueryRegions, rank_regions
from resight.search.settings import SearchSettings

__all__ = ["Answer", "QueryRegions", "answer_queries", "explain_answer", "search_distinct"]

SOLVE_BYTES = 256 << 20  # of the scores of all nodes for the queries solved together


def answer_queries(
    Q: np.ndarray,
    own: np.ndarray,
    collection: Collection,
    settings: SearchSettings,
    *,
    threads: int = 1,
    regions: QueryRegions | None = None,
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
    regions : QueryRegions, optional
        Of the same queries; what ``regional_diffusion`` asks with.

    Raises
    ------
    ValueError
        The queries have other dimensions than the collection, or the method needs files that are not open
        or regions that are not given.
    """
    X = collection.X
    depth = X.n if settings.depth == "all" else min(int(settings.depth), X.n)
    if settings.method in ("global", "average_qe", "alpha_qe"):
        yield from rank_similar(Q, own, collection, settings, depth)
        return
    asking = check_regions(regions, len(Q)) if settings.method == "regional_diffusion" else None
    for some in chunk_queries(len(Q), collection, settings):
        if asking:
            part = asking.pick(some)
            yield from rank_regions(Q[some], own[some], part, collection, settings, depth, threads)
        else:
            yield from rank_diffused(Q[some], own[some], collection, settings, depth, threads)


def check_regions(regions: QueryRegions | None, n_queries: int) -> QueryRegions:
    """Give ``regions`` where there are some of every query, else raise ValueError."""
    if regions is None or len(regions.offsets) != n_queries + 1:
        raise ValueError(f"regional_diffusion needs the regions of each of {n_queries} queries")
    return regions


def chunk_queries(n: int, collection: Collection, settings: SearchSettings) -> Iterator[slice]:
    """Cut ``n`` queries into chunks whose scores, of all nodes or of shortlists, fit into `SOLVE_BYTES`."""
    if settings.shortlist and settings.depth != "all":  # what is nearest weighs more than what is solved
        n_scores = min(3 * max(settings.shortlist, settings.depth), collection.X.n)
    elif settings.method == "offline_diffusion":
        n_scores = collection.X.n
    elif settings.method == "regional_diffusion":
        n_scores = collection.region_nodes.nodes.n
    else:
        n_scores = collection.nodes.n
    return cut_chunks(n, n_scores)


def cut_chunks(n: int, n_scores: int) -> Iterator[slice]:
    """Cut ``n`` queries into chunks of which ``n_scores`` float64 each fit into `SOLVE_BYTES`.

    >>> [*cut_chunks(7, 10_000_000)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 7, None)]
    """
    step = max(1, SOLVE_BYTES // (8 * max(n_scores, 1)))
    yield from (slice(i, min(i + step, n)) for i in range(0, n, step))


def rank_similar(
    Q: np.ndarray, own: np.ndarray, collection: Collection, settings: SearchSettings, depth: int
) -> Iterator[Answer]:
    """Rank by similarity, after query expansion where that is the method."""
    X = collection.X
    if settings.method != "global":
        power = 0.0 if settings.method == "average_qe" else settings.expansion_power
        included = settings.include_query
        expand = partial(expand_queries, n=settings.expansion, alpha=power, include_query=included)
        expanded = [
            expand(Q[chunk], lists, X.gather)
            for chunk, lists in search_collection(Q, own, X, depth=settings.expansion)
        ]
        Q = np.concatenate([Q[:0], *expanded])
    ranked = search_collection(Q, own, X, depth=depth, allowed=collection.allowed)
    for _, (offsets, ordinals, scores) in ranked:
        for start, stop in pairwise(offsets):
            yield Answer(ordinals[start:stop], scores[start:stop].astype(np.float64))
