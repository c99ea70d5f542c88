"""One block of anchors: their lists, links and vectors in, rows of ``training_pools`` out."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.knn.matrix import VectorFiles
from resight.mining.entries import Entries, find_values, is_among, ranks
from resight.mining.manifold import MAX_NEGATIVES, mine_pools

NEAR, REACHED, VERIFIED, DUPLICATE = "near", "reached", "verified", "duplicate"  # kinds of a listed item
LISTED = pa.schema(
    [
        ("anchor", pa.int64()),
        ("item", pa.int64()),
        ("kind", pa.string()),
        ("place", pa.int32()),  # in its list, the best first; there may be holes
        ("value", pa.float32()),  # similarity, manifold similarity, inliers
    ]
)
POOLED = pa.schema(
    [
        ("anchor", pa.int64()),
        ("item", pa.int64()),
        ("role", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("similarity", pa.float32()),
        ("n_common", pa.int32()),
    ]
)


@dataclass(frozen=True)
class PoolWork:
    """How pools are made of lists, see `resight.mining.manifold.mine_pools`.

    ``vectors`` tell the similarity of anchors and items, whether or not they are in each other's lists.
    """

    vectors: VectorFiles
    k_positive: int = 50
    k_negative: int = 100
    max_negatives: int = MAX_NEGATIVES

    def __call__(self, listed: pa.Table) -> pa.Table:
        """Make the pools of some anchors, of whom every `LISTED` row is there: `POOLED` rows.

        Duplicates of an anchor are in neither pool. Verified items are positives, and no negatives. An anchor
        of whom nothing is near has no vector, and no pools.
        """
        listed = listed.sort_by([(name, "ascending") for name in ("anchor", "kind", "place", "item")])
        anchors, row = np.unique(listed["anchor"].to_numpy(), return_inverse=True)
        kinds = {kind: choose_kind(listed, row, kind) for kind in (NEAR, REACHED, VERIFIED, DUPLICATE)}
        near, reached, verified, duplicate = kinds.values()
        has_near = np.isin(np.arange(len(anchors)), near.row)
        limits = {"k_positive": self.k_positive, "k_negative": self.k_negative}
        pools = mine_pools(anchors, near, reached, **limits, max_negatives=len(near.row))
        positive = pools.positive.keep(has_near[pools.positive.row])
        positive = positive.keep(~is_among(positive, duplicate))
        negative = pools.negative
        negative = negative.keep(~(is_among(negative, duplicate) | is_among(negative, verified)))
        negative = negative.first(self.max_negatives)
        verified = verified.keep(has_near[verified.row] & ~is_among(verified, duplicate))
        return self.describe(anchors, (near, reached), (positive, negative, verified))

    def describe(
        self, anchors: np.ndarray, lists: tuple[Entries, Entries], chosen: tuple[Entries, Entries, Entries]
    ) -> pa.Table:
        """Lay out positives, negatives and verified items as rows, with what speaks for each."""
        (near, reached), (positive, negative, verified) = lists, chosen
        beyond = f", not among the {self.k_positive} most similar"
        walked = [f"place {i} on the manifold{beyond}" for i in places(positive, reached, anchors)]
        unreached = f", not among the {self.k_negative} nearest on the manifold"
        alike = [f"place {i} by similarity{unreached}" for i in places(negative, near, anchors)]
        seen = [f"{int(n)} inliers" for n in verified.value.tolist()]
        parts = (
            (positive, "positive", "manifold", walked),
            (negative, "negative", "manifold", alike),
            (verified, "positive", "verified", seen),
        )
        return pa.concat_tables([self.lay_out(anchors, reached, *part) for part in parts])

    def lay_out(
        self, anchors: np.ndarray, reached: Entries, entries: Entries, role: str, source: str, reason: list
    ) -> pa.Table:
        """Make the rows of one role and source."""
        anchor, n = anchors[entries.row], len(entries.row)
        common = pa.nulls(n, pa.int32())
        if source == "verified":
            common = pa.array(entries.value.astype(np.int32))
        columns = {
            "anchor": anchor,
            "item": entries.item,
            "role": pa.repeat(role, n),
            "source": pa.repeat(source, n),
            "reason": pa.array(reason, pa.string()),
            "rank": ranks(entries.row).astype(np.int32),
            "score": nullable(find_values(entries, reached)),
            "similarity": nullable(self.compare(anchor, entries.item)),
            "n_common": common,
        }
        return pa.table(columns, schema=POOLED)

    def compare(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity (m,) float64 of images ``a`` and ``b`` (m,); NaN where one has no vector."""
        X = self.vectors.open()
        ends = [X.ordinal_of(ids) for ids in (a, b)]
        known = (ends[0] >= 0) & (ends[1] >= 0)
        similarity = np.full(len(a), np.nan)
        left, right = (X.gather(end[known]).astype(np.float64) for end in ends)
        similarity[known] = np.einsum("md,md->m", left, right)
        return similarity


def choose_kind(listed: pa.Table, row: np.ndarray, kind: str) -> Entries:
    """Take the entries of one kind, already in order."""
    chosen = pc.equal(listed["kind"], kind).to_numpy()
    item, value = (listed[name].to_numpy()[chosen] for name in ("item", "value"))
    return Entries(row[chosen], item, value.astype(np.float64))


def places(entries: Entries, lists: Entries, anchors: np.ndarray) -> list[int]:
    """Place of every entry in the list it comes from, from 1, the anchor itself not counted."""
    others = lists.keep(lists.item != anchors[lists.row])
    return find_values(entries, others._replace(value=ranks(others.row) + 1.0)).astype(np.int64).tolist()


def nullable(values: np.ndarray) -> pa.Array:
    """Make a float32 column, null where the value is NaN."""
    return pa.array(values.astype(np.float32), pa.float32(), mask=np.isnan(values))
