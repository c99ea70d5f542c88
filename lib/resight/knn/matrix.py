"""Vectors of a build as files that every worker maps into memory instead of receiving a copy.

A folder holds parts of at most some ten thousand rows: ``vectors-*.npy`` (n, d) float32 or float16 with
unit L2 rows, and ``ids-*.npy`` (n,) int64, ids ascending over all parts. A row's *ordinal* is its place in
that order, so ordering by ordinal is ordering by id. ``copies.npy`` (2, m) int64 names the rows that are
byte-identical to an earlier one: their ordinals, ascending, and the ordinal of the first (`Part` names end
in a hash of the content, so an attempt that died leaves nothing that another could mistake for its own).
"""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache

import numpy as np

from resight import files
from resight.knn.copies import Copies, group_copies

MAX_ROWS = np.iinfo(np.int32).max  # ordinals are kept as int32 inside a task


@dataclass(frozen=True)
class Part:
    """One pair of files: rows ``start`` to ``start + n`` of the whole."""

    name: str
    start: int
    n: int


@dataclass(frozen=True)
class VectorFiles:
    """Where the vectors of a build lie; small, so a task carries it whole."""

    folder: str
    d: int
    dtype: str
    parts: tuple[Part, ...]
    copies: str | None = None  # name of the file of copies, once they are searched for
    n_copies: int = 0
    n_zero: int = 0  # vectors left out because their norm is zero
    n_nan: int = 0  # ... because they hold a NaN or an infinity

    @property
    def n(self) -> int:
        """Number of vectors, copies included."""
        return self.parts[-1].start + self.parts[-1].n if self.parts else 0

    def open(self) -> "OpenVectors":
        """Map the files into memory; kept per process."""
        return open_vectors(self)

    def save(self) -> None:
        """Write the list of parts as ``parts.json``."""
        text = json.dumps(asdict(self) | {"folder": ""}, indent=1)
        files.write_bytes(files.join(self.folder, "parts.json"), text.encode())


def load_vector_files(folder: str) -> VectorFiles:
    """Read the list of parts that `VectorFiles.save` wrote."""
    fields = json.loads(files.read_bytes(files.join(folder, "parts.json")))
    parts = tuple(Part(**part) for part in fields.pop("parts"))
    return VectorFiles(**fields | {"folder": folder, "parts": parts})


