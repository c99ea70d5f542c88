"""One block of the offline diffusion: consecutive nodes in, rows of ``manifold_neighbors`` out."""

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from resight.arrow import lists_to_arrow
from resight.diffusion.plan import MEASURE_BYTES
from resight.graph.matrix import GraphFiles
from resight.knn.matrix import map_array
from resight.tables import MANIFOLD_NEIGHBORS
from resight.topk import rank_order

ROWS = pa.schema([field for field in MANIFOLD_NEIGHBORS.schema if field.name != "build_id"])


@dataclass(frozen=True)
class DiffuseWork:
    """Settings of a block; ``version`` names the edges that its rows come from.

    ``only`` is the folder and the name of a file (n,) bool: the places that are computed, all without it.
    """

    graph: GraphFiles
    version: str
    alpha: float
    shortlist: int
    depth: int
    max_iter: int
    tol: float
    precision: Literal["float64", "float32"] = "float64"
    only: tuple[str, str] | None = None

    def __call__(self, blocks: pa.Table) -> pa.Table:
        """Diffuse from every node of the blocks (places ``start`` to ``stop``)."""
        spans = zip(blocks["start"].to_pylist(), blocks["stop"].to_pylist(), strict=True)
        return pa.concat_tables([self.diffuse(self.choose(start, stop)) for start, stop in spans])

    def choose(self, start: int, stop: int) -> np.ndarray:
        """List the places of a span that are computed."""
        if self.only is None:
            return np.arange(start, stop)
        return start + np.flatnonzero(map_array(*self.only)[start:stop])

    def diffuse(self, seeds: np.ndarray) -> pa.Table:
        """Diffuse from every one of ``seeds`` (b,) int64, by place."""
        from resight.diffusion.offline import solve_offline
        from resight.diffusion.reach import grow_lists

        graph, threads = self.graph.open(), int(os.environ.get("OMP_NUM_THREADS") or 1)
        rows = solve_offline(
            graph.S,
            grow_lists(graph.S, seeds, size=self.shortlist, threads=threads),
            alpha=self.alpha,
            tol=self.tol,
            max_iter=self.max_iter,
            depth=self.depth,
            precision=self.precision,
            threads=threads,
        )
        columns = {
            "src": graph.ids[seeds],
            "dst": lists_to_arrow(rows.offsets, np.asarray(graph.ids)[rows.ordinals]),
            "score": lists_to_arrow(rows.offsets, rows.scores.astype(np.float32)),
            "residual": rows.residuals,
            "graph_version": pa.repeat(self.version, len(seeds)),
            "stale_error": pa.nulls(len(seeds), pa.float64()),
        }
        return pa.table(columns, schema=ROWS)

    def measure(self, seeds: np.ndarray, *, k: int = 10) -> np.ndarray:
        """Compare with the whole graph: the share (b,) of each seed's ``k`` best nodes that its row keeps."""
        step = max(1, MEASURE_BYTES // (8 * max(self.graph.n, 1)))
        parts = [self.compare(seeds[i : i + step], k) for i in range(0, len(seeds), step)]
        return np.concatenate([np.zeros(0), *parts])

    def compare(self, seeds: np.ndarray, k: int) -> np.ndarray:
        """Do what `measure` does, for all seeds together."""
        import scipy.sparse as sp

        from resight.diffusion.solve import solve_diffusion

        graph, n = self.graph.open(), len(seeds)
        unit = sp.csc_array((np.ones(n), seeds, np.arange(n + 1)), shape=(graph.n, n))
        full = solve_diffusion(graph.S, unit, alpha=self.alpha, tol=self.tol).F
        rows = self.diffuse(seeds)
        shares = np.empty(n)
        for i in range(n):
            best = rank_order(full[:, i], graph.ids)[: min(k, int((full[:, i] > 0).sum()))]
            kept = np.frombuffer(rows["dst"][i].as_buffer(), np.int64)[: len(best)]
            shares[i] = np.isin(graph.ids[best], kept).mean()
        return shares


def refuse(blocks: pa.Table, reason: str) -> pa.Table:
    """Say that a block cannot be computed: unlike an image, a block of nodes is not at fault."""
    raise RuntimeError(f"the diffusion from places {blocks['start'][0]} on ended its process: {reason}")
