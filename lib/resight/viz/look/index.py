"""Notebook 01: what is in the workspace, which builds there are, how good graph and index are."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from resight.arrow import arrow_to_lists
from resight.report.markup import format_bytes, format_count
from resight.report.source import is_one_of
from resight.tables import (
    COMPONENTS,
    EDGES,
    IMAGE_STATS,
    IMAGES,
    METRICS,
    NEIGHBORS,
    NODES,
    WORD_STATS,
)
from resight.viz.charts import Interval, draw_counts, draw_histogram, draw_intervals
from resight.viz.figure import Picture
from resight.viz.graphs import draw_graph
from resight.viz.look.workspace import Look, Sentence, needs
from resight.viz.pictures import Strip, draw_pictures, draw_strips

__all__ = [
    "describe_graph",
    "draw_components",
    "draw_index",
    "draw_nearest",
    "draw_neighbours",
    "draw_quality",
    "draw_sample",
    "draw_statuses",
    "list_builds",
]

NO_IMAGES = "There are no images yet: `resight ingest-images` reads them."
NO_GRAPH = "There is no graph yet: `resight build-graph` makes one."
NO_METRICS = "Nothing was evaluated: `resight evaluate` measures a search against known answers."
NO_INDEX = "There is no index of keypoints: `resight build-index` makes one."
HEADLINE = ("macro_map_step", "map_step", "medium_map_step")
SAMPLE = 20_000


def list_builds(look: Look) -> pd.DataFrame:
    """List the builds, newest first: job, name, id, its inputs, rows of its tables, seconds, when."""
    rows = [
        {
            "job": run.job,
            "name": run.name,
            "build": run.build_id,
            "from": ", ".join(sorted({run_name(look, build) for build in run.parents.values()})),
            "rows": ", ".join(f"{name} {output.n_rows:,}" for name, output in run.outputs.items()),
            "seconds": round(run.seconds, 1),
            "committed": f"{run.committed_at:%Y-%m-%d %H:%M}",
        }
        for run in reversed(look.source.last_runs())
    ]
    return pd.DataFrame(rows, columns=["job", "name", "build", "from", "rows", "seconds", "committed"])


def run_name(look: Look, build: str) -> str:
    """Give the name of a build, its id where it has none."""
    run = look.tables.workspace.builds().get(build)
    return run.name or build if run is not None else build


@needs(IMAGES, NO_IMAGES)
def draw_statuses(look: Look) -> Picture:
    """Draw how many images have which status."""
    counts, n_bytes = Counter[str](), 0
    there = pc.field("removed_at").is_null()
    for batch in look.source.batches(IMAGES, ["status", "n_bytes"], filter=there):
        rows = pc.value_counts(batch["status"]).to_pylist()
        counts.update({row["values"] or "unknown": row["counts"] for row in rows})
        n_bytes += pc.sum(batch["n_bytes"]).as_py() or 0
    words = f"{format_count(sum(counts.values()), 'image')}, {format_bytes(n_bytes)}"
    return draw_counts(dict(counts.most_common()), title=words, mark="ok")


@needs(IMAGES, NO_IMAGES)
def draw_sample(look: Look, n: int = 24) -> Picture:
    """Draw some readable images, drawn by chance."""
    readable = pc.field("removed_at").is_null() & (pc.field("status") == "ok")
    drawn, n_images = look.source.draw(IMAGES, "image_id", n, filter=readable)
    look.album.load(drawn.tolist())
    words = f"{len(drawn)} of {format_count(n_images, 'readable image')}"
    return draw_pictures([look.album.show(i) for i in drawn.tolist()], title=words, height=1.0)


@needs(NEIGHBORS, NO_GRAPH)
def describe_graph(look: Look) -> Sentence:
    """Say what the newest graph is, and how many true neighbours its lists hold."""
    run = look.tables.find(NEIGHBORS)
    notes, rows = run.notes, run.outputs[NEIGHBORS.name].n_rows
    words = [f"Graph `{run.name or run.build_id}`: {format_count(rows, 'photo')}"]
    if "edges" in run.outputs:
        words.append(f"{format_count(run.outputs['edges'].n_rows // 2, 'edge')}")
    if "recall" in notes:
        share = f"{notes['recall']:.3f} (95 % interval {notes['low']:.3f} to {notes['high']:.3f})"
        words.append(f"recall of the lists {share}, search {notes.get('method', 'unknown')}")
    odd = [f"{notes[name]:,} {text}" for name, text in ODD.items() if notes.get(name)]
    return Sentence(", ".join([*words, *odd]) + ".")


ODD = {"copies": "equal vectors", "zero": "vectors of zeros", "nan": "vectors that are no numbers"}


@needs(NEIGHBORS, NO_GRAPH)
def draw_neighbours(look: Look, n: int = 5, depth: int = 8) -> Picture:
    """Draw some photos, each followed by its nearest ones with their similarity."""
    drawn = look.draw(NEIGHBORS, "src", n)
    rows = look.read(NEIGHBORS, ["src", "dst", "similarity"], "src", drawn)
    offsets, dst = arrow_to_lists(rows["dst"], "<i8")
    similarity = arrow_to_lists(rows["similarity"], "<f4")[1]
    parts = [slice(a, min(a + depth, b)) for a, b in pairwise(offsets.tolist())]
    look.album.load([*drawn.tolist(), *(i for part in parts for i in dst[part].tolist())])
    strips = []
    for src, part in zip(rows["src"].to_pylist(), parts, strict=True):
        pairs = zip(dst[part].tolist(), similarity[part].tolist(), strict=True)
        near = [look.album.show(i, f"{s:.3f}", share=s) for i, s in pairs]
        strips.append(Strip([look.album.show(src, mark="query"), *near]))
    return draw_strips(strips, height=1.0, wrap=False)


@needs(NEIGHBORS, NO_GRAPH)
def draw_nearest(look: Look) -> Picture:
    """Draw how similar photos are to their nearest, fifth and tenth neighbour, over a sample of them."""
    drawn = look.draw(NEIGHBORS, "src", SAMPLE)
    samples: dict[str, list[np.ndarray]] = {name: [] for name in RANKS}
    for batch in look.source.batches(NEIGHBORS, ["similarity"], filter=is_one_of("src", drawn)):
        offsets, similarity = arrow_to_lists(batch["similarity"], "<f4")
        for name, rank in RANKS.items():
            samples[name].append(similarity[offsets[:-1][np.diff(offsets) > rank] + rank])
    found = {name: np.concatenate(parts) for name, parts in samples.items() if parts}
    return draw_histogram(found, x="similarity of descriptors", title="Neighbours of a photo")


RANKS = {"nearest": 0, "5th": 4, "10th": 9}


@needs(COMPONENTS, NO_GRAPH)
def draw_components(look: Look) -> Picture:
    """Draw how many edges photos have, over a sample, and how large components are."""
    run = look.tables.find(COMPONENTS)
    drawn = look.draw(NODES, "node_id", SAMPLE)
    sources = [
        batch["src"].to_numpy()
        for batch in look.source.batches(EDGES, ["src"], filter=is_one_of("src", drawn))
    ]
    found, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *sources]), return_counts=True)
    degrees = np.zeros(len(drawn), np.int64)
    degrees[np.searchsorted(drawn, found)] = counts
    parts = look.source.id_parts(COMPONENTS, "component_id", run.outputs[COMPONENTS.name].n_rows)
    sizes = np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)])
    return draw_graph(degrees, sizes)


@needs(IMAGE_STATS, NO_INDEX)
def draw_index(look: Look) -> Picture:
    """Draw how many keypoints the images of the index have, and how many visual words."""
    drawn = look.draw(IMAGE_STATS, "image_id", SAMPLE)
    batches = look.source.batches(
        IMAGE_STATS, ["n_keypoints", "n_words"], filter=is_one_of("image_id", drawn)
    )
    rows = [batch.to_pandas() for batch in batches]
    table = pd.concat(rows) if rows else pd.DataFrame({"n_keypoints": [], "n_words": []})
    n_words = look.source.count(WORD_STATS) if look.tables.has(WORD_STATS) else 0
    samples = {"keypoints": table["n_keypoints"], "visual words": table["n_words"]}
    numbers = {name: column.fillna(0).to_numpy(float) for name, column in samples.items()}
    return draw_histogram(numbers, x="number in an image", title=f"Index of {n_words:,} visual words in use")


@needs(METRICS, NO_METRICS)
def draw_quality(look: Look, metric: str = "", *, most: int = 30) -> Picture | Sentence:
    """Draw one metric of every evaluation with its 95 % interval, the best first.

    ``metric`` defaults to the first of those that the evaluations have: mean average precision over families,
    over queries, or under the Medium protocol.
    """
    columns = ["protocol", "method", "metric", "value", "ci_low", "ci_high"]
    overall = pc.field("query_id").is_null() & pc.field("family").is_null()
    rows = [
        {"build": run.name, **row}
        for run in look.source.last_runs()
        if METRICS.name in run.outputs
        for row in look.source.read(METRICS, columns, filter=overall, build=run.build_id).to_pylist()
    ]
    there = {row["metric"] for row in rows}
    chosen = metric or next((name for name in HEADLINE if name in there), "")
    if chosen not in there:
        return Sentence(f"No evaluation has the metric {chosen!r}; there are: {', '.join(sorted(there))}.")
    found = [
        Interval(f"{r['build']} ({r['method']})", r["value"], r["ci_low"], r["ci_high"], r["method"])
        for r in rows
        if r["metric"] == chosen
    ]
    best = sorted(found, key=lambda figure: -figure.value)
    return draw_intervals(best[:most], title=f"{chosen}, the best {min(most, len(best))} of {len(best)}")
