"""Tables written without Spark: what jobs that run in one process leave, such as models and logs.

The counterpart of `resight.reader`; rows fit in memory. A run that is not committed leaves nothing that is
read, as when Spark writes.
"""

import pyarrow as pa
import pyarrow.parquet as pq

from resight import files
from resight.context import RunContext
from resight.tables import Table
from resight.workspace import Output, Workspace

__all__ = ["write_rows"]

KEEP_HISTORY = {  # as for tables that Spark makes: a build is read at its version for ever
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.logRetentionDuration": "interval 36500 days",
}


def write_rows(workspace: Workspace, run: RunContext, table: Table, rows: pa.Table) -> None:
    """Replace all rows of the run's build in ``table``, and remember the version to commit.

    Parameters
    ----------
    workspace : Workspace
        Where to.
    run : RunContext
        Whose build it is; its outputs gain the table.
    table : Table
        One of a build.
    rows : Table
        Its columns but ``build_id``, in any order.
    """
    fields = [field for field in table.schema if field.name != "build_id"]
    rows = rows.select([field.name for field in fields]).cast(pa.schema(fields))
    uri = workspace.table_uri(table)
    if workspace.format == "parquet":
        version = run.run_id
        buffer = pa.BufferOutputStream()
        pq.write_table(rows, buffer)
        files.write_bytes(
            files.join(uri, run.build_id, version, "rows.parquet"), buffer.getvalue().to_pybytes()
        )
    else:
        append_delta(
            uri, run, rows.add_column(0, "build_id", pa.array([run.build_id] * len(rows), pa.string()))
        )
        version = workspace.newest_version(table)
    digest = workspace.digest_files(workspace.list_files(table, run.build_id, version))
    run.outputs[table.name] = Output(version, digest, len(rows))


def append_delta(uri: str, run: RunContext, rows: pa.Table) -> None:
    """Replace the partition of a build in a Delta table, which is made where it is missing."""
    from deltalake import CommitProperties, write_deltalake

    path = files.local_path(uri)
    place = str(path) if path is not None else uri.replace("s3a://", "s3://", 1)
    there = files.exists(files.join(uri, "_delta_log"))
    write_deltalake(
        place,
        rows,
        partition_by=["build_id"],
        mode="overwrite",
        predicate=f"build_id = '{run.build_id}'" if there else None,
        configuration=None if there else KEEP_HISTORY,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": run.run_id}),
    )
