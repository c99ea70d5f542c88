"""Which weights should the fused search have? Chosen on collections that no figure is quoted on.

The demo collection (`resight.demo`: views of photographs that packages carry, planted among strangers, with
their truth) is made once per seed, each with other views. All of it is described, indexed and searched by
itself as ``docs/evaluation.md`` has it. Then one weight after the other takes each of its values, the others
as they are, in the graph and in the search; what gives the best mean of the macro mAP over the seeds is kept.
Verification comes last, over pairs that are verified once. The command prints every trial, and what was
chosen beside the defaults::

    python benchmarks/weights.py WORK [--seeds 2] [--rounds 1]

Stages and trials that are done are not repeated. Nothing is written but WORK: a default is changed by hand,
in `resight.rerank.fuse`, `resight.search.settings` and ``jobs/build_graph.py``, before anything is evaluated.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.circle import LINKING, Circle

SMALL = {
    "rmac2-pca": {"dims": 128},
    "colour-mean": {"dims": 128},
    "words": {"words": 2048},
}  # some 400 photos
LINKED = [step for step in LINKING if step[0] not in ("build-graph", "find-duplicates")]
VALUES = {
    "fused_weight": (0.2, 0.3, 0.4, 0.6, 0.8),
    "colour_weight": (0.3, 0.45, 0.6, 0.8, 1.0),
    "verified_weight": (0.05, 0.1, 0.2, 0.4),
}
OF_GRAPHS = ("fused_weight", "colour_weight")
VERIFIED = 15  # images of either ranking that are verified


class Trials:
    """One demo collection, all of its descriptors, and what weights give on it."""

    def __init__(self, store, folder, seed):
        from resight.demo.write import write_collection

        self.folder, self.store = folder / f"demo{seed}", store
        write_collection(self.folder, seed=seed)
        self.jobs = Circle(store, self.folder, folder, {}, "")
        self.jobs.run("ingest-images", source=str(self.folder / "photos"))
        for job, name, own in LINKED:
            self.jobs.run(job, name, **own | SMALL.get(name, {}))

    def rank(self, weights, **more):
        """Build the graph and ask it with some weights; give the name of the search."""
        name = "-".join(f"{value:g}" for value in weights.values())
        in_graph = {key: weights[key] for key in OF_GRAPHS}
        graph = "-".join(f"{value:g}" for value in in_graph.values())
        made = {"of": "fused", "descriptors": "rmac2-w", "ranked": "sees", "colour": "colour-c"}
        self.jobs.run("build-graph", f"graph-{graph}", **made, **in_graph)
        asked = {"method": "fused", "queries_from": "collection", "graph": f"graph-{graph}", "depth": "all"}
        found = f"search-{name}-{len(more)}"
        self.jobs.run("search", found, **asked, **weights, **more)
        return found

    def verify(self, weights):
        """Verify the first results of a search once; give the settings that take them."""
        found = self.rank(weights, n_verified=0)
        self.jobs.run("verify-pairs", "pairs", candidates="results", results=found, top=2 * VERIFIED)
        return {"n_verified": VERIFIED, "verified": "pairs"}

    def score(self, found):
        """Give the macro mAP of a search."""
        from resight.tables import METRICS

        told = f"figures-{found}"
        self.jobs.run("evaluate", told, ground_truth=str(self.folder / "truth.csv"), results=found)
        rows = self.store.reader.read(METRICS, told).to_pylist()
        of_family = {}
        for row in rows:
            if row["metric"] == "ap_step" and row["query_id"] is not None:
                of_family.setdefault(row["family"], []).append(row["value"])
        return float(np.mean([np.mean(values) for values in of_family.values()]))


def try_values(trials, weights, key):
    """Give the best value of one weight, the smallest change where several are."""
    means = {}
    more = [one.verify(weights) if key == "verified_weight" else {"n_verified": 0} for one in trials]
    for value in VALUES[key]:
        found = [
            one.score(one.rank(weights | {key: value}, **how)) for one, how in zip(trials, more, strict=True)
        ]
        means[value] = round(float(np.mean(found)), 4)
        print(f"{key} {value:g}: {means[value]:.4f} ({', '.join(f'{one:.4f}' for one in found)})", flush=True)
    return min(means, key=lambda value: (-means[value], abs(value - weights[key])))


def open_store(root, spark):
    """Open the workspace of a seed."""
    from resight.store import TableStore
    from resight.workspace import Workspace

    return TableStore(Workspace.open(str(root), None if root.exists() else "parquet", create=True), spark)


def main():
    """Read the options, try, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="that go through all weights")
    args = parser.parse_args()
    from resight.search.settings import SearchSettings
    from resight.session import start_session

    args.work.mkdir(parents=True, exist_ok=True)
    spark = start_session({"spark.ui.showConsoleProgress": "false"})
    defaults = {key: getattr(SearchSettings(), key) for key in VALUES}
    weights = dict(defaults)
    try:
        trials = [
            Trials(open_store(args.work / f"W{seed}", spark), args.work, seed) for seed in range(args.seeds)
        ]
        for _ in range(args.rounds):
            for key in VALUES:
                weights[key] = try_values(trials, weights, key)
    finally:
        spark.stop()
    for key, value in weights.items():
        print(f"{key}: chosen {value:g}, default {defaults[key]:g}")


if __name__ == "__main__":
    main()
