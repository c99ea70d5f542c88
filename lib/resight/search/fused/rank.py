"""Rank queries by everything that is known: similarity, inverted file, verification, diffusion.

``F`` = similarity + 0.4 times each calibrated score + what verification of the best adds; the query observes
its five best images by the square of F, and what they say is diffused over a graph of fused similarities. The
images that diffusion does not reach follow by F.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from resight.diffusion.solve import solve_diffusion
from resight.knn.search import search_collection
from resight.rerank.fuse import (
    BONUS_WEIGHT,
    FROZEN,
    Weighting,
    calibrate_scores,
    choose_candidates,
    find_threshold,
    fuse_scores,
    observe_fused,
    reward_inliers,
)
from resight.search.answer import Answer
from resight.search.collection import Collection
from resight.search.fused.similarity import Descriptors
from resight.search.fused.verified import NOTHING, Known
from resight.search.rank import cut_chunks
from resight.topk import rank_order
from resight.verification.settings import VerifySettings
from resight.verification.verify import Photo, verify_pair

N_NEAR = 200  # most similar images of a query that are fused at least


class Photos(Protocol):
    """Where the keypoints of the collection are found, such as `resight.verification.feature_files`."""

    def find(self, image_id: int) -> object:
        """Give something that is true where the keypoints of an image are there."""

    def preparer(self, settings: VerifySettings) -> Callable[[int], Photo]:
        """Make the function that prepares the keypoints of an image."""


class FusedRecipe(NamedTuple):
    """How queries are ranked.

    ``n_verified``: the best by either ranking that are verified, 0 for none. ``bonus_weight`` is that of a
    verified match.
    """

    depth: int
    k_q: int = 5
    alpha: float = 0.8
    tol: float = 1e-6
    n_verified: int = 30
    verification: VerifySettings = VerifySettings()
    weighting: Weighting = FROZEN
    bonus_weight: float = BONUS_WEIGHT


class Ranking(NamedTuple):
    """What an inverted file says: ordinals (j,), -1 where an image has no descriptor, and scores (j,)."""

    found: np.ndarray
    scores: np.ndarray


class FusedQuery(NamedTuple):
    """A query: a unit vector (d,) per descriptor, its own ordinal or -1, and its rankings.

    ``near`` (k,) ordinals, the most similar by the first descriptor; ``found`` and ``scores`` (j,), its
    `Ranking` by the inverted file, and ``others`` by further ones; ``photo``: its keypoints. ``known``: what
    was verified before, and is not again.
    """

    vectors: tuple[np.ndarray | None, ...]
    own: int
    near: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    photo: Photo | None = None
    others: tuple[Ranking, ...] = ()
    known: Known = NOTHING

    def rankings(self) -> list[Ranking]:
        """List the rankings by inverted files, the query itself left out."""
        listed = []
        for found, scores in (Ranking(self.found, self.scores), *self.others):
            others = (found != self.own) | (found < 0)
            listed.append(Ranking(found[others], scores[others].astype(np.float64)))
        return listed


class Fused(NamedTuple):
    """Candidates of a query: ordinals (m,) ascending, fused (m,) and raw scores (r, m) float64 by ranking."""

    ordinals: np.ndarray
    fused: np.ndarray
    scores: np.ndarray


def rank_fused(
    queries: Sequence[FusedQuery],
    collection: Collection,
    descriptors: Descriptors,
    recipe: FusedRecipe,
    *,
    features: Photos | None = None,
    threads: int = 1,
) -> Iterator[Answer]:
    """Rank the images that a query's lists or its diffusion reach, ``recipe.depth`` of them.

    Parameters
    ----------
    collection : Collection
        Of the first descriptor, with the graph of fused similarities; what may be returned.
    features : Photos, optional
        Keypoints of the collection; a candidate without them is not verified.
    """
    verifier = Verifier(features, recipe) if features else None
    for some in cut_chunks(len(queries), collection.nodes.n):
        yield from rank_chunk(queries[some], collection, descriptors, recipe, verifier, threads)


def rank_chunk(
    queries: Sequence[FusedQuery],
    collection: Collection,
    descriptors: Descriptors,
    recipe: FusedRecipe,
    verifier: "Verifier | None",
    threads: int,
) -> Iterator[Answer]:
    """Rank for queries that are solved together: the scores of all nodes for them lie in memory."""
    lists = (fuse_lists(query, descriptors, recipe.weighting) for query in queries)
    fused = [verify_best(q, one, collection, recipe, verifier) for q, one in zip(queries, lists, strict=True)]
    Y = observe_queries(fused, collection, recipe)
    solution = solve_diffusion(collection.nodes.S, Y, alpha=recipe.alpha, tol=recipe.tol, threads=threads)
    reached = np.ascontiguousarray(solution.F.T)
    for i, (query, one) in enumerate(zip(queries, fused, strict=True)):
        ordinals, scores = order_images(query, one, reached[i], collection, recipe.depth)
        steps, residual = int(solution.iterations[i]), float(solution.residuals[i])
        yield Answer(ordinals, scores, not reached[i].any(), steps, residual)


def fuse_lists(query: FusedQuery, descriptors: Descriptors, weighting: Weighting = FROZEN) -> Fused:
    """Fuse all lists of a query; an image of one list only is looked up in the others' terms."""
    rankings = query.rankings()
    ordinals = query.near[query.near != query.own].astype(np.int64)
    for found, _ in rankings:
        ordinals = np.union1d(ordinals, found[found >= 0])
    similarity = descriptors.compare(query.vectors, ordinals)
    fused, scores = similarity, np.zeros((len(rankings), len(ordinals)))
    for place, (found, ranked) in enumerate(rankings):
        there = found >= 0
        scores[place, np.searchsorted(ordinals, found[there])] = ranked[there]
        calibrated = calibrate_scores(scores[place], find_threshold(ranked, descriptors.X.n))
        fused = fuse_scores(fused, calibrated, weighting.weigh(place, similarity, ranked))
    return Fused(ordinals, fused, scores)


