"""Answers to queries: ranked photos with their scores, why they were found, where methods disagree."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from resight.viz.album import Album
from resight.viz.figure import INK, Picture, draw_sentence, new_picture, place_axes, tidy
from resight.viz.pictures import Shown, Strip, draw_strips
from resight.viz.text import plain_text

__all__ = ["draw_chains", "draw_methods", "draw_overlaps", "draw_results", "overlap_lists"]

Lists = Mapping[str, np.ndarray]  # method -> image ids in rank order


def draw_results(
    asked: Mapping[int, Shown], results: pa.Table, album: Album, *, depth: int = 12, title: str = ""
) -> Picture:
    """Draw queries, each followed by its ranked photos with their scores.

    Parameters
    ----------
    asked : mapping of int to Shown
        The photo of each query.
    results : Table
        Rows of `RESULTS`, or of a search without Spark: ``query_id`` (or ``query``), ``rank``, ``image_id``,
        ``score``; a bar shows a score as a share of the best one of its query.
    depth : int
        Results that are shown of each.
    """
    key = "query_id" if "query_id" in results.column_names else "query"
    rows = results.sort_by([(key, "ascending"), ("rank", "ascending")])
    album.load(first_of(rows, key, depth))
    strips = []
    for query, photo in asked.items():
        own = [row for row in rows.to_pylist() if row[key] == query][:depth]
        best = max((row["score"] for row in own), default=0.0)
        found = [
            album.show(
                row["image_id"],
                f"{row['rank'] + 1}. {row['score']:.3f}",
                share=row["score"] / best if best > 0 else None,
            )
            for row in own
        ]
        strips.append(Strip([photo.marked("query"), *found], note="" if found else "has no results"))
    return draw_strips(strips, title=title, wrap=False)


def first_of(rows: pa.Table, key: str, depth: int) -> list[int]:
    """List the images of the first ``depth`` ranks."""
    ids, ranks = rows["image_id"].to_numpy(), rows["rank"].to_numpy()
    return np.unique(ids[ranks < depth]).tolist()


def draw_methods(
    query: Shown, lists: Lists, album: Album, *, depth: int = 8, relevant: Sequence[int] = (), title: str = ""
) -> Picture:
    """Draw what several methods answer to one query, a strip for each, below the query.

    A photo that no other method has among its first ``depth`` is marked as only here; where ``relevant``
    images are known, photos are marked right and wrong instead.
    """
    tops = {method: list(map(int, ids[:depth])) for method, ids in lists.items()}
    album.load(image for top in tops.values() for image in top)
    right = set(relevant)
    strips = []
    for method, top in tops.items():
        others = {image for name, ids in tops.items() if name != method for image in ids}
        shown = [album.show(i, mark=mark_of(i, right, others if len(tops) > 1 else {i})) for i in top]
        alone = sum(image not in others for image in top)
        words = f"{sum(i in right for i in top)} of {len(top)} right" if right else f"{alone} only here"
        strips.append(Strip(shown, heading=method, note=words))
    return draw_strips(strips, title=title, height=1.05, wrap=False, beside=query.marked("query"))


def mark_of(image: int, right: set[int], others: set[int]) -> str:
    """Give the mark of one result."""
    if right:
        return "right" if image in right else "wrong"
    return "" if image in others else "only here"


def draw_chains(
    explanations: pa.Table, asked: Mapping[int, Shown], album: Album, *, title: str = ""
) -> Picture:
    """Draw filmstrips: each leads from a query over similar photos to a result, by affinities.

    Parameters
    ----------
    explanations : Table
        Rows of `EXPLANATIONS`.
    asked : mapping of int to Shown
        The photo of each query; chains of others are left out.
    """
    order = [(name, "ascending") for name in ("query_id", "image_id", "hop")]
    chains: dict[tuple[int, int], list[dict]] = {}
    for row in explanations.sort_by(order).to_pylist():
        if row["query_id"] in asked:
            chains.setdefault((row["query_id"], row["image_id"]), []).append(row)
    album.load(row["dst"] for hops in chains.values() for row in hops)
    strips = []
    for (query, image), hops in chains.items():
        steps = [show_step(row, album) for row in hops]
        steps[-1] = steps[-1].marked("found")
        n = len(hops)
        words = f"{n} step{'s' if n != 1 else ''}, product of affinities {hops[-1]['product']:.4f}"
        strips.append(Strip([asked[query].marked("query"), *steps], album.name(image), words))
    if not strips:
        return draw_sentence("No result of these queries was explained.")
    return draw_strips(strips, title=title, wrap=False)


def show_step(row: dict, album: Album) -> Shown:
    """Give the photo that a step leads to."""
    return album.show(row["dst"], f"\u2192 {row['affinity']:.3f}", share=row["affinity"])


def overlap_lists(a: Sequence[int] | np.ndarray, b: Sequence[int] | np.ndarray) -> float:
    """Share of images that two lists have in common, of the shorter one's length.

    >>> overlap_lists([1, 2, 3, 4], [3, 4, 5, 6]), overlap_lists([], [1])
    (0.5, 1.0)
    """
    shorter = min(len(a), len(b))
    return len(set(map(int, a)) & set(map(int, b))) / shorter if shorter else 1.0


def draw_overlaps(methods: Sequence[str], shares: np.ndarray, *, depth: int) -> Picture:
    """Draw how much the first ``depth`` results of methods have in common, as a table of colours.

    Parameters
    ----------
    methods : sequence of str, (m,)
    shares : ndarray, (m, m) float64
        Mean over queries, from 0 to 1.
    """
    m = len(methods)
    if m < 2:
        return draw_sentence("There is one method only: nothing to compare.")
    longest = max(map(len, methods))
    left, cell = 0.4 + 0.078 * longest, 0.62
    picture = new_picture(left + cell * m + 0.3, 0.95 + 0.45 * m + 0.078 * longest * 0.6)
    axes = place_axes(picture, left, 0.55, cell * m, 0.45 * m)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for i, j in np.ndindex(m, m):
        tone = "white" if shares[i, j] > 0.75 else INK
        axes.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", fontsize=8, color=tone)
    tidy(axes, title=f"Shared among the first {depth}", grid="")
    names = [plain_text(name) for name in methods]
    axes.set_xticks(range(m), names, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(m), names, parse_math=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return picture
