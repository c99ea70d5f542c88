"""Does a network that is trained on pairs mined without labels find more? Measured on photos held out.

In one call: a collection is described by the embedded network, by colour and by local features, linked to one
graph of all three, and mined where a walk over it and the network disagree; the network is trained on the
pairs once per seed; collection and queries are described anew, whitened anew and searched; the ranking of
each query is compared with that of the untrained network (protocol ``old``, whole ranking) by a paired
bootstrap over queries, drawn within families. Queries are never in the collection, labels are used by
``evaluate`` alone. Instances are split in two by a hash of their name: settings were chosen on the queries of
``--side dev``, and are quoted on those of ``--side test``::

    python benchmarks/circle.py PHOTOS WORK [--side test] [--seeds 3] [--conf FILE] [--graph NAME] [--limit N]

PHOTOS holds ``images/`` and ``groundtruth.csv`` (image, instance, role). The TOML file has tables of settings
such as [train-network]; [extract-features] and [fit-model] hold for both networks, those of what links the
collection are named by the build, such as [words]. ``--graph`` takes a graph that WORK/W has, instead of
building one. Stages that are done are not repeated.
"""

import argparse
import csv
import hashlib
from pathlib import Path

import numpy as np

LINKING = (  # job, name, settings: what the graph is made of, as docs/evaluation.md has it
    ("extract-features", "rmac2", {"pooling": "rmac", "longer_side": 256, "scales": [1.0, 1.414]}),
    ("fit-model", "rmac2-pca", {"descriptors": "rmac2", "dims": 512, "power": 0.3}),
    ("extract-features", "rmac2-w", {"descriptors": "rmac2", "whitening": "rmac2-pca"}),
    ("extract-features", "colour", {"extractor": "colour"}),
    ("fit-model", "colour-mean", {"descriptors": "colour", "dims": 864, "power": 0.0}),
    ("extract-features", "colour-c", {"descriptors": "colour", "whitening": "colour-mean"}),
    ("extract-local-features", "sift", {}),
    ("fit-model", "words", {"kind": "codebook", "local": "sift", "words": 4096}),
    ("build-index", "inverted", {"codebook": "words", "keep_local": "all"}),
    ("search", "sees", {"method": "asmk", "index": "inverted", "queries_from": "collection", "depth": 120}),
    ("build-graph", "alike", {"descriptors": "rmac2-w"}),
    ("find-duplicates", "copies", {"graph": "alike", "effort": "quick"}),  # they are no pairs
    ("build-graph", "all", {"of": "fused", "descriptors": "rmac2-w", "ranked": "sees", "colour": "colour-c"}),
)
OWN = {  # what differs from the defaults of the jobs; a table of --conf replaces single keys
    "extract-features": {"longer_side": 256, "pooling": "rmac"},
    "fit-model": {"dims": 512, "power": 0.3},
    "mine-pairs": {  # instances of some ten photos; anchors: the half of the images that walks visit most
        "solve": True,
        "all_anchors": True,
        "anchors": 800,
        "k_positive": 3,
        "k_negative": 50,
        "validation": 0.0,
    },
    "train-network": {
        "longer_side": 256,
        "train_from": "block6",
        "pooling": "rmac",
        "n_negatives": 3,
        "epochs": 2,
        "learning_rate": 5e-5,
        "keep": "last",
    },
    "search": {"depth": "all"},
}
ROLES = {"collection": {"database", "distractor"}, "queries": {"query"}}


def side_of(instance):
    """Give the side of an instance."""
    return "test" if hashlib.sha256(instance.encode()).digest()[0] % 2 else "dev"


