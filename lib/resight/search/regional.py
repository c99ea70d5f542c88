"""Regional diffusion: a query's regions look for regions, images are scored by theirs.

Iscen et al., "Efficient diffusion on region manifolds", CVPR 2017, section 3: what the regions of a query
observe is one right-hand side, solved over the graph of regions; the scores of an image's regions are then
added. Images that diffusion does not reach follow by the similarity of vectors of whole images. With a
shortlist (section 3.4 there) the system of a query is that of the regions of its most similar images, which
its own regions look through again.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from resight.diffusion.observe import Observations, QueryLists, observe_queries
from resight.diffusion.pooling import pool_regions
from resight.diffusion.rank import Reached, rank_images
from resight.diffusion.solve import solve_diffusion
from resight.diffusion.truncate import list_regions, slice_matrix, solve_truncated
from resight.knn.blocks import Lists, search_blocks
from resight.knn.growth.lists import fresh_blocks
from resight.knn.search import search_collection
from resight.search.answer import Answer
from resight.search.collection import Collection
from resight.search.diffused import keep_best, search_allowed, search_distinct, to_places
from resight.search.regions import OpenRegions
from resight.search.settings import SearchSettings


class QueryRegions(NamedTuple):
    """Regions of s queries: ``offsets`` (s + 1,) int64 into ``vectors`` (v, d) float32, unit rows."""

    offsets: np.ndarray
    vectors: np.ndarray

    def pick(self, some: slice) -> "QueryRegions":
        """Give the regions of consecutive queries."""
        bounds = self.offsets[some.start : some.stop + 1]
        return QueryRegions(bounds - bounds[0], self.vectors[bounds[0] : bounds[-1]])


class Pooled(NamedTuple):
    """Images with a region that diffusion reached: ``ordinals`` ascending, ``scores``, ``best`` region_ix."""

    ordinals: np.ndarray
    scores: np.ndarray
    best: np.ndarray

    def pick(self, kept: np.ndarray) -> "Pooled":
        """Give some of the images, by place or by mask."""
        return Pooled(*(column[kept] for column in self))


class Listed(NamedTuple):
    """The regions of some images, as `OpenRegions` has those of all."""

    images: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    weights: np.ndarray
    region_ix: np.ndarray


class Scored(NamedTuple):
    """What diffusion gives for one query, and how it was solved."""

    pooled: Pooled
    no_support: bool
    iterations: int
    residual: float


def rank_regions(
    Q: np.ndarray,
    own: np.ndarray,
    asking: QueryRegions,
    collection: Collection,
    settings: SearchSettings,
    depth: int,
    threads: int,
) -> Iterator[Answer]:
    """Rank by what the regions ``asking`` reach, then by the similarity of ``Q``; see `answer_queries`."""
    if settings.shortlist:
        scored = score_shortlists(Q, asking, collection, settings, threads)
    else:
        scored = score_regions(asking, collection, settings, threads)
    similar = list_similar(Q, collection, depth + 1)
    for i, (pooled, no_support, iterations, residual) in enumerate(scored):
        if collection.allowed is not None:
            pooled = pooled.pick(collection.allowed[pooled.ordinals])
        pooled = pooled.pick(keep_best(pooled.scores, depth + 1))
        similarity = np.minimum(collection.X.gather(pooled.ordinals).astype(float) @ Q[i].astype(float), 1.0)
        ranking = rank_images(
            Reached(pooled.ordinals, pooled.scores, similarity), *next(similar), depth=depth + 1
        )
        others = ranking.ordinals != own[i]
        ordinals, scores = ranking.ordinals[others][:depth], ranking.scores[others][:depth]
        best = best_regions(ordinals, pooled)
        yield Answer(ordinals, scores, no_support, iterations, residual, regions=best)


def score_regions(
    asking: QueryRegions, collection: Collection, settings: SearchSettings, threads: int
) -> Iterator[Scored]:
    """Diffuse over the whole graph of regions, all queries together."""
    nodes, regions = collection.region_nodes, collection.opened_regions
    k = count_observed(settings, regions)
    lists = search_distinct(check_width(asking, nodes), nodes.X, k=k)
    observed = observe_regions(lists, asking, settings, k=k)
    solution = solve_diffusion(
        nodes.nodes.S,
        to_places(observed, nodes),
        alpha=settings.alpha,
        tol=settings.tol,
        precision=settings.precision,
        threads=threads,
    )
    for i, f in enumerate(np.ascontiguousarray(solution.F.T)):
        pooled = pool_images(f[regions.places], regions, settings)
        steps, residual = int(solution.iterations[i]), float(solution.residuals[i])
        yield Scored(pooled, bool(observed.no_support[i]), steps, residual)


def score_shortlists(
    Q: np.ndarray, asking: QueryRegions, collection: Collection, settings: SearchSettings, threads: int
) -> Iterator[Scored]:
    """Solve one small system per query, over the regions of its nearest images."""
    check_width(asking, collection.region_nodes)
    nothing = np.full(len(Q), -1, np.int64)
    for chunk, (offsets, ordinals, _) in search_collection(
        Q, nothing, collection.X, depth=settings.shortlist
    ):
        for i in range(chunk.stop - chunk.start):
            images = ordinals[offsets[i] : offsets[i + 1]]
            at = chunk.start + i
            yield score_shortlist(asking.pick(slice(at, at + 1)), images, collection, settings, threads)


def score_shortlist(
    asking: QueryRegions, images: np.ndarray, collection: Collection, settings: SearchSettings, threads: int
) -> Scored:
    """Diffuse among the regions of ``images`` (t,), ordinals, for one query."""
    nodes, regions = collection.region_nodes, pick_images(collection.opened_regions, images)
    ordinals, values = nodes.ordinals[regions.places], np.zeros(len(regions.places))
    known = ordinals >= 0  # what stands for a region may be gone with its image
    names, local = np.unique(ordinals[known], return_inverse=True)
    k = count_observed(settings, collection.opened_regions)
    lists = search_among(asking.vectors, names, nodes, k=k)
    observed = observe_regions(lists, asking, settings, k=k)
    y = np.zeros((len(names), 1))
    y[np.searchsorted(names, observed.ordinals), 0] = observed.weights
    graph = nodes.nodes
    slice_graph = graph.affinity_among if settings.renormalise else partial(slice_matrix, graph.S)
    solution = solve_truncated(
        slice_graph(nodes.places[names]),
        np.arange(len(names)),
        y,
        renormalise=settings.renormalise,
        alpha=settings.alpha,
        tol=settings.tol,
        precision=settings.precision,
        threads=threads,
    )
    values[known] = solution.F[local, 0]
    pooled = pool_images(values, regions, settings)
    steps, residual = int(solution.iterations[0]), float(solution.residuals[0])
    return Scored(pooled, bool(observed.no_support[0]), steps, residual)


def pick_images(regions: OpenRegions, images: np.ndarray) -> Listed:
    """Give the regions of ``images`` (t,), ordinals in any order; what has none is left out."""
    wanted = np.sort(images)
    at = np.searchsorted(regions.images, wanted)
    known = np.append(regions.images[np.minimum(at, len(regions.images) - 1)], 0)[:-1] == wanted
    rows, offsets = list_regions(regions.offsets, at[known])
    return Listed(
        wanted[known], offsets, regions.places[rows], regions.weights[rows], regions.region_ix[rows]
    )


def search_among(Q: np.ndarray, names: np.ndarray, nodes: Collection, *, k: int) -> Lists:
    """List the ``k`` nearest of ``names`` (m,), ordinals, ascending, for each of ``Q`` (v, d)."""
    if not len(Q) or not len(names):
        return np.zeros(len(Q) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    blocks = fresh_blocks(names, nodes.X)
    return search_blocks((np.full(len(Q), -1, np.int64), Q), blocks, blocks, nodes.X.gather, k=k)


def check_width(asking: QueryRegions, nodes: Collection) -> np.ndarray:
    """Give the vectors that ask; ValueError where they have other dimensions than the graph's."""
    if len(asking.vectors) and asking.vectors.shape[1] != nodes.X.d:
        raise ValueError(f"regions have shape {asking.vectors.shape}, the graph's {nodes.X.d} dimensions")
    return asking.vectors


