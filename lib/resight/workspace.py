"""A workspace without Spark: what was committed, under which names, and whether it is still intact.

The commit of a job is one file in ``runs/``: it names the version of every table that the job wrote. Tables
are only ever read at a version that a committed run names, so several tables change together and a killed
job leaves nothing that anyone reads.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from resight import files
from resight.config import SettingError, digest_of
from resight.counting import open_parquet
from resight.tables import BY_THE_WAY, Table

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from deltalake import DeltaTable

FORMAT_VERSION = 1
KEPT_RUNS = 3  # whose Parquet versions stay for readers that began earlier
COLLECTION = "collection"  # the build that tables without builds belong to


class Output(msgspec.Struct, frozen=True):
    """What a run left in one table for its build."""

    version: str  # Delta version, or the folders of a Parquet version joined by "+"
    digest: str  # of the names and sizes of its files
    n_rows: int
    properties: dict[str, str] = {}  # dtype and dimension of the vectors, ...
    statuses: dict[str, int] = {}
    n_bytes: int = 0  # of its files; 0: not known


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One committed run of a job."""

    run_id: str
    job: str
    build_id: str
    name: str = ""
    sequence: int
    settings: dict[str, Any] = {}
    settings_hash: str = ""
    parents: dict[str, str] = {}  # table -> build that it was read from
    inputs: dict[str, str] = {}  # table -> version that was read
    outputs: dict[str, Output] = {}  # table -> what the build consists of after this run
    written: tuple[str, ...] = ()  # the tables that this very run changed
    notes: dict[str, Any] = {}  # figures that the job reports
    code_version: str = ""
    device: str = ""
    precision: str = ""
    started_at: datetime
    seconds: float = 0.0
    committed_at: datetime
    dropped: bool = False


