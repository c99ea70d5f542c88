import numpy as np
import pyarrow as pa
import pytest

from resight.mining.sampling import Draw, mix_ids
from resight.tables import TRAINING_POOLS


def draw_pools(rng, n_anchors=6):
    rows = []
    for anchor in range(n_anchors):
        items = rng.permutation(np.arange(100, 160))
        n_positive, n_negative = rng.integers(0, 8), rng.integers(0, 20)
        for role, some in (("positive", items[:n_positive]), ("negative", items[30 : 30 + n_negative])):
            for rank, item in enumerate(some.tolist()):
                row = {"anchor": anchor, "item": item, "role": role, "source": "manifold", "rank": rank}
                row |= {"score": 0.5 / (1 + rank), "similarity": 0.9, "component_id": 3, "split": "train"}
                rows.append(row)
        if n_positive:  # the best one is verified too
            rows.append({**rows[-n_positive - n_negative], "source": "verified", "score": None})
    schema = pa.schema([field for field in TRAINING_POOLS.schema if field.name != "build_id"])
    return pa.Table.from_pylist(rows, schema=schema)


def pairs_of(pools, role):
    wanted = [row for row in pools.to_pylist() if row["role"] == role]
    return {(row["anchor"], row["item"]): row["rank"] for row in wanted}


def test_tuples_hold_what_the_pools_hold_and_the_nearest_negatives_come_first(rng):
    pools = draw_pools(rng)
    tuples = Draw(n_positives=3, n_negatives=4, hardest=6, seed=5)(pools).to_pylist()
    positive, negative = pairs_of(pools, "positive"), pairs_of(pools, "negative")
    drawn = {}
    for row in tuples:
        assert (row["anchor"], row["positive"]) in positive
        drawn.setdefault((row["anchor"], row["positive"]), []).append(
            negative[row["anchor"], row["negative"]]
        )
        assert row["source"] == "manifold"
        assert row["weight"] == row["positive_score"]
    for ranks in drawn.values():
        assert ranks == sorted(set(ranks))
        assert max(ranks) < 6
    for anchor in range(6):
        own, hard = (sum(key[0] == anchor for key in pool) for pool in (positive, negative))
        lengths = [len(ranks) for key, ranks in drawn.items() if key[0] == anchor]
        assert lengths == ([min(4, hard)] * min(3, own) if hard else [])


def test_draws_depend_on_ids_and_seed_and_not_on_order(rng):
    pools = draw_pools(rng)
    first = Draw(seed=1)(pools)
    shuffled = Draw(seed=1)(pools.take(rng.permutation(len(pools))))
    assert first.equals(shuffled)
    assert not first.equals(Draw(seed=2)(pools))
    everything = Draw(n_positives=0, n_negatives=0, hardest=0)(pools)
    counts = [sum(key[0] == a for key in pairs_of(pools, role)) for a in range(6) for role in POOLS]
    assert len(everything) == sum(a * b for a, b in zip(counts[::2], counts[1::2], strict=True))


POOLS = ("positive", "negative")


@pytest.mark.parametrize("n", [1, 3])
def test_a_positive_is_drawn_uniformly(n):
    items = np.arange(12)
    schema = pa.schema([field for field in TRAINING_POOLS.schema if field.name != "build_id"])
    rows = [
        {"anchor": a, "item": int(i), "role": "positive", "source": "m"} for a in range(400) for i in items
    ]
    drawn = Draw(n_positives=n, seed=9).draw_positives(pa.Table.from_pylist(rows, schema=schema))
    counts = np.bincount(drawn["item"].to_numpy(), minlength=12)
    expected = 400 * n / 12
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # chi-square, 11 degrees, p = 0.001


def test_hashes_depend_on_the_order_of_columns_and_use_negative_ids():
    a, b = np.array([1, -5, 2**62]), np.array([7, 7, 7])
    hashes = np.concatenate([mix_ids(0, a, b), mix_ids(0, b, a), mix_ids(1, a, b)])
    assert len(set(hashes.tolist())) == 9
