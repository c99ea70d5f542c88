"""Work functions that kill their process, importable by a child."""

import os
import signal

import pyarrow as pa

from resight.config import SettingError

SCHEMA = pa.schema([("value", pa.int64()), ("doubled", pa.int64()), ("error", pa.string())])


def double_or_die(rows):
    """Double the values; 13 is a segmentation fault, 17 asks for a terabyte."""
    values = rows["value"].to_pylist()
    if 13 in values:
        os.kill(os.getpid(), signal.SIGSEGV)
    if 17 in values:
        bytearray(1 << 40)
    return pa.table([values, [2 * v for v in values], [None] * len(values)], schema=SCHEMA)


def mark(rows, reason):
    return pa.table([rows["value"].to_pylist(), [None] * len(rows), [reason] * len(rows)], schema=SCHEMA)


def refuse_all(rows):
    """Refuse what the settings say, as a worker does that lacks a file."""
    raise SettingError("weights: no such file on this machine")
