import numpy as np
import pytest

from resight.rerank.fuse import (
    best_of,
    calibrate_scores,
    choose_candidates,
    find_threshold,
    fuse_scores,
    observe_fused,
    reward_inliers,
)


@pytest.mark.parametrize(("n", "finds"), [(20, 10), (900, 10), (3000, 30), (50_000, 100)])
def test_the_threshold_is_the_score_after_those_that_stand_out(rng, n, finds):
    ranked = np.sort(rng.random(n))[::-1]
    assert find_threshold(ranked, n) == ranked[finds]
    assert (calibrate_scores(ranked, find_threshold(ranked, n)) > 0).sum() == finds
    assert find_threshold(ranked[: finds + 1], n) == ranked[finds]  # a longer ranking says nothing more


def test_where_few_images_score_the_least_of_them_is_the_threshold():
    assert find_threshold(np.array([0.2, 0.1, 0.0, 0.0]), 1000) == 0.1
    assert find_threshold(np.array([0.3]), 1) == 0.3
    assert find_threshold(np.zeros(50), 1000) == find_threshold(np.zeros(0), 1000) == 0


def test_calibrated_scores_do_not_depend_on_the_scale_of_a_query(rng):
    ranked = np.sort(rng.random(300))[::-1]
    once, scaled = (calibrate_scores(s, find_threshold(s, 300)) for s in (ranked, 7.5 * ranked))
    np.testing.assert_allclose(once, scaled, atol=1e-7)
    assert (np.diff(once) <= 0).all()


def test_without_support_of_words_similarity_alone_ranks(rng):
    similarity = rng.random(40)
    np.testing.assert_array_equal(fuse_scores(similarity, calibrate_scores(np.zeros(40), 0.0)), similarity)
    strong = calibrate_scores(np.full(40, 5.0), 1.0)
    np.testing.assert_allclose(fuse_scores(similarity, strong), similarity + 0.8)


def test_candidates_are_the_best_of_both_rankings(rng):
    fused, scores = rng.random((2, 100))
    expected = set(np.argsort(-fused)[:10]) | set(np.argsort(-scores)[:10])
    chosen = choose_candidates(fused, scores, depth=10)
    assert set(chosen.tolist()) == expected
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(choose_candidates(fused, 0 * scores, depth=3), np.sort(best_of(fused, 3)))


def test_ties_go_by_ordinal_and_absent_images_are_never_chosen():
    scores = np.array([0.5, 0.9, 0.5, -np.inf, 0.5, 0.1])
    np.testing.assert_array_equal(best_of(scores, 3), [1, 0, 2])
    np.testing.assert_array_equal(best_of(scores, 50), [1, 0, 2, 4, 5])


def test_inliers_count_from_eight_on():
    np.testing.assert_allclose(reward_inliers(np.array([0, 8, 9, 28])), 0.2 * np.log([1, 1, 2, 21]))


def test_a_query_observes_its_best_images_in_proportion_to_squares():
    ordinals, weights = observe_fused(np.array([0.1, 2.0, 1.0, -3.0, 0.0]), k=3)
    np.testing.assert_array_equal(ordinals, [1, 2, 0])
    np.testing.assert_allclose(weights, np.array([4, 1, 0.01]) / 5.01)
    assert [len(part) for part in observe_fused(np.array([-1.0, 0.0]))] == [0, 0]
