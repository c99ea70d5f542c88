"""Inspect 10,000 damaged files; count the statuses and whatever kills, hangs or fills the process.

``python benchmarks/mutated_files.py [--files 10000] [--seed 0] [--side 160] [--workers 2] [--ingest]``

With ``--ingest`` the files are written to a folder and go through the ingest job instead: each is a row of
the table. The exit status is 1 where a file killed its process, or has no row.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from resight.images.inspect import inspect_image
from tests.mutations import encoded_photos, mutated_file

KILLED = "KILLED ITS PROCESS"


@cache
def originals(side):
    return encoded_photos(side)


def inspect_range(start, stop, seed, side):
    """Status, format, seconds of each file, and the peak memory (MB) of this process."""
    rows = []
    for i in range(start, stop):
        content = mutated_file(originals(side), seed, i)
        began = time.perf_counter()
        facts = inspect_image(content)
        rows.append((i, facts.status, facts.format, facts.error, time.perf_counter() - began))
    return rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def inspect_apart(start, stop, seed, side):
    """Inspect in a process of its own; a range that kills it is halved until the file is found."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(inspect_range, start, stop, seed, side).result()
    except BrokenProcessPool:
        if stop - start == 1:
            return [(start, KILLED, None, "", 0.0)], 0.0
        middle = (start + stop) // 2
        halves = [inspect_apart(a, b, seed, side) for a, b in ((start, middle), (middle, stop))]
        return halves[0][0] + halves[1][0], max(halves[0][1], halves[1][1])


def inspect_all(n, seed, side, workers):
    """Inspect all files on a pool; ranges that a dead worker left behind are inspected apart."""
    ranges = [(start, min(start + 250, n), seed, side) for start in range(0, n, 250)]
    parts, left = [], []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(inspect_range, *r) for r in ranges]
        for future, r in zip(futures, ranges, strict=True):
            try:
                parts.append(future.result())
            except BrokenProcessPool:
                left.append(r)
    parts += [inspect_apart(*r) for r in left]
    return [row for rows, _ in parts for row in rows], max(peak for _, peak in parts)


def ingest_all(n, seed, side, workers):
    """Ingest all files; count the rows by status, and the files without a row."""
    from resight.jobs.ingest_images import IngestConfig
    from resight.jobs.ingest_images import main as ingest
    from resight.session import start_session
    from resight.store import TableStore
    from resight.tables import IMAGES
    from resight.workspace import Workspace

    with tempfile.TemporaryDirectory() as folder:
        names = {f"{i:06}.jpg" for i in range(n)}
        for i, name in enumerate(sorted(names)):
            path = Path(folder, "photos", f"{i // 1000:03}", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mutated_file(originals(side), seed, i))
        workspace = Workspace.open(f"{folder}/w", "parquet", create=True)
        session = start_session({"spark.master": f"local[{workers},4]", "spark.ui.enabled": "false"})
        outcome = ingest(TableStore(workspace, session), IngestConfig(source=f"{folder}/photos"))
        rows = TableStore(workspace, session).reader.read(IMAGES, columns=["uri"])["uri"].to_pylist()
        lost = names - {uri.rsplit("/", 1)[-1] for uri in rows}
        session.stop()
    return outcome, len(rows), len(lost)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ingest", action="store_true")
    for name, value in (("files", 10_000), ("seed", 0), ("side", 160), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    if args.ingest:
        outcome, n, lost = ingest_all(args.files, args.seed, args.side, args.workers)
        print(f"{n} rows in {outcome.seconds:.0f} s, {lost} files without a row")
        statuses = outcome.run.outputs["images"].statuses
        print(statuses)
        return int(lost > 0 or n != args.files or "crashed" in statuses)
    began = time.perf_counter()
    rows, peak = inspect_all(args.files, args.seed, args.side, args.workers)
    print(f"{len(rows)} files in {time.perf_counter() - began:.0f} s, peak {peak:.0f} MB a process")
    for status, count in Counter(row[1] for row in rows).most_common():
        print(f"{count:7d}  {status}")
    formats = Counter(row[2] for row in rows if row[2]).most_common()
    print("decoded all the same: " + ", ".join(f"{name} {count}" for name, count in formats))
    reasons = Counter(" ".join((row[3] or "").split()[:4]) for row in rows if row[1] != "ok")
    print("reasons: " + "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(12)))
    slowest = max(rows, key=lambda row: row[4])
    print(f"slowest: file {slowest[0]}, {slowest[4]:.2f} s, {slowest[1]}")
    return int(len(rows) != args.files or any(row[1] == KILLED for row in rows))


if __name__ == "__main__":
    sys.exit(main())
