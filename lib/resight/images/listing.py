"""The files of a source, with size and time and without a look at their content.

A folder is walked without following links to folders: what lies behind one is either listed where it is, or
outside the source. Names that begin with a dot are hidden; a leading underscore is not (``_MG_0001.JPG``).
"""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from resight import files
from resight.images.content import (
    ContentError,
    below,
    content_error,
    open_root,
    require_root,
    resolve_local,
)
from resight.tables import IMAGES

LISTED = ("uri", "n_bytes", "modified_at", "byte_offset", "extra", "status", "error")
LISTING = pa.schema([IMAGES.schema.field(name) for name in LISTED])
IMAGE_EXTENSIONS = (
    *("jpg", "jpeg", "jpe", "jfif", "jp2", "j2k", "png", "apng", "webp", "avif", "heic", "heif"),
    *("tif", "tiff", "bmp", "gif", "pbm", "pgm", "ppm", "pnm"),
)


class Entry(NamedTuple):
    """One row of a listing; ``modified_at`` in microseconds, ``status`` None where nothing is wrong yet."""

    uri: str
    n_bytes: int | None = None
    modified_at: int | None = None
    byte_offset: int | None = None
    extra: dict[str, str] | None = None
    status: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Selector:
    """Which files of a source are wanted.

    Parameters
    ----------
    extensions : tuple of str
        Lower-case, without the dot; ``*`` takes every file.
    patterns : tuple of str
        Globs relative to the root; none takes every path. ``*`` stays within a name, ``**`` spans folders.
    """

    extensions: tuple[str, ...] = IMAGE_EXTENSIONS
    patterns: tuple[str, ...] = ()

    def wants(self, uri: str) -> bool:
        """Whether a file is listed."""
        name = uri.rsplit("/", 1)[-1]
        if "*" not in self.extensions and name.rpartition(".")[2].lower() not in self.extensions:
            return False
        parts = uri.split("/")
        return not self.patterns or any(match_parts(parts, p.split("/")) for p in self.patterns)

    def enters(self, folder: str) -> bool:
        """Whether a folder can hold wanted files."""
        parts = folder.split("/")
        return not self.patterns or any(match_start(parts, p.split("/")) for p in self.patterns)


def expand_braces(pattern: str) -> list[str]:
    """Write out ``{a,b}`` and ``{000..009}``."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        width = len(numbers[1])
        choices = [f"{i:0{width}d}" for i in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        choices = found[1].split(",")
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [full for choice in choices for full in expand_braces(head + choice + tail)]


def match_parts(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path matches a glob, name by name."""
    if not pattern or not parts:
        return not parts and all(p == "**" for p in pattern)
    if pattern[0] == "**":
        return match_parts(parts, pattern[1:]) or match_parts(parts[1:], pattern)
    return match_name(parts[0], pattern[0]) and match_parts(parts[1:], pattern[1:])


