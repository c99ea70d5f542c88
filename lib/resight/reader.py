"""The Spark-free side: committed tables as Arrow, for search programs, reports and notebooks."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from resight.tables import RUNS, Table
from resight.workspace import Run, Workspace


@dataclass(frozen=True)
class Snapshot(Workspace):
    """A workspace as it was at one moment: runs that are committed later are not seen."""

    held: tuple[Run, ...] = ()

    def runs(self) -> list[Run]:
        """List the runs that were committed then."""
        return list(self.held)


class Reader:
    """Reads committed versions of a workspace's tables with pyarrow.

    ``pinned`` maps table names to builds; the others default to the newest build.
    """

    def __init__(self, workspace: Workspace, pinned: Mapping[str, str] | None = None) -> None:
        self.workspace = workspace
        self.pinned = dict(pinned or {})

    def find(self, table: Table, build: str = "") -> Run:
        """Find the run whose version of ``table`` is read; `SettingError` when there is none."""
        return self.workspace.find_build(table, build or self.pinned.get(table.name, ""))

    def has(self, table: Table, build: str = "") -> bool:
        """Whether the table was ever committed."""
        wanted = build or self.pinned.get(table.name, "")
        runs = [run for run in self.workspace.builds().values() if table.name in run.outputs]
        return any(wanted in ("", run.name, run.build_id) for run in runs)

    def read(
        self,
        table: Table,
        build: str = "",
        *,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,
    ) -> pa.Table:
        """Read the rows that ``filter`` selects, ``build_id`` left out."""
        run = self.find(table, build)
        dataset = self.workspace.dataset(table, run.build_id, run.outputs[table.name])
        return dataset.to_table(columns=columns, filter=filter)

    def batches(
        self,
        table: Table,
        build: str = "",
        *,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Stream the rows that ``filter`` selects of a table that need not fit in memory."""
        run = self.find(table, build)
        dataset = self.workspace.dataset(table, run.build_id, run.outputs[table.name])
        yield from dataset.to_batches(columns=columns, filter=filter, fragment_readahead=1)

    def properties(self, table: Table, build: str = "") -> dict[str, str]:
        """Give what the writer stated about a table (``dtype`` and ``dim`` of vectors)."""
        return self.find(table, build).outputs[table.name].properties

    def runs(self) -> list[Run]:
        """List the committed runs, oldest first."""
        return self.workspace.runs()

    def runs_table(self) -> pa.Table:
        """Give the committed runs, oldest first, as rows of `RUNS`, for SQL and notebooks."""
        rows = [msgspec.to_builtins(run, builtin_types=(datetime,)) for run in self.runs()]
        for row in rows:
            row |= {name: json.dumps(row[name]) for name in ("settings", "outputs", "notes")}
            row |= {name: list(row[name].items()) for name in ("parents", "inputs")}
        return pa.Table.from_pylist(rows, schema=RUNS)


def take_snapshot(root: str) -> Snapshot:
    """Read which runs of a workspace are committed now; `SettingError` when ``root`` is none."""
    workspace = Workspace.open(root)
    return Snapshot(workspace.root, workspace.format, tuple(workspace.runs()))


def open(root: str) -> Reader:
    """Open a workspace without Spark."""
    return Reader(Workspace.open(root))
