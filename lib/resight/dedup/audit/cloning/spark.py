"""A clone of a workspace, in which jobs go on where they ended, while the workspace stays as it is."""

import logging
from collections.abc import Iterable

import msgspec

from resight import files
from resight.config import Config, SettingError
from resight.job import Job, Options, load_job
from resight.store import TableStore
from resight.tables import SHARDS, TABLES
from resight.workspace import COLLECTION, Run, Workspace

__all__ = ["clone_builds", "follow_jobs", "list_builds"]

log = logging.getLogger("resight")
CLONED = "cloned"  # version of every table of a clone
FITTING = ("fit-model", "train-network")  # a model is never fitted again


def list_builds(workspace: Workspace, run: Run) -> list[Run]:
    """List the builds that ``run`` was made from, parents first, those of the collection and itself too.

    Raises
    ------
    SettingError
        One of them holds what was computed elsewhere, which cannot be computed of a planted copy.
    """
    builds, found = workspace.builds(), dict[str, Run]()

    def visit(build_id: str) -> None:
        if build_id in found or build_id not in builds:
            return
        made_from = builds[build_id].parents.values() if builds[build_id].job != "train-network" else ()
        for parent in made_from:  # not what a network was trained on: that is not computed again
            visit(parent)
        found[build_id] = builds[build_id]

    visit(COLLECTION)
    visit(run.build_id)
    imported = [build.name for build in found.values() if build.job == "import-descriptors"]
    if imported:
        raise SettingError(
            f"audit-duplicates: the descriptors of {imported[0]} were imported, planted copies have none; "
            "name a build of find-duplicates whose descriptors come from extract-features"
        )
    return list(found.values())


def clone_builds(store: TableStore, root: str, builds: Iterable[Run]) -> Workspace:
    """Commit the newest versions of ``builds`` again, in a workspace of its own; what is there already stays.

    Builds keep their ids, so that a job that runs there goes on with what is new. A build with shards is left
    out: its files lie outside of the tables, and it is computed anew.
    """
    clone, there = Workspace.open(root, "parquet", create=True), set[str]()
    there |= set(clone.builds())
    for run in builds:
        if run.build_id in there or SHARDS.name in run.outputs:
            continue
        outputs = {}
        for name, output in run.outputs.items():
            table = TABLES[name]
            rows = store.open(table, run.build_id, output).drop("build_id")
            folder = files.join(clone.table_uri(table), run.build_id, CLONED)
            rows.write.mode("overwrite").parquet(files.spark_uri(folder))
            digest = clone.digest_files(clone.list_files(table, run.build_id, CLONED))
            outputs[name] = msgspec.structs.replace(output, version=CLONED, digest=digest)
        networks = files.join("shards", f"models-{run.build_id}")  # weights, which lie outside of the tables
        for name in files.list_files(files.join(store.workspace.root, networks)):
            weights = files.read_bytes(files.join(store.workspace.root, networks, name))
            files.write_bytes(files.join(root, networks, name), weights)
        inputs = {key: rename_version(store.workspace, key, seen) for key, seen in run.inputs.items()}
        clone.commit(msgspec.structs.replace(run, sequence=1, outputs=outputs, inputs=inputs))
    return clone


def rename_version(workspace: Workspace, key: str, seen: str) -> str:
    """Give the version of an input in a clone: that of the newest one, where a run has seen the newest."""
    build_id, _, version = seen.partition("@")
    run = workspace.builds().get(build_id)
    output = run.outputs.get(key.partition(":")[0]) if run else None
    return f"{build_id}@{CLONED}" if output and output.version == version else seen


def follow_jobs(cloned: TableStore, builds: Iterable[Run]) -> None:
    """Run the jobs of ``builds``, parents first, in a clone: each goes on with the build that it made."""
    for run in builds:
        if run.build_id == COLLECTION or run.job in FITTING:
            continue
        log.info("audit-duplicates: %s ...", run.name)
        declared = load_job(run.job)
        declared(cloned, pin_inputs(declared, run), Options(name=run.name, lock="none", accept_loss=True))


def pin_inputs(declared: Job, run: Run) -> Config:
    """Give the settings of a run with its inputs named by their builds, and no lists written elsewhere."""
    conf = declared.config.from_mapping(run.settings)
    computed = {name: run.settings[name] for name in conf.content()}
    named = {
        wanted.option or wanted.setting: run.parents[wanted.key]
        for wanted in declared.inputs
        if wanted.setting and wanted.key in run.parents
    }
    return declared.config.from_mapping(computed | named)
