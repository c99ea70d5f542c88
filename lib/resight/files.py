"""Files of a workspace on any file system, without Spark.

Paths are URIs: a local path, ``s3a://``, ``abfss://``, ``gs://``, ``hdfs://`` or ``dbfs:/``. Whole files are
written atomically; on a local or mounted disk `create_once` also guarantees that the first writer wins.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyarrow import fs

MAX_CACHE_BYTES = 200 << 30
STORES = ("s3a", "s3", "gs", "abfss", "hdfs")  # remote ones that Spark and pyarrow both open
OBJECT_STORES = ("s3", "gcs")  # to pyarrow: a file is there once it is closed, and as a whole


def join(uri: str, *parts: str) -> str:
    """Append path segments to ``uri``."""
    return "/".join([uri.rstrip("/"), *parts])


def local_path(uri: str) -> Path | None:
    """Give the path of a ``uri`` on a mounted disk, or None where it lies on a remote store."""
    if uri.startswith("dbfs:/"):
        return Path("/dbfs") / uri.removeprefix("dbfs:").lstrip("/")
    if uri.startswith("file:"):
        return Path("/" + uri.removeprefix("file:").lstrip("/"))
    return None if "://" in uri else Path(uri)


def absolute(uri: str) -> str:
    """Make a local path absolute; other URIs stay as they are."""
    path = local_path(uri)
    return uri.rstrip("/") if path is None else str(path.expanduser().absolute())


def spark_uri(uri: str, *, pattern: bool = False) -> str:
    """Spell ``uri`` for Spark, whose default file system need not be the local one.

    A local path becomes absolute and gets its scheme. Readers of files take a ``pattern``: there the letters
    of globs are escaped.
    """
    path = uri if uri.startswith("dbfs:") else absolute(uri)
    escaped = re.sub(r"([\[\]{}*?\\])", r"\\\1", path) if pattern else path
    return f"file:{escaped}" if path.startswith("/") else escaped


def require_store(uri: str) -> None:
    """Raise ValueError where ``uri`` is of a kind that no workspace can have.

    >>> require_store("/data/w"), require_store("s3a://bucket/w"), require_store("dbfs:/w")
    (None, None, None)
    >>> require_store("ftp://host/w")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: ftp:// is no known store: give a path that every machine has, s3a://, gs://, ...
    """
    scheme = uri.partition("://")[0]
    if local_path(uri) is None and scheme not in STORES:
        known = ", ".join(f"{name}://" for name in STORES if name != "s3")
        raise ValueError(
            f"{scheme}:// is no known store: give a path that every machine has, {known} or dbfs:/"
        )


def remote_path(uri: str) -> tuple[fs.FileSystem, str]:
    """Open the file system of a remote ``uri``; credentials come from the environment."""
    filesystem, path = fs.FileSystem.from_uri(uri.replace("s3a://", "s3://", 1))
    return filesystem, path


def read_bytes(uri: str) -> bytes:
    """Read a whole file; FileNotFoundError where there is none."""
    path = local_path(uri)
    if path is not None:
        return path.read_bytes()
    filesystem, name = remote_path(uri)
    with filesystem.open_input_stream(name) as stream:
        return stream.read()


def write_bytes(uri: str, data: bytes) -> None:
    """Write a whole file, replacing what was there; readers see the old or the new content."""
    write_pieces(uri, [data])


def write_pieces(uri: str, pieces: Iterable[bytes]) -> None:
    """Do what `write_bytes` does with a file that comes in pieces, one of which is in memory at a time."""
    path = local_path(uri)
    if path is None:
        filesystem, name = remote_path(uri)
        folder, _, last = name.rpartition("/")
        hidden = f"{folder}/.{last}.{uuid.uuid4().hex}"
        staged = name if filesystem.type_name in OBJECT_STORES else hidden
        with filesystem.open_output_stream(staged) as stream:
            for piece in pieces:
                stream.write(piece)
        if staged != name:
            rename(filesystem, staged, name)
        return
    stage_pieces(path, pieces).replace(path)


def rename(filesystem: fs.FileSystem, staged: str, name: str) -> None:
    """Give a finished file its name.

    Where a file system does not replace what has it, as HDFS, that is deleted first: for a moment readers
    find neither. Where it does not rename at all, as Azure without folders, it copies.
    """
    try:
        filesystem.move(staged, name)
    except NotImplementedError:
        filesystem.copy_file(staged, name)
        filesystem.delete_file(staged)
    except OSError:
        if filesystem.get_file_info(name).type != fs.FileType.File:
            raise
        filesystem.delete_file(name)
        filesystem.move(staged, name)


def create_once(uri: str, data: bytes) -> bool:
    """Write a whole file unless it exists; return whether this call made it.

    On remote stores two writers at the same instant can both succeed: their files must be equal, or a
    lock must keep them apart (`has_exclusive_create`).
    """
    path = local_path(uri)
    if path is None:
        if exists(uri):
            return False
        write_bytes(uri, data)
        return True
    staged = stage_pieces(path, [data])
    try:
        os.link(staged, path)
    except FileExistsError:
        return False
    finally:
        staged.unlink()
    return True


def stage_pieces(path: Path, pieces: Iterable[bytes]) -> Path:
    """Write ``pieces`` beside ``path`` under a hidden name and flush it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with staged.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())
    return staged