def choose_images(query: FusedQuery, descriptors: Descriptors, recipe: FusedRecipe) -> np.ndarray:
    """Choose the images that a query is verified with, and was not before: their ordinals, ascending."""
    fused = fuse_lists(query, descriptors, recipe.weighting)
    chosen = fused.ordinals[choose_candidates(fused.fused, fused.scores, depth=recipe.n_verified)]
    return chosen[query.known.look_up(descriptors.X.id_of(chosen)) < 0]


def list_similar(Q: np.ndarray, own: np.ndarray, collection: Collection, depth: int) -> list[np.ndarray]:
    """List the images nearest to every query (s, d), and as many of those that may be returned.

    They are so many that a ranking of ``depth`` can be filled.
    """
    near: list[np.ndarray] = [np.zeros(0, np.int64)] * len(Q)
    depth = max(depth + 1, N_NEAR)
    for allowed in (None,) if collection.allowed is None else (None, collection.allowed):
        ranked = search_collection(Q, own, collection.X, depth=depth, allowed=allowed)
        for some, (offsets, ordinals, _) in ranked:
            for i, (a, b) in zip(range(len(Q))[some], pairwise(offsets), strict=True):
                near[i] = np.union1d(near[i], ordinals[a:b])
    return near


class Verifier:
    """Verifies queries against images whose keypoints are there; keeps those that were used last prepared."""

    def __init__(self, features: Photos, recipe: FusedRecipe) -> None:
        self.features, self.recipe = features, recipe
        self.prepare = features.preparer(recipe.verification)

    def count_inliers(self, photo: Photo, image_ids: np.ndarray) -> np.ndarray:
        """Count the inliers (m,) int64 of a query with images (m,); 0 where there are no keypoints."""
        n_inliers = np.zeros(len(image_ids), np.int64)
        for i, image_id in enumerate(image_ids.tolist()):
            if self.features.find(image_id):
                found = verify_pair(photo, self.prepare(image_id), self.recipe.verification)
                n_inliers[i] = found.n_inliers
        return n_inliers


