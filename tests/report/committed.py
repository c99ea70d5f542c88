"""Small committed workspaces for the tests of the report, written without Spark."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from resight import files
from resight.reader import Reader
from resight.tables import Table
from resight.workspace import COLLECTION, Output, Run, Workspace

MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def rows_of(table: Table, columns: dict[str, list]) -> pa.Table:
    """Make rows of a table; the columns that are not given are null."""
    n = len(next(iter(columns.values())))
    fields = [field for field in table.schema if field.name != "build_id"]
    arrays = [pa.array(columns.get(f.name, [None] * n), f.type) for f in fields]
    return pa.table(arrays, schema=pa.schema(fields))


class Committed:
    """A workspace of format Parquet that grows by committed runs."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace.open(str(root), "parquet", create=True)
        self.sequence = 0

    def commit(self, job: str, *parts: tuple[Table, dict[str, list] | pa.Table], **facts) -> str:
        """Write the tables of one run and commit it as a build of its own, whose id is given."""
        self.sequence += 1
        build = f"{job}-{self.sequence}" if any(t.has_builds for t, _ in parts) else COLLECTION
        outputs = {}
        for table, content in parts:
            rows = content if isinstance(content, pa.Table) else rows_of(table, content)
            folder = Path(files.join(self.workspace.table_uri(table), build, "v1"))
            folder.mkdir(parents=True)
            pq.write_table(rows, folder / "rows.parquet")
            outputs[table.name] = Output("v1", "", len(rows))
        settings = {"name": facts.get("name", ""), "settings": facts.get("settings", {})}
        run = Run(
            run_id=f"run-{self.sequence}",
            job=job,
            build_id=build,
            sequence=self.sequence,
            outputs=outputs,
            written=tuple(outputs),
            started_at=MOMENT,
            committed_at=MOMENT.replace(minute=30 + self.sequence),
            seconds=facts.get("seconds", 1.0),
            parents=facts.get("parents", {}),
            notes=facts.get("notes", {}),
            **settings,
        )
        self.workspace.commit(run)
        return build

    @property
    def reader(self) -> Reader:
        """A reader of what was committed so far."""
        return Reader(self.workspace)
