"""Rank queries by everything that is known: similarity, inverted file, verification, diffusion.

``F`` = similarity + 0.4 times the calibrated score + what verification of the best adds; the query observes
its five best images by the square of F, and what they say is diffused over a graph of fused similarities. The
images that diffusion does not reach follow by F.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.solve import solve_diffusion
from resight.rerank.fuse import (
    BONUS_WEIGHT,
    SCORE_WEIGHT,
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
from resight.topk import rank_order
from resight.verification.feature_files import OpenFeatures
from resight.verification.settings import VerifySettings
from resight.verification.verify import Photo, verify_pair


class FusedRecipe(NamedTuple):
    """How queries are ranked.

    ``n_verified``: the best by either ranking that are verified, 0 for none. ``score_weight`` is that of
    calibrated scores beside similarities, ``bonus_weight`` that of a verified match.
    """

    depth: int
    k_q: int = 5
    alpha: float = 0.8
    tol: float = 1e-6
    n_verified: int = 30
    verification: VerifySettings = VerifySettings()
    score_weight: float = SCORE_WEIGHT
    bonus_weight: float = BONUS_WEIGHT


class FusedQuery(NamedTuple):
    """A query: a unit vector (d,) per descriptor, its own ordinal or -1, and three lists.

    ``near`` (k,) ordinals, the most similar by the first descriptor; ``found`` (j,) ordinals and ``scores``
    (j,), its ranking by the inverted file, -1 where an image has no descriptor; ``photo``: its keypoints.
    """

    vectors: tuple[np.ndarray | None, ...]
    own: int
    near: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    photo: Photo | None = None


class Fused(NamedTuple):
    """Candidates of a query: ordinals (m,) ascending, fused and raw inverted-file scores (m,) float64."""

    ordinals: np.ndarray
    fused: np.ndarray
    scores: np.ndarray


def rank_fused(
    queries: Sequence[FusedQuery],
    collection: Collection,
    descriptors: Descriptors,
    recipe: FusedRecipe,
    *,
    features: OpenFeatures | None = None,
    threads: int = 1,
) -> Iterator[Answer]:
    """Rank the images that a query's lists or its diffusion reach, ``recipe.depth`` of them.

    Parameters
    ----------
    collection : Collection
        Of the first descriptor, with the graph of fused similarities; what may be returned.
    features : OpenFeatures, optional
        Keypoints of the collection; a candidate without them is not verified.
    """
    if not len(queries):
        return
    verifier = Verifier(features, recipe) if features else None
    weight = recipe.score_weight
    fused = [verify_best(q, fuse_lists(q, descriptors, weight), collection, verifier) for q in queries]
    Y = observe_queries(fused, collection, recipe)
    solution = solve_diffusion(collection.nodes.S, Y, alpha=recipe.alpha, tol=recipe.tol, threads=threads)
    reached = np.ascontiguousarray(solution.F.T)
    for i, (query, one) in enumerate(zip(queries, fused, strict=True)):
        ordinals, scores = order_images(query, one, reached[i], collection, recipe.depth)
        steps, residual = int(solution.iterations[i]), float(solution.residuals[i])
        yield Answer(ordinals, scores, not reached[i].any(), steps, residual)


def fuse_lists(query: FusedQuery, descriptors: Descriptors, weight: float = SCORE_WEIGHT) -> Fused:
    """Fuse both lists of a query; an image of one list only is looked up in the other's terms."""
    others = (query.found >= 0) & (query.found != query.own)
    found, scores = query.found[others], query.scores[others].astype(np.float64)
    threshold = find_threshold(query.scores[query.found != query.own], descriptors.X.n)
    ordinals = np.union1d(query.near[query.near != query.own], found).astype(np.int64)
    there = np.zeros(len(ordinals))
    there[np.searchsorted(ordinals, found)] = scores
    similarity = descriptors.compare(query.vectors, ordinals)
    return Fused(ordinals, fuse_scores(similarity, calibrate_scores(there, threshold), weight), there)


class Verifier:
    """Verifies queries against images whose keypoints are there; keeps those that were used last prepared."""

    def __init__(self, features: OpenFeatures, recipe: FusedRecipe) -> None:
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


def verify_best(query: FusedQuery, fused: Fused, collection: Collection, verifier: Verifier | None) -> Fused:
    """Add to the best of both rankings what verification says of them."""
    if query.photo is None or verifier is None or not verifier.recipe.n_verified:
        return fused
    chosen = choose_candidates(fused.fused, fused.scores, depth=verifier.recipe.n_verified)
    n_inliers = verifier.count_inliers(query.photo, collection.X.id_of(fused.ordinals[chosen]))
    F = fused.fused.copy()
    F[chosen] += reward_inliers(n_inliers, weight=verifier.recipe.bonus_weight)
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
    places = np.flatnonzero(reached > 0)
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