def verify_best(
    query: FusedQuery,
    fused: Fused,
    collection: Collection,
    recipe: FusedRecipe,
    verifier: Verifier | None,
) -> Fused:
    """Add to the best of both rankings what verification says of them, before or now."""
    can_verify = query.photo is not None and verifier is not None
    if not recipe.n_verified or not (can_verify or len(query.known.image_ids)):
        return fused
    chosen = choose_candidates(fused.fused, fused.scores, depth=recipe.n_verified)
    ids = collection.X.id_of(fused.ordinals[chosen])
    n_inliers = query.known.look_up(ids)
    if query.photo is not None and verifier is not None:
        unknown = np.flatnonzero(n_inliers < 0)
        n_inliers[unknown] = verifier.count_inliers(query.photo, ids[unknown])
    F = fused.fused.copy()
    F[chosen] += reward_inliers(n_inliers, weight=recipe.bonus_weight)
    return fused._replace(fused=F)


def observe_queries(fused: list[Fused], collection: Collection, recipe: FusedRecipe) -> sp.csc_array:
    """Give what the queries observe of the nodes (n, s); copies of an image are observed as one."""
    columns, rows, weights = [], [], []
    for i, one in enumerate(fused):
        firsts = collection.X.representative_of(one.ordinals)
        order = np.lexsort((firsts, -one.fused))
        distinct = order[np.sort(np.unique(firsts[order], return_index=True)[1])]
        best, weight = observe_fused(one.fused[distinct], k=recipe.k_q)
        places = collection.places[firsts[distinct[best]]]
        known = places >= 0
        columns.append(np.full(int(known.sum()), i))
        rows.append(places[known])
        weights.append(weight[known])
    values, at = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return sp.csc_array((values, at), shape=(collection.nodes.n, len(fused)))


def order_images(
    query: FusedQuery, fused: Fused, reached: np.ndarray, collection: Collection, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Order what diffusion reached by its score, then the rest by F; scores never increase."""
    ordinals = reached_images(reached, collection, depth + 1)
    F = np.zeros(len(ordinals))
    at = np.minimum(np.searchsorted(fused.ordinals, ordinals), max(len(fused.ordinals) - 1, 0))
    known = fused.ordinals[at] == ordinals if len(fused.ordinals) else np.zeros(len(ordinals), bool)
    F[known] = fused.fused[at[known]]
    scores = reached[collection.places[collection.X.representative_of(ordinals)]]
    kept = np.flatnonzero(may_return(ordinals, query, collection))
    best = kept[np.lexsort((ordinals[kept], -F[kept], -scores[kept]))][:depth]
    rest = np.flatnonzero(~np.isin(fused.ordinals, ordinals))
    rest = rest[may_return(fused.ordinals[rest], query, collection)]
    rest = rest[rank_order(fused.fused[rest], fused.ordinals[rest])][: depth - len(best)]
    below = fused.fused[rest] - fused.fused[rest].max(initial=0.0)
    return np.concatenate([ordinals[best], fused.ordinals[rest]]), np.concatenate([scores[best], below])


def reached_images(reached: np.ndarray, collection: Collection, limit: int) -> np.ndarray:
    """Ordinals, ascending, of images and copies that diffusion reached: at least the ``limit`` best nodes."""
    places = np.flatnonzero((reached > 0) & (collection.ordinals >= 0))  # some images may be gone since
    if collection.allowed is None and len(places) > limit:
        kth = np.partition(reached[places], len(places) - limit)[len(places) - limit]
        places = places[reached[places] >= kth]
    firsts = collection.ordinals[places]
    copies, of = collection.X.copies
    return np.sort(np.concatenate([firsts, np.asarray(copies)[np.isin(of, firsts)]]))


def may_return(ordinals: np.ndarray, query: FusedQuery, collection: Collection) -> np.ndarray:
    """Whether each of some images (m,) may be in the answer: it is allowed, and not the query itself."""
    others = ordinals != query.own
    return others if collection.allowed is None else others & collection.allowed[ordinals]
