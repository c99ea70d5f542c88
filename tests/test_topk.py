import numpy as np
import pytest

from resight.topk import rank_order, top_k


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
