"""The ground truth that people write: a CSV or Parquet file with one row per labelled image of a query.

Columns ``query_uri, image_uri, label`` and optionally ``family``; labels as in `protocols.LABELS`. Every
fault raises `SettingError` with the file, the line and the column.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from resight.config import SettingError
from resight.evaluation.protocols import LABELS

COLUMNS = ("query_uri", "image_uri", "label", "family")
REQUIRED = COLUMNS[:3]
GROUND_TRUTH = pa.schema([(name, pa.string()) for name in COLUMNS])
INSTANCE_COLUMNS = ("image", "instance", "role")
ROLES = ("query", "database", "distractor")
Row = tuple[str, dict[str, str]]  # where it stands, for messages; its values by column


def read_ground_truth(file: str | Path) -> pa.Table:
    """Read and check a ground truth file; ``family`` is null where it is not given."""
    file = Path(file)
    rows = read_parquet(file) if file.suffix == ".parquet" else read_csv(file, REQUIRED, COLUMNS)
    table = check_rows(rows)
    if not len(table):
        raise SettingError(f"{file} holds no labelled image")
    return table


def read_csv(file: Path, required: Sequence[str], known: Sequence[str] | None = None) -> Iterator[Row]:
    """Give the rows of a CSV file with a header; unless ``known`` is None, other columns are faults."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            check_columns(header, f"{file}, line 1", required, known)
            for values in reader:
                where = f"{file}, line {reader.line_num}"
                if not values:  # an empty line
                    continue
                if len(values) != len(header):
                    raise SettingError(f"{where}: {len(values)} values for {len(header)} columns")
                yield where, dict(zip(header, map(str.strip, values), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"cannot read {file}: {error}") from None


def read_parquet(file: Path) -> Iterator[Row]:
    """Give the rows of a Parquet file; null counts as empty."""
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise SettingError(f"cannot read {file}: {error}") from None
    check_columns(table.column_names, str(file), REQUIRED, COLUMNS)
    for number, row in enumerate(table.to_pylist()):
        yield f"{file}, row {number}", {k: "" if v is None else str(v) for k, v in row.items()}


def check_columns(
    found: Sequence[str], where: str, required: Sequence[str], known: Sequence[str] | None
) -> None:
    """Refuse missing, repeated and unknown columns."""
    missing = [name for name in required if name not in found]
    if missing:
        raise SettingError(f"{where}: column {missing[0]!r} is missing, found {', '.join(found)}")
    repeated = [name for name in found if found.count(name) > 1]
    if repeated:
        raise SettingError(f"{where}: column {repeated[0]!r} appears twice")
    unknown = [name for name in found if known is not None and name not in known]
    if unknown:
        raise SettingError(f"{where}: unknown column {unknown[0]!r}, allowed are {', '.join(COLUMNS)}")


def check_rows(rows: Iterable[Row]) -> pa.Table:
    """Check every row by itself and against those before it; gather them as `GROUND_TRUTH`."""
    columns: dict[str, list[str | None]] = {name: [] for name in COLUMNS}
    seen: dict[tuple[str, str], str] = {}
    families: dict[str, str] = {}
    for where, row in rows:
        for name in REQUIRED:
            if not row[name]:
                raise SettingError(f"{where}, column {name}: empty")
        if row["label"] not in LABELS:
            wrong = f"{where}, column label: unknown label {row['label']!r}"
            raise SettingError(f"{wrong}, allowed are {', '.join(LABELS)}")
        pair = row["query_uri"], row["image_uri"]
        if pair in seen:
            raise SettingError(f"{where}: {pair[1]} was labelled for {pair[0]} in {seen[pair]}")
        seen[pair] = where
        check_family(where, row, families)
        for name in COLUMNS:
            columns[name].append(row.get(name) or None)
    return pa.table(columns, schema=GROUND_TRUTH)


def check_family(where: str, row: dict[str, str], families: dict[str, str]) -> None:
    """Refuse a second family of a query, and queries without one next to queries with one."""
    family = row.get("family", "")
    first = families.setdefault(row["query_uri"], family)
    if family != first:
        wrong = f"{row['query_uri']} has the families {first!r} and {family!r}"
        raise SettingError(f"{where}, column family: {wrong}")
    if bool(family) != bool(next(iter(families.values()))):
        raise SettingError(f"{where}, column family: give it for all queries or for none")


def from_instances(
    file: str | Path,
    *,
    protocol: Literal["query_database", "leave_one_out"] = "query_database",
    skip_families: Sequence[str] = (),
    queries_in_collection: bool = False,
) -> pa.Table:
    """Turn a list of images with the instance that each shows into a ground truth.

    Parameters
    ----------
    file : path
        CSV with the columns ``image, instance, role``; role is query, database or distractor. The family is
        the part of ``instance`` before the first underscore.
    protocol : str
        ``query_database``: query photos ask, database photos of the same instance are positive.
        ``leave_one_out``: every photo of an instance asks, the others of it are positive and the photo
        itself is junk.
    skip_families : sequence of str
        Families whose photos do not ask.
    queries_in_collection : bool
        The ranked collection also holds the query photos: they become junk for every query.
    """
    photos = read_instances(Path(file))
    if protocol not in ("query_database", "leave_one_out"):
        raise SettingError(f"unknown protocol {protocol!r}: query_database or leave_one_out")
    leave_one_out = protocol == "leave_one_out"
    answers = defaultdict(list)
    for image, (instance, role) in photos.items():
        if instance and (leave_one_out or role == "database"):
            answers[instance].append(image)
    queries = [
        (image, instance)
        for image, (instance, role) in photos.items()
        if instance and (leave_one_out or role == "query") and instance.split("_")[0] not in skip_families
    ]
    hidden = [image for image, (_, role) in photos.items() if role == "query"]
    rows = []
    for image, instance in queries:
        junk = [image] if leave_one_out else hidden if queries_in_collection else []
        family = instance.split("_")[0]
        rows += [(image, other, "positive", family) for other in answers[instance] if other != image]
        rows += [(image, other, "junk", family) for other in junk]
    columns = zip(*rows, strict=True) if rows else [[]] * len(COLUMNS)
    return pa.table([pa.array(list(c), pa.string()) for c in columns], schema=GROUND_TRUTH)


def read_instances(file: Path) -> dict[str, tuple[str, str]]:
    """Read ``image, instance, role``: instance and role by image; other columns are not looked at."""
    photos: dict[str, tuple[str, str]] = {}
    for where, row in read_csv(file, INSTANCE_COLUMNS):
        if row["role"] not in ROLES:
            wrong = f"unknown role {row['role']!r}, allowed are {', '.join(ROLES)}"
            raise SettingError(f"{where}, column role: {wrong}")
        if bool(row["instance"]) == (row["role"] == "distractor"):
            raise SettingError(f"{where}, column instance: empty for distractors, and only for them")
        if row["image"] in photos or not row["image"]:
            raise SettingError(f"{where}, column image: {row['image']!r} is empty or listed twice")
        photos[row["image"]] = row["instance"], row["role"]
    return photos


def write_ground_truth(table: pa.Table, file: str | Path) -> None:
    """Write a ground truth as CSV, or as Parquet where the name ends in ``.parquet``."""
    file = Path(file)
    if file.suffix == ".parquet":
        pq.write_table(table, file)
        return
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
