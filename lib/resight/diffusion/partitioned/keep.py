"""Iterates and finished blocks of one rank, written so that a stage that starts again goes on from them.

Files are made once and named by block, iteration and rank; arithmetic and sums have one order, so whoever
writes a file writes the same bytes. A rank keeps its last two iterates: ranks are at most one apart.
"""

import io
import re
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from resight import files


@dataclass
class Iterate:
    """Where conjugate gradient is for a block of s queries, on a rank of m rows with a halo of h.

    ``F`` (m, s) float64: scores so far. ``f``, ``r`` (m, lanes): the correction under way and its residual,
    over ``scale``, in the precision of the iterations; ``p`` (m + h, lanes): direction, whose halo is no part
    of the state. Of each column, (s,): ``rho``, the squared length of r over all ranks; ``steps`` int64, its
    iterations; ``last``, the true residual at the last restart; ``lane`` int64, its place in f, r and p, -1
    where it is not being solved; ``scale``. ``number``: iterations of the block.
    """

    F: np.ndarray
    f: np.ndarray
    r: np.ndarray
    p: np.ndarray
    rho: np.ndarray
    steps: np.ndarray
    last: np.ndarray
    lane: np.ndarray
    scale: np.ndarray
    number: int = 0


LARGE = ("F", "f", "r", "p")
SMALL = tuple(field.name for field in fields(Iterate) if field.name not in LARGE)


@dataclass(frozen=True)
class Keep:
    """The folder of one rank's files; ``every`` so many iterations the iterate is written, 0: never."""

    folder: str
    rank: int
    every: int

    def path(self, block: int, number: int, name: str) -> str:
        """Name a file of an iterate."""
        return files.join(self.folder, f"rank-{self.rank:05d}", f"{block:08d}-{number:08d}-{name}.npy")

    def save(self, block: int, iterate: Iterate) -> None:
        """Write an iterate; the file of the small arrays comes last and makes it whole."""
        m = len(iterate.F)
        for name in LARGE:
            write_array(self.path(block, iterate.number, name), getattr(iterate, name)[:m])
        small = np.stack([np.broadcast_to(getattr(iterate, name), iterate.rho.shape) for name in SMALL])
        write_array(self.path(block, iterate.number, "state"), small)
        self.drop(block, [number for number in self.numbers(block) if number < iterate.number][:-1])

    def numbers(self, block: int) -> list[int]:
        """List the iterations of the whole iterates of a block, ascending."""
        found = files.list_files(files.join(self.folder, f"rank-{self.rank:05d}"))
        names = [re.fullmatch(rf"{block:08d}-(\d+)-state\.npy", name) for name in found]
        return sorted(int(match[1]) for match in names if match)

    def load(self, block: int, number: int, n_halo: int) -> Iterate:
        """Read an iterate that `save` wrote, with room for a halo."""
        F, f, r, p = (read_array(self.path(block, number, name)) for name in LARGE)
        rho, steps, last, lane, scale, _ = read_array(self.path(block, number, "state"))
        p = np.concatenate([p, np.zeros((n_halo, p.shape[1]), p.dtype)])
        return Iterate(F, f, r, p, rho, steps.astype(np.int64), last, lane.astype(np.int64), scale, number)

    def drop(self, block: int, numbers: list[int]) -> None:
        """Delete iterates, the file that makes them whole first."""
        for number in numbers:
            for name in ("state", *LARGE):
                files.delete(self.path(block, number, name))

    def finish(self, block: int, rows: pa.RecordBatch) -> None:
        """Write the answers of a block; the iterates of the one before, which all ranks have done, can go."""
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_batch(rows)
        files.create_once(self.path(block, 0, "answers"), stream.getvalue().to_pybytes())
        self.drop(block - 1, self.numbers(block - 1))

    def answers(self, block: int) -> pa.RecordBatch:
        """Read the answers of a finished block."""
        with pa.ipc.open_stream(files.read_bytes(self.path(block, 0, "answers"))) as reader:
            return reader.read_next_batch()

    def count_finished(self) -> int:
        """Count the blocks that are finished; they are finished in order."""
        found = files.list_files(files.join(self.folder, f"rank-{self.rank:05d}"))
        return sum(name.endswith("-answers.npy") for name in found)


def write_array(uri: str, array: np.ndarray) -> None:
    """Write an array unless the file exists."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array))
    files.create_once(uri, stream.getvalue())


def read_array(uri: str) -> np.ndarray:
    """Read an array into memory of its own."""
    return np.load(io.BytesIO(files.read_bytes(uri)))
