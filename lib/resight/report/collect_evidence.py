"""From the columns of `DUPLICATE_PAIRS` to the evidence that the page shows of a pair."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from resight.report.compare import Evidence, find_place
from resight.report.groups import CutPair, Group
from resight.report.sections import Photo
from resight.report.source import Source, is_one_of
from resight.tables import DUPLICATE_PAIRS

__all__ = ["add_evidence", "add_evidence_of_cuts"]

MEASURED = ["found_by", "transform", "n_inliers", "overlap_a", "overlap_b", "agreement"]
Rows = dict[tuple[int, int], dict]


def add_evidence(source: Source, groups: Sequence[Group]) -> tuple[Group, ...]:
    """Give the copies of groups what was measured of them and the kept photo."""
    rows = read_rows(source, [(group.kept, copy.photo) for group in groups for copy in group.copies])
    return tuple(
        replace(
            group,
            copies=tuple(
                replace(copy, evidence=describe_row(rows, group.kept, copy.photo)) for copy in group.copies
            ),
        )
        for group in groups
    )


def add_evidence_of_cuts(source: Source, cuts: Sequence[CutPair]) -> tuple[CutPair, ...]:
    """Give pairs that were kept apart what was measured of them."""
    rows = read_rows(source, [(cut.a, cut.b) for cut in cuts])
    return tuple(replace(cut, evidence=describe_row(rows, cut.a, cut.b)) for cut in cuts)


def read_rows(source: Source, pairs: Iterable[tuple[Photo, Photo]]) -> Rows:
    """Read the rows of some pairs."""
    wanted = {order_ids(a, b) for a, b in pairs}
    ends = [sorted({pair[i] for pair in wanted}) for i in (0, 1)]
    among = is_one_of("image_a", ends[0]) & is_one_of("image_b", ends[1])
    rows = source.read(DUPLICATE_PAIRS, ["image_a", "image_b", *MEASURED], filter=among)
    found = {(row["image_a"], row["image_b"]): row for row in rows.to_pylist()}
    return {pair: found[pair] for pair in wanted & set(found)}


def order_ids(a: Photo, b: Photo) -> tuple[int, int]:
    """Give the ids of two photos, the smaller one first."""
    return min(a.image_id, b.image_id), max(a.image_id, b.image_id)


def describe_row(rows: Rows, kept: Photo, copy: Photo) -> Evidence | None:
    """Describe a pair as seen from the kept photo; None where it has no row."""
    row = rows.get(order_ids(kept, copy))
    if row is None:
        return None
    is_a = kept.image_id < copy.image_id
    place = place_of(row["transform"], kept, copy, is_a=is_a)
    evidence = Evidence(
        is_aligned=place is not None,
        agreement=row["agreement"],
        overlap=row["overlap_a" if is_a else "overlap_b"],
        n_inliers=row["n_inliers"],
        found_by=row["found_by"] or "",
    )
    return evidence if place is None else replace(evidence, place=place)


def place_of(transform: bytes | None, kept: Photo, copy: Photo, *, is_a: bool) -> tuple[float, ...] | None:
    """Give the place of a copy from the stored map of pixels of a to pixels of b."""
    if transform is None or len(transform) != 72:
        return None
    H = np.frombuffer(transform, "<f8").reshape(3, 3)
    if is_a:  # the map leads from the kept photo to the copy
        if not np.isfinite(H).all() or abs(np.linalg.det(H)) < 1e-12:
            return None
        H = np.linalg.inv(H)
    return find_place(H, kept, copy)
