"""Run every benchmark, one after the other, in processes of their own: what ``make bench`` calls.

``python benchmarks/run.py --quick`` uses small sizes to see that they run; figures come from the full sizes.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
QUICK_SOLVER = ["--n", "20000", "--queries", "16", "--pairs", "2"]
QUICK_PLANNERS = ["--n", "2000", "--asking", "300", "--codes", "300", "5000", "--queries", "500"]
BENCHMARKS = (  # script, full options, quick options; None: only in full
    ("extract.py", ["--processes", "2"], ["--n", "40", "--pairs", "2"]),
    ("job_extract.py", [], ["--n", "80", "--pairs", "2"]),
    ("job_extract.py", ["--scaling"], None),
    ("knn_graph.py", [], ["--n", "5000", "--pairs", "2", "--parts", "exact"]),
    ("knn_graph.py", ["--n", "1000000", "--d", "256", "--pairs", "1", "--parts", "once"], None),
    ("components.py", [], ["--nodes", "20000", "--pairs", "1"]),
    ("components.py", ["--nodes", "3000000", "--pairs", "1"], None),
    ("solver.py", ["--n", "1000000"], QUICK_SOLVER),
    ("offline.py", [], ["--n", "5000", "--pairs", "2"]),
    ("partitioned.py", ["--n", "1000000"], ["--n", "20000", "--pairs", "2"]),
    ("reader.py", ["--sizes", "10000", "100000", "1000000"], ["--sizes", "10000", "--queries", "5"]),
    ("growth.py", [], ["--sizes", "4000", "8000", "--d", "32", "--queries", "5"]),
    ("million.py", [], ["--n", "8000", "--d", "32", "--queries", "5", "--blocks", "1"]),
    ("inverted_file.py", [], ["--n", "30", "--words", "256", "--queries", "5", "--entries", "200000"]),
    ("job_index.py", [], ["--n", "70", "--words", "128", "--pairs", "1"]),
    ("job_index.py", ["--stored"], None),
    ("job_index.py", ["--scaling"], None),
    ("duplicates.py", [], ["--originals", "12"]),
    ("dedup.py", ["--originals", "100"], ["--originals", "8", "--kinds", "easy", "--efforts", "standard"]),
    ("code_join.py", [], ["--n", "20000"]),
    ("planners.py", [], QUICK_PLANNERS),
    ("mining.py", [], ["--n", "2000", "--anchors", "100", "--shortlist", "500", "--pairs", "2"]),
    ("discovery.py", [], ["--n", "40", "--pairs", "2"]),
    ("planted_objects.py", [], ["--things", "2", "--views", "4", "--empty", "2", "--longer-side", "256"]),
    ("mutated_files.py", [], ["--files", "200"]),
    ("mutated_files.py", ["--ingest"], ["--ingest", "--files", "200"]),
    ("training.py", [], ["--n", "20", "--longer-side", "96", "--steps", "3", "--pairs", "2"]),
    ("kill.py", [], ["--instants", "1", "--extractor", "colour"]),
)
NAMES = sorted({name for name, _, _ in BENCHMARKS})


def main() -> int:
    """Run them; the exit status says whether all ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    failed = []
    for name, full, quick in BENCHMARKS:
        options = quick if args.quick else full
        if name not in args.only or options is None:
            continue
        print(f"== {name} {' '.join(options)}", flush=True)
        begun = time.monotonic()
        if subprocess.run([sys.executable, str(HERE / name), *options], check=False).returncode:
            failed.append(name)
        print(f"== {time.monotonic() - begun:.0f} s", flush=True)
    print("all ran" if not failed else f"FAILED: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
