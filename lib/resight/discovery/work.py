"""One chunk of images, or one block of the graph: what runs in a task."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resight.discovery.bank import RegionBank
from resight.discovery.centrality import solve_katz, take_block
from resight.discovery.found import Found, describe_patches, find_objects, find_regions, lay_out
from resight.discovery.saliency import feature_saliency, object_saliency
from resight.discovery.settings import DiscoverySettings, pooling_exponent
from resight.features.photos import Failure
from resight.features.settings import ExtractSettings
from resight.features.whitening import Whitening
from resight.features.work import read_images
from resight.graph.matrix import GraphFiles

__all__ = ["BLOCKS", "CentralityWork", "ObjectWork", "RegionWork", "refuse"]

BLOCKS = pa.schema(
    [
        pa.field("start", pa.int64()),
        pa.field("g", pa.binary()),  # (stop - start,) float64
        pa.field("iterations", pa.int32()),
        pa.field("residual", pa.float64()),
    ]
)


@dataclass(frozen=True)
class RegionWork:
    """Find the boxes of feature saliency of a chunk; ``sha256`` is that of the weight file, empty: any."""

    network: ExtractSettings
    conf: DiscoverySettings
    sha256: str = ""

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Read and look at the images of ``rows`` (id, hash and where the bytes lie): `FOUND` rows."""
        p = pooling_exponent(self.network)
        found = look_at(rows, self.network, self.sha256, lambda _, A: find_regions(A, self.conf, p=p))
        return lay_out(rows, found, dtype="float32")


@dataclass(frozen=True)
class ObjectWork:
    """Find what of a chunk of images recurs among the boxes of all; ``whitening`` holds packed models."""

    network: ExtractSettings
    conf: DiscoverySettings
    bank: RegionBank
    whitening: tuple[bytes, ...] = ()
    sha256: str = ""

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Do as `RegionWork` does, with maps and descriptors of objects."""
        ids = rows["image_id"].to_pylist()
        whitening = [Whitening.from_bytes(params) for params in self.whitening]
        found = look_at(rows, self.network, self.sha256, lambda i, A: self.look(ids[i], A, whitening))
        return lay_out(rows, found, dtype="float32")

    def look(self, image_id: int, A: np.ndarray, whitening: list[Whitening]) -> Found:
        """Find the objects in activations ``A`` (h, w, c) of an image."""
        conf, p, bank = self.conf, pooling_exponent(self.network), self.bank.open()
        F = feature_saliency(A)
        U = describe_patches(A, conf, whitening, p=p)
        own = np.zeros(0, np.int64) if conf.keep_own else bank.boxes_of(image_id)
        ordinals, similarity = bank.nearest(U, k=conf.query_neighbors, without=own)
        worth = bank.worth_of(ordinals, power=conf.region_power)
        S = object_saliency(F, similarity, worth, gamma=conf.gamma, power=conf.cell_power)
        return find_objects(A, F, S, conf, whitening, p=p)


@dataclass(frozen=True)
class CentralityWork:
    """Solve for the centrality of the nodes of a block, which no edge leaves.

    A block is one task, also that of a component which holds nearly all: the graph is mapped, beside it stand
    some 70 bytes a node and, where it is not the only block, 4 bytes an entry.
    """

    graph: GraphFiles
    alpha: float
    tol: float

    def __call__(self, blocks: pa.Table) -> pa.Table:
        """Solve every block (places ``start`` to ``stop``): `BLOCKS` rows."""
        S, threads = self.graph.open().S, int(os.environ.get("OMP_NUM_THREADS") or 1)
        rows = []
        for start, stop in zip(blocks["start"].to_pylist(), blocks["stop"].to_pylist(), strict=True):
            part = take_block(S, start, stop)
            solved = solve_katz(part, alpha=self.alpha, tol=self.tol, threads=threads)
            rows.append((start, solved.g.tobytes(), solved.iterations, solved.residual))
        columns = zip(*rows, strict=True)
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, BLOCKS, strict=True)], schema=BLOCKS)


def refuse(blocks: pa.Table, reason: str) -> pa.Table:
    """Say that a block cannot be computed: unlike an image, a block of nodes is not at fault."""
    raise RuntimeError(f"the centrality from place {blocks['start'][0]} on ended its process: {reason}")


def look_at(
    rows: pa.Table, network: ExtractSettings, sha256: str, look: Callable[[int, np.ndarray], Found]
) -> list[Found | Failure]:
    """Read the images of ``rows``, run them through the network and look at each."""
    from resight.discovery.maps import map_photos
    from resight.features.backbones import require_weights

    require_weights(network, sha256)
    failures: dict[int, tuple[str, str]] = {}
    found = map_photos(
        read_images(rows, failures),
        network,
        look,
        n_threads=int(os.environ.get("OMP_NUM_THREADS") or 1),  # Spark sets it to the task's cores
        device=os.environ.get("RESIGHT_DEVICE") or None,
    )
    return [Failure(*failures[i]) if i in failures else one for i, one in enumerate(found)]
