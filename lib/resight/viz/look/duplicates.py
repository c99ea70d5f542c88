"""Notebook 03: groups of copies, what a threshold decides, how well copies are found."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.dedup.relating.relation import REVERSED
from resight.report.collect_groups import find_largest
from resight.report.groups import RELATIONS
from resight.report.markup import format_count
from resight.report.source import Source, is_one_of, keep_first
from resight.tables import AUDITS, DUPLICATE_GROUPS, DUPLICATE_PAIRS, PLANTED_COPIES
from resight.viz.charts import Interval, draw_counts, draw_histogram, draw_intervals
from resight.viz.copies import align_strip, draw_groups, draw_pairs
from resight.viz.figure import Picture, draw_sentence
from resight.viz.look.workspace import Look, Sentence, needs
from resight.viz.pictures import Strip, draw_strips

__all__ = [
    "describe_groups",
    "draw_aligned",
    "draw_audit",
    "draw_cuts",
    "draw_largest",
    "draw_missed",
    "draw_relations",
    "draw_similarities",
    "draw_weakest",
]

NO_COPIES = "Copies were not looked for yet: run `resight find-duplicates`."
NO_AUDIT = "Not measured yet: `resight audit-duplicates` plants known copies and looks for them."
MEMBERS = ["group_id", "image_id", "keep", "reason", "similarity"]
MAX_MEMBERS = 5_000  # rows of groups that are read to be shown
PAIRS = ["image_a", "image_b", "relation", "similarity", "cut"]
SAMPLE = 200_000


@needs(DUPLICATE_GROUPS, NO_COPIES)
def describe_groups(look: Look) -> Sentence:
    """Say how many groups there are, how many photos could go, and by which settings."""
    run = look.tables.find(DUPLICATE_GROUPS)
    n_groups = look.source.count(DUPLICATE_GROUPS, filter=pc.field("keep"))
    n_copies = look.source.count(DUPLICATE_GROUPS, filter=~pc.field("keep"))
    words = f"{format_count(n_groups, 'group')} with {format_count(n_copies, 'copy', 'copies')} that could go"
    chosen = {name: run.settings[name] for name in ("effort", "threshold") if name in run.settings}
    settings = ", ".join(f"{name} {value}" for name, value in chosen.items())
    return Sentence(f"{words} (build `{run.name or run.build_id}`{', ' + settings if settings else ''}).")


@needs(DUPLICATE_GROUPS, NO_COPIES)
def draw_largest(look: Look, n: int = 6) -> Picture:
    """Draw the largest groups: the photo to keep, then the copies least like it."""
    sizes, n_groups = find_largest(Source(look.tables, n, 0, look.seed))
    rows = read_groups(look, list(sizes))
    words = f"The largest {len(sizes)} of {format_count(n_groups, 'group')}"
    return draw_groups(rows, look.album, relations=read_relations(look, rows), title=words)


def read_groups(look: Look, group_ids: list[int]) -> pa.Table:
    """Read the members of some groups, those of the first one first."""
    rows = look.source.look_up(DUPLICATE_GROUPS, MEMBERS, "group_id", group_ids).slice(0, MAX_MEMBERS)
    order = pc.index_in(rows["group_id"], value_set=pa.array(group_ids, pa.int64()))
    return rows.take(pc.sort_indices(order))


def read_relations(look: Look, rows: pa.Table) -> dict[tuple[int, int], str]:
    """Read what the members of groups are to each other, in both directions."""
    ids = np.unique(rows["image_id"].to_numpy())
    among = is_one_of("image_a", ids) & is_one_of("image_b", ids)
    found: dict[tuple[int, int], str] = {}
    for row in look.source.read(DUPLICATE_PAIRS, PAIRS[:3], filter=among).to_pylist():
        a, b, relation = row["image_a"], row["image_b"], row["relation"]
        found |= {(b, a): relation, (a, b): REVERSED.get(relation, relation)}
    return found


@needs(DUPLICATE_PAIRS, NO_COPIES)
def draw_relations(look: Look) -> Picture:
    """Draw how many pairs of copies have which relation."""
    counts = Counter[str]()
    for batch in look.source.batches(DUPLICATE_PAIRS, ["relation"]):
        counts.update(
            {row["values"]: row["counts"] for row in pc.value_counts(batch["relation"]).to_pylist()}
        )
    named = {RELATIONS.get(name, (name, ""))[0]: n for name, n in counts.most_common()}
    return draw_counts(named, title=format_count(counts.total(), "pair of copies", "pairs of copies"))


@needs(DUPLICATE_PAIRS, NO_COPIES)
def draw_similarities(look: Look) -> Picture:
    """Draw how similar the copies of each relation are, with the threshold where one decided."""
    rows = [look.source.read(DUPLICATE_PAIRS, ["relation", "similarity"]).slice(0, SAMPLE)]
    table = pa.concat_tables(rows)
    common = [row["values"] for row in pc.value_counts(table["relation"]).to_pylist()][:6]
    samples = {}
    for relation in common:
        chosen = table.filter(pc.equal(table["relation"], relation))["similarity"]
        samples[RELATIONS.get(relation, (relation, ""))[0]] = chosen.to_numpy().astype(np.float64)
    threshold = look.source.threshold()
    lines = {} if threshold is None else {f"threshold {threshold:g}": threshold}
    return draw_histogram(samples, x="similarity", title="Pairs of copies", lines=lines, log=True)


@needs(DUPLICATE_PAIRS, NO_COPIES)
def draw_weakest(look: Look, n: int = 6) -> Picture:
    """Draw the least similar pairs that share a group: where a wrong one would be."""
    joined = pc.field("cut").is_null() & pc.field("similarity").is_valid()
    order = [("similarity", "ascending"), ("image_a", "ascending"), ("image_b", "ascending")]
    rows = keep_first(look.source.batches(DUPLICATE_PAIRS, PAIRS, filter=joined), n, order)
    words = "The least similar pairs of one group"
    return (
        draw_sentence(words + ": there are none.")
        if rows is None
        else draw_pairs(rows, look.album, title=words)
    )


@needs(DUPLICATE_PAIRS, NO_COPIES)
def draw_cuts(look: Look, n: int = 6) -> Picture:
    """Draw the most similar pairs that the guard kept apart, and why."""
    order = [("similarity", "descending"), ("image_a", "ascending"), ("image_b", "ascending")]
    apart = look.source.batches(DUPLICATE_PAIRS, PAIRS, filter=pc.field("cut").is_valid())
    rows = keep_first(apart, n, order)
    words = "Kept apart by the guard"
    if rows is None:
        return draw_sentence(words + ": none.")
    return draw_pairs(rows, look.album, title=words)


@needs(DUPLICATE_PAIRS, NO_COPIES)
def draw_aligned(look: Look, n: int = 3) -> Picture | Sentence:
    """Draw pairs that aligned pixels decided, the least similar first, laid over each other."""
    columns = ["image_a", "image_b", "relation", "similarity", "transform", "agreement"]
    order = [("agreement", "ascending"), ("image_a", "ascending"), ("image_b", "ascending")]
    known = pc.field("transform").is_valid() & pc.field("agreement").is_valid()
    rows = keep_first(look.source.batches(DUPLICATE_PAIRS, columns, filter=known), n, order)
    if rows is None or not len(rows):
        return Sentence("No pair was decided by aligned pixels: `--effort standard` compares them.")
    strips: list[Strip] = []
    for row in rows.to_pylist():
        ids = row["image_a"], row["image_b"]
        H = np.frombuffer(row["transform"], "<f8").reshape(3, 3)
        shown = [look.album.show(image) for image in ids]
        strip = align_strip(shown[0], shown[1], H, [look.album.size_of(image) for image in ids])
        words = f"pixels agree to {row['agreement']:.3f}"
        strips.append(Strip(strip, RELATIONS.get(row["relation"], (row["relation"] or "", ""))[0], words))
    return draw_strips(strips, title="Laid over each other", height=1.35, wrap=False)


@needs(AUDITS, NO_AUDIT)
def draw_audit(look: Look) -> Picture:
    """Draw how many planted copies were found, by what was done to them, with 95 % intervals."""
    rows = look.source.read(
        AUDITS, ["figure", "subject", "strength", "value", "ci_low", "ci_high"]
    ).to_pylist()
    recall = [row for row in rows if row["figure"] == "recall" and row["strength"] is None]
    figures = [
        Interval(
            r["subject"], r["value"], r["ci_low"], r["ci_high"], "all" if r["subject"] == "all" else "one"
        )
        for r in sorted(recall, key=lambda r: (r["subject"] != "all", -r["value"], r["subject"]))
    ]
    return draw_intervals(figures, title="Share of planted copies that were found")


@needs(PLANTED_COPIES, NO_AUDIT)
def draw_missed(look: Look) -> Picture:
    """Draw how many planted copies were missed, by what was done to them."""
    missed = ~pc.field("found")
    counts = Counter[str]()
    for batch in look.source.batches(PLANTED_COPIES, ["transformation"], filter=missed):
        counts.update(batch["transformation"].to_pylist())
    return draw_counts(dict(counts.most_common()), title="Planted copies that were missed")