def match_name(name: str, pattern: str) -> bool:
    """Whether a name matches one segment of a glob, or is that very text."""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def match_start(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path below the folder ``parts`` can match a glob."""
    for part, wanted in zip(parts, pattern, strict=False):
        if wanted == "**":
            return True
        if not match_name(part, wanted):
            return False
    return len(parts) < len(pattern)


def scan_folder(root: str, folder: str, selector: Selector) -> tuple[list[Entry], list[str]]:
    """List the wanted files of one folder, and the folders in it that are worth a look.

    Raises
    ------
    OSError
        The folder cannot be listed; a sub-folder that has just been deleted is empty instead.
    """
    path = files.local_path(root)
    try:
        if path is not None:
            entries, folders = scan_local(path, folder, selector)
        else:
            entries, folders = scan_remote(*open_root(root), folder, selector)
    except FileNotFoundError:
        if not folder:
            raise
        require_root(root)
        return [], []
    return entries, sorted(name for name in folders if selector.enters(name))


def scan_local(root: Path, folder: str, selector: Selector) -> tuple[list[Entry], list[str]]:
    """List a folder on a mounted disk."""
    real_root, entries, folders = root.resolve(), [], []
    with os.scandir(root / folder) as found:
        for item in found:
            name = f"{folder}/{item.name}" if folder else item.name
            if item.name.startswith("."):
                continue
            if not is_text(name):
                entries.append(Entry(readable(name), status="unreadable", error="name is not UTF-8"))
            elif item.is_symlink():
                entries += follow_link(real_root, Path(item.path), name, selector)
            elif item.is_dir():
                folders.append(name)
            elif selector.wants(name) and item.is_file():
                entries += stat_file(name, item.stat)
    return entries, folders


def follow_link(real_root: Path, path: Path, name: str, selector: Selector) -> list[Entry]:
    """Give the row of a link: the file behind it, or why there is none."""
    try:
        real = resolve_local(real_root, path)
    except ContentError as error:
        shown = selector.wants(name) or path.is_dir()
        return [Entry(name, status=error.status, error=error.reason)] if shown else []
    if real.is_dir() or not selector.wants(name):
        return []
    if not real.exists():
        return [Entry(name, status="missing", error="a link to nothing")]
    return stat_file(name, real.stat) if real.is_file() else []


def stat_file(name: str, read_stat: Callable[[], os.stat_result]) -> list[Entry]:
    """Give the row of a local file; none where it has just been deleted."""
    try:
        found = read_stat()
    except FileNotFoundError:
        return []
    return [Entry(name, found.st_size, found.st_mtime_ns // 1000)]


def is_text(name: str) -> bool:
    """Whether a file name can be written as UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def readable(name: str) -> str:
    """Show the bytes of a file name that are not UTF-8 by their numbers."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def scan_remote(
    filesystem: fs.FileSystem, base: str, folder: str, selector: Selector
) -> tuple[list[Entry], list[str]]:
    """List a folder of an object store."""
    entries, folders = [], []
    for info in filesystem.get_file_info(fs.FileSelector(below(base, folder))):
        name = f"{folder}/{info.base_name}" if folder else info.base_name
        if info.base_name.startswith("."):
            continue
        if info.type == fs.FileType.Directory:
            folders.append(name)
        elif info.is_file and selector.wants(name):
            entries.append(Entry(name, info.size, microseconds(info)))
    return entries, folders


def microseconds(info: fs.FileInfo) -> int | None:
    """Give the time of the last change, None where the store keeps none."""
    return None if info.mtime_ns is None else info.mtime_ns // 1000


def walk_files(root: str, selector: Selector, start: str = "") -> Iterator[Entry]:
    """List the wanted files below a folder, folder by folder."""
    folders = [start]
    while folders:
        entries, further = scan_folder(root, folders.pop(), selector)
        yield from entries
        folders += reversed(further)


def split_folders(root: str, selector: Selector, n_parts: int) -> tuple[list[str], list[str]]:
    """Divide a source for ``n_parts`` tasks: folders to scan alone, and folders to walk to their ends."""
    alone: list[str] = []
    whole = [""]
    while whole and len(whole) < n_parts and len(alone) < 4 * n_parts:
        folder = whole.pop(0)
        alone.append(folder)
        whole += scan_folder(root, folder, selector)[1]
    return alone, whole


def stat_uris(root: str, uris: list[str]) -> list[Entry]:
    """Give size and time of named files: rows in the same order, ``missing`` where there is none."""
    filesystem, base = open_root(root)
    path = files.local_path(root)
    if path is None:
        infos = filesystem.get_file_info([below(base, uri) for uri in uris])
        return [info_entry(uri, info) for uri, info in zip(uris, infos, strict=True)]
    require_root(root)
    real_root = path.resolve()
    return [stat_uri(real_root, uri) for uri in uris]


def stat_uri(real_root: Path, uri: str) -> Entry:
    """Give size and time of one local file."""
    try:
        info = resolve_local(real_root, real_root / uri).stat()
    except ContentError as error:
        return Entry(uri, status=error.status, error=error.reason)
    except OSError as error:
        judged = content_error(error)
        return Entry(uri, status=judged.status, error=judged.reason)
    if not stat.S_ISREG(info.st_mode):
        return Entry(uri, status="missing", error="not a file")
    return Entry(uri, info.st_size, info.st_mtime_ns // 1000)


def info_entry(uri: str, info: fs.FileInfo) -> Entry:
    """Give size and time of one remote file."""
    if not info.is_file:
        return Entry(uri, status="missing", error="no such file")
    return Entry(uri, info.size, microseconds(info))


def entries_to_batches(entries: Iterable[Entry], n_rows: int = 10_000) -> Iterator[pa.RecordBatch]:
    """Turn rows of a listing into record batches of `LISTING`."""
    rows = iter(entries)
    while part := list(islice(rows, n_rows)):
        columns = list(zip(*part, strict=True))
        columns[4] = tuple(None if e is None else list(e.items()) for e in columns[4])
        arrays = [pa.array(c, field.type) for c, field in zip(columns, LISTING, strict=True)]
        yield pa.record_batch(arrays, schema=LISTING)
