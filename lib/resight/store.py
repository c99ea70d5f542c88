"""TableStore: tables of a workspace as DataFrames, on Delta or Parquet, always at committed versions.

The only place that knows the table format when writing (`resight.workspace` knows it when listing).
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from resight import files
from resight.context import LossError, RunContext
from resight.counting import count_small
from resight.reader import Reader
from resight.spark import count_rows, gather_small, merge_statement, suit_plans
from resight.tables import Table
from resight.workspace import KEPT_RUNS, Output, Workspace, input_key

KEEP_HISTORY = {  # a build is read at its version however long other builds go on changing the table
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.logRetentionDuration": "interval 36500 days",
}


class TableStore:
    """Reads and writes the tables of one workspace.

    ``spark`` is a session or a function that starts one: nothing starts it before a table is touched.
    During a job the store is bound to its run: reads are pinned to the inputs that were chosen, writes
    become visible when the run is committed.
    """

    def __init__(
        self,
        workspace: Workspace,
        spark: SparkSession | Callable[[], SparkSession],
        run: RunContext | None = None,
    ) -> None:
        self.workspace = workspace
        self.session = spark
        self.bound = run

    @property
    def spark(self) -> SparkSession:
        """The session, started at the first use."""
        if not isinstance(self.session, SparkSession) and callable(self.session):
            self.session = self.session()
        if self.bound:
            suit_plans(self.session, self.bound)
        return self.session

    @property
    def run(self) -> RunContext:
        """The run that the store is bound to."""
        if self.bound is None:
            raise ValueError("only a running job writes tables: call the job's main(store, conf)")
        return self.bound

    @property
    def reader(self) -> Reader:
        """The Spark-free view, pinned to the same versions."""
        pinned = {name: run.build_id for name, run in self.bound.inputs.items()} if self.bound else {}
        return Reader(self.workspace, pinned)

    def source(self, table: Table, build: str = "", *, role: str = "") -> tuple[str, Output]:
        """Find the build and the committed version that `read` gives."""
        chosen = self.bound.inputs.get(input_key(table, role)) if self.bound and not build else None
        run = chosen or self.workspace.find_build(table, build)
        return run.build_id, run.outputs[table.name]

    def read(self, table: Table, build: str = "", *, role: str = "") -> DataFrame:
        """Read a table at its committed version: the run's input, else ``build``, else the newest build."""
        return self.open(table, *self.source(table, build, role=role))

    def properties(self, table: Table, build: str = "", *, role: str = "") -> dict[str, str]:
        """Give what the writer stated about a table, such as ``dtype`` and ``dim`` of its vectors."""
        return self.source(table, build, role=role)[1].properties

    def previous(self, table: Table) -> DataFrame | None:
        """Read what this build held after its last committed run; None on the first run."""
        last = self.run.previous
        if last is None or table.name not in last.outputs:
            return None
        return self.open(table, self.run.build_id, last.outputs[table.name])

    def input_before(self, table: Table) -> DataFrame | None:
        """Read an input as the last committed run of this build read it; None where that is gone."""
        before = self.source_before(table)
        return before and self.open(table, *before)

    def source_before(self, table: Table) -> tuple[str, Output] | None:
        """Find the build and the version that `input_before` gives."""
        last = self.run.previous
        build_id, _, version = (last.inputs.get(table.name, "") if last else "").partition("@")
        for run in reversed(self.workspace.runs()):
            output = run.outputs.get(table.name)
            if run.build_id == build_id and output and output.version == version:
                return (build_id, output) if self.workspace.is_readable(table, build_id, output) else None
        return None

    def open(self, table: Table, build_id: str, output: Output) -> DataFrame:
        """Read one version of one build."""
        return gather_small(self.scan(table, build_id, output), output.n_bytes)

    def scan(self, table: Table, build_id: str, output: Output) -> DataFrame:
        """Read one version of one build as its files lie."""
        uri = self.workspace.table_uri(table)
        if self.workspace.format == "delta":
            reader = self.spark.read.format("delta").option("versionAsOf", output.version)
            frame = reader.load(files.spark_uri(uri))
            known = set(frame.columns)  # a table that older code wrote lacks columns that are new
            lacking = [f for f in spark_schema(table).fields if f.name not in known]
            frame = frame.withColumns({f.name: sf.lit(None).cast(f.dataType) for f in lacking})
            return frame.where(sf.col("build_id") == build_id) if table.has_builds else frame
        names = output.version.split("+")
        folders = [files.spark_uri(files.join(uri, build_id, name), pattern=True) for name in names]
        frame = self.spark.read.schema(spark_schema(table)).parquet(*folders)
        return frame.select(sf.lit(build_id).alias("build_id"), "*") if table.has_builds else frame

    def written(self, table: Table) -> DataFrame:
        """Read what this very run wrote, not yet committed."""
        return self.open(table, self.run.build_id, self.run.outputs[table.name])

    def write(self, table: Table, rows: DataFrame, *, properties: dict[str, str] | None = None) -> None:
        """Replace all rows of this build in ``table``."""
        frame = self.conform(table, rows)
        uri = self.workspace.table_uri(table)
        if self.workspace.format == "parquet":
            version = self.run.run_id
            folder = files.spark_uri(files.join(uri, self.run.build_id, version))
            frame.drop("build_id").write.mode("overwrite").parquet(folder)
        else:
            writer = frame.write.format("delta").mode("overwrite").option("userMetadata", self.run.run_id)
            writer = writer.options(**KEEP_HISTORY)  # taken when the table is made
            if table.has_builds:
                writer = writer.partitionBy("build_id").option("mergeSchema", "true")  # columns that are new
                if files.exists(files.join(uri, "_delta_log")):
                    writer = writer.option("replaceWhere", f"build_id = '{self.run.build_id}'")
            writer.save(files.spark_uri(uri))
            version = self.workspace.newest_version(table)
        self.record(table, version, properties)

    def update(
        self,
        table: Table,
        fresh: DataFrame,
        *,
        gone: DataFrame | None = None,
        properties: dict[str, str] | None = None,
    ) -> None:
        """Insert or replace the rows of ``fresh`` by key, delete the keys of ``gone``; the rest stays.

        ``fresh`` is read more than once: it must come from files, not from a computation.
        """
        last = self.run.previous
        output = last.outputs.get(table.name) if last else None
        properties = (output.properties if output else {}) | (properties or {})
        if output is None:
            self.write(table, fresh, properties=properties)
            return
        keys = [name for name in table.key if name != "build_id"]
        clean = self.workspace.is_clean(table, self.run.build_id, output)
        if self.workspace.format == "delta" and clean:
            self.merge(table, self.conform(table, fresh), gone, keys)
            self.record(table, self.workspace.newest_version(table), properties)
            return
        changed = fresh.select(keys) if gone is None else fresh.select(keys).union(gone.select(keys))
        kept = self.open(table, self.run.build_id, output).join(changed, keys, "left_anti")
        self.write(table, kept.drop("build_id").unionByName(fresh), properties=properties)

    def merge(self, table: Table, fresh: DataFrame, gone: DataFrame | None, keys: list[str]) -> None:
        """Change a Delta table in one commit."""
        source = fresh.withColumn("is_gone", sf.lit(False))
        if gone is not None:
            marked = gone.select(keys).distinct().withColumn("is_gone", sf.lit(True))
            source = source.unionByName(marked, allowMissingColumns=True)
        source.createOrReplaceTempView("resight_fresh")
        build = self.run.build_id if table.has_builds else ""
        target = files.spark_uri(self.workspace.table_uri(table))
        values = [c for c in fresh.columns if c not in table.key]
        self.spark.sql(merge_statement(target, fresh.columns, keys, values, build)).collect()
        self.spark.catalog.dropTempView("resight_fresh")

    def record(self, table: Table, version: str, properties: dict[str, str] | None) -> None:
        """Remember what the run will commit for ``table``."""
        build = self.run.build_id
        listed = self.workspace.list_files(table, build, version)
        digest, n_bytes = self.workspace.digest_files(listed), sum(listed.values())
        output = Output(version, digest, 0, properties or {}, n_bytes=n_bytes)
        by_status = "status" in table.schema.names
        counted = count_small(listed, by_status=by_status)
        rows, statuses = counted or count_rows(self.open(table, build, output), by_status)
        self.run.outputs[table.name] = replace(output, n_rows=rows, statuses=statuses)

    def conform(self, table: Table, rows: DataFrame) -> DataFrame:
        """Check names and types against the schema and put the columns in order, ``build_id`` added."""
        wanted = spark_schema(table)
        found = {f.name: f.dataType.simpleString() for f in rows.schema.fields if f.name != "build_id"}
        expected = {f.name: f.dataType.simpleString() for f in wanted.fields}
        if found != expected:
            wrong = {k: (found.get(k), expected.get(k)) for k in sorted(set(found) | set(expected))}
            faults = {k: v for k, v in wrong.items() if v[0] != v[1]}
            raise ValueError(f"table {table.name}: columns differ, as {{name: (got, expected)}}: {faults}")
        # by name: over Spark Connect a literal's type names its collation, which Delta would write down
        typed = [(f.name, f.dataType.simpleString()) for f in wanted.fields]
        frame = rows.select(*(sf.col(name).cast(kind).alias(name) for name, kind in typed))
        if not table.has_builds:
            return frame
        return frame.select(sf.lit(self.run.build_id).alias("build_id"), "*")

    def staging(self, key: str) -> str:
        """Folder for unfinished work that a restarted run with the same ``key`` finds again."""
        return files.join(self.workspace.staging, self.run.build_id, key)

    def shard_folder(self, table: Table, *, role: str = "") -> str:
        """Folder for files made from this very version of an input; never inside a table's folder."""
        build_id, output = self.source(table, role=role)
        name = f"{table.name}-{build_id}"
        return files.join(self.workspace.root, "shards", name, output.digest)

    def drop_old_shards(self, table: Table, *, role: str = "") -> None:
        """Delete the shards of versions that none of the last runs of the input's build names."""
        build_id = self.source(table, role=role)[0]
        runs = [run for run in self.workspace.runs() if run.build_id == build_id][-KEPT_RUNS:]
        kept = {run.outputs[table.name].digest for run in runs if table.name in run.outputs}
        folder = files.join(self.workspace.root, "shards", f"{table.name}-{build_id}")
        found = {path.split("/", 1)[0] for path in files.list_files(folder, recursive=True)}
        for digest in found - kept:
            files.delete(files.join(folder, digest))

    def persist(self, name: str, frame: DataFrame) -> DataFrame:
        """Compute ``frame`` once and read it back from the staging folder of this run."""
        uri = files.join(self.staging(self.run.run_id), name)
        frame.write.mode("overwrite").parquet(files.spark_uri(uri))
        kept = self.spark.read.schema(frame.schema).parquet(files.spark_uri(uri, pattern=True))
        return gather_small(kept, sum(self.kept(name).values()))

    def kept(self, name: str) -> dict[str, int]:
        """List the files that `persist` wrote under a name, in order, with sizes."""
        folder = files.join(self.staging(self.run.run_id), name)
        found = {files.join(folder, part): size for part, size in files.list_files(folder).items()}
        return {path: size for path, size in found.items() if path.endswith(".parquet")}

    def count(self, name: str) -> int:
        """Count the rows that `persist` kept under a name."""
        kept = self.kept(name)
        counted = count_small(kept, by_status=False)
        if counted:
            return counted[0]
        return self.spark.read.parquet(*(files.spark_uri(path, pattern=True) for path in kept)).count()

    def hold(self, frame: DataFrame) -> DataFrame:
        """Compute ``frame`` once, under a name of its own: what operators with several steps ask for."""
        self.run.n_held += 1
        return self.persist(f"held-{self.run.n_held}", frame)

    def stream(self, name: str, frame: DataFrame) -> Iterator[pa.RecordBatch]:
        """Compute ``frame`` and give its rows in batches, in order, without holding them all."""
        self.persist(name, frame)
        for path in self.kept(name):
            yield from pq.ParquetFile(files.local_file(path)).iter_batches()

    def note(self, **figures: Any) -> None:
        """Report figures in the run's summary and its row."""
        self.run.notes.update(figures)

    def check_loss(
        self, n_lost: int, n_before: int, what: str, *, kind: Literal["removed", "bad"] = "removed"
    ) -> None:
        """Raise `LossError` when a larger share than allowed would be ``removed``, or could not be used."""
        allowed = self.run.max_removed if kind == "removed" else self.run.max_bad
        if n_before and n_lost / n_before > allowed and not self.run.accept_loss:
            raise LossError(
                f"{what}: {n_lost} of {n_before} ({n_lost / n_before:.1%}) {kind}, more than --max-{kind} "
                f"{allowed:g} allows; nothing was changed. Look into it, or say --accept-loss"
            )


def spark_schema(table: Table) -> StructType:
    """Give the columns of a table without ``build_id`` as Spark types: what operators return."""
    columns = from_arrow_schema(table.schema)
    return StructType([f for f in columns.fields if f.name != "build_id"])
