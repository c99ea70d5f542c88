"""Which build a run belongs to: its id, the name that people use, and the versions that it was made from."""

from typing import TYPE_CHECKING

from resight.config import Config, SettingError, digest_of
from resight.workspace import COLLECTION, Run, Workspace

if TYPE_CHECKING:
    from resight.job import Job, Options

__all__ = ["choose_name", "identify", "input_versions"]


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
