"""Small shards are merged, large ones stay."""

import pytest

from resight.asmk.growth import choose_rewritten

NONE = frozenset()


@pytest.mark.parametrize("step", [1, 7, 40])
def test_increments_leave_few_small_shards_and_write_an_image_a_few_times(step):
    shards, written, limit = {}, 0, 64
    for number in range(200):
        chosen = choose_rewritten(shards, shards, step, limit=limit, outdated=NONE)
        n = step + sum(shards.pop(shard) for shard in chosen)
        written += n
        shards[number] = n
    assert sum(shards.values()) == 200 * step
    small = [n for n in shards.values() if 2 * n < limit]
    assert len(small) <= 6  # log2 of a full shard
    assert written <= 200 * step * (1 + 6)


def test_shards_that_are_mostly_gone_or_outdated_are_written_again():
    live, held = {0: 49, 1: 50, 2: 90, 3: 0}, {0: 100, 1: 100, 2: 100, 3: 4}
    assert choose_rewritten(live, held, 0, limit=100, outdated=frozenset({2})) == {0, 2, 3}


def test_nothing_new_moves_nothing():
    assert choose_rewritten({0: 3, 1: 3}, {0: 3, 1: 3}, 0, limit=100, outdated=NONE) == set()
    assert choose_rewritten({}, {}, 5, limit=100, outdated=NONE) == set()
