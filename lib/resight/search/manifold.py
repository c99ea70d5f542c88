"""Files of the offline diffusion: what `MANIFOLD_NEIGHBORS` holds, mapped into memory.

Parts of consecutive sources: ``sources`` (b,) int64 ordinals of the vectors' files, ascending over all
parts, ``offsets`` (b + 1,) int64, ``ordinals`` (m,) int32 of the same files, ``scores`` (m,) float32.
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from resight import files
from resight.knn.copies import pick_runs, to_offsets
from resight.knn.matrix import map_array

if TYPE_CHECKING:
    from resight.diffusion.offline import OfflineRows

ARRAYS = ("sources", "offsets", "ordinals", "scores")


@dataclass(frozen=True)
class ManifoldFiles:
    """Where the rows lie; ``parts`` holds the first source of each part and its file names."""

    folder: str
    parts: tuple[tuple[int, tuple[str, ...]], ...]

    def open(self) -> "OpenManifold":
        """Map the files into memory; kept per process."""
        return open_manifold(self)

    def save(self) -> None:
        """Write the list of parts as ``manifold.json``."""
        text = json.dumps(asdict(self) | {"folder": ""}, indent=1)
        files.write_bytes(files.join(self.folder, "manifold.json"), text.encode())


def load_manifold_files(folder: str) -> ManifoldFiles:
    """Read the list of parts that `ManifoldFiles.save` wrote."""
    fields = json.loads(files.read_bytes(files.join(folder, "manifold.json")))
    return ManifoldFiles(folder, tuple((first, tuple(names)) for first, names in fields["parts"]))


class OpenManifold:
    """The mapped arrays of some `ManifoldFiles`."""

    def __init__(self, layout: ManifoldFiles) -> None:
        self.firsts = np.array([first for first, _ in layout.parts], np.int64)
        self.parts = [[map_array(layout.folder, name) for name in names] for _, names in layout.parts]

    def rows(self, ordinals: np.ndarray) -> "OfflineRows":
        """Read the rows of some sources (b,) int64, distinct; a source without a row gets an empty one."""
        from resight.diffusion.offline import OfflineRows

        part = np.searchsorted(self.firsts, ordinals, side="right") - 1
        counts = np.zeros(len(ordinals), np.int64)
        pieces: list[tuple[np.ndarray, np.ndarray]] = []
        order: list[np.ndarray] = []
        for p in np.unique(part[part >= 0]):
            sources, offsets, columns, scores = self.parts[p]
            chosen = np.flatnonzero(part == p)
            at = np.minimum(np.searchsorted(sources, ordinals[chosen]), len(sources) - 1)
            found = sources[at] == ordinals[chosen]
            entries, _ = pick_runs(offsets, at[found])
            counts[chosen[found]] = np.diff(offsets)[at[found]]
            order.append(chosen[found])
            pieces.append((columns[entries], scores[entries]))
        which = np.concatenate([np.zeros(0, np.int64), *order])
        columns = np.concatenate([np.zeros(0, np.int32), *(c for c, _ in pieces)]).astype(np.int64)
        scores = np.concatenate([np.zeros(0, np.float32), *(s for _, s in pieces)]).astype(np.float64)
        sort, _ = pick_runs(to_offsets(counts[which]), np.argsort(which, kind="stable"))
        return OfflineRows(
            ordinals, to_offsets(counts), columns[sort], scores[sort], np.zeros_like(counts), counts * 0.0
        )


@lru_cache(maxsize=4)
def open_manifold(layout: ManifoldFiles) -> OpenManifold:
    """Open ``layout`` once per process."""
    return OpenManifold(layout)
