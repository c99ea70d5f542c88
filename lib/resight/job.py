"""Jobs are data: a job is declared once, and order, checks, skipping and commits derive from that.

``@job`` turns a ``main(store, conf)`` into a `Job`: calling it resolves the inputs, takes the lease of the
build, does nothing when nothing changed, and commits one run when the body is done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import msgspec

from resight import files
from resight.config import Config, SettingError, check_share
from resight.context import LossError, RunContext
from resight.identity import choose_name, explain_missing, identify, input_versions
from resight.lease import hold_lease
from resight.spark import small_plans
from resight.store import TableStore
from resight.tables import TABLES, Table
from resight.workspace import COLLECTION, Run, Workspace, ancestor, input_key, now

JOBS = (  # in the order in which data flows
    "ingest-images",
    "extract-features",
    "extract-local-features",
    "import-descriptors",
    "fit-model",
    "build-index",
    "build-graph",
    "diffuse",
    "hash-images",
    "find-duplicates",
    "audit-duplicates",
    "search",
    "verify-pairs",
    "discover-objects",
    "mine-pairs",
    "train-network",
    "propagate-labels",
    "clean-labels",
    "evaluate",
    "report",
)


Settings = TypeVar("Settings", bound=Config)


@dataclass(frozen=True)
class Input:
    """A table that a job reads; ``setting`` names the build, an ``optional`` one may be missing.

    A second build of the same table has a ``role``. It is read where its setting names it, or where what is
    read besides was made with a build of that role.
    """

    table: Table
    setting: str = ""
    optional: bool = False
    newest: bool = True  # of an optional one: without a name, the newest if there is any
    when: Callable[[Any], bool] = bool  # read only where this says so of the settings
    kind: Callable[[Run], bool] = bool  # which builds will do
    how: str = ""  # options of the job that writes it, for the hint where it is missing
    role: str = ""
    option: str = ""  # that gives the name, where it is not called like the setting

    @property
    def key(self) -> str:
        """Name of the input among those of a run."""
        return input_key(self.table, self.role)


@dataclass(frozen=True)
class Options:
    """How to run a job, whatever the job."""

    name: str = ""
    replace: bool = False
    lock: str = "file"
    max_removed: float = 0.05  # share of the collection
    max_bad: float = 0.05
    accept_loss: bool = False

    def __post_init__(self) -> None:
        """Check the limits of the guard."""
        check_share(self.max_removed, "--max-removed")
        check_share(self.max_bad, "--max-bad")


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    job: str
    build_id: str
    name: str
    state: str  # committed, unchanged
    seconds: float
    run: Run | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job(Generic[Settings]):
    """A declared job; call it with a store and its settings."""

    name: str
    config: type[Settings]
    inputs: tuple[Input, ...]
    writes: tuple[Table, ...]
    body: Callable[[TableStore, Settings], None]
    engine: str = "spark"  # or "local": needs no Spark
    external: Callable[[Settings], str] | None = None  # version of what is read from outside; "" = unknown
    finish: Callable[[TableStore, Settings], None] | None = None  # runs after the commit, or when unchanged

    @property
    def doc(self) -> str:
        """The job in words."""
        return (self.body.__doc__ or "").strip()

    def __call__(
        self, store: TableStore, conf: Settings | None = None, options: Options | None = None
    ) -> Outcome:
        """Run the job when something changed, and commit what it wrote."""
        suited = (conf or self.config()).checked().suited(store.reader)
        return execute(self, store, suited, options or Options())


def job(
    name: str,
    config: type[Settings],
    *,
    reads: tuple[Table | Input, ...] = (),
    writes: tuple[Table, ...] = (),
    engine: str = "spark",
    external: Callable[[Settings], str] | None = None,
    finish: Callable[[TableStore, Settings], None] | None = None,
) -> Callable[[Callable[[TableStore, Settings], None]], Job[Settings]]:
    """Declare the job whose body is the decorated function."""
    inputs = tuple(i if isinstance(i, Input) else Input(i) for i in reads)
    return lambda body: Job(name, config, inputs, writes, body, engine, external, finish)


def load_job(name: str) -> Job:
    """Import a job by its name on the command line."""
    if name not in JOBS:
        raise SettingError(f"unknown job {name!r}; the jobs are: {', '.join(JOBS)}")
    return import_module(f"resight.jobs.{name.replace('-', '_')}").main


def execute(declared: Job, store: TableStore, conf: Config, options: Options) -> Outcome:
    """Run one job as its declaration says."""
    begun, started, workspace = time.monotonic(), now(), store.workspace
    inputs = resolve_inputs(declared, workspace, conf)
    build_id = identify(declared, conf, inputs)
    lease = files.join(workspace.root, "leases", f"{build_id}.json")
    with hold_lease(lease, lock=options.lock):
        previous = readable(workspace, workspace.builds().get(build_id), options)
        name = choose_name(declared, conf, workspace, build_id, options)
        versions = input_versions(declared, conf, inputs)
        run_id = f"{started:%Y%m%dT%H%M%S%f}-{build_id}"
        limits = options.max_removed, options.max_bad, options.accept_loss
        context = RunContext(run_id, build_id, inputs, previous, *limits)
        bound = TableStore(workspace, store.session, context)
        if previous and is_current(declared, workspace, previous, versions) and not conf.differs(bound):
            rename(workspace, previous, name)
            if declared.finish:
                declared.finish(bound, conf)
            seconds = time.monotonic() - begun
            return Outcome(declared.name, build_id, name, "unchanged", seconds, notes=context.notes)
        with small_plans(bound):
            compute(declared, bound, conf)
        seconds = time.monotonic() - begun
        run = None
        if context.outputs or (declared.inputs and declared.writes):
            run = describe_run(declared, conf, bound, name, versions, started, seconds)
            workspace.commit(run)
            workspace.prune(build_id)
            if declared.finish:
                declared.finish(bound, conf)
        files.delete(files.join(workspace.staging, build_id))
    state = "committed" if run else "unchanged"
    return Outcome(declared.name, build_id, name, state, seconds, run, context.notes)


def rename(workspace: Workspace, run: Run, name: str) -> None:
    """Let the build of ``run`` be called ``name`` from now on."""
    if name != run.name:
        sequence = 1 + workspace.last_sequence(run.build_id)
        changes = {"name": name, "sequence": sequence, "written": (), "committed_at": now()}
        workspace.commit(msgspec.structs.replace(run, **changes))


def describe_run(
    declared: Job,
    conf: Config,
    store: TableStore,
    name: str,
    versions: dict[str, str],
    started: datetime,
    seconds: float,
) -> Run:
    """Make the row that commits what ``store`` wrote."""
    context = store.run
    return Run(
        run_id=context.run_id,
        job=declared.name,
        build_id=context.build_id,
        name=name,
        sequence=1 + store.workspace.last_sequence(context.build_id),
        settings=msgspec.to_builtins(conf),
        settings_hash=conf.digest,
        parents={k: r.build_id for k, r in context.inputs.items() if r.build_id != COLLECTION},
        inputs=versions,
        outputs=(context.previous.outputs if context.previous else {}) | context.outputs,
        written=tuple(context.outputs),
        notes=context.notes,
        code_version=version("resight"),
        device=str(context.notes.get("device", "")),
        precision=str(context.notes.get("precision", "")),
        started_at=started,
        seconds=seconds,
        committed_at=now(),
    )


def resolve_inputs(declared: Job, workspace: Workspace, conf: Config) -> dict[str, Run]:
    """Choose the committed run behind every table that the job reads.

    A build is chosen by the setting that names it; else it is the one that the inputs chosen before were made
    from; else the newest.
    """
    builds, chosen = workspace.builds(), dict[str, Run]()
    for wanted in declared.inputs:
        table, name = wanted.table, getattr(conf, wanted.setting) if wanted.setting else ""
        if not wanted.when(conf) or (wanted.optional and not (wanted.newest or name or wanted.role)):
            continue
        before = list(chosen.values())
        build = name or ancestor(table, before, builds, role=wanted.role, kind=wanted.kind)
        if wanted.role and not build:
            continue
        exists = any(table.name in run.outputs and wanted.kind(run) for run in builds.values())
        if wanted.optional and not build and not exists:
            continue
        try:
            chosen[wanted.key] = workspace.find_build(table, build, wanted.kind)
        except SettingError as error:
            raise SettingError(explain_missing(declared, wanted, str(error))) from None
    return chosen


def readable(workspace: Workspace, run: Run | None, options: Options) -> Run | None:
    """Give ``run`` if all that it committed can still be read, else None: it must be computed anew.

    The tables of the collection cannot be computed anew from one source: what is left of them is kept, and
    the loss of a table that holds more than previews is an error unless it is accepted.
    """
    if run is None:
        return None
    outputs = run.outputs.items()
    there = {k: o for k, o in outputs if workspace.is_readable(TABLES[k], run.build_id, o)}
    lost = sorted(set(run.outputs) - set(there))
    if not lost or run.build_id != COLLECTION:
        return run if not lost else None
    if lost != ["previews"] and not options.accept_loss:
        raise LossError(
            f"files of {', '.join(lost)} are gone from {workspace.root}/tables: bring them back, or ingest "
            "every source again with --accept-loss (ids stay, first_seen and removed_at are lost)"
        )
    return msgspec.structs.replace(run, outputs=there)


def compute(declared: Job, store: TableStore, conf: Config) -> None:
    """Run a job's body; rows of tables that it left alone and somebody else changed are written again."""
    declared.body(store, conf)
    previous = store.run.previous
    for table in declared.writes:
        output = previous.outputs.get(table.name) if previous else None
        if output and table.name not in store.run.outputs:
            rows = store.previous(table)
            if rows is not None and not store.workspace.is_clean(table, store.run.build_id, output):
                store.write(table, rows.drop("build_id"), properties=output.properties)


def is_current(declared: Job, workspace: Workspace, previous: Run, versions: dict[str, str]) -> bool:
    """Whether inputs and outputs are what the last run left, so that there is nothing to do."""
    if versions != previous.inputs or versions.get("external") == "" or not declared.writes:
        return False
    return all(
        workspace.is_clean(table, previous.build_id, previous.outputs[table.name])
        for table in declared.writes
        if table.name in previous.outputs  # some tables are written only when the settings ask for them
    )
