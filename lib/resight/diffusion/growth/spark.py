"""Operators that keep rows of `MANIFOLD_NEIGHBORS` while their graph grows."""

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_lists
from resight.diffusion.block import DiffuseWork
from resight.diffusion.growth.judge import CHANGED, SAME, STALE, GraphChange, compare_rows
from resight.graph.matrix import GraphFiles
from resight.knn.matrix import save_array
from resight.knn.spark import number_tasks, task_numbers

N_MEASURED = 64  # stale rows that are computed again to see how far off they are
JUDGED = "src long, place long, state int"
Batches = Iterator[pa.RecordBatch]


class StaleError(NamedTuple):
    """Relative differences of sampled stale rows from rows of today: their mean, the largest, how many."""

    mean: float
    largest: float
    n: int


def compare_edges(now: DataFrame, then: DataFrame) -> DataFrame:
    """List the edges (src, dst) that are new, gone or of another affinity."""
    new, old = (
        edges.select("src", "dst", sf.col("affinity").alias(name))
        for edges, name in ((now, "new"), (then, "old"))
    )
    return new.join(old, ["src", "dst"], "full").where("not (new <=> old)").select("src", "dst")


def save_change(
    changed: DataFrame, graphs: tuple[GraphFiles, GraphFiles], folder: str, *, shortlist: int
) -> GraphChange:
    """Write ``changed`` edges (src, dst) as one file, from one task; ``graphs``: that of now, that before."""

    def save(batches: Batches) -> Batches:
        pairs = [np.stack([batch["src"].to_numpy(), batch["dst"].to_numpy()]) for batch in batches]
        ends = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)
        name = save_array(folder, "changed", ends[:, np.lexsort(ends[::-1])])
        yield pa.record_batch([[name]], names=["name"])

    written = changed.repartition(1).mapInArrow(save, "name string").first()
    if written is None:
        raise RuntimeError("the list of changed edges was not written")
    return GraphChange(*graphs, folder, written["name"], shortlist)


def judge_rows(
    previous: DataFrame,
    change: GraphChange,
    versions: tuple[str, str],
    *,
    block_nodes: int,
    hold: Callable[[DataFrame], DataFrame],
) -> DataFrame:
    """Tell of every node of today what became of its row: rows `JUDGED`, computed once.

    ``previous`` holds the rows (src, graph_version) of before; ``versions`` are that of the graph now and the
    one before. A row that was stale already stays so at best.
    """
    n = change.now.n

    def judge(batches: Batches) -> Batches:
        graph, threads = change.now.open(), int(os.environ.get("OMP_NUM_THREADS") or 1)
        for number in task_numbers(batches):
            places = np.arange(number * block_nodes, min((number + 1) * block_nodes, n))
            states = change.judge(places, threads=threads).astype(np.int32)
            columns = [np.asarray(graph.ids)[places], places, states]
            yield pa.record_batch(columns, names=["src", "place", "state"])

    judged = number_tasks(previous.sparkSession, -(-n // block_nodes)).mapInArrow(judge, JUDGED)
    known = judged.join(previous.select("src", "graph_version"), "src", "left")
    state = (
        sf.when(sf.col("graph_version").isNull(), sf.lit(CHANGED))
        .when((sf.col("state") == SAME) & (sf.col("graph_version") != versions[1]), sf.lit(STALE))
        .otherwise(sf.col("state"))
    )
    return hold(known.select("src", "place", state.alias("state")))


def measure_stale(judged: DataFrame, previous: DataFrame, work: DiffuseWork, *, seed: int = 0) -> StaleError:
    """Compare stale rows with rows of today, on a sample by hash of (id, seed)."""

    def measure(batches: Batches) -> Batches:
        found = np.concatenate([np.zeros(0), *(measure_batch(b, work) for b in batches if b.num_rows)])
        row = [[float(found.mean()) if len(found) else 0.0], [float(found.max(initial=0.0))], [len(found)]]
        yield pa.record_batch(row, names=["mean", "largest", "n"])

    stale = judged.where(sf.col("state") == STALE)
    sample = stale.orderBy(sf.xxhash64("src", sf.lit(seed)), "src").limit(N_MEASURED)
    rows = previous.select("src", "dst", "score").join(sample.select("src", "place"), "src")
    measured = rows.repartition(1).mapInArrow(measure, "mean double, largest double, n long").first()
    return StaleError(*measured) if measured else StaleError(0.0, 0.0, 0)


def measure_batch(batch: pa.RecordBatch, work: DiffuseWork) -> np.ndarray:
    """Compute some rows (src, place, dst, score) again; give their relative differences (b,)."""
    new = work.diffuse(batch["place"].to_numpy())
    sides = []
    for rows in (batch, new):
        offsets, ids = arrow_to_lists(rows["dst"], "int64")
        scores = arrow_to_lists(rows["score"], "float32")[1].astype(np.float64)
        sides.append([(ids[a:b], scores[a:b]) for a, b in pairwise(offsets)])
    return np.array([compare_rows(a, b) for a, b in zip(*sides, strict=True)])


def save_places(judged: DataFrame, states: tuple[int, ...], n: int, folder: str) -> tuple[str, str]:
    """Write which of ``n`` places have one of some states, (n,) bool; give folder and name of the file."""

    def save(batches: Batches) -> Batches:
        chosen = np.zeros(n, bool)
        for batch in batches:
            chosen[batch["place"].to_numpy()] = True
        yield pa.record_batch([[save_array(folder, "chosen", chosen)]], names=["name"])

    places = judged.where(sf.col("state").isin(*states)).select("place")
    written = places.repartition(1).mapInArrow(save, "name string").first()
    if written is None:
        raise RuntimeError("the list of rows to compute was not written")
    return folder, written["name"]


def keep_rows(
    previous: DataFrame, judged: DataFrame, states: tuple[int, ...], version: str, error: float
) -> DataFrame:
    """Give the rows of before that are in some states.

    What is the same carries the new ``version``; what is stale keeps the old one, and the ``error`` that was
    measured on a sample of its kind.
    """
    kept = previous.join(judged.where(sf.col("state").isin(*states)).select("src", "state"), "src")
    same = sf.when(sf.col("state") == SAME, sf.lit(version)).otherwise(sf.col("graph_version"))
    off = sf.when(sf.col("state") == STALE, sf.lit(error))
    return kept.withColumns({"graph_version": same, "stale_error": off}).drop("state", "build_id")
