"""Ranks in threads of one process that exchange arrays by memory, and a graph cut into parts for them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resight.arrow import lists_to_arrow
from resight.diffusion.partitioned.parts import PartitionedFiles, cut_ordinals, save_rows


class MemoryExchange:
    """An exchange of threads: what is given lies in a table until all have read."""

    def __init__(self, rank, size, table, barrier):
        self.rank, self.size, self.sent = rank, size, 0
        self.table, self.barrier = table, barrier

    def gather(self, x):
        self.table[self.rank] = np.array(x)
        self.barrier.wait()
        found = np.stack([self.table[q] for q in range(self.size)])
        self.barrier.wait()
        return found

    def swap(self, gives, takes):
        for q, array in gives:
            self.table[self.rank, q] = array.copy()
            self.sent += array.nbytes
        self.barrier.wait()
        for q, array in takes:
            np.copyto(array, self.table.pop((q, self.rank)))
        self.barrier.wait()


def run_ranks(size, call, wrap=lambda exchange: exchange):
    """Call with the exchange of every rank at the same time; results in the order of the ranks."""
    table, barrier = {}, threading.Barrier(size)

    def run(rank):
        try:
            return call(wrap(MemoryExchange(rank, size, table, barrier)))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


def save_parts(folder, S, n_parts, ids=None):
    """Write S (n, n) in ``n_parts`` parts of about equally many entries."""
    n, counts = S.shape[0], np.diff(S.indptr).astype(float)
    ids = np.arange(n) * 7 if ids is None else ids
    targets = counts.sum() * np.arange(1, n_parts) / n_parts
    bounds = [0, *np.maximum(cut_ordinals(counts, targets, 0, 0.0), 0), n]
    S = S.tocoo()
    parts = []
    for start, stop in pairwise(bounds):
        own = (S.row >= start) & (S.row < stop)
        entries = (S.row[own].astype(np.int64), S.col[own].astype(np.int64), S.data[own])
        nodes = ids[start:stop], np.ones(stop - start)
        parts.append(save_rows(str(folder), (int(start), int(stop)), nodes, entries))
    layout = PartitionedFiles(str(folder), n, S.nnz, tuple(parts))
    layout.save()
    return layout


def save_observed(folder, Y, ids):
    """Write what the columns of Y (n, s) observe, in two files and in no order."""
    folder.mkdir()
    for half in (1, 0):
        asking = np.arange(half, Y.shape[1], 2)[::-1]
        rows = [np.flatnonzero(Y[:, j]) for j in asking]
        offsets = np.cumsum([0, *map(len, rows)])
        nodes = np.concatenate([ids[r] for r in rows]).astype(np.int64)
        weights = np.concatenate([Y[r, j] for r, j in zip(rows, asking, strict=True)])
        columns = [asking, lists_to_arrow(offsets, nodes), lists_to_arrow(offsets, weights)]
        table = pa.table(columns, names=["query_id", "nodes", "weights"])
        pq.write_table(table, folder / f"{half}.parquet")
    return str(folder)


def read_scores(batches, ids, s):
    """Put the rows of all ranks together: scores (n, s), iterations and residuals (s,), reports."""
    F, steps, residuals, reports = np.zeros((len(ids), s)), np.zeros(s), np.zeros(s), []
    place = {int(node): i for i, node in enumerate(ids)}
    for row in (row for batch in batches for row in batch.to_pylist()):
        if row["query_id"] is None:
            reports.append(row["report"])
            continue
        nodes = np.frombuffer(row["nodes"], np.int64)
        F[[place[int(v)] for v in nodes], row["query_id"]] = np.frombuffer(row["scores"])
        steps[row["query_id"]], residuals[row["query_id"]] = row["iterations"], row["residual"]
    return F, steps, residuals, reports
