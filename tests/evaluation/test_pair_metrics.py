"""Figures over pairs and predictions."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from resight.evaluation.pair_metrics import (
    classify_neighbors,
    count_by_score,
    global_average_precision,
    micro_average_precision,
    recall_at_precision,
    roc_auc,
    score_pairs,
)


def micro_ap(scores, correct, n_truth):
    return micro_average_precision(*count_by_score(np.array(scores), np.array(correct)), n_truth)


def test_roc_auc_equals_the_worked_example():
    assert roc_auc(-np.array([2, 3, 5]), -np.array([4, 5, 8, 9])) == pytest.approx(0.875, abs=1e-12)


def test_roc_auc_equals_scikit_learn_with_ties(rng):
    for _ in range(50):
        scores = rng.integers(0, 12, 80)
        match = np.arange(80) < 30
        expected = roc_auc_score(match, scores)
        assert roc_auc(scores[match], scores[~match]) == pytest.approx(expected, abs=1e-12)


def test_roc_auc_ignores_increasing_maps_and_turns_with_the_sign(rng):
    match, other = rng.integers(0, 9, 40) + 1, rng.integers(0, 9, 60)
    found = roc_auc(match, other)
    assert roc_auc(np.exp(match), np.exp(other)) == found
    assert roc_auc(-match, -other) == pytest.approx(1 - found, abs=1e-12)
    assert roc_auc(np.ones(4), np.ones(5)) == 0.5


def test_micro_ap_equals_the_worked_examples():
    assert micro_ap([0.9, 0.8, 0.8, 0.7, 0.4], [1, 0, 1, 0, 1], 4) == pytest.approx(0.566667, abs=1e-6)
    assert micro_ap([0.5] * 4, [1, 0, 1, 0], 2) == pytest.approx(0.416667, abs=1e-6)


def test_micro_ap_without_ties_equals_scikit_learn(rng):
    for _ in range(50):
        scores, correct = rng.random(60), rng.random(60) < 0.4
        expected = average_precision_score(correct, scores)
        assert micro_ap(scores, correct, correct.sum()) == pytest.approx(expected, abs=1e-12)


def test_micro_ap_of_tied_scores_is_the_worst_order(rng):
    correct = rng.random(30) < 0.4
    worst = micro_ap(-np.arange(30), np.sort(correct), 20)
    assert micro_ap(np.zeros(30), correct, 20) == pytest.approx(worst, abs=1e-12)
    assert all(micro_ap(rng.random(30), correct, 20) >= worst for _ in range(100))


def draw_pairs(rng, n=40):
    """Distinct predicted pairs with tied scores, and true pairs of which some are predicted."""
    pairs = np.array(np.unravel_index(rng.choice(900, n, replace=False), (30, 30))).T
    return pairs, rng.integers(0, 6, n).astype(float), np.concatenate([pairs[::3], [[99, 1], [2, 99]]])


def test_permuting_predicted_pairs_changes_nothing(rng):
    pairs, scores, truth = draw_pairs(rng)
    expected = score_pairs(pairs, scores, truth)
    order, turned = rng.permutation(len(pairs)), rng.permutation(len(truth))
    assert score_pairs(pairs[order], scores[order], truth[turned]) == expected
    assert expected["recall"] == pytest.approx(14 / 16)
    assert expected["precision"] == pytest.approx(14 / 40)


def test_duplicate_pairs_are_refused(rng):
    pairs, scores, truth = draw_pairs(rng)
    with pytest.raises(ValueError, match=r"predicted pair \(\d+, \d+\) appears twice"):
        score_pairs(pairs[[0, 1, 0]], scores[:3], truth)
    with pytest.raises(ValueError, match="true pair"):
        score_pairs(pairs, scores, truth[[0, 0]])
    with pytest.raises(ValueError, match="1 of 40 scores are NaN"):
        score_pairs(pairs, np.r_[np.nan, scores[1:]], truth)


def test_no_predictions_find_nothing():
    none = np.zeros((0, 2), np.int64)
    found = score_pairs(none, np.zeros(0), np.array([[1, 2]]))
    assert found["micro_ap"] == found["recall"] == found["recall@p90"] == 0
    assert np.isnan(score_pairs(none, np.zeros(0), none)["micro_ap"])


def test_recall_at_precision_equals_a_search_over_thresholds(rng):
    for _ in range(100):
        scores, correct = rng.integers(0, 15, 50), rng.random(50) < 0.6
        kept = [scores >= t for t in np.unique(scores)]
        expected = max([correct[k].sum() / 40 for k in kept if correct[k].mean() >= 0.7], default=0)
        counts = count_by_score(scores, correct)
        assert recall_at_precision(*counts, 40, precision=0.7) == pytest.approx(expected)


def test_counts_of_shards_give_the_figure_of_the_whole(rng):
    scores, correct = rng.integers(0, 8, 90), rng.random(90) < 0.3
    shards = np.array_split(rng.permutation(90), 7)
    summed = np.zeros((2, 8), np.int64)
    for shard in shards:
        present = np.unique(scores[shard])[::-1]
        summed[:, 7 - present] += np.array(count_by_score(scores[shard], correct[shard]))
    assert micro_average_precision(*summed, 30) == micro_ap(scores, correct, 30)


PREDICTED = np.array([5, 7, 2, 9, 4, 1])
CONFIDENCE = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5])
TRUTH = np.array([5, -1, 2, 3, 4, -1])


def score_gap(confidence=CONFIDENCE):
    return global_average_precision(PREDICTED, confidence, TRUTH, TRUTH >= 0)


def test_gap_equals_the_worked_example_and_depends_on_order_alone():
    found = score_gap()
    assert [found["gap"], found["gap_minus"], found["acc"]] == pytest.approx(
        [0.566667, 0.6875, 0.75], abs=1e-6
    )
    assert score_gap(CONFIDENCE * 7) == found
    assert score_gap(CONFIDENCE[::-1])["acc"] == found["acc"]


def test_gap_is_one_for_right_answers_before_distractors_and_never_above_gap_minus(rng):
    truth = np.array([1, 2, 3, -1, -1])
    perfect = global_average_precision(truth, -np.arange(5.0), truth, truth >= 0)
    assert perfect == {"gap": 1, "gap_minus": 1, "acc": 1}
    for _ in range(100):
        predicted, answer = rng.integers(0, 4, (2, 30))
        found = global_average_precision(predicted, rng.random(30), answer, rng.random(30) < 0.6)
        assert found["gap"] <= found["gap_minus"] + 1e-12


@pytest.mark.parametrize(("confidence", "lower"), [(0.0, False), (1.0, True)])
def test_distractors_lower_gap_only_from_above(confidence, lower):
    more = [np.append(a, b) for a, b in ((PREDICTED, 3), (CONFIDENCE, confidence), (TRUTH, -1))]
    found = global_average_precision(*more, more[2] >= 0)["gap"]
    assert (found < score_gap()["gap"]) == lower
    assert lower or found == score_gap()["gap"]


@pytest.mark.parametrize(
    ("similarity", "tau", "expected"),
    [
        ((0.9, 0.5), 1, 0.002454),
        ((0.9, 0.5), 10, 0.876057),
        ((0.9, 0.5), 50, 1),
        ((0.9, 0.89), 10, 0.493097),
        ((0.9, 0.89), 50, 0.622459),
        ((0.9, 0.89), 500, 1 / (1 + np.exp(-5))),
    ],
)
def test_confidence_counts_the_classes_that_no_neighbour_has(similarity, tau, expected):
    predicted, confidence = classify_neighbors(
        np.array([similarity]), np.array([[3, 8]]), tau=tau, n_classes=1000
    )
    assert predicted[0] == 3
    assert confidence[0] == pytest.approx(expected, abs=2e-6)


def test_confidence_equals_a_loop_over_classes(rng):
    similarity, classes = rng.random((30, 8)), rng.integers(0, 5, (30, 8))
    predicted, confidence = classify_neighbors(similarity, classes, tau=3, n_classes=20)
    for s, c, p, found in zip(similarity, classes, predicted, confidence, strict=True):
        best = {label: s[c == label].max() for label in c}
        total = sum(np.exp(3 * best.get(label, 0)) for label in range(20))
        assert p == max(best, key=best.get)
        assert found == pytest.approx(np.exp(3 * best[p]) / total, abs=1e-12)


def test_the_number_of_neighbours_changes_no_prediction(rng):
    similarity = -np.sort(-rng.random((40, 50)), axis=1)
    classes = rng.integers(0, 9, (40, 50))
    few, _ = classify_neighbors(similarity[:, :1], classes[:, :1], tau=10, n_classes=9)
    many, confidence = classify_neighbors(similarity, classes, tau=10, n_classes=9)
    np.testing.assert_array_equal(few, many)
    assert (confidence <= 1).all()
