"""Notebook 04: what a network will be trained with, and how hard it is."""

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from resight.report.markup import format_count
from resight.tables import TRAINING_POOLS, TRAINING_TUPLES
from resight.viz.charts import draw_counts, draw_histogram
from resight.viz.figure import Picture
from resight.viz.look.workspace import Look, Sentence, needs, write_notes
from resight.viz.mined import draw_pool_similarities, draw_pools, draw_tuples

__all__ = [
    "describe_pools",
    "draw_anchors",
    "draw_hardness",
    "draw_sides",
    "draw_similarities",
    "draw_sources",
    "draw_triplets",
    "read_tuples",
]

NO_POOLS = "No pairs were mined yet: run `resight mine-pairs`."
SAMPLE = 2_000  # anchors of a chart
MAX_ITEMS = 50  # of an anchor that are read to be shown
POOL = ["anchor", "item", "role", "source", "reason", "rank", "score", "similarity", "n_common"]
TUPLE = ["anchor", "positive", "negative", "rank", "source", "split"]
SIMILARITIES = ["positive_score", "positive_similarity", "negative_similarity"]


@needs(TRAINING_POOLS, NO_POOLS)
def describe_pools(look: Look) -> Sentence:
    """Say how many anchors, items and tuples there are."""
    run = look.tables.find(TRAINING_POOLS)
    first = pc.field("rank") == 0
    anchors = {
        role: look.source.count(TRAINING_POOLS, filter=first & (pc.field("role") == role)) for role in ROLES
    }
    words = [f"{format_count(n, 'pool')} of {role}s" for role, n in anchors.items()]
    words.append(format_count(run.outputs[TRAINING_POOLS.name].n_rows, "item"))
    if TRAINING_TUPLES.name in run.outputs:
        words.append(format_count(run.outputs[TRAINING_TUPLES.name].n_rows, "training tuple"))
    return Sentence(f"Build `{run.name or run.build_id}`: {', '.join(words)}.{write_notes(run.notes)}")


ROLES = ("positive", "negative")


@needs(TRAINING_POOLS, NO_POOLS)
def draw_anchors(look: Look, n: int = 3, depth: int = 8, *, source: str = "") -> Picture:
    """Draw some anchors with their positives and negatives; of one ``source`` only, where it is given."""
    chosen = pc.field("rank") == 0
    if source:
        chosen &= pc.field("source") == source
    drawn = look.source.draw(TRAINING_POOLS, "anchor", n, filter=chosen)[0]
    rows = look.read(TRAINING_POOLS, POOL, "anchor", drawn)
    rows = rows.filter(pc.less(rows["rank"], MAX_ITEMS))
    if source:
        rows = rows.filter(pc.equal(rows["source"], source))
    return draw_pools(rows, look.album, depth=depth, title="Anchors, what is near them and what is not")


@needs(TRAINING_POOLS, NO_POOLS)
def draw_sources(look: Look) -> Picture:
    """Draw how many items of the pools have which role and come from where."""
    counts = Counter[str]()
    for batch in look.source.batches(TRAINING_POOLS, ["role", "source"]):
        names = pc.binary_join_element_wise(batch["source"], batch["role"], " ")
        counts.update({row["values"] + "s": row["counts"] for row in pc.value_counts(names).to_pylist()})
    return draw_counts(dict(counts.most_common()), title="Items of the pools")


@needs(TRAINING_POOLS, NO_POOLS)
def draw_similarities(look: Look) -> Picture:
    """Draw how similar the descriptors of anchors and items are, positives against negatives."""
    rows = sample_pools(look)
    found = {}
    for role in ROLES:
        values = rows.filter(pc.equal(rows["role"], role))["similarity"]
        found[f"{role}s"] = values.to_numpy().astype(np.float64)
    return draw_histogram(found, x="similarity of descriptors", title="How hard the pools are", shares=True)


@needs(TRAINING_POOLS, NO_POOLS)
def draw_hardness(look: Look) -> Picture:
    """Draw similarity of descriptors against that over the graph: a pair teaches most where they differ."""
    return draw_pool_similarities(sample_pools(look))


def sample_pools(look: Look) -> pa.Table:
    """Read the pools of some anchors."""
    drawn = look.draw(TRAINING_POOLS, "anchor", SAMPLE)
    return look.read(TRAINING_POOLS, ["role", "score", "similarity"], "anchor", drawn)


@needs(TRAINING_TUPLES, NO_POOLS)
def draw_triplets(look: Look, n: int = 6) -> Picture:
    """Draw training tuples of some anchors: anchor, positive, negatives."""
    drawn = look.draw(TRAINING_TUPLES, "anchor", n)
    rows = look.read(TRAINING_TUPLES, TUPLE + SIMILARITIES, "anchor", drawn).sort_by(
        [(name, "ascending") for name in ("anchor", "positive", "rank")]
    )
    first: dict[int, int] = {}
    for row in rows.select(["anchor", "positive"]).to_pylist():
        first.setdefault(row["anchor"], row["positive"])
    positives = pa.array([first[anchor] for anchor in rows["anchor"].to_pylist()], pa.int64())
    one = rows.filter(pc.equal(rows["positive"], positives))
    one = one.filter(pc.less(one["rank"], 8))
    return draw_tuples(one, look.album, title="Training tuples")


@needs(TRAINING_TUPLES, NO_POOLS)
def draw_sides(look: Look) -> Picture:
    """Draw how many tuples are for training and how many for validation."""
    counts = Counter[str]()
    for batch in look.source.batches(TRAINING_TUPLES, ["split"]):
        counts.update(
            {row["values"] or "none": row["counts"] for row in pc.value_counts(batch["split"]).to_pylist()}
        )
    return draw_counts(dict(counts.most_common()), title="Tuples by side")


@needs(TRAINING_TUPLES, NO_POOLS)
def read_tuples(
    look: Look, *, positive_similarity: float = 1.0, negative_similarity: float = -1.0, most: int = 1000
) -> pd.DataFrame:
    """Read tuples with hard enough positives and negatives, and the uris of their photos.

    Parameters
    ----------
    positive_similarity, negative_similarity : float
        The largest of a positive, the smallest of a negative; unknown ones pass.
    most : int
        Rows that are read.
    """
    parts, n_rows = [], 0
    unknown = [pc.field(name).is_null() for name in SIMILARITIES[1:]]
    hard = (unknown[0] | (pc.field("positive_similarity") <= positive_similarity)) & (
        unknown[1] | (pc.field("negative_similarity") >= negative_similarity)
    )
    for batch in look.source.batches(TRAINING_TUPLES, TUPLE + SIMILARITIES, filter=hard):
        parts.append(pa.table(batch).slice(0, most - n_rows))
        n_rows += len(parts[-1])
        if n_rows >= most:
            break
    rows = pa.concat_tables(parts).to_pandas() if parts else pd.DataFrame(columns=TUPLE + SIMILARITIES)
    names = ("anchor", "positive", "negative")
    photos = look.source.read_photos(int(i) for name in names for i in rows[name].unique())
    for name in names:
        rows[name] = [photos[int(i)].uri for i in rows[name]]
    return rows
