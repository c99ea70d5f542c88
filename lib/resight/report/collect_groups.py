"""From the tables of duplicates to the groups of a report."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.report.groups import INDIRECT, Copy, CutPair, Group, Groups
from resight.report.sections import Missing, Photo, Section
from resight.report.source import Source, is_one_of
from resight.tables import DUPLICATE_GROUPS, DUPLICATE_PAIRS

MAX_COPIES = 12  # shown of a group
MAX_CUTS = 6

Relations = dict[tuple[int, int], tuple[str, float | None]]  # (smaller id, larger id) -> evidence


def collect_groups(source: Source) -> Section:
    """Take the largest groups, of each the kept photo and the copies least like it."""
    if not source.reader.has(DUPLICATE_GROUPS):
        words = "Copies were not looked for yet: run `resight find-duplicates`."
        return Missing("copies", "Copies", words)
    members = source.read(DUPLICATE_GROUPS, ["group_id"])
    sizes = members.group_by("group_id").aggregate([([], "count_all")])
    order = [("count_all", "descending"), ("group_id", "ascending")]
    largest = sizes.take(pc.select_k_unstable(sizes, source.n_groups, order)).to_pylist()
    n_images = {row["group_id"]: row["count_all"] for row in largest}
    parts = read_members(source, list(n_images))
    shown = [row["image_id"] for rows in parts.values() for row in rows]
    relations, photos = read_relations(source, shown), source.read_photos(shown)
    groups = (describe_group(parts[g], n, relations, photos) for g, n in n_images.items())
    cuts, n_cuts = collect_cuts(source)
    return Groups(tuple(groups), n_groups=len(sizes), cuts=cuts, n_cuts=n_cuts)


def read_members(source: Source, group_ids: list[int]) -> dict[int, list[dict]]:
    """Read the shown members of some groups: the kept one first, then the least alike."""
    columns = ["group_id", "image_id", "keep", "reason", "similarity"]
    rows = source.read(DUPLICATE_GROUPS, columns, filter=is_one_of("group_id", group_ids))
    order = ["group_id", ("keep", "descending"), "similarity", "image_id"]
    keys = [key if isinstance(key, tuple) else (key, "ascending") for key in order]
    rows = rows.set_column(2, "keep", rows["keep"].cast(pa.int8()))  # booleans have no order in Arrow
    rows = rows.take(pc.sort_indices(rows, keys))
    owner = rows["group_id"].to_numpy()
    starts = np.flatnonzero(np.diff(owner, prepend=owner[:1] - 1))
    place = np.arange(len(owner)) - np.repeat(starts, np.diff(np.append(starts, len(owner))))
    parts: dict[int, list[dict]] = {}
    for row in rows.filter(pa.array(place <= MAX_COPIES)).to_pylist():
        parts.setdefault(row["group_id"], []).append(row)
    return parts


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
        if row["similarity"] is not None:
            similarity = row["similarity"]
        copies.append(Copy(photos[row["image_id"]], relation, similarity, row["reason"] or ""))
    kept_photo = photos[kept["image_id"]]
    return Group(kept["group_id"], kept_photo, kept["reason"] or "", tuple(copies), n_images)


def collect_cuts(source: Source) -> tuple[tuple[CutPair, ...], int]:
    """Take the most alike of the pairs that the guard kept apart, and count all of them."""
    columns = ["image_a", "image_b", "similarity", "cut"]
    rows = source.read(DUPLICATE_PAIRS, columns, filter=pc.field("cut").is_valid())
    order = [("similarity", "descending"), ("image_a", "ascending"), ("image_b", "ascending")]
    first = rows.take(pc.select_k_unstable(rows, MAX_CUTS, order)).to_pylist()
    photos = source.read_photos([r[name] for r in first for name in ("image_a", "image_b")])
    cuts = (CutPair(photos[r["image_a"]], photos[r["image_b"]], r["similarity"], r["cut"]) for r in first)
    return tuple(cuts), len(rows)
