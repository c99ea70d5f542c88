"""A list of found pairs for a person to judge, written as CSV and read back with verdicts."""

import csv
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from resight.config import SettingError
from resight.dedup.export import CompleteFile, csv_cell
from resight.evaluation.ground_truth import read_csv

__all__ = ["JUDGED", "LISTED", "estimate_judged", "read_judgements", "write_judgements"]

from resight.dedup.audit.estimate import Share, combine_shares, estimate_share

VERDICT = "verdict"
LISTED = ("image_a", "image_b", "relation", "similarity", "uri_a", "uri_b")
RIGHT, WRONG = ("copy", "yes", "y", "1", "true"), ("no copy", "no", "n", "0", "false")
OPEN = ("", "?", "unsure")
JUDGED = pa.schema([("image_a", pa.int64()), ("image_b", pa.int64()), ("right", pa.bool_())])


def write_judgements(batches: Iterable[pa.RecordBatch], file: Path) -> int:
    """Write pairs (`LISTED`) with an empty verdict; return how many.

    Raises
    ------
    SettingError
        The file is there: it may hold verdicts.
    """
    if file.exists():
        raise SettingError(f"--judge: {file} is there already, maybe with verdicts; name a new file")
    n_rows = 0
    with CompleteFile(file) as stream:
        rows_out = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        rows_out.writerow([*LISTED, VERDICT])
        for batch in batches:
            for row in batch.to_pylist():
                # as text: spreadsheets round whole numbers of more than 15 digits
                row |= {name: str(row[name]) for name in LISTED[:2]}
                rows_out.writerow([*(csv_cell(name, row[name]) for name in LISTED), ""])
                n_rows += 1
    return n_rows


def read_judgements(file: Path) -> pa.Table:
    """Read the pairs that have a verdict: rows of `JUDGED`.

    A verdict is one of ``copy``, ``yes``, ``y``, ``1``, ``true``, or ``no copy``, ``no``, ``n``, ``0``,
    ``false``; an empty one, ``?`` and ``unsure`` leave a pair out.

    Raises
    ------
    SettingError
        A row cannot be understood, or a pair is there twice: the message names the line.
    """
    found: dict[tuple[int, int], bool] = {}
    for where, row in read_csv(file, ("image_a", "image_b", VERDICT)):
        verdict = row[VERDICT].strip().lower()
        if verdict in OPEN:
            continue
        if verdict not in RIGHT + WRONG:
            raise SettingError(f"{where}: verdict {row[VERDICT]!r}; say copy, no copy, or nothing")
        try:
            a, b = sorted((int(row["image_a"]), int(row["image_b"])))
        except ValueError:
            raise SettingError(f"{where}: image_a and image_b must be whole numbers") from None
        if (a, b) in found:
            raise SettingError(f"{where}: the pair {a}, {b} is judged twice")
        found[a, b] = verdict in RIGHT
    rows = [{"image_a": a, "image_b": b, "right": right} for (a, b), right in found.items()]
    return pa.Table.from_pylist(rows, schema=JUDGED)


def estimate_judged(
    counted: dict[str, tuple[int, int]], sizes: dict[str, int]
) -> dict[str, tuple[int, int, Share]]:
    """Estimate which share of the found pairs is right, of each relation and of all.

    Parameters
    ----------
    counted : dict
        Relation -> judged pairs, and those that are right.
    sizes : dict
        Relation -> found pairs.

    Returns
    -------
    dict
        Relation, and "all" -> judged pairs, right ones, their share; the share of all weighs relations by
        their found pairs and is NaN while pairs of one were not judged.
    """
    shares = {relation: (n, right, estimate_share(right, n)) for relation, (n, right) in counted.items()}
    strata = [shares[name][2] if name in shares else estimate_share(0, 0) for name in sizes]
    whole = combine_shares(strata, list(sizes.values()))
    totals = [sum(count[i] for count in counted.values()) for i in (0, 1)]
    return shares | {"all": (totals[0], totals[1], whole)}
