"""Reading the bytes of one image, safely, from a file or from inside a tar shard.

A *root* is a local path or a raw (never percent-encoded) URI; a *uri* is the path of an image below it,
with ``/`` between names. A uri is plain text: ``%20`` in it is three characters.
"""

import re
import stat
from collections import OrderedDict
from contextlib import suppress
from errno import EHOSTDOWN, EHOSTUNREACH, ENOTCONN, ESTALE, ETIMEDOUT
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from resight import files

UNREACHABLE = {EHOSTDOWN, EHOSTUNREACH, ENOTCONN, ESTALE, ETIMEDOUT}
MAX_BYTES = 1 << 30
MAX_NAME = 4096  # characters of a path


class ContentError(Exception):
    """One image cannot be read: ``status`` and ``reason`` go into its row."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


def open_root(root: str) -> tuple[fs.FileSystem, str]:
    """Open the file system of ``root``; with ``below`` its files are named on it."""
    path = files.local_path(root)
    return (fs.LocalFileSystem(), str(path)) if path is not None else files.remote_path(root)


def below(base: str, uri: str) -> str:
    """Append ``uri`` to the path of a root."""
    return f"{base.rstrip('/')}/{uri}" if uri else base


def normal_uri(uri: str) -> str:
    """Drop empty and ``.`` segments; `ContentError` ``outside_source`` for what could leave the source.

    Refused are absolute paths, URIs with a scheme, ``..`` between slashes or backslashes, NUL, and texts
    that become one of these when percent-decoded, however often.
    """
    if len(uri) > MAX_NAME:
        raise ContentError("unreadable", f"a path of {len(uri)} characters")
    decoded = uri
    while (further := unquote(decoded)) != decoded:
        decoded = further
    for text in (uri, decoded):
        if (
            text.startswith(("/", "\\"))
            or "\0" in text
            or ".." in re.split(r"[/\\]", text)
            or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]", text)
        ):
            raise ContentError("outside_source", "the path leaves the source")
    return "/".join(part for part in uri.split("/") if part not in ("", "."))


def resolve_local(real_root: Path, path: Path) -> Path:
    """Follow the links of ``path``; `ContentError` where they lead out of ``real_root``."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ContentError("unreadable", str(error)) from None
    if not real.is_relative_to(real_root):
        raise ContentError("outside_source", f"a link leads out of the source to {real}")
    return real


def content_error(error: OSError) -> ContentError:
    """Translate the failure to read one file; a file system that is down is raised as it is."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ContentError("missing", "no such file")
    denied = isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error)
    if error.errno in UNREACHABLE or (error.errno is None and not denied):
        raise error
    return ContentError("unreadable", error.strerror or str(error))


class ContentReader:
    """Reads the images of one source in one task; shards stay open until the task ends.

    Parameters
    ----------
    root : str
        Root of the source.
    max_bytes : int
        Larger images are refused as ``too_large`` before they are read.
    max_open : int
        Shards kept open, the least recently used is closed first.
    """

    def __init__(self, root: str, *, max_bytes: int = MAX_BYTES, max_open: int = 8) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.max_open = max_open
        self.filesystem, self.base = open_root(root)
        local = files.local_path(root)
        self.real_root = local.resolve() if local is not None else None
        self.shards: OrderedDict[str, Any] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the shards."""
        while self.shards:
            self.shards.popitem()[1].close()

    def read(self, uri: str, byte_offset: int | None = None, n_bytes: int | None = None) -> bytes:
        """Give the bytes of an image: a whole file, or ``n_bytes`` of a shard from ``byte_offset`` on.

        Raises
        ------
        ContentError
            ``missing``, ``unreadable``, ``too_large`` or ``outside_source``.
        OSError
            The file system or the whole source is unreachable: the task fails, no image is judged by it.
        """
        try:
            name = normal_uri(uri)
            if byte_offset is None:
                return self.read_file(name)
            return self.read_member(name, byte_offset, n_bytes or 0)
        except OSError as error:
            judged = content_error(error)
            if judged.status == "missing":
                require_root(self.root)
            raise judged from None

    def read_file(self, name: str) -> bytes:
        """Read a whole file."""
        path = self.find_file(name)
        with self.filesystem.open_input_file(path) as file:
            self.check_size(file.size())
            return bytes(file.read())

    def read_member(self, name: str, byte_offset: int, n_bytes: int) -> bytes:
        """Read a member of a shard."""
        self.check_size(n_bytes)
        file = self.open_shard(name)
        file.seek(byte_offset)
        data = bytes(file.read(n_bytes))
        if len(data) != n_bytes:
            raise ContentError("unreadable", f"the shard ends {n_bytes - len(data)} bytes too early")
        return data

    def open_shard(self, name: str) -> pa.NativeFile:
        """Open the shard that ``name`` begins with, or take the open one."""
        for shard in shard_names(name):
            if shard in self.shards:
                self.shards.move_to_end(shard)
                return self.shards[shard]
            with suppress(IsADirectoryError, FileNotFoundError):  # a folder whose name ends in .tar
                file = self.filesystem.open_input_file(self.find_file(shard))
                self.shards[shard] = file
                if len(self.shards) > self.max_open:
                    self.shards.popitem(last=False)[1].close()
                return file
        raise FileNotFoundError("no such shard")

    def find_file(self, name: str) -> str:
        """Give the path of a regular file on the file system; on a local one links are followed."""
        path = below(self.base, name)
        if self.real_root is None:
            return path
        real = resolve_local(self.real_root, Path(path))
        mode = real.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "is a folder")
        if not stat.S_ISREG(mode):
            raise ContentError("unreadable", "not a regular file")
        return str(real)

    def check_size(self, n_bytes: int) -> None:
        """Refuse what would not fit."""
        if n_bytes > self.max_bytes:
            raise ContentError("too_large", f"{n_bytes} bytes, the limit is {self.max_bytes}")


def require_root(root: str) -> None:
    """Raise FileNotFoundError where the source itself is gone: then nothing in it is judged missing."""
    filesystem, base = open_root(root)
    if filesystem.get_file_info(base).type == fs.FileType.NotFound:
        raise FileNotFoundError(f"the source {root} is unreachable")


def shard_names(uri: str) -> list[str]:
    """List the beginnings of ``uri`` that can be a tar shard, shortest first."""
    parts = uri.split("/")
    ends = [i for i, part in enumerate(parts, 1) if part.lower().endswith(".tar")]
    return ["/".join(parts[:end]) for end in ends]


def read_content(root: str, uri: str, byte_offset: int | None = None, n_bytes: int | None = None) -> bytes:
    """Read one image; tasks that read many keep a `ContentReader`."""
    with ContentReader(root) as reader:
        return reader.read(uri, byte_offset, n_bytes)
