"""What the store asks of Spark: few rows in one task, plans interpreted, rows counted, rows merged."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, SparkSession

from resight.context import RunContext

if TYPE_CHECKING:
    from resight.store import TableStore

SMALL_ROWS = 5000  # of the largest table, up to which to compile a plan takes longer than to run it
ONE_TASK_BYTES = 1 << 20  # of files, up to which one task reads a table: no rows are exchanged
SMALL_PLANS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.autoBroadcastJoinThreshold": "-1",  # what is in one task is joined there
}


@contextmanager
def small_plans(store: "TableStore") -> Iterator[None]:
    """Let plans be interpreted while the tables of a run are small; the session is left as it was."""
    run = store.run
    run.is_small = run.largest is not None and run.largest <= SMALL_ROWS
    try:
        yield
    finally:
        run.is_small = False
        for key, value in run.options.items():
            store.spark.conf.set(key, value)


def suit_plans(spark: SparkSession, run: RunContext) -> None:
    """Set the options of a session for small tables, once, where the run's are small."""
    if run.is_small and not run.options:
        run.options = {key: str(spark.conf.get(key)) for key in SMALL_PLANS}
        for key, value in SMALL_PLANS.items():
            spark.conf.set(key, value)


def gather_small(frame: DataFrame, n_bytes: int) -> DataFrame:
    """Let one task read ``frame``, whose files have ``n_bytes``, where these are few; 0 is not known."""
    return frame.coalesce(1) if 0 < n_bytes <= ONE_TASK_BYTES else frame


def count_rows(frame: DataFrame, by_status: bool) -> tuple[int, dict[str, int]]:
    """Count rows, and rows per status."""
    if not by_status:
        return frame.count(), {}
    counted = frame.groupBy("status").count().collect()
    statuses = {str(row["status"]): int(row["count"]) for row in counted}
    return sum(statuses.values()), dict(sorted(statuses.items()))


def merge_statement(uri: str, columns: list[str], keys: list[str], values: list[str], build: str) -> str:
    """Give the statement that merges ``resight_fresh`` into a Delta table.

    Parameters
    ----------
    columns : list of str
        All of them.
    keys, values : list of str
        Those that name a row, and those that change where it is there already.
    build : str
        The build that the rows are of; empty where the table has no builds.
    """
    on = [f"t.build_id = '{build}'"] if build else []
    on += [f"t.`{key}` = s.`{key}`" for key in keys]
    sets = ", ".join(f"t.`{c}` = s.`{c}`" for c in values)
    names, new = (", ".join(f"{of}`{c}`" for c in columns) for of in ("", "s."))
    target = uri.replace("`", "``")
    return (
        f"MERGE INTO delta.`{target}` t USING resight_fresh s "
        f"ON {' AND '.join(on)} WHEN MATCHED AND s.is_gone THEN DELETE "
        + (f"WHEN MATCHED THEN UPDATE SET {sets} " if sets else "")
        + f"WHEN NOT MATCHED AND NOT s.is_gone THEN INSERT ({names}) VALUES ({new})"
    )
