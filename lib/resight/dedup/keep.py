"""The policy that says which image of a group is kept, and the reasons in words.

A policy is an ordered list of criteria. The first criterion in which two images differ decides, an
unknown value loses, and the smaller ``image_id`` settles what is left. A criterion is written as

- a name of `KEEP_CRITERIA` (``"resolution"``), or with its direction turned (``"oldest:reverse"``
  keeps the newest);
- ``"under:FOLDER/"``, which prefers an image whose ``uri`` begins with that text;
- ``"split:VALUE"``, which prefers an image of that part of the collection (a column ``split``).

By default the larger image is kept, and of equal sizes the file of more bytes: saving a photo anew, smaller,
or brightened, rarely adds bytes, while it often makes it "sharper", as noise, block edges and contrast do.
Sharpness is compared in steps of a factor of two (`read_sharpness`), so that a few percent do not decide
unless they lie astride a power of two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

KEEP_CRITERIA = ("resolution", "bytes", "sharpness", "oldest", "path")
KEEP_COLUMNS = (
    "image_id",
    "uri",
    "width",
    "height",
    "n_bytes",
    "modified_at",
    "taken_at",
    "sharpness",
    "split",
)
REVERSE = "reverse"
LOG_SLACK = 1e-9  # less than a float32 is apart from the next; a logarithm may fall short by less
TIED = "equal in every criterion"


@dataclass(frozen=True)
class Criterion:
    """One question asked of two images: the higher (or lower) value is kept."""

    kind: str  # a name of KEEP_CRITERIA, "under" or "split"
    prefers_high: bool
    prefix: str = ""

    @property
    def superlative(self) -> str:
        """What the kept image is called when this criterion decided."""
        return self.place or WORDS[self.kind, self.prefers_high][0]

    @property
    def comparative(self) -> str:
        """What the kept image is, compared with one that goes."""
        return self.place or WORDS[self.kind, self.prefers_high][1]

    @property
    def place(self) -> str:
        """Where the kept image lies, of a criterion that asks for it; else empty."""
        return {"under": f"under {self.prefix}", "split": f"in {self.prefix}"}.get(self.kind, "")


HIGHEST_IS_KEPT = {
    "resolution": True,
    "sharpness": True,
    "bytes": True,
    "oldest": False,
    "path": False,
}
WORDS = {
    ("resolution", True): ("highest resolution", "larger"),
    ("resolution", False): ("lowest resolution", "smaller"),
    ("sharpness", True): ("sharpest", "sharper"),
    ("sharpness", False): ("least sharp", "less sharp"),
    ("bytes", True): ("most bytes", "more bytes"),
    ("bytes", False): ("fewest bytes", "fewer bytes"),
    ("oldest", True): ("newest", "newer"),
    ("oldest", False): ("oldest", "older"),
    ("path", True): ("last path", "later path"),
    ("path", False): ("first path", "earlier path"),
}


def parse_policy(criteria: Sequence[str] = KEEP_CRITERIA) -> tuple[Criterion, ...]:
    """Read a policy; `ValueError` names the criterion that is not known or comes twice.

    >>> parse_policy(["oldest:reverse"])
    (Criterion(kind='oldest', prefers_high=True, prefix=''),)
    """
    policy = tuple(parse_criterion(text) for text in criteria)
    kinds = [(c.kind, c.prefix) for c in policy]
    for kind, prefix in kinds:
        if kinds.count((kind, prefix)) > 1:
            raise ValueError(f"the keep criterion {kind!r} is given twice")
    return policy


def parse_criterion(text: str) -> Criterion:
    """Read one criterion of a policy."""
    kind, colon, option = text.partition(":")
    if kind in ("under", "split") and option:
        return Criterion(kind, prefers_high=True, prefix=option)
    if kind not in KEEP_CRITERIA or (colon and option != REVERSE):
        raise ValueError(
            f"unknown keep criterion {text!r}: expected one of {', '.join(KEEP_CRITERIA)}, "
            f"any of them followed by ':{REVERSE}', 'under:FOLDER/' or 'split:VALUE'"
        )
    criterion = Criterion(kind, prefers_high=HIGHEST_IS_KEPT[kind])
    return replace(criterion, prefers_high=not criterion.prefers_high) if colon else criterion


def criterion_values(criterion: Criterion, rows: pa.Table) -> pa.ChunkedArray:
    """Give the value (n,) that ``criterion`` compares, of ``rows`` with the `KEEP_COLUMNS`."""
    if criterion.kind == "under":
        return pc.starts_with(rows["uri"], criterion.prefix)
    if criterion.kind == "split":
        return pc.fill_null(pc.equal(rows["split"], criterion.prefix), False)
    return READERS[criterion.kind](rows)


def read_resolution(rows: pa.Table) -> pa.ChunkedArray:
    """Pixels of the image, int64."""
    return pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64()))


def read_sharpness(rows: pa.Table) -> pa.ChunkedArray:
    """Sharpness in steps, ``floor(log2(sharpness))`` and 0 below 1, float64; NaN is unknown."""
    values = rows["sharpness"].cast(pa.float64())
    known = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    steps = pc.log2(pc.max_element_wise(known, 1.0, skip_nulls=False))
    return pc.floor(pc.add(steps, LOG_SLACK))


def read_time(rows: pa.Table) -> pa.ChunkedArray:
    """When the photo was taken, else when the file was last changed: microseconds, int64."""
    return pc.coalesce(rows["taken_at"], rows["modified_at"]).cast(pa.int64())


READERS: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
    "resolution": read_resolution,
    "sharpness": read_sharpness,
    "bytes": lambda rows: rows["n_bytes"],
    "oldest": read_time,
    "path": lambda rows: rows["uri"],
}


def keep_order(rows: pa.Table, policy: Sequence[Criterion]) -> np.ndarray:
    """Order (n,) int64 of ``rows`` from the one most worth keeping to the least."""
    keys: list[tuple[str, str]] = []
    columns = {}
    for i, criterion in enumerate(policy):
        columns[f"c{i}"] = criterion_values(criterion, rows)
        keys.append((f"c{i}", "descending" if criterion.prefers_high else "ascending"))
    table = pa.table(columns | {"image_id": rows["image_id"]})
    order = pc.sort_indices(table, sort_keys=[*keys, ("image_id", "ascending")])
    return order.to_numpy().astype(np.int64)


def deciding_criteria(kept: pa.Table, rest: pa.Table, policy: Sequence[Criterion]) -> np.ndarray:
    """Find which criterion decided between each row of ``kept`` and the same row of ``rest``.

    Returns
    -------
    decided : ndarray, (n,) int32
        Position in ``policy``; ``len(policy)`` where all are equal and the id decided.
    """
    decided = np.full(len(kept), len(policy), np.int32)
    for i in reversed(range(len(policy))):
        a, b = criterion_values(policy[i], kept), criterion_values(policy[i], rest)
        differ = pc.fill_null(pc.not_equal(a, b), False)
        one_unknown = pc.xor(pc.is_null(a), pc.is_null(b))
        decided[pc.or_(differ, one_unknown).to_numpy().astype(bool)] = i
    return decided


def explain_rest(
    kept: pa.Table, rest: pa.Table, decided: np.ndarray, policy: Sequence[Criterion]
) -> list[str]:
    """Say what each row of ``kept`` has over the same row of ``rest``.

    ``decided`` (n,) comes from `deciding_criteria`.
    """
    reasons = np.full(len(kept), TIED, dtype=object)
    for i, criterion in enumerate(policy):
        rows = np.flatnonzero(decided == i)
        if len(rows):
            ours = show_values(criterion, kept.take(rows))
            theirs = show_values(criterion, rest.take(rows))
            reasons[rows] = [
                criterion.comparative if criterion.place else f"{criterion.comparative}: {a} over {b}"
                for a, b in zip(ours, theirs, strict=True)
            ]
    return reasons.tolist()


def explain_kept(decided: Sequence[int], n_images: int, policy: Sequence[Criterion]) -> str:
    """Say why an image is kept from the criteria that ``decided`` against the others.

    >>> explain_kept([0, 3], 4, parse_policy())
    'highest resolution, then oldest of 4'
    """
    words = [policy[i].superlative for i in sorted(set(decided)) if i < len(policy)]
    return f"{', then '.join(words) or TIED} of {n_images}"


def show_values(criterion: Criterion, rows: pa.Table) -> list[str]:
    """Write the compared values for people."""
    values = criterion_values(criterion, rows).to_pylist()
    if criterion.kind == "resolution":
        sizes = zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True)
        texts = [f"{width}x{height}" for width, height in sizes]
    elif criterion.kind == "oldest":
        texts = [show_time(value) for value in values]
    elif criterion.kind == "sharpness":
        texts = [f"{value or 0:.1f}" for value in rows["sharpness"].to_pylist()]
    else:
        texts = [str(value) for value in values]
    return ["unknown" if v is None else t for v, t in zip(values, texts, strict=True)]


def show_time(microseconds: int | None) -> str:
    """Write a time in UTC to the second."""
    if microseconds is None:
        return "unknown"
    seconds = np.clip(microseconds // 10**6, -62135596800, 253402300799)  # the years 1 to 9999
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")
