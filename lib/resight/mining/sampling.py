"""Tuples (anchor, positive, negative) drawn from pools; what is drawn depends on ids and a seed alone."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.mining.entries import ranks
from resight.tables import TRAINING_TUPLES

ROWS = pa.schema([field for field in TRAINING_TUPLES.schema if field.name != "build_id"])


@dataclass(frozen=True)
class Draw:
    """How tuples are drawn: of each anchor ``n_positives``, of each of these ``n_negatives``.

    Positives are drawn from the whole pool, or are the ``first`` of it, negatives are drawn from its
    ``hardest`` first ones; 0 takes all.
    """

    n_positives: int = 5
    n_negatives: int = 5
    hardest: int = 10
    seed: int = 0
    first: bool = False

    def __call__(self, pools: pa.Table) -> pa.Table:
        """Draw the tuples of some anchors, whose `TRAINING_POOLS` rows are all there: `TRAINING_TUPLES` rows.

        ``weight`` is still the manifold similarity of the positive, or null.
        """
        order = [(name, "ascending") for name in ("anchor", "item", "source")]
        positive = keep_distinct(pools.filter(pc.equal(pools["role"], "positive")).sort_by(order))
        positive = self.draw_positives(positive)
        order = [(name, "ascending") for name in ("anchor", "rank", "item")]
        negative = pools.filter(pc.equal(pools["role"], "negative")).sort_by(order)
        if self.hardest:
            negative = negative.filter(ranks(negative["anchor"].to_numpy()) < self.hardest)
        pair, at = cross_rows(positive["anchor"].to_numpy(), negative["anchor"].to_numpy())
        pair, at = self.draw_negatives(pair, at, positive, negative)
        return join_rows(positive.take(pair), negative.take(at), ranks(pair))

    def draw_positives(self, rows: pa.Table) -> pa.Table:
        """Keep some of the positives of every anchor, ordered by anchor and item."""
        anchor, item = rows["anchor"].to_numpy(), rows["item"].to_numpy()
        draw = rows["rank"].to_numpy() if self.first else mix_ids(self.seed, anchor, item)
        order = np.lexsort((item, draw, anchor))
        kept = order[ranks(anchor[order]) < (self.n_positives or len(order))]
        return rows.take(np.sort(kept))

    def draw_negatives(
        self, pair: np.ndarray, at: np.ndarray, positive: pa.Table, negative: pa.Table
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keep some of the negatives ``at`` (m,) of every ``pair`` (m,), the hardest first."""
        anchor, item = (positive[name].to_numpy()[pair] for name in ("anchor", "item"))
        draw = mix_ids(self.seed, anchor, item, negative["item"].to_numpy()[at])
        order = np.lexsort((at, draw, pair))
        kept = np.sort(order[ranks(pair[order]) < (self.n_negatives or len(order))])
        return pair[kept], at[kept]


def keep_distinct(rows: pa.Table) -> pa.Table:
    """Keep the first of the rows of one anchor and item, which follow each other."""
    anchor, item = rows["anchor"].to_numpy(), rows["item"].to_numpy()
    repeats = (anchor[1:] == anchor[:-1]) & (item[1:] == item[:-1])
    return rows.filter(np.append(np.ones(min(len(rows), 1), bool), ~repeats))


def cross_rows(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair every row of ``a`` (n,) with every row of ``b`` (m,), ascending, of the same value."""
    first, last = np.searchsorted(b, a, side="left"), np.searchsorted(b, a, side="right")
    left = np.repeat(np.arange(len(a)), last - first)
    return left, np.repeat(first, last - first) + ranks(left)


def join_rows(positive: pa.Table, negative: pa.Table, rank: np.ndarray) -> pa.Table:
    """Put positives and negatives, row by row, together."""
    score = positive["score"]
    columns = {
        "anchor": positive["anchor"],
        "positive": positive["item"],
        "negative": negative["item"],
        "rank": rank.astype(np.int32),
        "source": positive["source"],
        "weight": score,
        "positive_score": score,
        "positive_similarity": positive["similarity"],
        "negative_similarity": negative["similarity"],
        "component_id": positive["component_id"],
        "split": positive["split"],
    }
    return pa.table(columns, schema=ROWS)


def mix_ids(seed: int, *ids: np.ndarray) -> np.ndarray:
    """Hash columns of ids (m,) int64, in this order, to (m,) uint64 (the mixer of SplitMix64)."""
    mixed = np.full(len(ids[0]), seed, np.int64).view(np.uint64)
    for column in ids:
        x = (mixed ^ column.astype(np.int64).view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = x ^ (x >> np.uint64(31))
    return mixed
