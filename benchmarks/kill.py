"""Kill the driver, an executor or a Python worker while images are described; nothing may be lost.

``python benchmarks/kill.py`` takes 20 seeded instants on a local cluster of two executors and compares the
table of every disturbed run with the undisturbed one, byte for byte in sorted content.
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
from contextlib import suppress
from pathlib import Path

from resight.config import digest_of
from resight.reader import open as open_workspace
from resight.tables import GLOBAL_DESCRIPTORS

WORKER = "-m resight.workers.spark "  # the daemon of an executor and the workers that it forked
VICTIMS = {"driver": "resight.cli", "executor": "CoarseGrainedExecutorBackend", "worker": WORKER}
N_TASKS = 2  # executors of the cluster, one core each
CLUSTER = """spark.master local-cluster[2,1,1024]
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
    """Start an extraction in small chunks."""
    words = ["extract-features", "--extractor", extractor, "--longer-side", "128", "--chunk-size", "4"]
    out = (workspace / "log.txt").open("ab")
    return subprocess.Popen(command(workspace, conf, words), stdout=out, stderr=out)


def content(workspace: Path) -> str:
    """Hash the rows of the table in the order of their ids."""
    rows = open_workspace(str(workspace)).read(GLOBAL_DESCRIPTORS).sort_by("image_id")
    return digest_of([[str(value) for value in column.to_pylist()] for column in rows.columns])


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


def disturb(workspace: Path, conf: Path, extractor: str, kind: str, seed: int) -> dict[str, object]:
    """Kill one process once a seeded number of chunks is done; start again until the job succeeds."""
    rng = random.Random(seed)
    target, started = rng.randrange(0, 9), 1
    process = extract(workspace, conf, extractor)
    killed = False
    while process.poll() is None and not killed:
        victim = find_victim(process.pid, kind, rng) if count(workspace, "done") >= target else None
        if victim is not None:
            with suppress(ProcessLookupError):  # it ended by itself: another one is looked for
                os.kill(victim, signal.SIGKILL)
                killed = True
        time.sleep(0.01)
    n_starts = n_chunks = 0
    while (ended := process.poll()) is None or (ended != 0 and started < 5):
        if ended:
            process, started = extract(workspace, conf, extractor), started + 1
        n_starts = max(n_starts, count(workspace, "attempts"))
        n_chunks = max(n_chunks, count(workspace, "done"))
        time.sleep(0.01)
    facts = {"killed": killed, "after": target, "starts": started}
    return {"kind": kind, "seed": seed} | facts | {"repeated": n_starts - n_chunks}


def prepare(folder: Path, n: int) -> tuple[Path, Path]:
    """Make a workspace of ``n`` ingested photos."""
    from resight.demo.write import write_collection

    write_collection(folder / "demo")
    photos = folder / "photos"
    photos.mkdir()
    found = sorted(path for path in (folder / "demo/photos").rglob("*.jpg") if path.is_file())
    for path in found[:n]:
        shutil.copy2(path, photos / f"{len(list(photos.iterdir())):04d}.jpg")
    conf = folder / "spark.conf"
    conf.write_text(CLUSTER)
    words = ["ingest-images", "--source", str(photos), "--format", "parquet"]
    subprocess.run(command(folder / "ingested", conf, words), check=True)
    return folder / "ingested", conf


def main() -> None:
    """Run the undisturbed and the disturbed extractions and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instants", type=int, default=20)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--extractor", default="network")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ingested, conf = prepare(Path(name), given.photos)
        reference = Path(shutil.copytree(ingested, Path(name, "reference")))
        if extract(reference, conf, given.extractor).wait():
            sys.exit((reference / "log.txt").read_text())
        expected, killed, equal, most = content(reference), 0, 0, 0
        for seed in range(given.instants):
            workspace = Path(shutil.copytree(ingested, Path(name, f"trial-{seed}")))
            kind = sorted(VICTIMS)[seed % 3]
            trial = disturb(workspace, conf, given.extractor, kind, seed)
            same = content(workspace) == expected
            killed += trial["killed"]
            equal, most = equal + same, max(most, trial["repeated"])
            print(trial | {"equal": same}, flush=True)
            shutil.rmtree(workspace)
        print(f"{killed} of {given.instants} runs were disturbed by a kill")
        print(f"{equal} of {given.instants} left the table of the undisturbed one")
        print(f"at most {most} chunks were started again (one per task: {N_TASKS})")
    if min(killed, equal) < given.instants or most > N_TASKS:
        sys.exit(1)


if __name__ == "__main__":
    main()
