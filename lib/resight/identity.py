"""Which build a run belongs to: its id, the name that people use, and the versions that it was made from.

And what to do where there is nothing to make it from.
"""

from typing import TYPE_CHECKING

import msgspec

from resight.config import Config, SettingError, digest_of
from resight.workspace import COLLECTION, Output, Run, Workspace, now

if TYPE_CHECKING:
    from resight.job import Input, Job, Options

__all__ = ["choose_name", "explain_missing", "identify", "input_versions", "require_inputs"]


def identify(declared: "Job", conf: Config, inputs: dict[str, Run]) -> str:
    """Hash (job, settings, weights, parent builds) into the build's id; growth does not change it."""
    if declared.writes and not any(table.has_builds for table in declared.writes):
        return COLLECTION
    parents = {name: run.build_id for name, run in inputs.items() if run.build_id != COLLECTION}
    named = {wanted.setting for wanted in declared.inputs}  # how an input is named does not matter
    settings = {key: value for key, value in conf.content().items() if key not in named}
    return digest_of([declared.name, settings, conf.weights_digest(), parents])[:12]


def choose_name(
    declared: "Job", conf: Config, workspace: Workspace, build_id: str, options: "Options"
) -> str:
    """Give the build its name; a name in use by other settings is an error unless replaced."""
    if build_id == COLLECTION:
        return COLLECTION
    builds = workspace.builds()
    own = builds[build_id].name if build_id in builds else ""
    taken = {run.name: run for run in builds.values() if run.build_id != build_id}
    wanted = options.name or own or conf.build_name() or declared.name
    if wanted not in taken or options.replace:
        return wanted
    if not options.name:
        return f"{wanted}-{build_id[:6]}"
    other = taken[wanted]
    raise SettingError(
        f"--name: {wanted!r} is a build of {other.job} with other settings ({other.settings}); "
        "choose another name or say --replace"
    )


def input_versions(declared: "Job", conf: Config, inputs: dict[str, Run]) -> dict[str, str]:
    """Give the version of everything that the job reads."""
    versions = {key: f"{r.build_id}@{r.outputs[key.partition(':')[0]].version}" for key, r in inputs.items()}
    return versions | ({"external": declared.external(conf)} if declared.external else {})


def explain_missing(declared: "Job", wanted: "Input", reason: str) -> str:
    """Say which job lacks an input and why, by which option it is chosen, and how it is made."""
    option = f"--{wanted.option or wanted.setting}: " if wanted.setting else ""
    makers = " or ".join(list_makers(wanted))
    return f"{declared.name}: {option}{reason} (resight {makers}{wanted.how and ' ' + wanted.how} writes it)"


def list_makers(wanted: "Input") -> list[str]:
    """List the jobs that write a table, with the options that this input asks for."""
    from resight.job import JOBS, load_job

    jobs = {name: load_job(name) for name in JOBS}
    wrote = {name: job for name, job in jobs.items() if any(table is wanted.table for table in job.writes)}
    return [name for name, job in wrote.items() if job.config.takes(wanted.how)]


def require_inputs(planned: list[tuple["Job", Config]], workspace: Workspace) -> None:
    """Look for what every job reads: in the workspace, and among what the jobs before it will write.

    Raises
    ------
    SettingError
        A table is missing; the message names it and the job that writes it.
    """
    coming: list[Run] = []
    for declared, conf in planned:
        for wanted in declared.inputs:
            name = getattr(conf, wanted.setting) if wanted.setting else ""
            if not wanted.when(conf) or ((wanted.optional or wanted.role) and not name):
                continue
            if any(will_do(run, wanted) for run in coming):
                continue
            try:
                workspace.find_build(wanted.table, name, wanted.kind)
            except SettingError as error:
                tables = " or ".join(f"[{maker}]" for maker in list_makers(wanted))
                hint = f"a run makes it where its --conf file has the table {tables}"
                missing = explain_missing(declared, wanted, str(error))
                raise SettingError(f"{missing}; {hint}") from None
        coming.append(foresee(declared, conf))


def will_do(run: Run, wanted: "Input") -> bool:
    """Whether what a planned ``run`` writes can be an input, as far as its settings tell."""
    flag = wanted.how.removeprefix("--").replace("-", "_")  # such as regions; options with values have a kind
    return wanted.table.name in run.outputs and wanted.kind(run) and bool(run.settings.get(flag, True))


def foresee(declared: "Job", conf: Config) -> Run:
    """Make the row that a job would commit, without what only the run can tell."""
    written = {table.name: Output("", "", 0) for table in declared.writes}
    facts = {"settings": msgspec.to_builtins(conf), "outputs": written}
    moment = now()
    return Run(
        run_id="", job=declared.name, build_id="", sequence=0, started_at=moment, committed_at=moment, **facts
    )
