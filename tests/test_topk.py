import numpy as np
import pytest

from resight.topk import rank_order, rankings_agree, top_k


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_top_k_equals_a_full_sort_by_score_then_id_even_with_ties(k, rng):
    scores = rng.integers(0, 4, size=(20, 30)).astype(np.float32)
    ids = rng.permutation(1000)[:30]
    best, best_ids = top_k(scores, ids, k)
    for row in range(20):
        expected = sorted(zip(-scores[row], ids, strict=True))[:k]
        assert list(zip(-best[row], best_ids[row], strict=True)) == expected


def test_rank_order_puts_smaller_ids_first_among_equals():
    assert rank_order(np.array([1.0, 2.0, 2.0]), np.array([5, 9, 7])).tolist() == [2, 1, 0]


def test_rankings_agree_up_to_exchange_among_close_scores(rng):
    scores = np.sort(rng.random(50))[::-1]
    scores[10:14] = scores[10] - 1e-8 * np.arange(4)
    ids = rng.permutation(50)
    exchanged = ids.copy()
    exchanged[10:14] = ids[[12, 10, 13, 11]]
    assert rankings_agree((ids, scores), (exchanged, scores + 2e-7))
    exchanged[[20, 21]] = exchanged[[21, 20]]
    assert not rankings_agree((ids, scores), (exchanged, scores))
    assert not rankings_agree((ids, scores), (ids[:-1], scores[:-1]))
    tied = np.array([0.9, 0.5, 0.5]), np.array([1, 2, 3])
    assert rankings_agree((tied[1], tied[0]), (np.array([1, 2, 4]), tied[0]))
    assert not rankings_agree((np.array([1, 2, 4]), np.array([0.9, 0.5, 0.4])), (tied[1], tied[0]))