class OpenVectors:
    """The mapped arrays of some `VectorFiles`."""

    def __init__(self, layout: VectorFiles) -> None:
        self.n, self.d = layout.n, layout.d
        self.starts = np.array([part.start for part in layout.parts] + [layout.n], np.int64)
        names = [part.name for part in layout.parts]
        self.vectors = [map_array(layout.folder, f"vectors-{name}.npy") for name in names]
        self.ids = [map_array(layout.folder, f"ids-{name}.npy") for name in names]
        no_copies = np.zeros((2, 0), np.int64)
        self.copies = map_array(layout.folder, layout.copies) if layout.copies else no_copies

    @cached_property
    def grouped_copies(self) -> Copies:
        """The copies as sets."""
        return group_copies(self.copies)

    @cached_property
    def copy_ids(self) -> np.ndarray:
        """Image ids (m,) int64, ascending, of the vectors that are copies."""
        return self.id_of(self.copies[0])

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Vectors (stop - start, d) float32 of consecutive ordinals; a view where that is possible."""
        pieces = [self.vectors[p][a:b] for p, a, b in self.spans(start, stop)]
        if len(pieces) == 1:
            return pieces[0].astype(np.float32, copy=False)
        return np.concatenate([*pieces, np.zeros((0, self.d), np.float32)], dtype=np.float32)

    def representatives(self, start: int, stop: int) -> np.ndarray:
        """Ordinals in ``[start, stop)`` that are not copies of an earlier vector, (m,) int64."""
        first, last = np.searchsorted(self.copies[0], [start, stop])
        keep = np.ones(stop - start, bool)
        keep[self.copies[0, first:last] - start] = False
        return start + np.flatnonzero(keep)

    def representative_of(self, ordinals: np.ndarray) -> np.ndarray:
        """First identical vector (m,) int64 of each of ``ordinals`` (m,)."""
        copies, firsts = self.copies
        if not len(copies):
            return ordinals
        at = np.minimum(np.searchsorted(copies, ordinals), len(copies) - 1)
        return np.where(copies[at] == ordinals, firsts[at], ordinals)

    def block(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the representatives of ``[start, stop)``: ordinals (m,) int64 and vectors (m, d) float32."""
        ordinals = self.representatives(start, stop)
        X = self.rows(start, stop)
        return ordinals, X if len(ordinals) == stop - start else X[ordinals - start]

    def blocks(self, size: int) -> "Blocks":
        """Give `block` after block of ``size`` ordinals, over all vectors, as often as they are asked for."""
        return Blocks(self, size)

    def gather(self, ordinals: np.ndarray) -> np.ndarray:
        """Vectors (m, d) float32 at arbitrary ``ordinals`` (m,)."""
        if len(self.vectors) == 1:
            return self.vectors[0][ordinals].astype(np.float32, copy=False)
        out = np.empty((len(ordinals), self.d), np.float32)
        for part, chosen in self.by_part(ordinals):
            out[chosen] = self.vectors[part][ordinals[chosen] - self.starts[part]]
        return out

    def id_of(self, ordinals: np.ndarray) -> np.ndarray:
        """Image ids (m,) int64 of ``ordinals`` (m,)."""
        out = np.empty(len(ordinals), np.int64)
        for part, chosen in self.by_part(ordinals):
            out[chosen] = self.ids[part][ordinals[chosen] - self.starts[part]]
        return out

    def ordinal_of(self, ids: np.ndarray) -> np.ndarray:
        """Ordinals (m,) int64 of image ``ids`` (m,); -1 where there is no such vector."""
        out = np.full(len(ids), -1, np.int64)
        for part, known in enumerate(self.ids):
            at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
            found = known[at] == ids
            out[found] = self.starts[part] + at[found]
        return out

    def by_part(self, ordinals: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each part with the positions of its members in ``ordinals``."""
        part = np.searchsorted(self.starts, ordinals, side="right") - 1
        order = np.argsort(part.astype(np.int16), kind="stable")
        bounds = np.searchsorted(part[order], np.arange(len(self.vectors) + 1))
        for p in np.flatnonzero(np.diff(bounds)):
            yield int(p), order[bounds[p] : bounds[p + 1]]

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (part, first row, end row) of the parts that hold ``[start, stop)``."""
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        for part in range(max(first, 0), len(self.vectors)):
            base, end = int(self.starts[part]), int(self.starts[part + 1])
            if base >= stop:
                return
            yield part, max(start, base) - base, min(stop, end) - base


@dataclass(frozen=True, eq=False)
class Blocks:
    """The vectors of a collection, block by block."""

    vectors: OpenVectors
    size: int

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read the blocks from the first on."""
        for start in range(0, self.vectors.n, self.size):
            yield self.vectors.block(start, min(start + self.size, self.vectors.n))


@lru_cache(maxsize=4)
def open_vectors(layout: VectorFiles) -> OpenVectors:
    """Open ``layout`` once per process."""
    return OpenVectors(layout)


def map_array(folder: str, name: str) -> np.ndarray:
    """Map one file read-only; a file without rows cannot be mapped and is read."""
    path = files.local_file(files.join(folder, name))
    array: np.ndarray = np.load(path, mmap_mode="r")
    return np.asarray(array) if array.size else np.load(path)


def save_array(folder: str, stem: str, array: np.ndarray) -> str:
    """Write ``array`` as ``<stem>-<hash of its bytes>.npy``; return the name."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array))
    data = stream.getbuffer()
    name = f"{stem}-{hashlib.blake2b(data, digest_size=8).hexdigest()}.npy"
    files.create_once(files.join(folder, name), bytes(data))
    return name


def save_part(folder: str, number: int, ids: np.ndarray, X: np.ndarray) -> str:
    """Write a part (ids (n,) ascending, unit vectors (n, d)); return its name."""
    both = hashlib.blake2b(ids.tobytes(), digest_size=8)
    both.update(np.ascontiguousarray(X).data)
    name = f"{number:05d}-{both.hexdigest()}"
    for kind, array in (("ids", ids.astype(np.int64)), ("vectors", X)):
        stream = io.BytesIO()
        np.save(stream, np.ascontiguousarray(array))
        files.create_once(files.join(folder, f"{kind}-{name}.npy"), stream.getvalue())
    return name


def normalize_rows(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale rows of ``X`` (n, d) to unit L2 norm in float32; norms are summed in float64.

    Returns
    -------
    X : ndarray, (n, d) float32
        Unit rows; what is not usable is zero.
    status : ndarray, (n,) str
        ``ok``, ``zero`` or ``nan`` (a NaN or an infinity).
    """
    wide = np.asarray(X, np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    status = np.where(np.isfinite(norms), np.where(norms > 0, "ok", "zero"), "nan")
    ok = status == "ok"
    unit = np.divide(wide, norms[:, None], out=np.zeros_like(wide), where=ok[:, None])
    return (unit + 0.0).astype(np.float32), status  # + 0.0: -0 and 0 become the same bytes
