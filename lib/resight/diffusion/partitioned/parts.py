"""Files of a graph cut into parts of consecutive ordinals, about equally many edges each.

Of each part: ``indptr`` (m + 1,) and ``indices`` (nnz,), columns as ordinals of the whole graph, ``data``
(nnz,) float64 are rows of the normalised affinity S; ``ids`` (m,) int64 are its nodes. No rank opens their
``roots`` (m,) float64, square roots of the degrees, with which explanations have the affinity back.
"""

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from resight import files
from resight.knn.matrix import map_array, save_array

ARRAYS = ("indptr", "indices", "data", "ids")
MANIFEST = "partitioned.json"


@dataclass(frozen=True)
class GraphPart:
    """Ordinals ``start`` to ``stop`` and the files of their rows."""

    start: int
    stop: int
    nnz: int
    names: tuple[tuple[str, str], ...]  # array -> file


@dataclass(frozen=True)
class PartitionedFiles:
    """Where the parts lie; small, so a task carries it whole."""

    folder: str
    n: int
    nnz: int
    parts: tuple[GraphPart, ...]

    @property
    def bounds(self) -> np.ndarray:
        """First ordinal of each part, then n: (parts + 1,) int64, ascending."""
        return np.array([part.start for part in self.parts] + [self.n], np.int64)

    def open(self, number: int) -> "OpenPart":
        """Map the files of one part into memory, and of no other."""
        part = self.parts[number]
        names = dict(part.names)
        return OpenPart(part.start, part.stop, *(map_array(self.folder, names[array]) for array in ARRAYS))

    def save(self) -> None:
        """Write the list of parts."""
        text = json.dumps(asdict(self) | {"folder": ""}, indent=1)
        files.write_bytes(files.join(self.folder, MANIFEST), text.encode())


def load_partitioned_files(folder: str) -> PartitionedFiles:
    """Read the list of parts that `PartitionedFiles.save` wrote."""
    fields = json.loads(files.read_bytes(files.join(folder, MANIFEST)))
    parts = tuple(
        GraphPart(p["start"], p["stop"], p["nnz"], tuple((array, name) for array, name in p["names"]))
        for p in fields["parts"]
    )
    return PartitionedFiles(folder, fields["n"], fields["nnz"], parts)


class OpenPart(NamedTuple):
    """The mapped arrays of one part, see the module."""

    start: int
    stop: int
    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    ids: np.ndarray


def save_rows(
    folder: str,
    span: tuple[int, int],
    nodes: tuple[np.ndarray, np.ndarray],
    entries: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> GraphPart:
    """Write the rows of one part.

    Parameters
    ----------
    span : start, stop
        Ordinals of the part.
    nodes : ids (m,) int64 and roots (m,) float64
        Its nodes, by ordinal, and the square roots of their degrees.
    entries : rows, columns (nnz,) int64 and values (nnz,) float64
        Entries of S in any order, by ordinal.
    """
    rows, columns, values = entries
    sort = np.lexsort((columns, rows))
    counts = np.bincount(rows - span[0], minlength=span[1] - span[0])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    largest = max(len(rows), int(columns.max(initial=0)))
    kind = np.int32 if largest <= np.iinfo(np.int32).max else np.int64
    arrays = (offsets.astype(kind), columns[sort].astype(kind), values[sort], *nodes)
    named = zip((*ARRAYS, "roots"), arrays, strict=True)
    names = tuple((name, save_array(folder, name, array)) for name, array in named)
    return GraphPart(*span, len(rows), names)


def cut_ordinals(costs: np.ndarray, targets: np.ndarray, start: int, done: float) -> np.ndarray:
    """Find where the running cost of consecutive ordinals reaches ``targets``.

    Parameters
    ----------
    costs : ndarray, (b,) float64
        Of the ordinals from ``start`` on; those before it cost ``done`` together.
    targets : ndarray, (t,) float64
        Ascending.

    Returns
    -------
    cuts : ndarray, (t,) int64
        The ordinal before which each target is reached; -1 where that is outside of these ordinals.
    """
    reached = done + np.cumsum(costs)
    cuts = start + np.searchsorted(reached, targets) + 1
    last = reached[-1] if len(reached) else done
    return np.where((targets > done) & (targets <= last), cuts, -1)
