"""What a report reads: committed tables through a reader, by the few images that the page shows.

Columns as long as the collection are streamed; what is kept of them has a limit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.reader import Reader
from resight.report.sections import Photo
from resight.tables import DUPLICATE_GROUPS, IMAGES, PREVIEWS, SOURCES, Table
from resight.workspace import Run

if TYPE_CHECKING:
    import pyarrow.dataset as ds

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
IDS_AT_ONCE = 1 << 22  # held in memory; more of them are looked at in several passes

Order = list[tuple[str, str]]  # columns, each ascending or descending


@dataclass(frozen=True)
class Source:
    """A reader and what is asked of it."""

    reader: Reader
    n_groups: int  # groups shown
    n_neighbours: int  # sampled photos whose neighbours are shown
    seed: int

    def read(
        self, table: Table, columns: list[str], *, filter: pc.Expression | None = None, build: str = ""
    ) -> pa.Table:
        """Read columns of a table, an empty one where it was never written."""
        if not self.reader.has(table, build):
            return pa.schema([table.schema.field(name) for name in columns]).empty_table()
        return self.reader.read(table, build, columns=columns, filter=filter)

    def batches(
        self, table: Table, columns: list[str], *, filter: pc.Expression | None = None, build: str = ""
    ) -> Iterator[pa.RecordBatch]:
        """Stream columns of a table that may be as long as the collection."""
        if self.reader.has(table, build):
            yield from self.reader.batches(table, build, columns=columns, filter=filter)

    def count(self, table: Table, *, filter: pc.Expression | None = None) -> int:
        """Count rows."""
        return sum(len(batch) for batch in self.batches(table, [table.key[-1]], filter=filter))

    def draw(
        self, table: Table, key: str, n: int, *, filter: pc.Expression | None = None, build: str = ""
    ) -> tuple[np.ndarray, int]:
        """Draw ``n`` of the ids in a column, as `sample_ids` does, and count the rows."""
        drawn, n_rows = np.zeros(0, np.int64), 0
        for batch in self.batches(table, [key], filter=filter, build=build):
            drawn = sample_ids(np.union1d(drawn, batch[key].to_numpy()), n, seed=self.seed)
            n_rows += len(batch)
        return drawn, n_rows

    def id_parts(
        self, table: Table, key: str, n: int, *, filter: pc.Expression | None = None
    ) -> Iterator["IdPart"]:
        """Give the ids of a column of ``n`` rows in parts that fit in memory, each id in one of them."""
        n_parts = max(1, -(-n // IDS_AT_ONCE))
        for number in range(n_parts):
            part = IdPart(number, n_parts, np.zeros(0, np.int64), np.zeros(0, np.int64))
            yield part.gather(batch[key].to_numpy() for batch in self.batches(table, [key], filter=filter))

    def look_up(
        self, table: Table, columns: list[str], key: str, ids: Iterable[int], *, build: str = ""
    ) -> pa.Table:
        """Read the rows whose ``key`` is one of a few ids, from the row groups that hold them."""
        wanted = sorted(set(ids))
        if not wanted or not self.reader.has(table, build):
            return pa.schema([table.schema.field(name) for name in columns]).empty_table()
        run = self.reader.find(table, build)
        rows = self.reader.workspace.dataset(table, run.build_id, run.outputs[table.name])
        return read_scattered(rows, columns, key, wanted)

    def read_photos(self, image_ids: Iterable[int]) -> dict[int, Photo]:
        """Read what is known of some images; of those that are not in the table, the id."""
        wanted = sorted(set(image_ids))
        columns = ["image_id", "source_id", "uri", "width", "height", "n_bytes"]
        rows = self.look_up(IMAGES, columns, "image_id", wanted).to_pylist()
        roots = self.read_roots()
        photos = {ix: Photo(ix, f"image {ix}") for ix in wanted}
        for row in rows:
            root = roots.get(row["source_id"], "").rstrip("/")
            uri = f"{root}/{row['uri']}" if len(roots) > 1 and root else row["uri"]
            sizes = (row["width"], row["height"], row["n_bytes"])
            photos[row["image_id"]] = Photo(row["image_id"], uri or "", *sizes)
        return photos

    def read_roots(self) -> dict[str, str]:
        """Read the roots of the sources by their ids."""
        rows = self.read(SOURCES, ["source_id", "root"]).to_pylist()
        return {row["source_id"]: row["root"] for row in rows}

    def read_previews(self, image_ids: Iterable[int]) -> dict[int, bytes]:
        """Read the previews of some images."""
        rows = self.look_up(PREVIEWS, ["image_id", "jpeg"], "image_id", image_ids).to_pylist()
        return {row["image_id"]: row["jpeg"] for row in rows if row["jpeg"]}

    def last_runs(self) -> list[Run]:
        """List the last run of every build that was not dropped, oldest first."""
        last: dict[str, Run] = {}
        for run in self.reader.runs():
            last.pop(run.build_id, None)
            last[run.build_id] = run
        return [run for run in last.values() if not run.dropped]

    def threshold(self) -> float | None:
        """Find the similarity from which on the groups that are shown count photos as copies.

        None where there are no groups, and where aligned pixels decided.
        """
        if not self.reader.has(DUPLICATE_GROUPS):
            return None
        settings = self.reader.find(DUPLICATE_GROUPS).settings
        value = settings.get("threshold") if settings.get("effort", "quick") == "quick" else None
        return None if value is None else float(value)


@dataclass(frozen=True)
class IdPart:
    """The ids whose remainder by ``n_parts`` is ``number``, ascending, and how often each was there."""

    number: int
    n_parts: int
    ids: np.ndarray
    counts: np.ndarray

    def holds(self, ids: np.ndarray) -> np.ndarray:
        """Whether ids (m,) int64 belong to this part, be they in it or not."""
        return ids % self.n_parts == self.number

    def contains(self, ids: np.ndarray) -> np.ndarray:
        """Whether ids (m,) int64 are in this part."""
        if not len(self.ids):
            return np.zeros(len(ids), bool)
        return self.ids[np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)] == ids

    def gather(self, arrays: Iterable[np.ndarray]) -> "IdPart":
        """Add the ids of some arrays that belong here."""
        ids, counts, n_waiting = [self.ids], [self.counts], 0
        for found in arrays:
            mine = found[self.holds(found)]
            ids.append(mine)
            counts.append(np.ones(len(mine), np.int64))
            n_waiting += len(mine)
            if n_waiting > IDS_AT_ONCE:
                ids, counts, n_waiting = *merge_counts(ids, counts), 0
        (merged,), (totals,) = merge_counts(ids, counts)
        return IdPart(self.number, self.n_parts, merged, totals)


def merge_counts(
    ids: list[np.ndarray], counts: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Add the counts of equal ids: lists of one array each, ids ascending."""
    merged, place = np.unique(np.concatenate(ids), return_inverse=True)
    totals = np.bincount(place, weights=np.concatenate(counts), minlength=len(merged))
    return [merged], [totals.astype(np.int64)]