def write_lists(photos, work, side, limit):
    """Write manifests of collection and queries, and the ground truth of one side; the first N of a role."""
    rows = list(csv.DictReader((photos / "groundtruth.csv").open()))
    kept = [r for r in rows if r["role"] != "query" or side_of(r["instance"]) == side]
    if limit:
        asked = {r["instance"] for r in [r for r in kept if r["role"] == "query"][: limit // 10]}
        others = [r for r in kept if r["instance"] not in asked and r["role"] != "query"]
        kept = [r for r in kept if r["instance"] in asked] + others[:limit]
    for name, roles in ROLES.items():
        uris = [row["image"] for row in kept if row["role"] in roles]
        part = "" if name == "collection" else f"-{side}"  # one collection for both sides
        (work / f"{name}{part}.csv").write_text("\n".join(["uri", *uris]) + "\n")
    with (work / f"truth-{side}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, kept[0].keys())
        writer.writeheader()
        writer.writerows(kept)


class Circle:
    """The jobs of one measurement, over one workspace and one session."""

    def __init__(self, store, photos, work, settings, side):
        self.store, self.photos, self.work = store, photos, work
        self.settings, self.side = settings, side

    def run(self, job, name="", **own):
        """Run a job by its ``own`` settings and those of the file; build and seconds are printed."""
        from resight.job import Options, load_job

        declared = load_job(job)
        conf = declared.config.from_mapping(own)
        outcome = declared(self.store, conf, Options(name=name, replace=True, accept_loss=True))
        figures = ", ".join(f"{key} {value}" for key, value in outcome.notes.items())
        print(f"{job:<18} {outcome.name:<16} {outcome.state} {outcome.seconds:6.1f} s  {figures}", flush=True)
        return outcome

    def mine(self, graph):
        """Link the collection, unless a ``graph`` is named, and mine pairs."""
        root = str(self.photos / "images")
        self.run("ingest-images", source=str(self.work / "collection.csv"), root=root)
        for job, name, own in () if graph else LINKING:
            self.run(job, name, **own | self.settings.get(name, {}))
        self.run("mine-pairs", "pairs", graph=graph or "all", **self.settings["mine-pairs"])

    def describe(self, name, **network):
        """Describe the collection, whiten it by itself."""
        self.run("extract-features", name, **self.settings["extract-features"], **network)
        self.run("fit-model", f"{name}-pca", descriptors=name, **self.settings["fit-model"])
        self.run("extract-features", f"{name}-w", descriptors=name, whitening=f"{name}-pca")

    def rank(self, name):
        """Ask the queries of the side in the descriptors ``name``; give their average precisions."""
        from resight.tables import METRICS

        found = f"search-{name}-{self.side}"
        asked = {"queries": str(self.work / f"queries-{self.side}.csv"), "root": str(self.photos / "images")}
        self.run("search", found, method="global", descriptors=name, **asked, **self.settings["search"])
        truth = str(self.work / f"truth-{self.side}.csv")
        told = f"figures-{name}-{self.side}"
        self.run("evaluate", told, ground_truth=truth, instances="query_database", results=found)
        rows = self.store.reader.read(METRICS, told).to_pylist()
        per_query = [r for r in rows if r["metric"] == "ap_step" and r["query_id"] is not None]
        return {r["query_id"]: (r["value"], r["family"]) for r in per_query}

    def rank_both(self, name, **network):
        """Describe by a network; rank by its vectors, and by the whitened ones."""
        self.describe(name, **network)
        return {"as they are": self.rank(name), "whitened": self.rank(f"{name}-w")}

    def train(self, seed):
        """Train with one seed; rank by what came out."""
        name = f"trained{seed}"
        self.run("train-network", name, tuples="pairs", seed=seed, **self.settings["train-network"])
        return self.rank_both(f"described{seed}", backbone=name)


def compare(before, after):
    """Give both means, macro over families, and the paired interval of the difference."""
    from resight.evaluation.bootstrap import bootstrap_difference, bootstrap_mean

    ids = sorted(before.keys() & after[0].keys())
    families = np.array([before[i][1] or "" for i in ids])
    old = np.array([before[i][0] for i in ids])
    new = np.array([[one[i][0] for i in ids] for one in after]).mean(0)  # of a query over the seeds
    difference = bootstrap_difference(new, old, families=families)
    means = [bootstrap_mean(v, families=families).value[0] for v in (old, new)]
    return means, [float(part[0]) for part in difference], len(ids)


def tell(label, before, after):
    """Print one line of the result."""
    (old, new), (value, low, high), n = compare(before, after)
    print(
        f"{label:<10} {old:.4f} -> {new:.4f}  difference {value:+.4f} [{low:+.4f}, {high:+.4f}], {n} queries"
    )


def tell_all(side, before, after):
    """Print the result for the vectors as they are and whitened."""
    print(f"mAP (step form, macro over families), protocol old, queries of the {side} instances")
    for way, untrained in before.items():
        print(f"vectors {way}:")
        for seed, one in enumerate(after):
            tell(f"  seed {seed}", untrained, [one[way]])
        tell("  all seeds", untrained, [one[way] for one in after])


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--side", choices=["dev", "test"], default="test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--conf", type=Path, help="TOML file of settings, a table per job")
    parser.add_argument("--graph", default="", help="build of build-graph to mine; default: built here")
    parser.add_argument("--limit", type=int, default=0, help="photos, for a quick look")
    return parser.parse_args()


def main():
    args = read_options()
    from resight.config import read_toml
    from resight.session import start_session
    from resight.store import TableStore
    from resight.workspace import Workspace

    given = read_toml(args.conf)
    settings = {job: OWN.get(job, {}) | given.get(job, {}) for job in {*OWN, *given}}
    args.work.mkdir(parents=True, exist_ok=True)
    write_lists(args.photos, args.work, args.side, args.limit)
    root = args.work / "W"
    workspace = Workspace.open(str(root), None if root.exists() else "parquet", create=True)
    spark = start_session({"spark.ui.showConsoleProgress": "false"})
    try:
        circle = Circle(TableStore(workspace, spark), args.photos, args.work, settings, args.side)
        circle.mine(args.graph)
        before = circle.rank_both("untrained")
        after = [circle.train(seed) for seed in range(args.seeds)]
    finally:
        spark.stop()
    tell_all(args.side, before, after)


if __name__ == "__main__":
    main()
