"""Regional diffusion: a query's regions look for regions, images are scored by theirs.

Iscen et al., "Efficient diffusion on region manifolds", CVPR 2017, section 3: what the regions of a query
observe is one right-hand side, solved over the graph of regions; the scores of an image's regions are then
added. Images that diffusion does not reach follow by the similarity of vectors of whole images.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from resight.diffusion.observe import Observations, QueryLists, observe_queries
from resight.diffusion.pooling import pool_regions
from resight.diffusion.rank import Reached, rank_images
from resight.diffusion.solve import Solution, solve_diffusion
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
    nodes, regions = collection.region_nodes, collection.opened_regions
    observed = observe_regions(asking, nodes, settings)
    solution = solve_regions(observed, nodes, settings, threads)
    similar = list_similar(Q, collection, depth + 1)
    for i, f in enumerate(np.ascontiguousarray(solution.F.T)):
        pooled = pool_images(f, regions, settings)
        if collection.allowed is not None:
            pooled = pooled.pick(collection.allowed[pooled.ordinals])
        pooled = pooled.pick(keep_best(pooled.scores, depth + 1))
        similarity = np.minimum(collection.X.gather(pooled.ordinals).astype(float) @ Q[i].astype(float), 1.0)
        ranking = rank_images(
            Reached(pooled.ordinals, pooled.scores, similarity), *next(similar), depth=depth + 1
        )
        others = ranking.ordinals != own[i]
        ordinals, scores = ranking.ordinals[others][:depth], ranking.scores[others][:depth]
        steps, residual = int(solution.iterations[i]), float(solution.residuals[i])
        best = best_regions(ordinals, pooled)
        yield Answer(ordinals, scores, bool(observed.no_support[i]), steps, residual, regions=best)


def observe_regions(asking: QueryRegions, nodes: Collection, settings: SearchSettings) -> Observations:
    """Let every region of a query find its nearest regions; a query keeps the ``k_q`` largest sums."""
    n_queries = len(asking.offsets) - 1
    if len(asking.vectors) and asking.vectors.shape[1] != nodes.X.d:
        raise ValueError(f"regions have shape {asking.vectors.shape}, the graph's {nodes.X.d} dimensions")
    lists = search_distinct(asking.vectors, nodes.X, k=settings.k_q)
    query = np.repeat(np.arange(n_queries), np.diff(asking.offsets))
    return observe_queries(
        QueryLists(*lists, query),
        k_q=settings.k_q,
        gamma=settings.gamma,
        y_pool=settings.query_pool,
        n_queries=n_queries,
    )


def solve_regions(
    observed: Observations, nodes: Collection, settings: SearchSettings, threads: int
) -> Solution:
    """Diffuse over the graph of regions: a column of scores by place per query."""
    return solve_diffusion(
        nodes.nodes.S,
        to_places(observed, nodes),
        alpha=settings.alpha,
        tol=settings.tol,
        precision=settings.precision,
        threads=threads,
    )


def list_similar(
    Q: np.ndarray, collection: Collection, depth: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the ``depth`` most similar images of every query: ordinals and similarities."""
    for chunk, (offsets, ordinals, similarity) in search_allowed(Q, collection, depth=depth):
        for i in range(chunk.stop - chunk.start):
            some = slice(offsets[i], offsets[i + 1])
            yield ordinals[some], similarity[some]


def pool_images(f: np.ndarray, regions: OpenRegions, settings: SearchSettings) -> Pooled:
    """Add up the scores ``f`` (n_nodes,) of each image's regions, by their weights or equally."""
    values = f[regions.places]
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
