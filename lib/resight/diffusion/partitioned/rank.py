"""All that one rank does: open its part, solve block after block of queries, give its best nodes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import scipy.sparse as sp

from resight import files
from resight.arrow import arrow_to_lists
from resight.diffusion.partitioned.exchange import Exchange
from resight.diffusion.partitioned.halo import RankGraph, build_rank_graph
from resight.diffusion.partitioned.keep import Keep
from resight.diffusion.partitioned.parts import PartitionedFiles
from resight.diffusion.partitioned.solve import Entries, RankSystem, agree, solve_block
from resight.diffusion.product import Passes
from resight.diffusion.solve import round_up
from resight.knn.matrix import map_array

LANES = 16  # most queries solved together: rows of 128 bytes
FOUND = pa.schema(
    {
        "query_id": pa.int64(),  # null: the last row of a rank, its report
        "rank": pa.int32(),
        "nodes": pa.binary(),
        "scores": pa.binary(),
        "iterations": pa.int32(),
        "residual": pa.float64(),
        "report": pa.string(),
    }
)


class RankNodes(NamedTuple):
    """The nodes of a rank, by row: ``ids`` (m,) int64; ``allowed`` (m,) bool, which may be given."""

    ids: np.ndarray
    allowed: np.ndarray


@dataclass(frozen=True)
class RankWork:
    """What a rank is told; small, so a task carries it whole.

    ``observed`` is a folder of Parquet files with rows (query_id, nodes, weights), the latter two packed
    int64 and float64. ``limit`` is the most iterations of a query, ``depth`` how many nodes a rank gives for
    it (and those that tie with the last). Every ``every`` iterations the iterate goes to ``folder``, never
    where that is 0. ``precision`` is that of the iterations. ``allowed`` is the folder and the name of a file
    of ids (a,) int64, ascending: the nodes that may be given; all without it. ``lanes`` queries, a power of
    two, are solved together: beside its part a rank holds up to seven numbers of each for every row, and
    three for every row of the halo.
    """

    graph: PartitionedFiles
    observed: str
    folder: str
    alpha: float
    tol: float
    limit: int
    depth: int
    every: int = 25
    threads: int = 1
    precision: Literal["float64", "float32"] = "float64"
    allowed: tuple[str, str] | None = None
    lanes: int = LANES

    def __call__(self, exchange: Exchange) -> Iterator[pa.RecordBatch]:
        """Solve for all queries: `FOUND` rows of this rank, block by block, then its report."""
        part = self.graph.open(exchange.rank)
        ids = part.ids
        graph = build_rank_graph(part, self.graph.bounds, exchange)
        del part  # with it the map of the columns as they were
        query_ids, Y = read_observed(self.observed, ids)
        keep = Keep(self.folder, exchange.rank, self.every)
        asked, done = exchange.sent, agree(exchange, keep.count_finished())
        nodes = RankNodes(ids, self.mark_allowed(ids))
        with self.open_system(graph, exchange) as system:
            for block, first in enumerate(range(0, len(query_ids), self.lanes)):
                if block >= done:
                    some = slice(first, first + self.lanes)
                    rows = self.solve_queries(system, keep, block, query_ids[some], Y[:, some], nodes)
                    keep.finish(block, rows)
                yield keep.answers(block)
        held = graph.n_bytes + system.exact.graph[2].nbytes + ids.nbytes
        held += 0 if system.fast is system.exact else system.fast.graph[0].nbytes
        figures = {"rows": len(ids), "nnz": graph.S.nnz, "halo": len(graph.halo), "graph_bytes": held}
        sent = {"need_bytes": asked, "halo_bytes": exchange.sent - asked, "blocks_resumed": done}
        yield report_row(exchange.rank, figures | sent)

    @contextmanager
    def open_system(self, graph: RankGraph, exchange: Exchange) -> Iterator[RankSystem]:
        """Hold the passes over this rank's rows, and their threads."""
        limits = self.alpha, self.tol, self.limit
        with Passes(graph.S, threads=self.threads) as exact:
            if self.precision == "float64":
                yield RankSystem(graph, exact, exact, exchange, *limits)
            else:
                with Passes(graph.S, np.float32, threads=self.threads) as fast:
                    yield RankSystem(graph, exact, fast, exchange, *limits)

    def mark_allowed(self, ids: np.ndarray) -> np.ndarray:
        """Mark which of some nodes may be given, (m,) bool."""
        if self.allowed is None:
            return np.ones(len(ids), bool)
        allowed = map_array(*self.allowed)
        if not len(allowed):
            return np.zeros(len(ids), bool)
        return allowed[np.minimum(np.searchsorted(allowed, ids), len(allowed) - 1)] == ids

    def solve_queries(
        self,
        system: RankSystem,
        keep: Keep,
        block: int,
        query_ids: np.ndarray,
        Y: sp.csc_array,
        nodes: "RankNodes",
    ) -> pa.RecordBatch:
        """Solve one block of queries and give the best nodes of each."""
        s = len(query_ids)
        y = Y.tocoo()
        B = Entries(y.row, y.col, y.data * (1 - self.alpha), (Y.shape[0], round_up(s)))
        F, iterations, residuals = solve_block(system, B, block, keep)
        best = [best_entries(F[:, i] * nodes.allowed, self.depth) for i in range(s)]
        columns = [
            pa.array(query_ids),
            pa.array(np.full(s, system.exchange.rank, np.int32)),
            pa.array([nodes.ids[rows].tobytes() for rows in best], pa.binary()),
            pa.array([F[rows, i].tobytes() for i, rows in enumerate(best)], pa.binary()),
            pa.array(iterations[:s].astype(np.int32)),
            pa.array(residuals[:s]),
            pa.nulls(s, pa.string()),
        ]
        return pa.record_batch(columns, schema=FOUND)


