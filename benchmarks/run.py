"""Run every benchmark, one after the other, in processes of their own: what ``make bench`` calls.

``python benchmarks/run.py --quick`` uses small sizes to see that they run; figures come from the full sizes.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = {  # script: (full options, quick options)
    "extract.py": (["--processes", "2"], ["--n", "40", "--pairs", "2"]),
    "job_extract.py": ([], ["--n", "80", "--pairs", "2"]),
    "knn_graph.py": ([], ["--n", "5000", "--pairs", "2", "--parts", "exact"]),
    "components.py": ([], []),
    "solver.py": (["--n", "1000000"], ["--n", "20000", "--queries", "16", "--pairs", "2"]),
    "duplicates.py": ([], ["--originals", "12"]),
    "mutated_files.py": ([], ["--files", "200"]),
    "kill.py": ([], ["--instants", "1", "--extractor", "colour"]),
}


def main() -> int:
    """Run them; the exit status says whether all ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*BENCHMARKS], default=[*BENCHMARKS])
    args = parser.parse_args()
    failed = []
    for name in args.only:
        options = BENCHMARKS[name][args.quick]
        print(f"== {name} {' '.join(options)}", flush=True)
        begun = time.monotonic()
        if subprocess.run([sys.executable, str(HERE / name), *options], check=False).returncode:
            failed.append(name)
        print(f"== {time.monotonic() - begun:.0f} s", flush=True)
    print("all ran" if not failed else f"FAILED: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
