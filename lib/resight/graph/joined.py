"""The parts of a graph joined to the files of a whole one, a block at a time.

Nothing is unpacked: rows are copied from mapped files to new ones. What lies in memory are a block of entries
and, to number the nodes by their ids, 24 bytes a node.
"""

from collections.abc import Iterator

import numpy as np

from resight.diffusion.partitioned.join import BLOCK, Blocks, join_offsets, read_blocks, save_blocks
from resight.diffusion.partitioned.parts import PartitionedFiles
from resight.graph.matrix import GraphFiles


def join_parts(layout: PartitionedFiles, folder: str, *, block: int = BLOCK) -> GraphFiles:
    """Write the rows of all parts as the files of one graph; see `resight.graph.matrix`.

    Returns
    -------
    GraphFiles
        Not yet saved as complete. The nodes are in the order of the parts; the bytes do not depend on how
        many these are.
    """
    n, nnz = layout.n, layout.nnz
    kind = np.int32 if max(n, nnz) <= np.iinfo(np.int32).max else np.int64

    def read(array: str, dtype: type) -> Blocks:
        return lambda: read_blocks(layout, array, dtype, block)

    def degrees() -> Iterator[np.ndarray]:
        for roots in read_blocks(layout, "roots", np.float64, block):
            yield roots * roots

    places = np.argsort(np.concatenate([*read("ids", np.int64)()]))
    arrays: dict[str, tuple[int, type, Blocks]] = {
        "indptr": (n + 1, kind, lambda: join_offsets(layout, kind)),
        "indices": (nnz, kind, read("indices", kind)),
        "data": (nnz, np.float64, read("data", np.float64)),
        "ids": (n, np.int64, read("ids", np.int64)),
        "places": (n, np.int64, lambda: iter([places])),
        "degrees": (n, np.float64, degrees),
    }
    names = tuple((array, save_blocks(folder, array, *content)) for array, content in arrays.items())
    return GraphFiles(folder, n, nnz, names)
