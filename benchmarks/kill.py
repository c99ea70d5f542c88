"""Kill the driver, an executor or a Python worker while images are described; nothing may be lost.

``python benchmarks/kill.py [--format delta parquet]`` takes 20 seeded instants of a run on a local cluster of
two executors, from its first second to its commit, in turns over the formats, and compares every table of
every disturbed run with the undisturbed one, byte for byte in sorted content.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from resight.config import digest_of
from resight.reader import open as open_workspace
from resight.tables import TABLES

WORKER = "-m resight.workers.spark "  # the daemon of an executor and the workers that it forked
VICTIMS = {"driver": "resight.cli", "executor": "CoarseGrainedExecutorBackend", "worker": WORKER}
N_TASKS = 2  # executors of the cluster, one core each
CLUSTER = """spark.master local-cluster[2,1,2048]
spark.executor.memory 700m
spark.task.maxFailures 8
spark.ui.enabled false
spark.sql.shuffle.partitions 2
"""


def command(workspace: Path, conf: Path, words: list[str]) -> list[str]:
    """Give the command line of a job."""
    run = "import sys; from resight.cli import main; sys.exit(main(sys.argv[1:]))  # resight.cli"
    return [sys.executable, "-c", run, *words, "--workspace", str(workspace), "--spark-conf", str(conf)]


def extract(workspace: Path, conf: Path, extractor: str) -> subprocess.Popen:
    """Start an extraction in small chunks; that of a network writes two tables."""
    words = ["extract-features", "--extractor", extractor, "--longer-side", "128", "--chunk-size", "4"]
    words += ["--regions"] if extractor == "network" else []
    out = (workspace / "log.txt").open("ab")
    return subprocess.Popen(command(workspace, conf, words), stdout=out, stderr=out)


def content(workspace: Path, job: str = "extract-features") -> str:
    """Hash the rows of every table of a job's builds in the order of their keys, without ``build_id``."""
    reader, tables = open_workspace(str(workspace)), []
    for build, run in sorted(reader.workspace.builds().items()):
        for name in sorted(run.outputs) if run.job == job else ():
            keys = [(key, "ascending") for key in TABLES[name].key if key != "build_id"]
            rows = reader.read(TABLES[name], build).sort_by(keys)
            tables.append([name, [[str(value) for value in column.to_pylist()] for column in rows.columns]])
    return digest_of(tables)


def count(workspace: Path, kind: str) -> int:
    """Count the finished chunks (``done``) or the starts of chunks (``attempts``) in the staging folder."""
    return len([path for path in workspace.glob(f"staging/*/*/{kind}/*") if not path.name.startswith(".")])


