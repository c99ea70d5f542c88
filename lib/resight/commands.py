"""Commands over several jobs: ``resight run`` and ``resight builds``."""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from deltalake import DeltaTable

from resight import files
from resight.cli import base_parser, check_share, report_outcomes, summary_table
from resight.config import Config, SettingError, read_toml
from resight.job import JOBS, Job, Options, Outcome, last_sequence, load_job
from resight.launch import open_store
from resight.lease import hold_lease
from resight.tables import TABLES
from resight.workspace import COLLECTION, Run, Workspace, delta_uri, now

log = logging.getLogger("resight")
FITTED = "fitted"  # in a run: the model that it fits, or the descriptors that it was fitted on
OPTIONAL = {"import-descriptors", "fit-model", "evaluate"}  # only run when their settings are given


def run_command(words: list[str]) -> int:
    """Run all jobs in their order, images to report; restartable, what is unchanged is skipped."""
    text = "\n".join(
        [
            "Run all jobs in their order, images to report. Settings of single jobs come from --conf: a TOML",
            "file with one table per job, such as [extract-features]. Run it again after an interruption or",
            "when images came: only what changed is computed. fit-model runs when it has a table: then the",
            "descriptors are whitened by what it fits, and the later jobs work on these.",
        ]
    )
    parser = base_parser("run", text)
    add = parser.add_argument
    add("--source", required=True, metavar="URI", help="folder, glob, manifest or tar shards (ingest-images)")
    add("--until", choices=[*JOBS], help="last job to run (report)", default="report", metavar="JOB")
    add("--ground-truth", metavar="FILE", default="", help="CSV of query_uri, image_uri, label for evaluate")
    parsed = parser.parse_args(words)
    if parsed.name:
        raise SettingError("--name: a run has several builds; name them with the single jobs")
    planned = plan_jobs(parsed.source, parsed.until, parsed.ground_truth, parsed.conf)
    options = Options("", parsed.replace, parsed.lock, parsed.max_loss, parsed.accept_loss)
    begun, outcomes = time.monotonic(), list[Outcome]()
    made: dict[str, str] = {}
    check_share(parsed.max_loss)
    with open_store(parsed, create=True) as store:
        for declared, conf in planned:
            log.info("%s ...", declared.name)
            outcome = declared(store, name_inputs(declared, conf, made), options)
            outcomes.append(outcome)
            made |= {table.name: outcome.build_id for table in declared.writes}
    log.info("%s", summary_table(outcomes))
    report_outcomes(outcomes, time.monotonic() - begun, as_line=parsed.json)
    return 0


def plan_jobs(source: str, until: str, ground_truth: str, file: Path | None) -> list[tuple[Job, Config]]:
    """Choose the jobs of a run, with their settings checked; `SettingError` names job and key."""
    tables = read_toml(file)
    flat = [name for name, table in tables.items() if not isinstance(table, dict)]
    if flat:
        raise SettingError(f"--conf: {flat[0]} is no table; settings stand in tables such as [build-graph]")
    unknown = sorted(set(tables) - set(JOBS))
    if unknown:
        raise SettingError(f"--conf: [{unknown[0]}] is no job; the jobs are: {', '.join(JOBS)}")
    given: dict[str, dict[str, Any]] = {name: dict(tables.get(name, {})) for name in JOBS}
    given["ingest-images"]["source"] = source
    if not given["search"].get("queries"):
        given["search"].setdefault("queries_from", "collection")
    if ground_truth:
        given["evaluate"]["ground_truth"] = ground_truth
    planned = []
    for name in JOBS[: JOBS.index(until) + 1]:
        if name in OPTIONAL and name not in tables and not given[name]:
            continue
        planned.append(check_settings(name, given[name]))
        if name == "fit-model":
            whitened = {"descriptors": FITTED, "whitening": FITTED}
            planned.append(check_settings("extract-features", whitened))
    return planned


def check_settings(name: str, given: dict[str, Any]) -> tuple[Job, Config]:
    """Give a job with its settings; `SettingError` names the job."""
    declared = load_job(name)
    try:
        return declared, declared.config.from_mapping(given)
    except SettingError as error:
        raise SettingError(f"[{name}] {error}") from None


def name_inputs(declared: Job, conf: Config, made: dict[str, str]) -> Config:
    """Let the inputs that no setting names, or that are called `FITTED`, be the builds that this run made."""
    named = {
        wanted.setting: made[wanted.table.name]
        for wanted in declared.inputs
        if wanted.setting and wanted.table.name in made
        if getattr(conf, wanted.setting) == (FITTED if not wanted.newest else "")
    }
    return msgspec.structs.replace(conf, **named)


def builds_command(words: list[str]) -> int:
    """List the builds of a workspace, or drop one."""
    parser = base_parser("builds", "List the builds of a workspace with their settings and parents.")
    parser.add_argument("--drop", metavar="NAME", help="delete the rows of this build from all its tables")
    parsed = parser.parse_args(words)
    workspace = Workspace.open(parsed.workspace, parsed.format)
    if parsed.drop:
        drop_build(workspace, parsed.drop, parsed.lock)
    builds = workspace.builds()
    if parsed.json:
        sys.stdout.write(json.dumps([msgspec.to_builtins(run) for run in builds.values()]) + "\n")
        return 0
    names = {build: run.name for build, run in builds.items()}
    for run in builds.values():
        sys.stdout.write(describe_build(run, names) + "\n")
    return 0


def describe_build(run: Run, names: dict[str, str]) -> str:
    """Lay out one build for people."""
    rows = ", ".join(f"{table} {output.n_rows}" for table, output in run.outputs.items())
    parents = ", ".join(sorted({names.get(build, build) for build in run.parents.values()})) or "-"
    settings = ", ".join(f"{key}={value}" for key, value in run.settings.items() if value not in ("", None))
    return (
        f"{run.name}  ({run.build_id}, {run.job}, {run.committed_at:%Y-%m-%d %H:%M} UTC)\n"
        f"  rows: {rows}\n  made from: {parents}\n  settings: {settings}"
    )


def drop_build(workspace: Workspace, name: str, lock: str) -> None:
    """Delete a build's rows and files; refused while other builds were made from it."""
    builds = workspace.builds()
    chosen = [run for run in builds.values() if name in (run.name, run.build_id)]
    if not chosen or chosen[-1].build_id == COLLECTION:
        known = ", ".join(run.name for run in builds.values() if run.build_id != COLLECTION)
        raise SettingError(f"--drop: no build is called {name!r}; there are: {known}")
    run = chosen[-1]
    children = [other.name for other in builds.values() if run.build_id in other.parents.values()]
    if children:
        raise SettingError(f"--drop: {', '.join(children)} were made from {name!r}: drop them first")
    with hold_lease(files.join(workspace.root, "leases", f"{run.build_id}.json"), lock=lock):
        sequence = 1 + last_sequence(workspace, run.build_id)
        moment = now()
        dropped = {"sequence": sequence, "outputs": {}, "dropped": True, "committed_at": moment}
        dropped |= {"run_id": f"{moment:%Y%m%dT%H%M%S%f}-{run.build_id}", "job": "builds"}
        workspace.commit(msgspec.structs.replace(run, **dropped))
        for table_name in run.outputs:
            table = TABLES[table_name]
            uri = workspace.table_uri(table)
            if workspace.format == "parquet":
                files.delete(files.join(uri, run.build_id))
            elif table.has_builds:
                DeltaTable(delta_uri(uri)).delete(f"build_id = '{run.build_id}'")
