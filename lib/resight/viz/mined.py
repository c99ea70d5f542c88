"""What a network is trained with: anchors beside their positives and negatives."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.viz.album import Album
from resight.viz.figure import Picture, draw_sentence
from resight.viz.graphs import draw_manifold
from resight.viz.pictures import Shown, Strip, draw_strips

__all__ = ["draw_pool_similarities", "draw_pools", "draw_tuples"]

ROLES = ("positive", "negative")


def draw_pools(pools: pa.Table, album: Album, *, depth: int = 8, title: str = "") -> Picture:
    """Draw anchors, each with its positives and below them its negatives, the first to be used first.

    Parameters
    ----------
    pools : Table
        Rows of `TRAINING_POOLS` of a few anchors.
    depth : int
        Items that are shown of each role.
    """
    parts: dict[int, dict[str, list[dict]]] = {}
    for row in pools.sort_by(
        [("anchor", "ascending"), ("role", "descending"), ("rank", "ascending")]
    ).to_pylist():
        parts.setdefault(row["anchor"], {}).setdefault(row["role"], []).append(row)
    album.load(row["item"] for roles in parts.values() for rows in roles.values() for row in rows[:depth])
    strips = []
    for anchor, roles in parts.items():
        first = album.show(anchor, mark="anchor")
        for role in ROLES:
            rows = roles.get(role, [])
            items = [album.show(r["item"], *describe_item(r), mark=role) for r in rows[:depth]]
            heading = album.name(anchor) if role == ROLES[0] else ""
            n = f"{len(rows)} {role}{'s' if len(rows) != 1 else ''}"
            reasons = list(dict.fromkeys(r["reason"] for r in rows[:depth] if r["reason"]))
            why = f"{'the first: ' if len(reasons) > 1 else ''}{reasons[0]}" if reasons else ""
            strips.append(Strip([first, *items], heading, f"{n}, {why}" if why else n))
    if not strips:
        return draw_sentence("The pools are empty.")
    return draw_strips(strips, title=title, height=0.95, wrap=False)


def describe_item(row: dict) -> tuple[str, ...]:
    """Write what is known of an item of a pool, in short lines."""
    score, similarity = row["score"], row["similarity"]
    lines = []
    if similarity is not None:
        lines.append(f"similarity {similarity:.2f}")
    if score is not None:
        lines.append(f"{'weight' if row.get('source') == 'labels' else 'graph'} {score:.2g}")
    if row["n_common"]:
        lines.append(f"{row['n_common']:,} in common")
    return tuple(lines)


def draw_pool_similarities(pools: pa.Table) -> Picture:
    """Draw Euclidean against manifold similarity of the pairs of a pool, positives and negatives apart."""
    rows = pools.filter(pc.and_(pools["score"].is_valid(), pools["similarity"].is_valid()))
    kinds = np.array([ROLES.index(role) for role in rows["role"].to_pylist()], int)
    similarity, score = (rows[name].to_numpy().astype(np.float64) for name in ("similarity", "score"))
    words = "Positives and negatives"
    return draw_manifold(similarity, score, kinds=kinds, names=("positives", "negatives"), title=words)


def draw_tuples(tuples: pa.Table, album: Album, *, title: str = "") -> Picture:
    """Draw training tuples, a strip each: anchor, positive, then the negatives, with similarities.

    ``tuples`` are rows of `TRAINING_TUPLES` of a few pairs (anchor, positive).
    """
    pairs: dict[tuple[int, int], list[dict]] = {}
    for row in tuples.sort_by("rank").to_pylist():
        pairs.setdefault((row["anchor"], row["positive"]), []).append(row)
    album.load(row[name] for rows in pairs.values() for row in rows for name in ("anchor", *ROLES))
    strips = []
    for (anchor, positive), rows in pairs.items():
        words = similarity_words(rows[0]["positive_similarity"])
        shown: Sequence[Shown] = [
            album.show(anchor, mark="anchor"),
            album.show(positive, words, mark="positive"),
            *(
                album.show(r["negative"], similarity_words(r["negative_similarity"]), mark="negative")
                for r in rows
            ),
        ]
        strips.append(Strip(shown, note=f"{rows[0]['source']}, {rows[0]['split']}"))
    if not strips:
        return draw_sentence("There are no training tuples.")
    return draw_strips(strips, title=title, height=0.95, wrap=False)


def similarity_words(similarity: float | None) -> str:
    """Write a similarity of descriptors, nothing where it is unknown."""
    return "" if similarity is None else f"similarity {similarity:.2f}"
