"""Rows of Parquet files, counted by a look at them: a Spark job for a few small files costs far more."""

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa

from resight import files

if TYPE_CHECKING:
    import pyarrow.dataset as ds

__all__ = ["count_small", "open_parquet"]

MAX_FILES = 64  # beyond either limit the executors count
MAX_BYTES = 256 << 20


def open_parquet(paths: list[str], schema: pa.Schema | None = None) -> "ds.Dataset":
    """Open Parquet files, at least one, all on one local or remote store.

    Parameters
    ----------
    paths : list of str
        URIs of the files.
    schema : Schema, optional
        The columns to read, null where a file lacks one; default: those of the first file.
    """
    import pyarrow.dataset as ds

    if files.local_path(paths[0]) is not None:
        return ds.dataset([str(files.local_path(path)) for path in paths], schema=schema, format="parquet")
    filesystem = files.remote_path(paths[0])[0]
    names = [files.remote_path(path)[1] for path in paths]
    return ds.dataset(names, schema=schema, format="parquet", filesystem=filesystem)


def count_small(listed: dict[str, int], *, by_status: bool) -> tuple[int, dict[str, int]] | None:
    """Count the rows of Parquet files and, where asked for, the rows per ``status``.

    Only footers, or one column in batches, are read; nothing that grows with the rows is held.

    Parameters
    ----------
    listed : dict of str to int
        Sizes of the files by their URIs.
    by_status : bool
        Whether the files have a column ``status`` to count by; a null counts as "None".

    Returns
    -------
    tuple of int and dict, or None
        Rows in all, rows per status in its order. None where the files are too many or too large for one
        process.
    """
    if len(listed) > MAX_FILES or sum(listed.values()) > MAX_BYTES:
        return None
    if not listed:
        return 0, {}
    if not by_status:
        return open_parquet(list(listed)).count_rows(), {}
    counted = Counter[str]()
    opened = open_parquet(list(listed), pa.schema([("status", pa.string())]))
    for batch in opened.to_batches():
        counts = batch.column("status").value_counts().to_pylist()
        counted.update({str(row["values"]): row["counts"] for row in counts})
    return counted.total(), dict(sorted(counted.items()))
