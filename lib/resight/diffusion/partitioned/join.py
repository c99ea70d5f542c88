"""Consecutive parts of a graph copied to one, from mapped files, a block at a time.

What a task writes out of shuffled rows it has unpacked, at some 100 bytes an entry: a part that is larger
than a task can unpack is put together out of several.
"""

import hashlib
import io
from collections.abc import Callable, Iterator

import numpy as np

from resight import files
from resight.diffusion.partitioned.parts import ARRAYS, GraphPart, PartitionedFiles
from resight.knn.matrix import map_array

BLOCK = 1 << 20  # entries that are copied together
Blocks = Callable[[], Iterator[np.ndarray]]


def join_rows(layout: PartitionedFiles, folder: str, *, block: int = BLOCK) -> GraphPart:
    """Write the rows of all parts of ``layout``, which follow each other, to ``folder`` as one part."""
    first, last = layout.parts[0], layout.parts[-1]
    m, nnz = last.stop - first.start, sum(part.nnz for part in layout.parts)
    kind = np.int32 if max(nnz, layout.n - 1) <= np.iinfo(np.int32).max else np.int64
    kinds: dict[str, tuple[int, type]] = {
        "indptr": (m + 1, kind),
        "indices": (nnz, kind),
        "data": (nnz, np.float64),
        "ids": (m, np.int64),
        "roots": (m, np.float64),
    }

    def read(array: str) -> Blocks:
        if array == "indptr":
            return lambda: join_offsets(layout, kind)
        return lambda: read_blocks(layout, array, kinds[array][1], block)

    names = tuple((a, save_blocks(folder, a, *kinds[a], read(a))) for a in (*ARRAYS, "roots"))
    return GraphPart(first.start, last.stop, nnz, names)


def open_array(layout: PartitionedFiles, number: int, array: str) -> np.ndarray:
    """Map an array of one part."""
    return map_array(layout.folder, dict(layout.parts[number].names)[array])


def join_offsets(layout: PartitionedFiles, dtype: type) -> Iterator[np.ndarray]:
    """Give where the rows of all parts begin, and the end, part by part."""
    done = 0
    yield np.zeros(1, dtype)
    for number, part in enumerate(layout.parts):
        yield (open_array(layout, number, "indptr")[1:].astype(np.int64) + done).astype(dtype)
        done += part.nnz


def read_blocks(layout: PartitionedFiles, array: str, dtype: type, block: int) -> Iterator[np.ndarray]:
    """Read an array of part after part, at most ``block`` entries at a time."""
    for number in range(len(layout.parts)):
        values = open_array(layout, number, array)
        for start in range(0, len(values), block):
            yield values[start : start + block].astype(dtype, copy=False)


def save_blocks(folder: str, stem: str, n: int, dtype: type, blocks: Blocks) -> str:
    """Write an array (n,) that comes in blocks, twice, as `resight.knn.matrix.save_array` does; its name.

    Raises
    ------
    ValueError
        The blocks hold other numbers of entries than ``n``.
    """

    def pieces() -> Iterator[bytes]:
        header = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(header, described | {"shape": (n,)})
        yield header.getvalue()
        for values in blocks():
            yield values.tobytes()

    digest, n_bytes = hashlib.blake2b(digest_size=8), 0
    for piece in pieces():
        digest.update(piece)
        n_bytes += len(piece)
    name = f"{stem}-{digest.hexdigest()}.npy"
    n_expected = len(next(pieces())) + n * np.dtype(dtype).itemsize
    if n_bytes != n_expected:
        raise ValueError(f"{stem} has {n_bytes} bytes, expected {n_expected}")
    files.write_pieces(files.join(folder, name), pieces())
    return name
