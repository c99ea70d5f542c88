"""Vectors made elsewhere: read from ``.npy`` with ids beside it, checked, and packed as descriptors.

Descriptors are unit vectors (their inner product is the cosine), so a vector is divided by its length.
"""

import ast
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from resight import files
from resight.arrow import vectors_to_arrow
from resight.config import SettingError, require_local
from resight.images.content import open_root
from resight.images.manifest import parquet_names
from resight.workspace import open_delta

PACKED = pa.schema(
    [("id", pa.string()), ("vector", pa.binary()), ("status", pa.string()), ("error", pa.string())]
)
ID_COLUMNS = ("uri", "image_id", "id")


@dataclass(frozen=True)
class NpyFile:
    """An array in a ``.npy`` file, read row by row from any file system."""

    uri: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int  # byte of the first value

    def read(self, first: int, last: int) -> np.ndarray:
        """Read the rows ``first`` to ``last`` (exclusive): (n, ...) of the file's dtype."""
        row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        last = min(last, self.shape[0])
        filesystem, path = open_root(self.uri)
        with filesystem.open_input_file(path) as file:
            file.seek(self.start + first * row_bytes)
            data = file.read((last - first) * row_bytes)
        return np.frombuffer(data, self.dtype).reshape(last - first, *self.shape[1:])


def open_npy(uri: str) -> NpyFile:
    """Read the header of a ``.npy`` file (NumPy format 1.0 to 3.0); its data stays where it is.

    Raises
    ------
    SettingError
        It is no such file, holds Python objects, or lies in Fortran order.
    """
    filesystem, path = open_root(uri)
    try:
        with filesystem.open_input_file(path) as file:
            magic = file.read(8)
            n_length = 2 if magic[6:7] == b"\x01" else 4
            length = int.from_bytes(file.read(n_length), "little")
            header = ast.literal_eval(file.read(min(length, 1 << 16)).decode("utf-8"))
            dtype, shape = np.dtype(header["descr"]), tuple(header["shape"])
            n_bytes = file.size()
    except (OSError, ValueError, SyntaxError, KeyError, TypeError) as error:
        raise SettingError(f"--source: {uri} is not a .npy file: {error}") from None
    start = 8 + n_length + length
    if magic[:6] != b"\x93NUMPY" or dtype.hasobject or header["fortran_order"] or not shape:
        raise SettingError(f"--source: {uri} must be a plain array in C order, saved with np.save")
    if n_bytes < start + int(np.prod(shape)) * dtype.itemsize:
        raise SettingError(f"--source: {uri} is cut: it is shorter than its header says")
    return NpyFile(uri, shape, dtype, start)


def require_vectors(uri: str, *, id_column: str, vector_column: str, dimension: int = 0) -> None:
    """Raise `SettingError` where a local file of vectors is missing, or is not what the settings say."""
    require_local(uri, "--source")
    if files.local_path(uri) is None:
        return
    if uri.lower().endswith(".npy"):
        open_array(uri, dimension)
        return
    names = table_names(uri)
    require_columns(uri, names, id_column=id_column or choose_id(names), vector_column=vector_column)


def table_names(uri: str) -> list[str]:
    """Read the names of the columns of a Parquet or Delta table."""
    if files.exists(files.join(uri, "_delta_log")):
        return [field.name for field in open_delta(uri).schema().fields]
    return parquet_names(uri)


def choose_id(names: Sequence[str]) -> str:
    """Choose the column of the ids by its name: ``uri``, else ``image_id``."""
    return "image_id" if "image_id" in names and "uri" not in names else "uri"


def require_columns(uri: str, names: Sequence[str], *, id_column: str, vector_column: str) -> None:
    """Raise `SettingError` where a table lacks one of two columns."""
    for option, name in (("id", id_column), ("vector", vector_column)):
        if name not in names:
            has = f"{uri} has no column {name}, but {', '.join(names)}"
            raise SettingError(f"--{option}-column: {has}")


def open_array(uri: str, dimension: int = 0) -> tuple[NpyFile, str]:
    """Open an array of vectors and find its ids; `SettingError` where they do not fit, or ``dimension``."""
    array, ids = open_npy(uri), find_ids(uri)
    if len(array.shape) != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise SettingError(f"--source: {uri} must hold numbers (n, d), not {array.dtype} {array.shape}")
    n_ids = count_ids(ids)
    if n_ids != array.shape[0]:
        raise SettingError(f"--source: {uri} has {array.shape[0]} rows, {ids} has {n_ids}")
    if dimension not in (0, array.shape[1]):
        raise SettingError(f"--source: {uri} has {array.shape[1]} columns, not {dimension}")
    return array, ids


def find_ids(uri: str) -> str:
    """Find the file of ids beside ``vectors.npy``: ``vectors.ids.npy``, ``vectors_ids.txt``, ``ids.csv``."""
    folder, _, name = uri.rpartition("/")
    stem = name.removesuffix(".npy")
    stems = (f"{stem}.ids", f"{stem}_ids", "ids")
    names = [f"{s}.{e}" for s in stems for e in ("npy", "txt", "csv")] + [f"{stem}.txt", f"{stem}.csv"]
    for candidate in names:
        if files.exists(f"{folder}/{candidate}" if folder else candidate):
            return f"{folder}/{candidate}" if folder else candidate
    raise SettingError(f"--source: no ids beside {uri}; looked for {', '.join(names)}")


