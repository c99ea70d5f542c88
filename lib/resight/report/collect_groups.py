"""From the tables of duplicates to the groups of a report."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.dedup.relating.relation import REVERSED
from resight.report.collect_evidence import add_evidence, add_evidence_of_cuts
from resight.report.groups import INDIRECT, Copy, CutPair, Group, Groups
from resight.report.sections import Missing, Photo, Section
from resight.report.source import Source, is_one_of, keep_first
from resight.tables import DUPLICATE_GROUPS, DUPLICATE_PAIRS

MAX_COPIES = 12  # shown of a group
MAX_CUTS = 6

Relations = dict[tuple[int, int], tuple[str, float | None]]  # (smaller id, larger id) -> evidence


def collect_groups(source: Source) -> Section:
    """Take the largest groups, of each the kept photo and the copies least like it."""
    if not source.reader.has(DUPLICATE_GROUPS):
        words = "Copies were not looked for yet: run `resight find-duplicates`."
        return Missing("copies", "Copies", words)
    n_images, n_groups = find_largest(source)
    parts = read_members(source, list(n_images))
    shown = [row["image_id"] for rows in parts.values() for row in rows]
    relations, photos = read_relations(source, shown), source.read_photos(shown)
    groups = [describe_group(parts[g], n, relations, photos) for g, n in n_images.items()]
    cuts, n_cuts = collect_cuts(source)
    shown_cuts = add_evidence_of_cuts(source, cuts)
    noted = source.reader.find(DUPLICATE_GROUPS).notes
    found = add_evidence(source, groups)
    return Groups(found, n_groups=n_groups, cuts=shown_cuts, n_cuts=n_cuts, notes=noted)


def find_largest(source: Source) -> tuple[dict[int, int], int]:
    """Find the groups that are shown, with their sizes, the largest first, and count all groups."""
    sizes, n_groups = list[tuple[int, int]](), 0
    for part in source.id_parts(DUPLICATE_GROUPS, "group_id", source.count(DUPLICATE_GROUPS)):
        n_groups += len(part.ids)
        first = np.lexsort((part.ids, -part.counts))[: source.n_groups]
        sizes += zip((-part.counts[first]).tolist(), part.ids[first].tolist(), strict=True)
    return {group: -size for size, group in sorted(sizes)[: source.n_groups]}, n_groups


def read_members(source: Source, group_ids: list[int]) -> dict[int, list[dict]]:
    """Read the shown members of some groups: the kept one first, then the least alike."""
    columns = ["group_id", "image_id", "keep", "reason", "similarity"]
    chosen = is_one_of("group_id", group_ids)
    rows: list[pa.Table] = []
    for batch in source.batches(DUPLICATE_GROUPS, columns, filter=chosen):
        rows = [keep_shown(pa.concat_tables([*rows, pa.table(batch)]))]
    parts: dict[int, list[dict]] = {}
    for row in rows[0].to_pylist() if rows else ():
        parts.setdefault(row["group_id"], []).append(row)
    return parts


def keep_shown(rows: pa.Table) -> pa.Table:
    """Keep the members of each group that the page shows, in their order."""
    order = [("group_id", "ascending"), ("is_kept", "descending"), ("similarity", "ascending")]
    is_kept = rows["keep"].cast(pa.int8())  # booleans have no order in Arrow
    keys = rows.append_column("is_kept", is_kept)
    rows = rows.take(pc.sort_indices(keys, [*order, ("image_id", "ascending")]))
    owner = rows["group_id"].to_numpy()
    starts = np.flatnonzero(np.diff(owner, prepend=owner[:1] - 1))
    place = np.arange(len(owner)) - np.repeat(starts, np.diff(np.append(starts, len(owner))))
    return rows.filter(pa.array(place <= MAX_COPIES))


def read_relations(source: Source, image_ids: list[int]) -> Relations:
    """Read the pairs among some images."""
    among = is_one_of("image_a", image_ids) & is_one_of("image_b", image_ids)
    columns = ["image_a", "image_b", "relation", "similarity"]
    rows = source.read(DUPLICATE_PAIRS, columns, filter=among).to_pylist()
    return {(r["image_a"], r["image_b"]): (r["relation"], r["similarity"]) for r in rows}


def describe_group(rows: list[dict], n_images: int, relations: Relations, photos: dict[int, Photo]) -> Group:
    """Describe a group from its shown members, the kept one first."""
    kept, rest = rows[0], rows[1:]
    copies = []
    for row in rest:
        a, b = sorted((kept["image_id"], row["image_id"]))
        relation, similarity = relations.get((a, b), (INDIRECT, None))
        if b == row["image_id"]:  # it is read a -> b, and shown as what the copy is to the kept photo
            relation = REVERSED.get(relation, relation)
        if row["similarity"] is not None:
            similarity = row["similarity"]
        copies.append(Copy(photos[row["image_id"]], relation, similarity, row["reason"] or ""))
    kept_photo = photos[kept["image_id"]]
    return Group(kept["group_id"], kept_photo, kept["reason"] or "", tuple(copies), n_images)


def collect_cuts(source: Source) -> tuple[tuple[CutPair, ...], int]:
    """Take the most alike of the pairs that the guard kept apart, and count all of them."""
    columns, is_cut = ["image_a", "image_b", "similarity", "cut"], pc.field("cut").is_valid()
    order = [("similarity", "descending"), ("image_a", "ascending"), ("image_b", "ascending")]
    rows = keep_first(source.batches(DUPLICATE_PAIRS, columns, filter=is_cut), MAX_CUTS, order)
    first = rows.to_pylist() if rows is not None else []
    photos = source.read_photos([r[name] for r in first for name in ("image_a", "image_b")])
    cuts = (CutPair(photos[r["image_a"]], photos[r["image_b"]], r["similarity"], r["cut"]) for r in first)
    return tuple(cuts), source.count(DUPLICATE_PAIRS, filter=is_cut)
