"""Single rows of a graph in parts, for explanations: read from the files where a search comes by."""

import numpy as np

from resight.diffusion.partitioned.parts import PartitionedFiles
from resight.knn.matrix import map_array

CHUNK = 1 << 20  # ids that are looked at together


class PartedRows:
    """The mapped files of all parts; memory is that of the rows asked for."""

    def __init__(self, layout: PartitionedFiles) -> None:
        self.bounds = layout.bounds
        self.parts = [layout.open(number) for number in range(len(layout.parts))]
        self.roots = [map_array(layout.folder, dict(part.names)["roots"]) for part in layout.parts]

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Find the ordinals (m,) int64 of some nodes, -1 where there is none: one pass over all ids."""
        wanted = np.unique(ids)
        ordinals = np.full(len(wanted) + 1, -1, np.int64)
        for part in self.parts:
            for start in range(0, len(part.ids), CHUNK):
                known = np.asarray(part.ids[start : start + CHUNK])
                at = np.searchsorted(wanted, known)
                there = np.flatnonzero(np.append(wanted, -1)[at] == known)
                ordinals[at[there]] = part.start + start + there
        return ordinals[np.searchsorted(wanted, ids)]

    def ids_of(self, ordinals: np.ndarray) -> np.ndarray:
        """Give the nodes (m,) int64 at some ordinals."""
        found = [part.ids[i - part.start] for i, part in ((i, self.parts[self.part_of(i)]) for i in ordinals)]
        return np.array(found, np.int64)

    def part_of(self, ordinal: int) -> int:
        """Give the number of the part that holds an ordinal."""
        return int(np.searchsorted(self.bounds, ordinal, side="right")) - 1

    def row(self, ordinal: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the neighbours (m,) of a node, ordinals, and their affinities (m,)."""
        number = self.part_of(ordinal)
        part = self.parts[number]
        i = ordinal - part.start
        some = slice(part.indptr[i], part.indptr[i + 1])
        neighbors = np.asarray(part.indices[some])
        owners = np.searchsorted(self.bounds, neighbors, side="right") - 1
        roots = [self.roots[p][c - self.bounds[p]] for p, c in zip(owners, neighbors, strict=True)]
        affinity = part.data[some] * self.roots[number][i] * np.array(roots, np.float64)
        return neighbors, np.minimum(affinity, 1.0)
