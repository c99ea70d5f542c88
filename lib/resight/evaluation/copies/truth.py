"""The matching images that people list: pairs, groups, or the positives of a ground truth.

Every fault raises `SettingError` with the file and the line.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from resight.config import SettingError
from resight.evaluation.ground_truth import Row, check_rows, read_csv

__all__ = ["read_pairs"]


def read_pairs(file: str | Path) -> pa.Table:
    """Read a CSV file of matching images; what it holds follows from its header.

    ``uri_a, uri_b``
        Pairs of uris. Further columns are not looked at.
    ``image_a, image_b``
        Pairs of image ids.
    ``uri, group``
        All images of one group match each other; an image without a group matches none.
    ``query_uri, image_uri, label[, family]``
        A ground truth: a query matches its positives, easy and hard ones included.

    Returns
    -------
    Table
        ``uri_a, uri_b`` (string), ``image_a, image_b`` (int64), or ``uri, group`` (string); no pair and no
        image twice.
    """
    rows = list(read_csv(Path(file), ()))
    found = set(rows[0][1]) if rows else set()
    kinds = [columns for columns in READERS if found >= set(columns)]
    if not rows or not kinds:
        wanted = "; ".join(", ".join(columns) for columns in READERS)
        what = f"its columns are {', '.join(sorted(found))}" if rows else "it holds no row"
        raise SettingError(f"{file}: {what}; matching images are given by one of: {wanted}")
    return READERS[kinds[0]](rows, kinds[0])


def read_uris(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    """Take pairs of uris."""
    pairs = [(where, (row[columns[0]], row[columns[1]])) for where, row in rows]
    for where, pair in pairs:
        if not all(pair):
            raise SettingError(f"{where}: {' and '.join(columns)} name two images, one is empty")
    check_distinct(pairs)
    return pa.table({name: [pair[i] for _, pair in pairs] for i, name in enumerate(columns)})


def read_ids(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    """Take pairs of ids."""
    pairs = []
    for where, row in rows:
        try:
            pairs.append((where, (int(row[columns[0]]), int(row[columns[1]]))))
        except ValueError:
            raise SettingError(f"{where}: {' and '.join(columns)} must be whole numbers") from None
    check_distinct(pairs)
    return pa.table({name: pa.array([p[i] for _, p in pairs], pa.int64()) for i, name in enumerate(columns)})


def read_groups(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    """Take the members of groups."""
    uri, group = columns
    seen: dict[str, str] = {}
    for where, row in rows:
        if not row[uri] or row[uri] in seen:
            raise SettingError(f"{where}, column {uri}: {row[uri]!r} is empty or listed twice")
        seen[row[uri]] = row[group]
    members = [(image, name) for image, name in seen.items() if name]
    return pa.table({name: pa.array([m[i] for m in members], pa.string()) for i, name in enumerate(columns)})


def read_positives(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    """Take the positives of a ground truth; two queries that are positives of each other are one pair."""
    table = check_rows(rows)
    labelled = zip(*(table[name].to_pylist() for name in columns), strict=True)
    pairs = sorted({(min(q, i), max(q, i)) for q, i, label in labelled if label != "junk" and q != i})
    if not pairs:
        raise SettingError(f"{rows[0][0]}: no query of the file has a positive other than itself")
    return pa.table({"uri_a": [a for a, _ in pairs], "uri_b": [b for _, b in pairs]})


def check_distinct(pairs: Sequence[tuple[str, tuple]]) -> None:
    """Refuse an image that is paired with itself, and a pair that is given twice in either order."""
    seen: dict[frozenset, str] = {}
    for where, pair in pairs:
        first = seen.setdefault(frozenset(pair), where)
        if pair[0] == pair[1]:
            raise SettingError(f"{where}: {pair[0]} is paired with itself")
        if first != where:
            raise SettingError(f"{where}: {pair[0]} and {pair[1]} were paired in {first}")


READERS: dict[tuple[str, ...], Callable[[Sequence[Row], Sequence[str]], pa.Table]] = {
    ("uri_a", "uri_b"): read_uris,
    ("image_a", "image_b"): read_ids,
    ("uri", "group"): read_groups,
    ("query_uri", "image_uri", "label"): read_positives,
}
