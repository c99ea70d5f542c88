"""Where images come from: a folder, a glob, a manifest or tar shards, named by one URI.

A *root* is a local path or a raw (never percent-encoded) URI; a *uri* is the path of an image below it,
with ``/`` between names. A uri is plain text: ``%20`` in it is three characters.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyarrow import fs

from resight import files
from resight.config import SettingError
from resight.images.content import ContentError, normal_uri, open_root, resolve_local
from resight.images.listing import IMAGE_EXTENSIONS, Selector, expand_braces, walk_files
from resight.images.manifest import find_uri, read_names

KINDS = ("folder", "glob", "manifest", "tar")
MANIFESTS = (".csv", ".parquet")


@dataclass(frozen=True)
class Source:
    """A place that images come from.

    ``path`` is what was named (folder, pattern, manifest, shard or folder of shards); ``root`` is the folder
    that uris are relative to.
    """

    source_id: str
    root: str
    kind: str
    path: str


def parse_source(
    uri: str, kind: str = "auto", *, source_id: str = "", root: str = "", option: str = "--source"
) -> Source:
    """Find out what ``uri`` names and check that it is there and not empty.

    Parameters
    ----------
    uri : str
        Local path or URI of any file system that `resight.files` opens.
    kind : str
        ``folder`` (recursive), ``glob``, ``manifest`` (CSV or Parquet with a column ``uri``), ``tar`` (a
        shard, a folder or a glob of shards) or ``auto``.
    source_id : str
        Name of the source; without one, a hash of kind and path. A manifest that changes its file name
        needs one to stay the same source.
    root : str
        Folder that the uris of a manifest are relative to, by default its own.
    option : str
        What errors call it.

    Raises
    ------
    SettingError
        The source cannot be reached, is of another kind, or is empty.
    """
    if kind not in ("auto", *KINDS):
        raise SettingError(f"--kind: {kind!r} is not one of auto, {', '.join(KINDS)}")
    path = canonical(uri)
    try:
        chosen = guess_kind(path) if kind == "auto" else kind
        top = canonical(root) if root and chosen == "manifest" else root_of(path, chosen)
        source = Source(source_id or name_source(chosen, path), top, chosen, path)
        require_files(source)
    except (OSError, ValueError) as error:
        if isinstance(error, SettingError):
            raise SettingError(str(error).replace("--source", option, 1)) from None
        raise SettingError(f"{option}: cannot reach {uri}: {error}") from None
    return source


def match_source(source: Source, known: Iterable[Source]) -> tuple[Source, list[str]]:
    """Look for a source among the ``known`` ones, links resolved.

    Returns
    -------
    source : Source
        The known one where another spelling names the same place, else ``source``.
    overlaps : list of str
        Paths of known sources that can hold some of the same files.

    Raises
    ------
    SettingError
        A folder lies inside a known folder, or around it: all images of the inner one would be there twice.
    """
    others = sorted(known, key=lambda other: other.source_id)
    if any(other.source_id == source.source_id for other in others):
        return source, []
    twin = next((other for other in others if real_place(other) == real_place(source)), None)
    if twin is not None:
        return twin, []
    overlaps = [other for other in others if is_nested(source, other)]
    for other in overlaps:
        if source.kind == other.kind:
            raise SettingError(
                f"--source: {source.path} and the source {other.path} of the workspace lie one in the other, "
                "images would be there twice: ingest one of them, or say --source-id if that is meant"
            )
    return source, [other.path for other in overlaps]


def real_place(source: Source) -> tuple[str, str, str]:
    """Give what two spellings of one source share: its kind, and root and path without links."""
    return source.kind, real_path(source.root), real_path(source.path)


def real_path(path: str) -> str:
    """Resolve the links of a path on a mounted disk."""
    local = files.local_path(path)
    return path if local is None else str(local.resolve())


def is_nested(source: Source, other: Source) -> bool:
    """Whether one of two sources is a folder, and their roots lie in each other; shards hold other files."""
    kinds, roots = {source.kind, other.kind}, [real_path(s.root).rstrip("/") + "/" for s in (source, other)]
    lies_within = roots[0].startswith(roots[1]) or roots[1].startswith(roots[0])
    return lies_within and "folder" in kinds and kinds <= {"folder", "glob", "manifest"}


def canonical(uri: str) -> str:
    """Make a path absolute, without ``.``, ``..`` and trailing slashes."""
    full = files.absolute(uri)
    return os.path.normpath(full) if files.local_path(full) is not None else full


def name_source(kind: str, path: str) -> str:
    """Give the id of a source that has no name of its own: a short hash of its kind and path."""
    return hashlib.sha256(f"{kind}\0{path}".encode()).hexdigest()[:12]


def file_type(path: str) -> fs.FileType:
    """Say whether a path is a file, a folder or nothing."""
    filesystem, name = open_root(path)
    return filesystem.get_file_info(name).type


def guess_kind(path: str) -> str:
    """Tell the kind of a source by what is there, else by wildcards in its name."""
    fixed = split_pattern(path)[0] == path
    found = file_type(path) if fixed or files.local_path(path) else fs.FileType.NotFound
    if found == fs.FileType.NotFound:
        if fixed:
            raise SettingError(f"--source: no such file or folder: {path}")
        return "tar" if path.lower().endswith(".tar") else "glob"
    if path.lower().endswith(MANIFESTS):
        return "manifest"
    if found == fs.FileType.Directory:
        return "tar" if holds_shards(path) else "folder"
    if path.lower().endswith(".tar"):
        return "tar"
    raise SettingError(f"--source: {path} is a file, but no .csv, .parquet or .tar: set --kind")


def holds_shards(folder: str) -> bool:
    """Whether a folder itself holds tar shards and no images."""
    filesystem, base = open_root(folder)
    infos = filesystem.get_file_info(fs.FileSelector(base))
    extensions = {info.extension.lower() for info in infos if info.is_file}
    return "tar" in extensions and extensions.isdisjoint(IMAGE_EXTENSIONS)


def split_pattern(path: str) -> tuple[str, str]:
    """Divide a glob into the folder before its first wildcard and the rest."""
    parts = path.split("/")
    first = next((i for i, part in enumerate(parts) if re.search(r"[*?\[{]", part)), len(parts))
    return "/".join(parts[:first]) or "/", "/".join(parts[first:])


def root_of(path: str, kind: str) -> str:
    """Give the folder that the uris of a source are relative to."""
    if kind == "glob":
        return split_pattern(path)[0]
    fixed = split_pattern(path)[0] == path
    found = file_type(path) if fixed or files.local_path(path) else fs.FileType.NotFound
    if kind == "tar" and found == fs.FileType.NotFound:
        return split_pattern(path)[0]
    if kind == "folder" or (kind == "tar" and found == fs.FileType.Directory):
        return path
    return path.rpartition("/")[0] or "/"


def require_files(source: Source) -> None:
    """Raise `SettingError` where the source is not there, holds nothing at all, or lists no uris."""
    if file_type(source.root) != fs.FileType.Directory:
        raise SettingError(f"--source: no such folder: {source.root}")
    if source.kind == "manifest":
        if file_type(source.path) == fs.FileType.NotFound:
            raise SettingError(f"--source: no such manifest: {source.path}")
        find_uri(read_names(source.path), source.path)
        return
    if next(walk_files(source.root, select_files(source, "*")), None) is None:
        wanted = "no shards (*.tar)" if source.kind == "tar" else "no files"
        raise SettingError(f"--source: {source.path} holds {wanted}: is its disk mounted?")


def require_listed(n_listed: int, source: Source) -> None:
    """Raise `SettingError` where a listing is empty."""
    if not n_listed:
        hint = 'extensions = ["*"] lists files of every type'
        raise SettingError(f"--source: {source.path} lists no image; {hint}")


def select_files(source: Source, extensions: Iterable[str] = ()) -> Selector:
    """Give the selector of a folder, a glob or of shards; no ``extensions`` means the usual ones."""
    chosen = tuple(e.lower().lstrip(".") for e in extensions) or IMAGE_EXTENSIONS
    if source.kind == "tar":
        chosen = ("tar",)
    pattern = source.path[len(source.root.rstrip("/")) + 1 :]
    return Selector(chosen, (pattern, *expand_braces(pattern)) if pattern else ())


def safe_uri(root: str, uri: str) -> str:
    """Normalise ``uri`` and check that it stays below ``root``, symbolic links included.

    Raises
    ------
    ContentError
        ``outside_source`` where it does not, ``missing`` where it is empty.
    """
    name = normal_uri(uri)
    if not name:
        raise ContentError("missing", "the row names no file")
    path = files.local_path(root)
    if path is not None:
        resolve_local(path.resolve(), path / name)
    return name
