"""Vectors and packed lists <-> Arrow columns, without a Python object per row."""

import numpy as np
import pyarrow as pa


def vectors_to_arrow(X: np.ndarray, valid: np.ndarray | None = None) -> pa.BinaryArray:
    """Pack the rows of ``X`` (n, d) of any little-endian dtype into a binary column.

    ``valid`` (n,) bool marks the rows to keep; the others become null.
    """
    X = np.ascontiguousarray(X)
    n, row_bytes = len(X), X.itemsize * X.shape[1]
    present = np.ones(n, bool) if valid is None else np.asarray(valid, bool)
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(present * row_bytes, out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"a batch of {offsets[-1]} bytes of vectors exceeds 2 GiB: use smaller batches")
    mask = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    data = X if present.all() else np.ascontiguousarray(X[present])
    buffers = [mask, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), n, buffers)


def arrow_to_vectors(column: pa.Array | pa.ChunkedArray, dtype: str = "float16") -> np.ndarray:
    """View a binary column without nulls as (n, d); every row must have the same length."""
    if isinstance(column, pa.ChunkedArray):
        parts = [arrow_to_vectors(chunk, dtype) for chunk in column.chunks if len(chunk)]
        return np.concatenate(parts) if len(parts) != 1 else parts[0]
    offsets, values = unpack_offsets(column), column.buffers()[2]
    lengths = np.unique(np.diff(offsets))
    itemsize = np.dtype(dtype).itemsize
    if len(lengths) != 1 or lengths[0] % itemsize or column.null_count:
        raise ValueError(f"expected vectors of one length in {dtype}, got byte lengths {lengths[:5]}")
    n_values = len(column) * int(lengths[0]) // itemsize
    flat = np.frombuffer(values, dtype, count=n_values, offset=int(offsets[0]))
    return flat.reshape(len(column), -1)


def arrow_to_lists(column: pa.Array | pa.ChunkedArray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Unpack a binary column of ragged lists: ``offsets`` (n + 1,) int64 and the flat values."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # an empty one, or several chunks that stay apart
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.binary())
    offsets, values = unpack_offsets(column), column.buffers()[2]
    itemsize = np.dtype(dtype).itemsize
    n_values = int(offsets[-1] - offsets[0]) // itemsize
    if not n_values:
        return np.zeros(len(column) + 1, np.int64), np.zeros(0, dtype)
    flat = np.frombuffer(values, dtype, count=n_values, offset=int(offsets[0]))
    return (offsets - offsets[0]) // itemsize, flat


def lists_to_arrow(offsets: np.ndarray, values: np.ndarray) -> pa.BinaryArray:
    """Pack ragged lists (CSR ``offsets`` (n + 1,), flat ``values``) into a binary column."""
    byte_offsets = pa.py_buffer((np.asarray(offsets) * values.itemsize).astype(np.int32))
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, byte_offsets, data])


def unpack_offsets(column: pa.Array) -> np.ndarray:
    """Byte offsets (n + 1,) int64 of a binary column, honouring its slice."""
    wide = pa.types.is_large_binary(column.type)
    dtype = np.int64 if wide else np.int32
    if not len(column):
        return np.zeros(1, np.int64)
    raw = np.frombuffer(column.buffers()[1], dtype, count=column.offset + len(column) + 1)
    return raw[column.offset :].astype(np.int64)