@dataclass(frozen=True)
class Workspace:
    """The root of a workspace: its format, its runs and the files behind its tables."""

    root: str
    format: str

    @classmethod
    def open(cls, root: str, format: str | None = None, *, create: bool = False) -> "Workspace":
        """Open ``root``, making it when ``create``; `SettingError` when it cannot be used."""
        root = files.absolute(root)
        marker = files.join(root, "workspace.json")
        coded = re.search(r"%[0-9A-Fa-f]{2}", root)
        try:
            files.require_store(root)
            if create and coded and format != "parquet" and not files.exists(marker):
                raise ValueError(f"Delta reads {coded[0]} in it as a letter: --format parquet")
            if create and not files.exists(marker):
                head = {"format_version": FORMAT_VERSION, "format": format or "delta"}
                files.create_once(marker, json.dumps(head).encode())
            head = json.loads(files.read_bytes(marker))
        except FileNotFoundError:
            why = "it cannot be made" if create else "there is no workspace.json; ingest-images makes one"
            raise SettingError(f"--workspace: {root} is no workspace: {why}") from None
        except (OSError, ValueError) as error:
            raise SettingError(f"--workspace: cannot use {root}: {error}") from None
        if head.get("format_version") != FORMAT_VERSION:
            raise SettingError(
                f"--workspace: {root} has format version {head.get('format_version')}, "
                f"this resight reads version {FORMAT_VERSION}"
            )
        if format and format != head["format"]:
            raise SettingError(f"--format: {root} is a workspace of format {head['format']!r}")
        return cls(root, head["format"])

    def runs(self) -> list[Run]:
        """List the committed runs in the order of their commit.

        Their files never change: each is read once by this object, and a call costs one listing.
        """
        listed = list(files.list_files(files.join(self.root, "runs")).items())
        for file in listed:
            if file not in self.known:
                self.known[file] = msgspec.json.decode(self.read_run(file[0]), type=Run)
        rows = [self.known[file] for file in listed]
        return sorted(rows, key=lambda run: (run.committed_at, run.build_id, run.sequence))

    @cached_property
    def known(self) -> dict[tuple[str, int], Run]:
        """The runs that were read, by the name and size of their file."""
        return {}

    def read_run(self, name: str) -> bytes:
        """Read the file of one run."""
        return files.read_bytes(files.join(self.root, "runs", name))

    def commit(self, run: Run) -> None:
        """Publish ``run``; RuntimeError when another run of the build was committed meanwhile."""
        name = f"{run.build_id}-{run.sequence:06d}.json"
        if not files.create_once(files.join(self.root, "runs", name), msgspec.json.encode(run)):
            raise RuntimeError(f"another run of build {run.build_id} was committed meanwhile: run again")

    def last_sequence(self, build_id: str) -> int:
        """Give the number of a build's last committed run, dropped or not; 0 before the first."""
        return max((run.sequence for run in self.runs() if run.build_id == build_id), default=0)

    def builds(self) -> dict[str, Run]:
        """Map every build that was not dropped to its last run, oldest first."""
        last: dict[str, Run] = {}
        for run in self.runs():
            if run.build_id not in last or run.sequence > last[run.build_id].sequence:
                last.pop(run.build_id, None)
                last[run.build_id] = run
        return {build: run for build, run in last.items() if not run.dropped}

    def find_build(self, table: Table, name: str = "", kind: Callable[[Run], bool] = bool) -> Run:
        """Find the build of ``table`` called ``name`` (or with that id), by default the newest of a kind."""
        having = [run for run in self.builds().values() if table.name in run.outputs and kind(run)]
        if not having:
            raise SettingError(f"table {table.name!r} is missing in the workspace {self.root}")
        meant = [run for run in having if name or run.job not in BY_THE_WAY.get(table.name, ())]
        chosen = [run for run in meant or having if name in ("", run.name, run.build_id)]
        if not chosen:
            known = ", ".join(sorted(run.name for run in having))
            raise SettingError(f"no build of {table.name!r} is called {name!r}; there are: {known}")
        return chosen[-1]

    def table_uri(self, table: Table) -> str:
        """Folder of a table."""
        return files.join(self.root, "tables", table.name)

    def list_files(self, table: Table, build_id: str, version: str | None) -> dict[str, int]:
        """List the files of a build in a version of a table, with sizes; None is the newest Delta version."""
        uri = self.table_uri(table)
        if self.format == "parquet":
            folders = [files.join(uri, build_id, name) for name in (version or "").split("+") if name]
            found = {files.join(f, n): size for f in folders for n, size in files.list_files(f).items()}
            return {name: size for name, size in found.items() if name.endswith(".parquet")}
        adds = pa.table(open_delta(uri, version).get_add_actions(flatten=True))
        if table.has_builds and adds.num_rows:
            adds = adds.filter(pc.equal(adds["partition.build_id"], build_id))
        paths, sizes = adds["path"].to_pylist(), adds["size_bytes"].to_pylist()
        return {files.join(uri, path): size for path, size in sorted(zip(paths, sizes, strict=True))}

    def prune(self, build_id: str) -> None:
        """Delete Parquet versions of a build that none of its last `KEPT_RUNS` runs names.

        Delta tables keep all their history: builds are read at the version that their run named.
        """
        if self.format != "parquet":
            return
        runs = [run for run in self.runs() if run.build_id == build_id][-KEPT_RUNS:]
        for name in {name for run in runs for name in run.outputs}:
            versions = {run.outputs[name].version for run in runs if name in run.outputs}
            kept = {folder for version in versions for folder in version.split("+")}
            uri = files.join(self.root, "tables", name, build_id)
            found = {path.split("/", 1)[0] for path in files.list_files(uri, recursive=True)}
            for folder in found - kept:
                files.delete(files.join(uri, folder))

    def unused_files(self, table: Table, build_id: str) -> dict[str, int]:
        """List the files of a build in a Delta table that nothing reads any more, with sizes.

        Read are the versions that the build's last `KEPT_RUNS` runs since it was last dropped name, and the
        newest one. Other builds are read at older versions too, but every file belongs to one build.

        Raises
        ------
        RuntimeError
            A file that is needed is not where the table says: then nothing is judged unused.
        """
        uri = self.table_uri(table)
        folder = files.join(uri, f"build_id={build_id}") if table.has_builds else uri
        runs = [run for run in self.runs() if run.build_id == build_id]
        drops = [i for i, run in enumerate(runs, 1) if run.dropped]
        recent = [run for run in runs[drops[-1] if drops else 0 :] if table.name in run.outputs]
        versions = {run.outputs[table.name].version for run in recent[-KEPT_RUNS:]}
        used = set(self.list_files(table, build_id, None))
        used.update(*(self.list_files(table, build_id, version) for version in versions))
        found = {
            files.join(folder, name): size
            for name, size in files.list_files(folder, recursive=True).items()
            if name.endswith(".parquet") and not name.startswith("_")  # _delta_log holds checkpoints
        }
        if used - set(found):
            raise RuntimeError(f"table {table.name}: {min(used - set(found))} is missing; nothing is deleted")
        return {path: size for path, size in found.items() if path not in used}

    def newest_version(self, table: Table) -> str:
        """Give the newest version of a Delta table, committed by a run or not."""
        return str(open_delta(self.table_uri(table)).version())

    def is_readable(self, table: Table, build_id: str, output: Output) -> bool:
        """Whether the files of a committed version exist with their sizes."""
        from deltalake.exceptions import DeltaError

        try:
            committed = self.list_files(table, build_id, output.version)
        except (OSError, ValueError, DeltaError):  # a table or a version that is gone
            return False
        sizes = files.file_sizes(list(committed))
        return self.digest_files(committed) == output.digest and sizes == list(committed.values())

    def is_clean(self, table: Table, build_id: str, output: Output) -> bool:
        """Whether the newest state of the table, committed or not, still equals ``output``."""
        if self.format == "parquet":
            return True  # folders are written once and never changed
        return self.digest_files(self.list_files(table, build_id, None)) == output.digest

    def digest_files(self, listed: dict[str, int]) -> str:
        """Hash file names and sizes; a workspace that was moved as a whole keeps its digests."""
        return digest_of({path.removeprefix(self.root): size for path, size in listed.items()})

    def dataset(self, table: Table, build_id: str, output: Output) -> "ds.Dataset":
        """Open the rows of a committed build for pyarrow, ``build_id`` left out."""
        import pyarrow.dataset as ds

        paths = list(self.list_files(table, build_id, output.version))
        schema = pa.schema([field for field in table.schema if field.name != "build_id"])
        return open_parquet(paths, schema) if paths else ds.dataset(schema.empty_table())

    @cached_property
    def staging(self) -> str:
        """Folder of unfinished work; nothing in it is ever read as a result."""
        return files.join(self.root, "staging")


def input_key(table: Table, role: str = "") -> str:
    """Name an input: its table, and the part that a second build of this table plays."""
    return f"{table.name}:{role}" if role else table.name


def ancestor(
    table: Table,
    chosen: list[Run],
    builds: dict[str, Run],
    role: str = "",
    kind: Callable[[Run], bool] = bool,
) -> str:
    """Find the build of a kind that had a ``role`` in the history of the inputs chosen so far, or ""."""
    for run in chosen:
        if not table.has_builds:
            break
        if table.name in run.outputs and not role and kind(run):
            return run.build_id
        parent = run.parents.get(input_key(table, role), "")
        if parent in builds and kind(builds[parent]):
            return parent
        parents = [builds[build] for build in run.parents.values() if build in builds]
        found = ancestor(table, parents, builds, role=role, kind=kind)
        if found:
            return found
    return ""


def open_delta(uri: str, version: str | None = None) -> "DeltaTable":
    """Open a Delta table without Spark, by default at its newest version."""
    from deltalake import DeltaTable

    path = files.local_path(uri)
    place = str(path) if path is not None else uri.replace("s3a://", "s3://", 1)
    return DeltaTable(place, version=None if version is None else int(version))


def now() -> datetime:
    """Give the time in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)
