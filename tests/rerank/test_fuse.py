import numpy as np
import pytest

from resight.rerank.fuse import (
    Weighting,
    adapt_weight,
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


def test_a_steep_ranking_weighs_more_than_a_flat_one(rng):
    noise = np.sort(rng.normal(0.2, 0.02, 500))[::-1]
    steep = np.append([0.9, 0.8, 0.7], noise)  # three matches far above strangers
    flat = np.linspace(0.9, 0.2, 503)  # everything is a little alike
    assert adapt_weight(flat, steep) == 2
    assert adapt_weight(steep, flat) == 0.5
    assert adapt_weight(steep, 7 * steep + 3) == pytest.approx(1)
    assert adapt_weight(rng.permutation(flat), rng.permutation(steep)) == 2
    assert 0.5 <= adapt_weight(noise, np.zeros(0)) <= adapt_weight(noise, steep) <= 2
    frozen, adaptive = Weighting(0.4, 0.3), Weighting(0.4, 0.3, adaptive=True)
    assert [frozen.weigh(place, flat, steep) for place in (0, 1, 2)] == [0.4, 0.3, 0.3]
    assert [adaptive.weigh(place, flat, steep) for place in (0, 1)] == [0.8, 0.6]


def test_a_confident_index_outranks_a_confidently_wrong_similarity(rng):
    n, right = 300, 17
    similarity = np.linspace(0.55, 0.3, n)  # the nearest are strangers, all alike
    scores = 0.02 * rng.random(n)
    scores[right], similarity[right] = 0.04, 0.31
    threshold = find_threshold(np.sort(scores)[::-1], n)
    ranks = []
    for weighting in (Weighting(0.2), Weighting(0.2, adaptive=True)):
        weight = weighting.weigh(0, similarity, scores)
        fused = fuse_scores(similarity, calibrate_scores(scores, threshold), weight)
        ranks.append(int((fused > fused[right]).sum()))
    assert ranks[0] > 30
    assert ranks[1] == 0


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
