"""The command line, generated from the declared jobs; help and setting errors start no Spark."""

import argparse
import ast
import json
import logging
import signal
import sys
import time
import types
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from resight.config import Config, SettingError, explain, is_annotated, load_config, setting_meta
from resight.context import LossError
from resight.job import JOBS, Job, Options, Outcome, load_job
from resight.lease import LeaseError

log = logging.getLogger("resight")
COMMANDS = {
    "run": "Run all jobs in their order, images to report.",
    "builds": "List the builds of a workspace, drop one, or free what dropped ones left.",
    "quarantine": "Move listed copies into a quarantine folder, or back; nothing without --apply.",
}
FLOW = "images -> descriptors -> graph -> duplicates, search -> evaluation and report"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status (0 done, 1 failure, 2 wrong settings or input)."""
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    for noisy in ("py4j", "faiss"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if words[:1] in ([], ["-h"], ["--help"], ["help"]):
        sys.stdout.write(overview())
        return 0 if words else 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that leases are given back
    try:
        return dispatch(words[0], words[1:])
    except SettingError as error:
        log.error("resight %s: %s", words[0], error)
        return 2
    except (LeaseError, LossError) as error:
        log.error("resight %s: %s", words[0], error)
        return 1
    except KeyboardInterrupt:
        log.error("resight %s: interrupted", words[0])
        return 1
    except Exception:
        log.exception("resight %s failed", words[0])
        return 1


def run(declared: Job) -> None:
    """Run a job file as a script: what ``spark-submit jobs/<job>.py`` does."""
    sys.exit(main([declared.name, *sys.argv[1:]]))


def dispatch(command: str, words: list[str]) -> int:
    """Run one command."""
    if command in COMMANDS:
        from resight import commands

        return getattr(commands, f"{command}_command")(words)
    declared = load_job(command)
    parsed = job_parser(declared).parse_args(words)
    conf = load_config(declared.config, parsed.conf, settings_of(declared.config, parsed))
    return run_job(declared, conf, parsed)


def run_job(declared: Job, conf: Config, parsed: argparse.Namespace) -> int:
    """Run one job in a session of its own; print what became of it."""
    from resight.launch import check_early, open_store

    begun, options = time.monotonic(), options_of(parsed)
    check_early(conf, parsed)
    with open_store(parsed, [conf], create=declared.name == "ingest-images") as store:
        outcomes = [declared(store, conf, options)]
    log.info("%s", summary_table(outcomes))
    report_outcomes(outcomes, time.monotonic() - begun, as_line=parsed.json)
    return 0


def options_of(parsed: argparse.Namespace) -> Options:
    """Gather the general options of a run; `SettingError` names one that is out of range."""
    return Options(
        name=parsed.name or "",
        replace=parsed.replace,
        lock=parsed.lock,
        max_removed=parsed.max_removed,
        max_bad=parsed.max_bad,
        accept_loss=parsed.accept_loss,
    )


def report_outcomes(outcomes: list[Outcome], seconds: float, *, as_line: bool) -> None:
    """Print what a program reads (one line of JSON), or the path of the page that a person opens."""
    if as_line:
        total = {"seconds": round(seconds, 1), "jobs": [as_json(outcome) for outcome in outcomes]}
        sys.stdout.write(json.dumps(total) + "\n")
        return
    pages = [str(outcome.notes["page"]) for outcome in outcomes if "page" in outcome.notes]
    sys.stdout.write("".join(f"{page}\n" for page in pages))


def overview() -> str:
    """Text of ``resight --help``: the jobs in their order, one line each."""
    lines = [f"  {name:<24} {first_line(name)}" for name in JOBS]
    others = [f"  {name:<24} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: resight <job> --workspace URI [--<setting> VALUE ...]",
            "",
            "Find the images of a collection that show the same thing.",
            f"The flow: {FLOW}.",
            "",
            "jobs, in the order of the flow:",
            *lines,
            "",
            "and:",
            *others,
            "",
            "resight <job> --help shows the settings of a job. Exit status: 0 done, 1 failure,",
            "2 wrong settings or input.",
            "",
        ]
    )


def first_line(name: str) -> str:
    """Read the first line of a job's docstring without importing the job."""
    folder = find_spec("resight.jobs")
    path = Path(next(iter(folder.submodule_search_locations or []))) if folder else Path()
    source = (path / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def base_parser(command: str, text: str) -> argparse.ArgumentParser:
    """Make a parser with the options that every job has."""
    parser = argparse.ArgumentParser(
        prog=f"resight {command}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    general = parser.add_argument_group("general options")
    add = general.add_argument
    made = "root of the workspace; ingest-images and run make it where it is missing"
    add("--workspace", required=True, metavar="URI", help=made)
    add("--conf", type=Path, metavar="FILE", help="TOML file of settings; options override it")
    add("--spark-conf", type=Path, metavar="FILE", help="Spark properties, one 'key value' per line")
    add("--format", choices=["delta", "parquet"], help="table format of a new workspace (delta)")
    add("--name", metavar="NAME", help="name of the build")
    add("--replace", action="store_true", help="let the name pass to other settings")
    add("--lock", choices=["file", "none"], default="file", help="'none': the scheduler runs one at a time")
    share: dict[str, Any] = {"type": float, "default": 0.05, "metavar": "SHARE"}
    add("--max-removed", **share, help="largest share of the collection that a run may remove (0.05)")
    add("--max-bad", **share, help="largest share that may turn unreadable or indescribable (0.05)")
    add("--accept-loss", action="store_true", help="commit even if more than that would be lost")
    add("--json", action="store_true", help="print the summary as one line of JSON")
    return parser


def job_parser(declared: Job) -> argparse.ArgumentParser:
    """Make the parser of one job from its config type."""
    inputs = ", ".join(dict.fromkeys(i.table.name for i in declared.inputs)) or "-"
    outputs = ", ".join(t.name for t in declared.writes) or "-"
    text = f"{declared.doc}\n\nreads: {inputs}\nwrites: {outputs}"
    parser = base_parser(declared.name, text)
    group = parser.add_argument_group("settings")
    hints = get_type_hints(declared.config, include_extras=True)
    for field in msgspec.structs.fields(declared.config):
        group.add_argument(f"--{field.name.replace('_', '-')}", **option_of(field, hints[field.name]))
    return parser


def option_of(field: msgspec.structs.FieldInfo, hint: Any) -> dict[str, Any]:
    """Describe one setting for argparse: type, default, meaning."""
    plain = get_args(hint)[0] if is_annotated(hint) else hint
    meta = setting_meta(hint)
    meaning = (meta and meta.description) or ""
    default = "; required" if field.required else f"; default {show(field.default)}"
    told = "default:" in meaning and not field.required  # the description says what an empty value means
    text = f"{meaning} ({type_name(plain)}{'' if told else default})".strip()
    option: dict[str, Any] = {"dest": f"setting_{field.name}", "help": text.replace("%", "%%")}
    if plain is bool:
        return option | {"action": argparse.BooleanOptionalAction}
    return option | {"metavar": "VALUE", "nargs": "+" if is_list(plain) else None}


def settings_of(config: type[Config], parsed: argparse.Namespace) -> dict[str, Any]:
    """Convert the given options to the types of the settings; `SettingError` names the option."""
    hints, values = get_type_hints(config, include_extras=True), {}
    for name, hint in hints.items():
        given = getattr(parsed, f"setting_{name}", None)
        if given is None:
            continue
        try:
            values[name] = msgspec.convert(given, hint, strict=False)
        except msgspec.ValidationError as error:
            words = " ".join(given) if isinstance(given, list) else given
            raise SettingError(f"--{name.replace('_', '-')} {words}: {explain(str(error), hint)}") from None
    return values


def is_list(kind: Any) -> bool:
    """Whether a setting takes several values."""
    return get_origin(kind) in (tuple, list)


def type_name(kind: Any) -> str:
    """Name a type for people."""
    if get_origin(kind) is Literal:
        return " | ".join(str(value) for value in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " | ".join(type_name(part) for part in get_args(kind) if part is not type(None))
    if is_list(kind):
        return f"several {type_name(get_args(kind)[0])}"
    return {str: "text", int: "integer", float: "number", bool: "yes/no"}.get(kind, str(kind))


def show(value: Any) -> str:
    """Show a default."""
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in ("", None) else str(value)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Give an outcome as plain values; ids are strings."""
    tables = {
        name: {"rows": output.n_rows, "statuses": output.statuses}
        for name, output in (outcome.run.outputs if outcome.run else {}).items()
    }
    return {
        "job": outcome.job,
        "build_id": outcome.build_id,
        "name": outcome.name,
        "state": outcome.state,
        "seconds": round(outcome.seconds, 1),
        "tables": tables,
        "notes": {key: str(v) if key.endswith("_id") else v for key, v in outcome.notes.items()},
    }


def summary_table(outcomes: list[Outcome]) -> str:
    """Lay out what the jobs wrote: rows per table, rows per status, seconds."""
    lines = [f"{'job':<24}{'build':<24}{'table':<20}{'rows':>10}  status"]
    for outcome in outcomes:
        head = f"{outcome.job:<24}{outcome.name[:23]:<24}"
        written = outcome.run.written if outcome.run else ()
        for table in written:
            output = outcome.run.outputs[table] if outcome.run else None
            counts = output.statuses if output else {}
            status = ", ".join(f"{count} {status}" for status, count in counts.items())
            lines.append(f"{head}{table:<20}{output.n_rows if output else 0:>10}  {status}".rstrip())
            head = " " * 48
        tail = "nothing to do" if outcome.state == "unchanged" and not outcome.notes else ""
        notes = ", ".join(f"{key} {value}" for key, value in outcome.notes.items())
        lines.append(f"{head}{tail or notes} ({outcome.seconds:.1f} s)")
    return "\n".join(lines)