def keep_first(batches: Iterable[pa.RecordBatch | pa.Table], n: int, order: Order) -> pa.Table | None:
    """Keep the first ``n`` rows of a stream by some columns; None where it has no batch."""
    kept: pa.Table | None = None
    for batch in batches:
        fresh = pa.table(batch)
        rows = fresh if kept is None else pa.concat_tables([kept, fresh])
        kept = rows.take(pc.select_k_unstable(rows, n, order))
    return kept


def read_scattered(rows: "ds.Dataset", columns: list[str], key: str, ids: Sequence[int]) -> pa.Table:
    """Read the few rows whose ``key`` is one of ``ids`` without reading their wide columns everywhere.

    A filtered scan decodes every column of every row group. Here the narrow ``key`` is read first, and
    the rest only of the row groups that hold one of the ids.
    """
    import pyarrow.dataset as ds

    chosen = is_one_of(key, ids)
    found = []
    for fragment in rows.get_fragments():
        groups = [fragment]
        if isinstance(fragment, ds.ParquetFileFragment):
            groups = fragment.split_by_row_group(schema=rows.schema)
        found += [
            group.to_table(schema=rows.schema, columns=columns, filter=chosen)
            for group in groups
            if group.count_rows(filter=chosen)
        ]
    empty = pa.schema([rows.schema.field(name) for name in columns]).empty_table()
    return pa.concat_tables([empty, *found])


def is_one_of(column: str, ids: Sequence[int] | np.ndarray) -> pc.Expression:
    """Select the rows whose ``column`` is one of some ids."""
    return pc.field(column).isin(pa.array(ids, pa.int64()))


def sample_ids(ids: np.ndarray, n: int, *, seed: int) -> np.ndarray:
    """Draw ``n`` of ``ids`` (m,) int64, the same ones in whatever order and company they come.

    Those with the smallest hash of (id, seed): the finaliser of SplitMix64 (Steele, Lea and Flood,
    "Fast splittable pseudorandom number generators", OOPSLA 2014), which maps no two ids to one value.
    """
    with np.errstate(over="ignore"):
        z = ids.astype(np.uint64) + np.uint64(seed % 2**64) * GOLDEN + GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    if n < len(ids):
        chosen = np.argpartition(z, n)[:n]
        ids, z = ids[chosen], z[chosen]
    return ids[np.argsort(z)]
