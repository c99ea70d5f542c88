"""Average precision against item-by-item walks, scikit-learn and simulated ties."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from resight.evaluation.average_precision import (
    ap_step,
    ap_step_ties,
    ap_trapezoid,
    ap_trapezoid_ties,
    count_negatives,
    find_tie_groups,
    join_tie_groups,
    precision_at,
    recall_at,
    ukb_score,
)


def walk_trapezoid(relevance, n_positives):
    """Update recall and precision item by item, as the original Oxford program does."""
    area, recall, precision, found, seen = 0.0, 0.0, 1.0, 0, 0
    for item in relevance:
        if item < 0:
            continue
        found, seen = found + (item > 0), seen + 1
        next_recall, next_precision = found / n_positives, found / seen
        area += (next_recall - recall) * (precision + next_precision) / 2
        recall, precision = next_recall, next_precision
    return area


def draw_relevance(rng, n=60):
    """A random list of -1 (junk), 0 and 1 with a positive in it."""
    relevance = rng.choice([-1, 0, 1], n, p=[0.2, 0.5, 0.3])
    relevance[rng.integers(n)] = 1
    return relevance


def ranks_of(relevance):
    return np.flatnonzero(relevance[relevance >= 0] > 0)


@pytest.mark.parametrize(
    ("ranks", "n", "trapezoid", "step"),
    [
        ([0, 2, 5], 3, 0.677778, 0.722222),
        ([0, 2], 2, 0.791667, 5 / 6),
        ([0, 2], 4, 0.395833, 5 / 12),
        ([1], 1, 0.25, 0.5),
        ([9], 1, 1 / 20, 1 / 10),
        ([0], 1, 1, 1),
        ([1, 2], 2, 0.416667, 0.583333),
        ([0, 2, 3, 5], 4, 0.731250, 0.770833),
        ([0, 3], 2, 0.708333, 0.75),
        ([], 3, 0, 0),
    ],
)
def test_average_precision_equals_the_hand_worked_examples(ranks, n, trapezoid, step):
    assert ap_trapezoid(np.array(ranks), n) == pytest.approx(trapezoid, abs=1e-6)
    assert ap_step(np.array(ranks), n) == pytest.approx(step, abs=1e-6)


def test_trapezoid_equals_a_walk_over_the_ranking(rng):
    for _ in range(1000):
        relevance = draw_relevance(rng)
        n = int((relevance > 0).sum() + rng.integers(3))
        found = ap_trapezoid(ranks_of(relevance), n)
        assert found == pytest.approx(walk_trapezoid(relevance, n), abs=1e-12)


def test_step_equals_scikit_learn_on_full_junk_free_rankings(rng):
    for _ in range(200):
        relevance = np.abs(draw_relevance(rng))
        expected = average_precision_score(relevance, -np.arange(len(relevance)))
        assert ap_step(ranks_of(relevance), relevance.sum()) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_ranking_scores_one_and_the_trapezoid_never_exceeds_the_step(rng):
    assert ap_step(np.arange(7), 7) == ap_trapezoid(np.arange(7), 7) == 1
    for _ in range(300):
        ranks = ranks_of(draw_relevance(rng))
        trapezoid, step = ap_trapezoid(ranks, len(ranks)), ap_step(ranks, len(ranks))
        assert 0 <= trapezoid <= step <= 1


def test_negatives_below_the_last_positive_change_nothing_and_one_on_top_lowers(rng):
    for _ in range(300):
        relevance = draw_relevance(rng)
        ranks = ranks_of(relevance)
        longer = ranks_of(np.append(relevance, [0, 0, 0]))
        lower = ranks_of(np.append(0, relevance))
        for figure in (ap_step, ap_trapezoid):
            assert figure(longer, len(ranks)) == figure(ranks, len(ranks))
            assert figure(lower, len(ranks)) < figure(ranks, len(ranks))
        assert precision_at(longer, len(ranks), 10) == precision_at(ranks, len(ranks), 10)


def test_distractors_never_raise_average_precision(rng):
    for _ in range(300):
        relevance = draw_relevance(rng)
        more = np.insert(relevance, rng.integers(0, len(relevance) + 1, 10), 0)
        n = len(ranks_of(relevance))
        assert ap_step(ranks_of(more), n) <= ap_step(ranks_of(relevance), n)
        assert ap_trapezoid(ranks_of(more), n) <= ap_trapezoid(ranks_of(relevance), n)


def test_a_random_ranking_scores_about_the_share_of_positives(rng):
    found = [ap_step(np.sort(rng.permutation(1000)[:50]), 50) for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("ranks", "k", "expected"),
    [
        ([1, 2], 1, 0),
        ([1, 2], 5, 0.666667),
        ([0, 2, 3, 5], 5, 0.6),
        ([0, 2, 3, 5], 10, 0.666667),
        ([0, 3], 1, 1),
        ([0, 3], 5, 0.5),
        ([0], 10, 1),
        (range(12), 10, 1),
        ([], 10, 0),
    ],
)
def test_precision_stops_at_the_last_found_positive(ranks, k, expected):
    ranks = np.array(ranks, int)
    assert precision_at(ranks, max(len(ranks), 1), k) == pytest.approx(expected, abs=1e-6)


def test_precision_at_five_of_the_easy_example_is_not_the_plain_one():
    ranks = np.array([1, 2])
    plain = (ranks < 5).sum() / 5
    assert plain == 0.4
    assert precision_at(ranks, 2, 5) == pytest.approx(2 / 3)


def test_recall_counts_what_the_ground_truth_holds():
    assert recall_at(np.array([0, 4, 9]), 6, 5) == pytest.approx(2 / 6)
    assert recall_at(np.array([0, 4, 9]), 6, 10) == pytest.approx(3 / 6)


def test_a_query_without_positives_has_no_figure():
    none = np.array([], int)
    groups = find_tie_groups(np.zeros(3), np.zeros(3, bool))
    figures = [ap_step(none, 0), ap_trapezoid(none, 0), precision_at(none, 0, 5)]
    figures += [recall_at(none, 0, 5), ukb_score(none, 0)]
    figures += [ap_step_ties(groups, 0), ap_trapezoid_ties(groups, 0)]
    assert np.isnan(figures).all()


@pytest.mark.parametrize(("ranks", "n"), [([0, 1], 1), ([2, 1], 2), ([1, 1], 2), ([-1], 1)])
def test_impossible_ranks_are_refused(ranks, n):
    with pytest.raises(ValueError, match=r"ground truth has|ranks must be"):
        ap_step(np.array(ranks), n)


def ukb_of(codes, group):
    """Mean UKB score when images are ranked by the Hamming distance of their codes (n, b)."""
    scores = []
    for i, code in enumerate(codes):
        order = np.argsort((codes != code).sum(1), kind="stable")
        scores.append(ukb_score(np.flatnonzero(group[order] == group[i]), 4))
    return np.mean(scores)


def test_ukb_score_is_four_for_group_codes_and_one_for_random_ones(rng):
    group = np.arange(400) // 4
    assert ukb_of(group[:, None], group) == 4
    assert ukb_of(rng.integers(0, 2, (400, 512)), group) == pytest.approx(1, abs=0.1)
    random = [ukb_score(np.sort(rng.permutation(400)[:4]), 4) for _ in range(20_000)]
    assert np.mean(random) == pytest.approx(16 / 400, abs=0.005)


def test_tie_expectation_equals_the_worked_example():
    groups = find_tie_groups(np.array([2.0, 1.0, 1.0]), np.array([True, True, False]))
    assert ap_trapezoid_ties(groups, 2) == pytest.approx(0.895833, abs=1e-6)
    assert ap_step_ties(groups, 2) == pytest.approx((1 + (1 + 2 / 3) / 2) / 2, abs=1e-12)


def draw_tied_list(rng):
    scores = -np.sort(-rng.integers(0, 5, 25)).astype(np.float32)
    positive = rng.random(25) < 0.3
    positive[3] = True
    return scores, positive


@pytest.mark.parametrize("seed", range(4))
def test_tie_expectation_equals_the_mean_of_ten_thousand_random_orders(seed):
    rng = np.random.default_rng(seed)
    scores, positive = draw_tied_list(rng)
    n, groups = positive.sum() + 1, find_tie_groups(scores, positive)
    orders = [np.lexsort((rng.random(25), -scores)) for _ in range(10_000)]
    ranks = [np.flatnonzero(positive[order]) for order in orders]
    step, trapezoid = np.mean([(ap_step(r, n), ap_trapezoid(r, n)) for r in ranks], axis=0)
    assert ap_step_ties(groups, n) == pytest.approx(step, abs=0.002)
    assert ap_trapezoid_ties(groups, n) == pytest.approx(trapezoid, abs=0.002)


def test_tie_expectation_lies_between_the_worst_and_the_best_order(rng):
    for _ in range(200):
        scores, positive = draw_tied_list(rng)
        groups, n = find_tie_groups(scores, positive), positive.sum()
        best = np.flatnonzero(positive[np.lexsort((~positive, -scores))])
        worst = np.flatnonzero(positive[np.lexsort((positive, -scores))])
        for figure, expected in ((ap_step, ap_step_ties), (ap_trapezoid, ap_trapezoid_ties)):
            found = expected(groups, n)
            assert figure(worst, n) - 1e-12 <= found <= figure(best, n) + 1e-12


def test_without_ties_the_expectation_is_the_figure_itself(rng):
    for _ in range(200):
        positive = rng.random(40) < 0.3
        groups, ranks, n = find_tie_groups(-np.arange(40.0), positive), np.flatnonzero(positive), 20
        assert ap_step_ties(groups, n) == pytest.approx(ap_step(ranks, n), abs=1e-14)
        assert ap_trapezoid_ties(groups, n) == pytest.approx(ap_trapezoid(ranks, n), abs=1e-14)


@pytest.mark.parametrize("n_shards", [1, 2, 7, 200])
def test_counts_summed_over_shards_equal_a_full_sort(rng, n_shards):
    scores = rng.integers(0, 30, 150).astype(np.float32)
    positive = rng.random(150) < 0.1
    order = np.argsort(-scores, kind="stable")
    expected = find_tie_groups(scores[order], positive[order])

    thresholds, n_each = np.unique(scores[positive], return_counts=True)
    shards = np.array_split(rng.permutation(scores[~positive]), n_shards)
    above, equal = np.sum([count_negatives(thresholds, shard) for shard in shards], axis=0)
    groups = join_tie_groups(thresholds, n_each, above, equal)
    for found, wanted in zip(groups, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