def descendants(pid: int) -> dict[int, str]:
    """Map the processes below ``pid``, itself included, to their command lines."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, IndexError):
            continue
    below = {pid}
    for _ in range(8):
        below |= {child for child, parent in parents.items() if parent in below}
    return {process: lines[process] for process in sorted(below) if process in lines}


def find_victim(pid: int, kind: str, rng: random.Random) -> int | None:
    """Choose a process of a kind; workers are those that a daemon forked."""
    if kind == "driver":
        return pid
    found = [p for p, line in descendants(pid).items() if VICTIMS[kind] in line]
    return rng.choice(found) if found else None


def disturb(
    workspace: Path, conf: Path, extractor: str, kind: str, *, due: Callable[[float], bool], seed: int = 0
) -> dict[str, object]:
    """Kill a process once it is ``due``, after some seconds; start again until the job succeeds."""
    rng, begun, started, killed = random.Random(seed), time.monotonic(), 1, None
    process = extract(workspace, conf, extractor)
    n_starts = n_chunks = 0
    while (ended := process.poll()) is None or (killed is not None and ended != 0 and started < 5):
        if ended is not None:
            process, started = extract(workspace, conf, extractor), started + 1
        seconds = time.monotonic() - begun
        victim = find_victim(process.pid, kind, rng) if killed is None and due(seconds) else None
        n_starts = max(n_starts, count(workspace, "attempts"))
        n_chunks = max(n_chunks, count(workspace, "done"))
        if victim is not None:
            with suppress(ProcessLookupError):  # it ended by itself: another one is looked for
                os.kill(victim, signal.SIGKILL)
                killed = {"seconds": round(seconds, 1), "chunks": n_chunks}
        time.sleep(0.02)
    return {"kind": kind, "killed": killed, "starts": started, "repeated": n_starts - n_chunks}


class Reference(NamedTuple):
    """An undisturbed run: the workspace before it, how long it took, what it wrote."""

    ingested: Path
    seconds: float
    content: str


def run_undisturbed(folder: Path, photos: Path, conf: Path, extractor: str, table_format: str) -> Reference:
    """Ingest the photos in a format and describe them."""
    ingested = folder / table_format
    words = ["ingest-images", "--source", str(photos), "--format", table_format]
    subprocess.run(command(ingested, conf, words), check=True)
    reference = Path(shutil.copytree(ingested, folder / f"{table_format}-reference"))
    begun = time.monotonic()
    if extract(reference, conf, extractor).wait():
        sys.exit((reference / "log.txt").read_text())
    return Reference(ingested, time.monotonic() - begun, content(reference))


def disturb_surely(folder: Path, conf: Path, extractor: str, kind: str, share: float, known: Reference):
    """Kill after a ``share`` of the undisturbed run, a little earlier where a run ended before that."""
    for attempt in range(9):
        instant = share * known.seconds * 0.9**attempt
        workspace = Path(shutil.copytree(known.ingested, folder / f"trial-{share}-{attempt}"))
        trial = disturb(workspace, conf, extractor, kind, due=lambda s, at=instant: s >= at, seed=attempt)
        equal = content(workspace) == known.content
        shutil.rmtree(workspace, ignore_errors=True)  # an executor may outlive its driver for a moment
        if trial["killed"] or not equal:
            break
    return trial | {"share": round(share, 3), "equal": equal}


def prepare(folder: Path, n: int) -> tuple[Path, Path]:
    """Make a folder of ``n`` photos and the properties of the cluster."""
    from resight.demo.write import write_collection

    write_collection(folder / "demo")
    photos = folder / "photos"
    photos.mkdir()
    found = sorted(path for path in (folder / "demo/photos").rglob("*.jpg") if path.is_file())
    for i, path in enumerate(found[:n]):
        shutil.copy2(path, photos / f"{i:04d}.jpg")
    conf = folder / "spark.conf"
    conf.write_text(CLUSTER)
    return photos, conf


def main() -> None:
    """Run the undisturbed and the disturbed extractions and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instants", type=int, default=20)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--extractor", default="network")
    parser.add_argument("--format", nargs="+", choices=["delta", "parquet"], default=["delta", "parquet"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        photos, conf = prepare(Path(name), given.photos)
        formats = given.format[: given.instants]
        known = {f: run_undisturbed(Path(name), photos, conf, given.extractor, f) for f in formats}
        trials = []
        for n in range(given.instants):
            share = (n + random.Random(n).random()) / given.instants  # one in every part of the run
            table_format, kind = formats[n % len(formats)], sorted(VICTIMS)[n % 3]
            trial = disturb_surely(Path(name), conf, given.extractor, kind, share, known[table_format])
            trials.append(trial)
            print({"format": table_format} | trial, flush=True)
    killed, equal = (sum(bool(trial[key]) for trial in trials) for key in ("killed", "equal"))
    most = max(trial["repeated"] for trial in trials)
    print({f: f"{known[f].seconds:.1f} s undisturbed" for f in formats})
    print(f"{killed} of {given.instants} runs were disturbed by a kill")
    print(f"{equal} of {given.instants} left the tables of the undisturbed one")
    print(f"at most {most} chunks were started again (one per task: {N_TASKS})")
    if min(killed, equal) < given.instants or most > N_TASKS:
        sys.exit(1)


if __name__ == "__main__":
    main()
