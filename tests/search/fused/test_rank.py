import numpy as np
import pytest

from resight.features.local.points import LocalFeatures
from resight.rerank.fuse import Weighting, calibrate_scores, find_threshold
from resight.search.collection import SearchFiles
from resight.search.fused import rank
from resight.search.fused.rank import (
    FusedQuery,
    FusedRecipe,
    Ranking,
    choose_images,
    fuse_lists,
    rank_fused,
)
from resight.search.fused.similarity import DescriptorFiles
from resight.search.fused.verified import Known
from resight.verification.feature_files import Described, FeatureFiles, save_features
from resight.verification.verify import prepare_photo
from tests.search.collections import save_vectors
from tests.search.fused.worlds import WEIGHT, dense_graph, joined_similarity, make_world, save_world, unit

ALPHA = 0.8


def make_query(rng, world, *, own=-1, n_found=60):
    if own >= 0:
        x, c, scores = world.X[own], world.C[own], world.scores[own].copy()
    else:
        x, c = (unit(V[[7]] + 0.3 * rng.standard_normal((1, V.shape[1])))[0] for V in (world.X, world.C))
        scores = world.scores[7] * rng.uniform(0.5, 1, len(world.ids)).astype(np.float32)
    order = np.lexsort((np.arange(len(scores)), -scores))[:n_found]
    near = np.argsort(-(world.X @ x), kind="stable")
    return FusedQuery((x, c), own, near, order, scores[order]), scores


def dense_ranking(world, query, scores):
    """Order all images for one query, everything written out; also what diffusion gives each."""
    n, (firsts, W) = len(world.ids), dense_graph(world)
    others = np.delete(np.arange(n), query.own) if query.own >= 0 else np.arange(n)
    threshold = find_threshold(np.sort(scores[others])[::-1], n)
    F = joined_similarity(world, *(v[None] for v in query.vectors))[0]
    F = F + 0.4 * calibrate_scores(scores, threshold)
    best = [i for i in np.lexsort((np.arange(n), -F)) if i in set(others) & set(firsts)][:5]
    y = np.zeros(n)
    y[best] = F[best] ** 2 / (F[best] ** 2).sum()
    root = np.sqrt(W.sum(1))
    S = np.divide(W, np.outer(root, root), out=np.zeros_like(W), where=W > 0)
    R = np.linalg.solve(np.eye(len(firsts)) - ALPHA * S, (1 - ALPHA) * y[firsts])
    R[abs(R) < 1e-12] = 0
    stands = world.files.open().X.representative_of(np.arange(n))
    score = R[np.searchsorted(firsts, stands)]
    order = np.lexsort((np.arange(n), -F, -score))
    return order[np.isin(order, others)], score


@pytest.mark.parametrize("own", [-1, 12])
@pytest.mark.parametrize("depth", [5, 60])
def test_ranking_equals_the_dense_one(rng, tmp_path, own, depth):
    world = make_world(tmp_path, rng, copies=[(7, 40), (20, 21)])
    query, scores = make_query(rng, world, own=own)
    collection = save_world(tmp_path, world).open()
    (answer,) = rank_fused([query], collection, world.files.open(), FusedRecipe(depth, tol=1e-12))
    expected, score = dense_ranking(world, query, scores)
    n_reached = int((answer.scores > 0).sum())
    np.testing.assert_array_equal(answer.ordinals, expected[:depth])
    np.testing.assert_allclose(answer.scores[:n_reached], score[answer.ordinals[:n_reached]], atol=1e-9)
    assert (np.diff(answer.scores) <= 1e-12).all()
    assert n_reached > 0
    assert not answer.no_support


def test_further_rankings_add_to_the_similarity(rng, tmp_path):
    world = make_world(tmp_path, rng)
    query, scores = make_query(rng, world)
    more = world.scores[7] * rng.random(60).astype(np.float32)
    order = np.lexsort((np.arange(60), -more))[:20]
    listed = Ranking(np.append(order, -1), np.append(more[order], 0).astype(np.float32))
    both = fuse_lists(query._replace(others=(listed,)), world.files.open(), Weighting(0.4, 0.7))
    expected = joined_similarity(world, *(v[None] for v in query.vectors))[0]
    for row, weight in ((scores, 0.4), (more, 0.7)):
        expected += weight * calibrate_scores(row, find_threshold(np.sort(row)[::-1], 60))
    np.testing.assert_array_equal(both.ordinals, np.arange(60))
    np.testing.assert_allclose(both.fused, expected, atol=1e-6)
    chosen = choose_images(query._replace(others=(listed,)), world.files.open(), FusedRecipe(9, n_verified=3))
    assert set(order[:3]) | set(query.found[:3]) <= set(chosen)


def test_queries_of_a_batch_do_not_touch_each_other(rng, tmp_path):
    world = make_world(tmp_path, rng)
    queries = [make_query(rng, world, own=own)[0] for own in (3, -1, 8)]
    opened = save_world(tmp_path, world).open(), world.files.open()
    together = list(rank_fused(queries, *opened, FusedRecipe(20)))
    for query, answer in zip(queries, together, strict=True):
        (alone,) = rank_fused([query], *opened, FusedRecipe(20))
        np.testing.assert_array_equal(alone.ordinals, answer.ordinals)
        np.testing.assert_allclose(alone.scores, answer.scores, atol=1e-9)
    assert list(rank_fused([], *opened, FusedRecipe(20))) == []