def count_observed(settings: SearchSettings, regions: OpenRegions) -> int:
    """How many regions a query observes: as many as ten images have, where nothing else is said.

    So are the 200 of the paper (Iscen et al., CVPR 2017), whose images have some twenty.
    """
    if settings.query_neighbors != "auto":
        return settings.query_neighbors
    return max(1, round(settings.k_q * len(regions.places) / max(1, len(regions.images))))


def observe_regions(lists: Lists, asking: QueryRegions, settings: SearchSettings, *, k: int) -> Observations:
    """Let every region of a query observe its list; a query keeps the ``k`` largest sums."""
    n_queries = len(asking.offsets) - 1
    query = np.repeat(np.arange(n_queries), np.diff(asking.offsets))
    return observe_queries(
        QueryLists(*lists, query),
        k_q=k,
        gamma=settings.gamma,
        y_pool=settings.query_pool,
        n_queries=n_queries,
    )


def list_similar(
    Q: np.ndarray, collection: Collection, depth: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the ``depth`` most similar images of every query: ordinals and similarities."""
    for chunk, (offsets, ordinals, similarity) in search_allowed(Q, collection, depth=depth):
        for i in range(chunk.stop - chunk.start):
            some = slice(offsets[i], offsets[i + 1])
            yield ordinals[some], similarity[some]


def pool_images(values: np.ndarray, regions: OpenRegions | Listed, settings: SearchSettings) -> Pooled:
    """Add up the scores ``values`` (m,) of each image's regions, by their weights or equally."""
    weights = regions.weights if settings.region_pool == "gmp" else None
    pooled = pool_regions(values, regions.offsets, weights)
    is_reached = np.add.reduceat(np.append(values != 0, False), regions.offsets[:-1]) > 0
    reached = np.flatnonzero(is_reached)
    best = regions.region_ix[pooled.best[reached]]
    return Pooled(np.asarray(regions.images)[reached], pooled.scores[reached], best)


def best_regions(ordinals: np.ndarray, pooled: Pooled) -> np.ndarray:
    """Look up the best region (k,) int32 of some images, -1 where diffusion did not reach them."""
    if not len(pooled.ordinals):
        return np.full(len(ordinals), -1, np.int32)
    at = np.minimum(np.searchsorted(pooled.ordinals, ordinals), len(pooled.ordinals) - 1)
    return np.where(pooled.ordinals[at] == ordinals, pooled.best[at], -1).astype(np.int32)
