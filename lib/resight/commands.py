"""Commands over several jobs: ``resight run``, ``resight builds`` and ``resight quarantine``."""

import json
import logging
import sys
import time
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

import msgspec

from resight import files
from resight.cli import base_parser, options_of, report_outcomes, summary_table
from resight.config import Config, SettingError, convert_settings, read_toml
from resight.dedup.quarantine.command import run_quarantine
from resight.identity import require_inputs
from resight.job import JOBS, Job, Outcome, load_job
from resight.launch import check_early, open_store
from resight.lease import LeaseError, hold_lease
from resight.tables import TABLES, Table
from resight.workspace import COLLECTION, Run, Workspace, now, open_delta

log = logging.getLogger("resight")
FITTED = "fitted"  # in a run: the model that it fits, or the descriptors that it was fitted on
OPTIONAL = {  # run when settings are given
    "extract-local-features",
    "import-descriptors",
    "fit-model",
    "build-index",
    "diffuse",
    "audit-duplicates",
    "verify-pairs",
    "mine-pairs",
    "train-network",
    "propagate-labels",
    "clean-labels",
    "discover-objects",
    "evaluate",
}


def run_command(words: list[str]) -> int:
    """Run all jobs in their order, images to report; restartable, what is unchanged is skipped."""
    text = "\n".join(
        [
            "Run all jobs in their order, images to report. Settings of single jobs come from --conf: a TOML",
            "file with one table per job, such as [extract-features]. Run it again after an interruption or",
            "when images came: only what changed is computed. fit-model runs when it has a table: then the",
            "descriptors are whitened by what it fits, and the later jobs work on these. A codebook whitens",
            "nothing, it is for build-index; a run that fits both has two tables [[fit-model]]. The effort",
            "thorough of find-duplicates has keypoints, a codebook, an index and a search of it made before.",
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
    options = options_of(parsed)
    planned = plan_jobs(parsed.source, parsed.until, parsed.ground_truth, parsed.conf)
    for _, conf in planned:
        check_early(conf, parsed)
    begun, outcomes = time.monotonic(), list[Outcome]()
    made: dict[str, str] = {}
    with open_store(parsed, [conf for _, conf in planned], create=True) as store:
        require_inputs(planned, store.workspace)
        for declared, conf in planned:
            log.info("%s ...", declared.name)
            outcome = declared(store, name_inputs(declared, conf, made), options)
            outcomes.append(outcome)
            written = store.workspace.builds().get(outcome.build_id)
            made |= {table: outcome.build_id for table in (written.outputs if written else ())}
    log.info("%s", summary_table(outcomes))
    report_outcomes(outcomes, time.monotonic() - begun, as_line=parsed.json)
    return 0


def plan_jobs(source: str, until: str, ground_truth: str, file: Path | None) -> list[tuple[Job, Config]]:
    """Choose the jobs of a run, with their settings checked; `SettingError` names job and key."""
    tables, fits = read_tables(file)
    given: dict[str, dict[str, Any]] = {name: dict(tables.get(name, {})) for name in JOBS}
    given["ingest-images"]["source"] = source
    if not given["search"].get("queries"):
        given["search"].setdefault("queries_from", "collection")
    if ground_truth:
        given["evaluate"]["ground_truth"] = ground_truth
    optional, planned, chosen = OPTIONAL, [], JOBS[: JOBS.index(until) + 1]
    if given["ingest-images"].get("kind") == "vectors":  # there are no pixels to hash and to compare
        given["find-duplicates"].setdefault("effort", "quick")
        optional = OPTIONAL | {"hash-images"}
    optional = optional - {until}
    fits = fits or [{}] if until == "fit-model" else fits
    ranking = rank_collection(given["find-duplicates"]) if "find-duplicates" in chosen else {}
    if ranking:  # keypoints, a codebook and an index for it
        optional = optional - {"extract-local-features", "build-index"}
        fits = fits if any(fit.get("kind") == "codebook" for fit in fits) else [*fits, {"kind": "codebook"}]
    for name in chosen:
        if name == "fit-model":
            planned += plan_fits(fits, file)
        elif name not in optional or name in tables or given[name]:
            before = [("search", ranking, set[str]())] if name == "find-duplicates" and ranking else []
            written = {key for key, value in tables.get(name, {}).items() if given[name][key] is value}
            planned += [check_settings(*one, file) for one in [*before, (name, given[name], written)]]
    return planned


def read_tables(file: Path | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read the settings of a run: a table per job, and the tables of fit-model, of which there may be two."""
    tables = read_toml(file)
    fits = tables.get("fit-model", [])
    fits = fits if isinstance(fits, list) else [fits]
    tables |= {"fit-model": next(iter(fits), {})} if fits else {}
    flat = [name for name, table in tables.items() if not isinstance(table, dict)]
    if flat:
        raise SettingError(f"{file}: {flat[0]} is no table; settings stand in tables such as [build-graph]")
    unknown = sorted(set(tables) - set(JOBS))
    if unknown:
        raise SettingError(f"{file}: [{unknown[0]}] is no job; the jobs are: {', '.join(JOBS)}")
    return tables, fits


def rank_collection(given: dict[str, Any]) -> dict[str, Any]:
    """Give the settings of the search that ``find-duplicates`` reads when it is thorough, else none."""
    kinds = given.get("candidates") or ["keypoints"]
    if given.get("effort") != "thorough" or given.get("results") or "keypoints" not in kinds:
        return {}
    return {"method": "asmk", "queries_from": "collection", "depth": given.get("top", 20)}


def plan_fits(fits: list[dict[str, Any]], file: Path | None) -> list[tuple[Job, Config]]:
    """Fit a whitening and whiten the descriptors, then fit a codebook; at most one of each."""
    codebooks = [table for table in fits if table.get("kind") == "codebook"]
    whitenings = [table for table in fits if table.get("kind") != "codebook"]
    if len(codebooks) > 1 or len(whitenings) > 1:
        raise SettingError(f"{file}: [[fit-model]]: a run fits one whitening and one codebook at most")
    planned = [check_settings("fit-model", table, set(table), file) for table in whitenings + codebooks]
    if whitenings:
        whitened = {"descriptors": FITTED, "whitening": FITTED}
        planned.insert(1, check_settings("extract-features", whitened))  # of what the run makes itself
    return planned


def check_settings(
    name: str, given: dict[str, Any], written: Set[str] = frozenset(), file: Path | None = None
) -> tuple[Job, Config]:
    """Give a job with its settings; errors name job and key, and ``file`` where the key was ``written``."""
    declared = load_job(name)
    return declared, convert_settings(declared.config, given, file, written, job=name)


def name_inputs(declared: Job, conf: Config, made: dict[str, str]) -> Config:
    """Let the inputs that no setting names, or that are called `FITTED`, be the builds that this run made."""
    named = {
        wanted.setting: made[wanted.table.name]
        for wanted in declared.inputs
        if wanted.setting and not wanted.role and wanted.table.name in made and wanted.when(conf)
        if getattr(conf, wanted.setting) == (FITTED if not wanted.newest else "")
    }
    return msgspec.structs.replace(conf, **named)


def builds_command(words: list[str]) -> int:
    """List the builds of a workspace, drop one, or free what dropped ones left."""
    parser = base_parser("builds", "List the builds of a workspace with their settings and parents.")
    add = parser.add_argument
    add(
        "--drop", metavar="NAME", help="delete the rows of this build; on Delta its files stay until --vacuum"
    )
    add("--vacuum", action="store_true", help="delete files of dropped builds and of superseded versions")
    parsed = parser.parse_args(words)
    workspace = Workspace.open(parsed.workspace, parsed.format)
    if parsed.drop:
        drop_build(workspace, parsed.drop, parsed.lock)
    if parsed.vacuum:
        vacuum(workspace, parsed.lock)
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
        sequence = 1 + workspace.last_sequence(run.build_id)
        moment = now()
        dropped = {"sequence": sequence, "outputs": {}, "dropped": True, "committed_at": moment}
        dropped |= {"run_id": f"{moment:%Y%m%dT%H%M%S%f}-{run.build_id}", "job": "builds"}
        workspace.commit(msgspec.structs.replace(run, **dropped))
        rows = ", ".join(f"{table} {output.n_rows}" for table, output in run.outputs.items())
        log.info("dropped %s: %s rows", run.name, rows)
        for table_name in run.outputs:
            delete_rows(workspace, TABLES[table_name], run.build_id)
            files.delete(files.join(workspace.root, "shards", f"{table_name}-{run.build_id}"))
    if workspace.format == "delta":
        log.info("its files stay on the disk, because Delta keeps history: --vacuum deletes them")


def delete_rows(workspace: Workspace, table: Table, build_id: str) -> None:
    """Delete a dropped build from a table: its files on Parquet, its rows in the newest version on Delta."""
    uri = workspace.table_uri(table)
    if workspace.format == "parquet":
        files.delete(files.join(uri, build_id))
    elif table.has_builds and workspace.list_files(table, build_id, None):
        open_delta(uri).delete(f"build_id = '{build_id}'")


def vacuum(workspace: Workspace, lock: str) -> int:
    """Delete the files of Delta tables that no build needs; return their bytes.

    A build that is being computed is left alone. Parquet tables are always as small as that.
    """
    freed, runs = dict[str, int](), workspace.runs()
    builds = workspace.builds()
    for build_id in sorted({run.build_id for run in runs}) if workspace.format == "delta" else ():
        names = {name for run in runs if run.build_id == build_id for name in run.outputs}
        try:
            with hold_lease(files.join(workspace.root, "leases", f"{build_id}.json"), lock=lock):
                for name in sorted(names):
                    if build_id not in builds:  # a drop that was killed halfway
                        delete_rows(workspace, TABLES[name], build_id)
                    unused = workspace.unused_files(TABLES[name], build_id)
                    delete_files(unused)
                    freed |= unused
        except LeaseError as error:
            log.warning("build %s: %s; its files stay", build_id, error)
    log.info("freed %d files, %.1f MB", len(freed), sum(freed.values()) / 1e6)
    return sum(freed.values())


def delete_files(paths: Iterable[str]) -> None:
    """Delete data files with the checksums that Hadoop writes beside them on local disks."""
    for path in paths:
        files.delete(path)
        folder, _, name = path.rpartition("/")
        if files.local_path(path) is not None:
            files.delete(f"{folder}/.{name}.crc")


def quarantine_command(words: list[str]) -> int:
    """Move listed copies into a quarantine folder, or back; nothing is moved without --apply."""
    run_quarantine(words)
    return 0