def best_entries(f: np.ndarray, depth: int) -> np.ndarray:
    """Choose the rows of the ``depth`` largest of the scores that are not 0, ties of the last among them."""
    rows = np.flatnonzero(f)
    if len(rows) <= depth:
        return rows
    scores = f[rows]
    return rows[scores >= np.partition(scores, len(rows) - depth)[len(rows) - depth]]


def read_observed(folder: str, ids: np.ndarray) -> tuple[np.ndarray, sp.csc_array]:
    """Read what the queries observe among some nodes.

    Returns
    -------
    query_ids : ndarray, (s,) int64, ascending
        All queries, whether they observe one of the nodes or not.
    Y : csc_array, (m, s)
        Weights, a row per node of ``ids`` (m,).
    """
    order = np.argsort(ids)
    known = ids[order]
    queries: list[np.ndarray] = [np.zeros(0, np.int64)]
    entries: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    local = files.local_path(folder)
    filesystem, path = (None, str(local)) if local else files.remote_path(folder)
    source = ds.dataset(path, format="parquet", filesystem=filesystem)
    for batch in source.to_batches(columns=["query_id", "nodes", "weights"]):
        offsets, nodes = arrow_to_lists(batch["nodes"], "int64")
        weights = arrow_to_lists(batch["weights"], "float64")[1]
        query_ids = batch["query_id"].to_numpy()
        at = np.searchsorted(known, nodes)
        here = np.flatnonzero(known.take(at, mode="clip") == nodes) if len(known) else np.zeros(0, np.int64)
        queries.append(query_ids)
        entries.append((order[at[here]], np.repeat(query_ids, np.diff(offsets))[here], weights[here]))
    all_ids = np.sort(np.concatenate(queries))
    rows, asking, values = (np.concatenate(column) for column in zip(*entries, strict=True))
    shape = (len(ids), len(all_ids))
    return all_ids, sp.csc_array((values, (rows, np.searchsorted(all_ids, asking))), shape=shape)


def report_row(rank: int, figures: dict[str, int]) -> pa.RecordBatch:
    """Give the figures of a rank as a `FOUND` row."""
    row = {"rank": rank, "report": json.dumps(figures)}
    return pa.RecordBatch.from_pylist([row], schema=FOUND)