def count_ids(uri: str) -> int:
    """Count the ids of a file."""
    if uri.endswith(".npy"):
        return open_npy(uri).shape[0]
    return sum(1 for _ in iterate_ids(uri))


def read_ids(uri: str, first: int, last: int) -> list[str]:
    """Read the ids of the rows ``first`` to ``last`` (exclusive) as text."""
    if uri.endswith(".npy"):
        return [as_text(value) for value in open_npy(uri).read(first, last).tolist()]
    return list(islice(iterate_ids(uri), first, last))


def as_text(value: bytes | str | int) -> str:
    """Give an id of an array as text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def iterate_ids(uri: str) -> Iterator[str]:
    """Read the ids of a text file (one a line) or a CSV file (a column uri, image_id or id)."""
    filesystem, path = open_root(uri)
    with (
        filesystem.open_input_stream(path) as stream,
        io.TextIOWrapper(stream, "utf-8-sig", newline="") as text,
    ):
        if uri.endswith(".txt"):
            yield from (line.rstrip("\r\n") for line in text)
            return
        rows = csv.reader(text)
        names = next(rows, [])
        found = [i for i, name in enumerate(names) if name.lower() in ID_COLUMNS]
        if not found:
            raise SettingError(f"--source: {uri} has no column {', '.join(ID_COLUMNS)}")
        yield from (row[found[0]] for row in rows if row)


def lists_to_matrix(
    column: pa.Array, dimension: int, dtype: str = "float32"
) -> tuple[np.ndarray, list[str], list[str | None]]:
    """Lay out lists of numbers, or binaries of ``dtype``, as a matrix.

    Returns
    -------
    X : ndarray, (n, d) float32 or ``dtype``
        Zero where the row has not ``dimension`` values; a null value is NaN.
    status, error : list
        ``ok``, ``missing`` (null) or ``bad_dimension`` of each row.
    """
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = binaries_to_lists(column, dtype)
    n = len(column)
    offsets = np.asarray(column.offsets, np.int64)
    lengths = np.diff(offsets)
    values = column.values.to_numpy(zero_copy_only=False)
    present = np.asarray(column.is_valid())
    good = present & (lengths == dimension)
    X = np.zeros((n, dimension), values.dtype)
    X[good] = values[offsets[:-1][good, None] + np.arange(dimension)]
    status = ["ok"] * n
    error: list[str | None] = [None] * n
    for i in np.flatnonzero(~good).tolist():
        status[i] = "bad_dimension" if present[i] else "missing"
        error[i] = f"{lengths[i]} values, not {dimension}" if present[i] else "the vector is null"
    return X, status, error


def binaries_to_lists(column: pa.Array, dtype: str) -> pa.ListArray:
    """Give packed vectors as lists; a binary that is no whole number of values is an empty list."""
    itemsize = np.dtype(dtype).itemsize
    rows = [b"" if len(v or b"") % itemsize else v for v in column.to_pylist()]
    offsets = np.cumsum([0] + [len(row or b"") // itemsize for row in rows])
    values = np.frombuffer(b"".join(row or b"" for row in rows), dtype)
    mask = pa.array([row is None for row in rows], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values), mask=mask)


def pack_matrix(
    X: np.ndarray, *, dtype: str = "float16", unit: bool = True
) -> tuple[pa.BinaryArray, np.ndarray]:
    """Check the rows of ``X`` (n, d), divide them by their length where ``unit``, and pack them.

    Returns
    -------
    vectors : BinaryArray, (n,)
        ``dtype``, null where the status is not ok.
    status : ndarray, (n,) str
        ``ok``, ``zero``, or ``nan`` for NaN, infinity and what ``dtype`` cannot hold.
    """
    Y = np.array(X, np.float64)
    finite = np.isfinite(Y).all(1)
    Y[~finite] = 0
    largest = np.abs(Y).max(1, initial=0)
    if unit:
        Y /= np.where(largest > 0, largest, 1)[:, None]  # squares of tiny and huge values stay finite
        norms = np.sqrt((Y**2).sum(1))
        Y /= np.where(norms > 0, norms, 1)[:, None]
    with np.errstate(over="ignore"):
        packed = Y.astype(dtype)
    finite &= np.isfinite(packed).all(1)
    status = np.where(~finite, "nan", np.where((packed != 0).any(1), "ok", "zero"))
    return vectors_to_arrow(packed, status == "ok"), status


def pack_batch(
    ids: pa.Array,
    X: np.ndarray,
    status: Sequence[str],
    error: Sequence[str | None],
    *,
    dtype: str,
    unit: bool,
) -> pa.RecordBatch:
    """Pack the rows of ``X`` (n, d), as `lists_to_matrix` lays them out, into a batch of `PACKED`."""
    vectors, judged = pack_matrix(X, dtype=dtype, unit=unit)
    words = np.where(np.array(status, object) == "ok", judged, status).tolist()
    columns = [ids, vectors, pa.array(words, pa.string()), pa.array(error, pa.string())]
    return pa.record_batch(columns, schema=PACKED)
