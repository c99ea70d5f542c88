"""The boxes of all images as files that every worker maps into memory, to ask which ones a patch resembles.

Beside the vectors, which give each box its *ordinal*: ``image`` (n,) int64 its image and ``saliency`` (n,)
float32 its mean feature saliency; ``order`` (n,) the ordinals in the order of their images. ``g`` (n,)
float64 is the centrality, once it is known, zero where an identical vector stands for a box.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from resight import files
from resight.discovery.saliency import region_worth
from resight.knn.matrix import VectorFiles, load_vector_files, map_array, save_array

__all__ = ["OpenBank", "RegionBank", "load_bank", "save_columns"]

BLOCK_ROWS = 25_000


class Lists(Protocol):
    """Inverted lists of the boxes, as `resight.knn.inverted.spark` writes them."""

    @property
    def lists(self) -> VectorFiles:
        """Vectors in the order of their list, called by their ordinals."""

    @property
    def n_probes(self) -> int:
        """Lists that a patch visits."""

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the centroids (l, d) and the offsets (l + 1,) of the lists."""


@dataclass(frozen=True)
class RegionBank:
    """Where the boxes lie; small, so a task carries it whole."""

    folder: str
    vectors: VectorFiles
    names: tuple[tuple[str, str], ...]  # array -> file
    lists: Lists | None = None  # where there are too many boxes to compare a patch with all

    def open(self) -> "OpenBank":
        """Map the files into memory; kept per process."""
        return open_bank(self)

    def save(self) -> None:
        """Write the list of files as ``bank.json``."""
        files.write_bytes(files.join(self.folder, "bank.json"), json.dumps(self.names).encode())

    def with_centrality(self, name: str) -> "RegionBank":
        """Give the bank with the file ``name`` of centralities."""
        return replace(self, names=(*self.names, ("g", name)))


def load_bank(folder: str) -> RegionBank:
    """Read the list of files that `RegionBank.save` wrote."""
    names = json.loads(files.read_bytes(files.join(folder, "bank.json")))
    vectors = load_vector_files(files.join(folder, "vectors"))
    return RegionBank(folder, vectors, tuple((array, name) for array, name in names))


class OpenBank:
    """The mapped arrays of a `RegionBank`."""

    def __init__(self, layout: RegionBank) -> None:
        self.X = layout.vectors.open()
        arrays = {array: map_array(layout.folder, name) for array, name in layout.names}
        self.image, self.saliency, self.order = (arrays[name] for name in ("image", "saliency", "order"))
        self.g = arrays.get("g")
        self.lists = layout.lists

    @cached_property
    def by_image(self) -> np.ndarray:
        """Images (n,) int64, ascending, of the ordinals in ``order``."""
        return np.asarray(self.image)[self.order]

    def boxes_of(self, image_id: int) -> np.ndarray:
        """Ordinals (m,) int64, ascending, that stand for the boxes of an image."""
        first, last = np.searchsorted(self.by_image, [image_id, image_id + 1])
        return np.unique(self.X.representative_of(np.sort(self.order[first:last])))

    def worth_of(self, ordinals: np.ndarray, *, power: float) -> np.ndarray:
        """Say what boxes count as neighbours, see `resight.discovery.saliency.region_worth`."""
        if self.g is None:
            raise ValueError("the centrality of these boxes is not known yet")
        return region_worth(self.saliency[ordinals], self.g[ordinals], power=power)

    def nearest(self, U: np.ndarray, *, k: int, without: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the ``k`` boxes nearest to each patch, identical ones counted once.

        Parameters
        ----------
        U : ndarray, (m, d) float32
            Unit vectors of patches, or zeros.
        without : ndarray, (j,) int64
            Ordinals that are left out.

        Returns
        -------
        ordinals (m, k) int64, similarity (m, k) float32
            In rank order; 0 and a similarity of 0 where there are fewer.
        """
        offsets, columns, values = self.search(U, depth=min(k + len(without), self.X.n))
        rows = np.repeat(np.arange(len(U)), np.diff(offsets))
        kept = ~np.isin(columns, without)
        rows, columns, values = rows[kept], columns[kept], values[kept]
        counts = np.bincount(rows, minlength=len(U))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        ordinals, similarity = np.zeros((len(U), k), np.int64), np.zeros((len(U), k), np.float32)
        first = place < k
        ordinals[rows[first], place[first]] = columns[first]
        similarity[rows[first], place[first]] = values[first]
        return ordinals, similarity

    def search(self, U: np.ndarray, *, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rank boxes for patches (m, d): offsets (m + 1,), ordinals and similarities; exact without lists."""
        queries, blocks = (np.full(len(U), -1, np.int64), U), self.X.blocks(BLOCK_ROWS)
        if self.lists is None:
            from resight.knn.blocks import search_blocks

            return search_blocks(queries, blocks, blocks, self.X.gather, k=depth)
        from resight.knn import ivf

        stored, (centroids, offsets) = self.lists.lists.open(), self.lists.arrays()

        def read_list(number: int) -> tuple[np.ndarray, np.ndarray]:
            start, stop = int(offsets[number]), int(offsets[number + 1])
            return stored.id_of(np.arange(start, stop)), stored.rows(start, stop)

        probes = ivf.rank_lists(U, centroids, self.lists.n_probes)
        return ivf.search_lists(queries, probes, read_list, blocks, self.X.gather, k=depth)


@lru_cache(maxsize=4)
def open_bank(layout: RegionBank) -> OpenBank:
    """Open ``layout`` once per process."""
    return OpenBank(layout)


def save_columns(
    vectors: VectorFiles, folder: str, ids: np.ndarray, image: np.ndarray, saliency: np.ndarray
) -> tuple[tuple[str, str], ...]:
    """Write what is known of boxes ``ids`` (m,), in any order, by their ordinals.

    Boxes without a vector are left out. Gives the names of arrays and files, not yet saved as complete: see
    `RegionBank.save`.
    """
    ordinals = vectors.open().ordinal_of(ids)
    there = ordinals >= 0
    images, salient = np.zeros(vectors.n, np.int64), np.zeros(vectors.n, np.float32)
    images[ordinals[there]] = image[there]
    salient[ordinals[there]] = saliency[there]
    order = np.lexsort((np.arange(vectors.n), images))
    arrays: dict[str, np.ndarray] = {"image": images, "saliency": salient, "order": order}
    return tuple((name, save_array(folder, name, values)) for name, values in arrays.items())
