"""Planted manifolds as a table of vectors, and the steps from them to a graph: what other scripts measure.

An object is a curve on the sphere: its views lie along an arc of two random directions, with some noise, so
that far views are linked through near ones alone.
"""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from knn_graph import cpu_seconds

from resight import files
from resight.arrow import vectors_to_arrow
from resight.graph.matrix import load_graph_files
from resight.graph.spark import build_edges, find_components, list_copies
from resight.graph.storage.spark import write_graph_files
from resight.knn.matrix import load_vector_files
from resight.knn.plan import choose_method
from resight.knn.spark import Approximation, expand_lists, list_neighbors, write_vector_files

SESSION = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.driver.memory": "3g",
}
ROWS, VIEWS, ARC, NOISE = 20_000, 200, 5.0, 0.35


def draw_views(start, stop, d, *, noise=NOISE):
    """Draw unit rows (stop - start, d) float32: `VIEWS` views of every object in turn."""
    rng = np.random.default_rng(start)
    rows = np.arange(start, stop)
    objects = rows // VIEWS - start // VIEWS
    a, b = (rng.standard_normal((objects[-1] + 1, d), np.float32) for _ in range(2))
    t = ARC * rng.random((len(rows), 1), np.float32)
    X = np.cos(t) * a[objects] + np.sin(t) * b[objects]
    X += noise * rng.standard_normal(X.shape, np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def write_vectors(folder, n, d):
    """Write ``n`` float16 vectors as a Parquet table of several files; not where there are some."""
    if Path(folder).exists():
        return
    Path(folder).mkdir(parents=True)
    for start in range(0, n, ROWS):
        ids = np.arange(start, min(start + ROWS, n))
        X = draw_views(start, start + len(ids), d).astype(np.float16)
        table = pa.table({"image_id": ids, "vector": vectors_to_arrow(X)})
        pq.write_table(table, Path(folder) / f"part-{start:09d}.parquet", compression="zstd")


class Pipeline:
    """Tables and files of one collection under a folder; every step is timed.

    What was done is written down there: a second pipeline over the same folder goes on after it.
    """

    def __init__(self, spark, folder, *, k, method="auto"):
        self.spark, self.folder, self.k, self.method = spark, str(folder), k, method
        self.record = Path(folder) / "steps.json"
        self.seconds = json.loads(self.record.read_text()) if self.record.exists() else {}

    def path(self, name):
        """Name a table or a folder of files."""
        return files.join(self.folder, name)

    def read(self, name):
        """Read a table."""
        return self.spark.read.parquet(self.path(name))

    def timed(self, name, step, read=None):
        """Do a step; keep its seconds, CPU seconds and MiB, children included. ``read`` what is there."""
        if read and name in self.seconds:
            return read()
        memory = TreeMemory()
        memory.start()
        cpu, wall = cpu_seconds(), time.perf_counter()
        result = step()
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        self.seconds[name] = (wall, cpu, memory.stop() / 1024)
        self.record.write_text(json.dumps(self.seconds))
        return result

    def build(self):
        """Go from vectors to the graph's files: (vectors, graph)."""
        table, matrix = self.read("vectors"), self.path("matrix")
        layout = self.timed(
            "files", lambda: write_vector_files(table, matrix), lambda: load_vector_files(matrix)
        )
        plan = choose_method(layout.n - layout.n_copies, layout.d, method=self.method)
        approximate = Approximation() if plan.method == "ivf" else None

        def search():
            lists = list_neighbors(self.spark, layout, k=self.k, approximate=approximate)
            self.write("neighbors", expand_lists(lists, layout, max_copies=10))

        self.timed(f"neighbors, {plan.method}", search, lambda: None)
        graph = self.timed("graph", lambda: self.join(layout), lambda: load_graph_files(self.path("graph")))
        return layout, graph

    def write(self, name, frame):
        """Write a table."""
        frame.write.mode("overwrite").parquet(self.path(name))

    def join(self, layout):
        """Join mutual neighbours, label components, write the normalised graph."""
        self.write("copies", list_copies(self.spark, layout))
        copies = self.read("copies")
        self.write("edges", build_edges(self.read("neighbors"), copies))
        self.write("labels", find_components(self.read("edges"), folder=self.path("rounds")))
        ids = self.read("vectors").selectExpr("image_id as node_id")
        nodes = ids.join(copies, "node_id", "left").selectExpr("node_id", "'ok' as status", "dup_of")
        self.write("nodes", nodes)
        labels = ids.join(self.read("labels"), "node_id", "left")
        labels = labels.selectExpr("node_id", "coalesce(component_id, node_id) as component_id")
        self.write("components", labels)
        return write_graph_files(*self.tables(), self.path("graph"))

    def tables(self):
        """Give nodes, edges and components."""
        return self.read("nodes"), self.read("edges"), self.read("components")


class TreeMemory(threading.Thread):
    """Largest memory of this process and its descendants together, shared pages counted once, sampled."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.running = 0, True

    def run(self):
        """Look twice a second."""
        while self.running:
            self.peak = max(self.peak, sum(proportional_kib(pid) for pid in list_tree()))
            time.sleep(0.5)

    def stop(self):
        """End looking; give the largest KiB."""
        self.running = False
        self.join()
        return self.peak


def list_tree():
    """List this process and its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    ours = {int(Path("/proc/self").resolve().name)}
    while grown := {p for p, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return ours


def proportional_kib(pid):
    """Give the KiB of a process, of pages that are shared its share; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