def has_exclusive_create(uri: str) -> bool:
    """Whether `create_once` lets exactly one of several simultaneous writers win."""
    return local_path(uri) is not None


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    path = local_path(uri)
    if path is not None:
        return path.exists()
    filesystem, name = remote_path(uri)
    return filesystem.get_file_info(name).type != fs.FileType.NotFound


def list_files(uri: str, recursive: bool = False) -> dict[str, int]:
    """List the files below a folder: name relative to it -> bytes; empty where there is no folder."""
    path = local_path(uri)
    filesystem, name = (fs.LocalFileSystem(), str(path)) if path else remote_path(uri)
    selector = fs.FileSelector(name, allow_not_found=True, recursive=recursive)
    found = [info for info in filesystem.get_file_info(selector) if info.is_file]
    names = {info.path[len(name.rstrip("/")) + 1 :]: info.size for info in found}
    return {key: names[key] for key in sorted(names) if not key.rsplit("/", 1)[-1].startswith(".")}


def file_sizes(uris: list[str]) -> list[int]:
    """Give the bytes of each file; -1 where it is missing."""
    paths = [local_path(uri) for uri in uris]
    if all(path is not None for path in paths):
        return [path.stat().st_size if path and path.exists() else -1 for path in paths]
    filesystem = remote_path(uris[0])[0]
    infos = filesystem.get_file_info([remote_path(uri)[1] for uri in uris])
    return [info.size if info.is_file else -1 for info in infos]


def delete(uri: str) -> None:
    """Delete a file or a whole folder; absent is fine."""
    path = local_path(uri)
    if path is not None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return
    filesystem, name = remote_path(uri)
    kind = filesystem.get_file_info(name).type
    if kind == fs.FileType.Directory:
        filesystem.delete_dir(name)
    elif kind == fs.FileType.File:
        filesystem.delete_file(name)


def local_file(uri: str, *, max_cache_bytes: int = MAX_CACHE_BYTES) -> Path:
    """Give a path that can be memory-mapped: the file itself on a mounted disk, else a cached copy.

    The copy is keyed by URI, size and modification time. One process of a machine makes it while the others
    wait, under a temporary name; it is renamed when its size is right. The least recently used copies are
    evicted above ``max_cache_bytes``: who has one mapped keeps it.
    """
    path = local_path(uri)
    if path is not None:
        return path
    filesystem, name = remote_path(uri)
    info = filesystem.get_file_info(name)
    if not info.is_file:
        raise FileNotFoundError(uri)
    key = hashlib.sha256(f"{uri}\0{info.size}\0{info.mtime_ns}".encode()).hexdigest()[:32]
    folder = cache_folder()
    cached = folder / key
    with hold_lock(folder / "locks" / key):
        if not cached.exists():
            evict(folder, max_cache_bytes - info.size)
            download(filesystem, name, cached, info.size)
        os.utime(cached)
    return cached


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Let one process or thread of this machine at a time run the block; a killed one leaves no lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path:
    """Folder of this machine for copies of remote files, whose names are hexadecimal, and notes on files."""
    return Path(os.environ.get("RESIGHT_CACHE") or Path(tempfile.gettempdir()) / "resight-files")


def download(filesystem: fs.FileSystem, name: str, target: Path, n_bytes: int) -> None:
    """Copy a remote file to ``target``, all or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with filesystem.open_input_stream(name) as source, staged.open("wb") as copy:
            shutil.copyfileobj(source, copy, 16 << 20)
        if staged.stat().st_size != n_bytes:
            raise OSError(f"{name}: got {staged.stat().st_size} of {n_bytes} bytes")
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)


def evict(folder: Path, max_bytes: int) -> None:
    """Delete the least recently used cached files until the folder holds at most ``max_bytes``."""
    cached = []
    for path in folder.glob("[0-9a-f]" * 32):
        with suppress(FileNotFoundError):  # evicted by another process meanwhile
            cached.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in cached) - max_bytes
    for _, size, path in sorted(cached):
        if excess <= 0:
            return
        with suppress(OSError):
            path.unlink()
        excess -= size