def test_only_allowed_images_are_returned(rng, tmp_path):
    world = make_world(tmp_path, rng)
    allowed = rng.random(60) < 0.4
    query, _ = make_query(rng, world, own=2)
    collection = save_world(tmp_path, world).open()
    (full,) = rank_fused([query], collection, world.files.open(), FusedRecipe(60))
    (part,) = rank_fused([query], collection.restrict(allowed), world.files.open(), FusedRecipe(60))
    np.testing.assert_array_equal(part.ordinals, full.ordinals[allowed[full.ordinals]])


def random_features(rng, n=60):
    points = np.c_[rng.random((n, 2)) * 400, 5 + rng.random(n), 360 * rng.random(n), rng.random(n)]
    return LocalFeatures(points.astype(np.float32), rng.standard_normal((n, 128)).astype(np.float32))


def test_a_verified_image_rises_to_the_top(rng, tmp_path):
    world = make_world(tmp_path, rng)
    query, _ = make_query(rng, world, n_found=0)
    described = [random_features(rng) for _ in range(60)]
    part = Described(world.ids, np.full((60, 2), 400), described, [None] * 60)
    features = FeatureFiles(str(tmp_path), ((int(world.ids[0]), save_features(str(tmp_path), part)),)).open()
    opened, recipe = (save_world(tmp_path, world).open(), world.files.open()), FusedRecipe(60, n_verified=20)
    (before,) = rank_fused([query], *opened, recipe, features=features)
    target = int(before.ordinals[12])  # among the 20 that are verified
    asking = query._replace(photo=prepare_photo(described[target], (400, 400), recipe.verification))
    (after,) = rank_fused([asking], *opened, recipe, features=features)
    assert after.ordinals[0] == target
    (without,) = rank_fused([asking], *opened, recipe._replace(n_verified=0), features=features)
    np.testing.assert_array_equal(without.ordinals, before.ordinals)


def test_what_was_verified_before_counts_and_is_not_verified_again(rng, tmp_path):
    world, recipe = make_world(tmp_path, rng), FusedRecipe(60, n_verified=20)
    query, _ = make_query(rng, world, n_found=0)
    opened = save_world(tmp_path, world).open(), world.files.open()
    chosen = choose_images(query, opened[1], recipe)
    (before,) = rank_fused([query], *opened, recipe)
    known = Known(world.ids[chosen], np.where(chosen == before.ordinals[12], 60, 0))
    (after,) = rank_fused([query._replace(known=known)], *opened, recipe)
    assert after.ordinals[0] == before.ordinals[12]
    part = Known(known.image_ids[::2], known.n_inliers[::2])
    np.testing.assert_array_equal(choose_images(query._replace(known=part), opened[1], recipe), chosen[1::2])
    assert not len(choose_images(query._replace(known=known), opened[1], recipe))
    (without,) = rank_fused([query._replace(known=known)], *opened, recipe._replace(n_verified=0))
    np.testing.assert_array_equal(without.ordinals, before.ordinals)


def test_a_query_that_resembles_nothing_has_no_support(rng, tmp_path):
    world = make_world(tmp_path, rng)
    query = FusedQuery((-world.X.mean(0), None), -1, np.arange(60), np.zeros(0, int), np.zeros(0))
    far = query._replace(vectors=(unit(-world.X.sum(0)[None])[0] * 0, None))
    (answer,) = rank_fused([far], save_world(tmp_path, world).open(), world.files.open(), FusedRecipe(10))
    assert answer.no_support
    np.testing.assert_array_equal(answer.ordinals, np.arange(10))
    assert (answer.scores <= 0).all()


def test_an_image_that_is_gone_since_its_graph_was_made_is_in_no_answer(rng, tmp_path):
    world = make_world(tmp_path, rng)
    graph = save_world(tmp_path, world).graph
    kept = np.delete(np.arange(60), 9)
    kinds = (("y", world.X, 1.0), ("d", world.C, WEIGHT))
    parts = [(save_vectors(tmp_path / name, world.ids[kept], V[kept]), weight) for name, V, weight in kinds]
    collection = SearchFiles(parts[0][0], graph).open()
    query = make_query(rng, world, n_found=0)[0]._replace(near=np.arange(59))
    (answer,) = rank_fused([query], collection, DescriptorFiles(tuple(parts)).open(), FusedRecipe(60))
    assert sorted(answer.ordinals) == list(range(59))
    assert (answer.scores > 0).sum() > 5


def test_queries_are_solved_as_many_at_a_time_as_fit(rng, tmp_path, monkeypatch):
    world = make_world(tmp_path, rng)
    queries = [make_query(rng, world, own=own)[0] for own in range(5)]
    opened = save_world(tmp_path, world).open(), world.files.open()
    whole = list(rank_fused(queries, *opened, FusedRecipe(20)))
    seen, solve = [], rank.solve_diffusion
    monkeypatch.setattr("resight.search.rank.SOLVE_BYTES", 2 * 8 * opened[0].nodes.n)
    spy = lambda S, Y, **how: seen.append(Y.shape[1]) or solve(S, Y, **how)  # noqa: E731
    monkeypatch.setattr(rank, "solve_diffusion", spy)
    for a, b in zip(whole, rank_fused(queries, *opened, FusedRecipe(20)), strict=True):
        np.testing.assert_array_equal(a.ordinals, b.ordinals)
        np.testing.assert_array_equal(a.scores, b.scores)
    assert seen == [2, 2, 1]
