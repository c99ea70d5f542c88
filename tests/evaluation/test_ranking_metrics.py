"""Figures of one query."""

import numpy as np
import pytest

from resight.evaluation.protocols import build_query_truth, find_protocols
from resight.evaluation.ranking_metrics import evaluate_ranking

OLD = find_protocols(["old"])


def evaluate_old(image_ids, scores, positives, **options):
    truth = build_query_truth(np.array(positives), ["positive"] * len(positives))
    image_ids, scores = np.array(image_ids, int), np.array(scores, float)
    return evaluate_ranking(image_ids, scores, truth, protocols=OLD, **options)["old"]


def test_positives_that_a_cut_list_never_reached_count():
    found = evaluate_old([5, 9], [2, 1], [5, 6, 7, 8])
    assert found["ap_step"] == found["recall@10"] == 0.25
    assert found["cut"] == 1
    assert found["depth"] == 2


def test_an_answer_without_images_scores_zero():
    found = evaluate_old([], [], [5, 6])
    assert {name for name, value in found.items() if value != 0} == {"cut"}


def test_a_list_is_cut_when_it_misses_images_of_the_collection():
    assert evaluate_old([5, 9], [2, 1], [5], n_images=3)["cut"] == 1
    assert evaluate_old([5, 9, 1], [2, 1, 0], [5], n_images=3)["cut"] == 0
    assert evaluate_old([5, 9], [2, 1], [5])["cut"] == 0


def test_the_query_left_out_of_its_own_ranking_does_not_make_it_cut():
    truth = build_query_truth(np.array([5]), ["positive"], own=4)
    ids, scores = np.array([5, 9]), np.array([2.0, 1.0])
    found = evaluate_ranking(ids, scores, truth, protocols=OLD, n_images=3)["old"]
    assert found["cut"] == 0


def test_a_query_that_counts_as_positive_is_found_first_where_its_list_leaves_it_out():
    truth = build_query_truth(np.array([5, 6, 7]), ["positive"] * 3, own=4)
    protocols = find_protocols(["ukb", "leave_one_out"])
    out, within = (
        evaluate_ranking(np.array(ids), np.arange(len(ids))[::-1].astype(float), truth, protocols=protocols)
        for ids in ([5, 9, 6, 7], [4, 5, 9, 6, 7])
    )
    assert out["ukb"] | {"depth": 5} == within["ukb"]
    assert out["ukb"]["ukb"] == 3
    assert out["leave_one_out"] | {"depth": 5} == within["leave_one_out"]
    assert "ukb" not in out["leave_one_out"]


def test_an_image_ranked_twice_is_refused():
    with pytest.raises(ValueError, match="image 5 is ranked twice"):
        evaluate_old([5, 9, 5], [3, 2, 1], [5])


def test_only_tie_figures_look_at_scores():
    apart = evaluate_old([9, 5, 3], [3, 2, 1], [5])
    tied = evaluate_old([9, 5, 3], [2, 2, 1], [5])
    assert apart["ap_step"] == apart["ap_step_ties"] == tied["ap_step"] == 0.5
    assert tied["ap_step_ties"] == pytest.approx(0.75)
    assert tied["ap_trapezoid_ties"] == pytest.approx((1 + 0.25) / 2)
