"""The tuples of a build as a trainer wants them: negatives together, and where the images lie. No Spark."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight import files
from resight.config import SettingError
from resight.reader import Reader
from resight.tables import IMAGES, SOURCES, TRAINING_TUPLES

MAX_ROWS = 50_000_000  # of a table that is held in memory: 4 GB


class Tuples(NamedTuple):
    """Pairs with their negatives.

    ``rows``: the columns of `TRAINING_TUPLES` of the first negative of each pair (n,). Those of pair i are
    ``negatives[offsets[i]:offsets[i + 1]]`` int64, the nearest first.
    """

    rows: pa.Table
    offsets: np.ndarray
    negatives: np.ndarray


class Place(NamedTuple):
    """Where the bytes of an image lie."""

    root: str
    uri: str
    byte_offset: int | None
    n_bytes: int
    format: str

    @property
    def path(self) -> str:
        """Path or URI of its file, or of its name below a tar."""
        return files.join(self.root, self.uri)


def read_tuples(reader: Reader, build: str = "", *, split: str = "") -> Tuples:
    """Read the tuples of one side, or all, ordered by anchor, positive and rank.

    Raises
    ------
    SettingError
        There are none, or more rows than fit in memory.
    """
    n_rows = reader.find(TRAINING_TUPLES, build).outputs[TRAINING_TUPLES.name].n_rows
    if n_rows > MAX_ROWS:
        raise SettingError(
            f"{n_rows} tuples are more than {MAX_ROWS}: mine fewer anchors or positives of each"
        )
    chosen = pc.equal(pc.field("split"), split) if split else None
    rows = reader.read(TRAINING_TUPLES, build, filter=chosen)
    rows = rows.sort_by([(name, "ascending") for name in ("anchor", "positive", "rank", "negative")])
    anchor, positive = rows["anchor"].to_numpy(), rows["positive"].to_numpy()
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (anchor[1:] != anchor[:-1]) | (positive[1:] != positive[:-1])
    starts = np.flatnonzero(is_first)
    return Tuples(rows.take(starts), np.append(starts, len(rows)), rows["negative"].to_numpy())


def locate_images(reader: Reader, ids: Iterable[int]) -> dict[int, Place]:
    """Find where some images lie; those that left the collection are not in the answer."""
    roots = {row["source_id"]: row["root"] for row in reader.read(SOURCES).to_pylist()}
    columns = ["image_id", "source_id", "uri", "byte_offset", "n_bytes", "format"]
    wanted = pa.array(np.unique(np.fromiter(ids, np.int64)))
    live = pc.field("removed_at").is_null() & pc.field("image_id").isin(wanted)
    rows = reader.read(IMAGES, columns=columns, filter=live).to_pylist()
    return {
        row["image_id"]: Place(roots[row["source_id"]], *(row[name] for name in columns[2:])) for row in rows
    }


def list_ids(tuples: Tuples) -> np.ndarray:
    """List the images (m,) int64 of some tuples, ascending."""
    ends = [tuples.rows[name].to_numpy() for name in ("anchor", "positive")]
    return np.unique(np.concatenate([*ends, tuples.negatives]))
