"""What a report reads: committed tables through a reader, by the few images that the page shows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from resight.reader import Reader
from resight.report.sections import Photo
from resight.tables import DUPLICATE_GROUPS, IMAGES, PREVIEWS, SOURCES, Table
from resight.workspace import Run

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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
        """Find the similarity from which on the groups that are shown count photos as copies."""
        if not self.reader.has(DUPLICATE_GROUPS):
            return None
        value = self.reader.find(DUPLICATE_GROUPS).settings.get("threshold")
        return None if value is None else float(value)


def read_scattered(rows: ds.Dataset, columns: list[str], key: str, ids: Sequence[int]) -> pa.Table:
    """Read the few rows whose ``key`` is one of ``ids`` without reading their wide columns everywhere.

    A filtered scan decodes every column of every row group. Here the narrow ``key`` is read first, and
    the rest only of the row groups that hold one of the ids.
    """
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
