"""Connected components: one task and contraction rounds, both on Spark, against scipy in one process.

The graph is of cliques of five, one chain of ``n / 20`` nodes and a random giant component. With
``--nodes 3000000`` its edges exceed what one task may join, so that the default itself chooses rounds::

    python benchmarks/components.py --nodes 1000000 --pairs 5
    python benchmarks/components.py --nodes 3000000 --pairs 1
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resight.graph.components import find_roots
from resight.graph.spark import MAX_TASK_EDGES, find_components
from resight.session import start_session

SESSION = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
}


def make_edges(n, seed=0):
    """Edges of a graph of about ``n`` nodes with ids that have holes, in random order."""
    rng = np.random.default_rng(seed)
    base = 5 * np.arange(n // 10)[:, None]
    a, b = np.triu_indices(5, 1)
    cliques = np.stack([(base + a).ravel(), (base + b).ravel()])
    chain = n // 2 + np.arange(n // 20)
    giant = n // 2 + n // 20 + rng.integers(0, n - n // 2 - n // 20, (2, n))
    edges = np.concatenate([cliques, np.stack([chain[:-1], chain[1:]]), giant], axis=1)
    ids = np.sort(rng.choice(2**62, n, replace=False))
    return ids[edges[:, rng.permutation(edges.shape[1])]]


def label(table, folder, limit):
    """Find the components and write them."""
    labels = find_components(table, folder=f"{folder}/rounds", max_task_edges=limit)
    labels.write.mode("overwrite").parquet(f"{folder}/labels")


def main():
    """Run the three ways alternately; check that they agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    edges = make_edges(options.nodes)
    spark = start_session(SESSION)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"src": edges[0], "dst": edges[1]}), Path(folder) / "edges.parquet")
        table = spark.read.parquet(str(Path(folder) / "edges.parquet"))
        ways = [("scipy", 0), ("one task", 10**9), ("rounds", edges.shape[1] // 4)]
        if edges.shape[1] > MAX_TASK_EDGES:
            ways[2] = ("the default", MAX_TASK_EDGES)
        label(table, folder, 10**9)  # starts Spark's workers
        seconds = {way: [] for way, _ in ways}
        for _ in range(options.pairs):
            for way, limit in ways:
                start = time.perf_counter()
                if limit:
                    label(table, folder, limit)
                else:
                    nodes, roots = find_roots(*edges)
                seconds[way].append(time.perf_counter() - start)
                if limit:
                    found = spark.read.parquet(f"{folder}/labels").toArrow().sort_by("node_id")
                    assert (found["node_id"].to_numpy() == nodes).all()
                    assert (found["component_id"].to_numpy() == roots).all()
        for way, times in seconds.items():
            print(f"{edges.shape[1]} edges, {way}: {statistics.median(times):.2f} s of {np.round(times, 2)}")
    spark.stop()


if __name__ == "__main__":
    main()
