"""Decide which listed images may be moved: everything that could have changed since is looked at again."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc

from resight import files
from resight.config import SettingError
from resight.dedup.quarantine.listed import Listed
from resight.images.content import ContentError, normal_uri, read_content
from resight.reader import Reader
from resight.tables import DUPLICATE_GROUPS, IMAGES, SOURCES

__all__ = ["Move", "plan_moves", "refuse_inside"]

FACTS = ["image_id", "source_id", "uri", "content_hash", "byte_offset", "n_bytes", "removed_at"]
Row = dict


class Move(NamedTuple):
    """A file and where it is to go; ``status`` is ``ready``, else why it stays, in ``reason`` as words."""

    image_id: int
    source: str
    target: str
    sha256: str
    status: str
    reason: str = ""


def refuse_inside(folder: Path, reader: Reader) -> None:
    """Raise `SettingError` where ``folder`` lies in a source: its files would be ingested again."""
    for root in read_roots(reader).values():
        local = files.local_path(root["root"])
        if local is not None and folder.resolve().is_relative_to(local.resolve()):
            raise SettingError(f"--to: {folder} lies in the source {local}; name a folder outside of it")


def plan_moves(parts: Iterable[Sequence[Listed]], reader: Reader, folder: Path) -> Iterator[Move]:
    """Check every listed image against the tables and the disk, in the order of the list."""
    roots, taken = read_roots(reader), set[str]()
    for part in parts:
        images = look_up(reader, [row.image_id for row in part])
        groups = read_groups(reader, list(images))
        kept = {row["group_id"]: row["image_id"] for row in groups if row["keep"]}
        group_of = {row["image_id"]: row for row in groups}
        stays = look_up(reader, list(kept.values()))
        judged: dict[int, str] = {}  # what is wrong with the photos that stay
        for listed in part:
            image, member = images.get(listed.image_id), group_of.get(listed.image_id)
            source, target = locate(image, roots, folder)
            move = Move(
                listed.image_id, source or listed.uri, target, (image or {}).get("content_hash") or "", ""
            )
            stay = stays.get(kept.get(member["group_id"], -1)) if member else None
            status, reason = judge_row(listed, image, member, roots) or judge_file(move, taken)
            if status == "ready":
                status, reason = judge_kept(move, stay, roots, judged)
            taken.add(target)
            yield move._replace(status=status, reason=reason)


def read_roots(reader: Reader) -> dict[str, Row]:
    """Read the sources by their ids."""
    return {row["source_id"]: row for row in reader.read(SOURCES).to_pylist()}


def look_up(reader: Reader, ids: Sequence[int]) -> dict[int, Row]:
    """Read what is known of some images."""
    rows = reader.read(IMAGES, columns=FACTS, filter=pc.field("image_id").isin(list(ids)))
    return {row["image_id"]: row for row in rows.to_pylist()}


def read_groups(reader: Reader, ids: Sequence[int]) -> list[Row]:
    """Read the rows of some images in the groups, and those that are kept there."""
    columns = ["group_id", "image_id", "keep"]
    own = reader.read(DUPLICATE_GROUPS, columns=columns, filter=pc.field("image_id").isin(list(ids)))
    groups = pc.field("group_id").isin(own["group_id"].unique()) & pc.field("keep")
    return own.to_pylist() + reader.read(DUPLICATE_GROUPS, columns=columns, filter=groups).to_pylist()


def locate(image: Row | None, roots: dict[str, Row], folder: Path) -> tuple[str, str]:
    """Give the path of an image and the one that it would get; empty where it has none."""
    source = roots.get(image["source_id"]) if image else None
    if image is None or source is None or source["kind"] == "vectors":
        return "", ""
    try:
        uri = normal_uri(image["uri"])
    except ContentError:
        return "", ""
    name = re.sub(r"[^\w.-]", "_", image["source_id"]).strip(".") or "source"
    return f"{source['root'].rstrip('/')}/{image['uri']}", str(folder / name / uri)


def judge_row(
    listed: Listed, image: Row | None, member: Row | None, roots: dict[str, Row]
) -> tuple[str, str] | None:
    """Say why an image may not go by the tables alone; None where it may."""
    if image is None:
        return "unknown", "the workspace has no such image"
    source = roots.get(image["source_id"], {})
    path = f"{source.get('root', '').rstrip('/')}/{image['uri']}"
    if listed.uri not in (path, image["uri"]):
        return "other_file", f"the workspace knows it as {path}"
    if image["removed_at"] is not None:
        return "removed", "it has left its source already"
    if image["byte_offset"] is not None:
        return "tar_member", "it is a member of a tar, which is never taken apart"
    if source.get("kind") == "vectors" or files.local_path(source.get("root", "")) is None:
        return "remote", "it lies on no disk of this machine"
    if member is None:
        return "ungrouped", "no group of copies has it"
    return ("kept", "it is the one of its group that is kept") if member["keep"] else None


def judge_file(move: Move, taken: set[str]) -> tuple[str, str]:
    """Say whether a file is there with the bytes that were ingested, and its new place free."""
    path = Path(move.source)
    if not move.target:
        return "outside_source", "its path leaves the source"
    if path.is_symlink():
        return "link", "it is a link, not a file"
    if move.target in taken:
        return "repeated", "it is listed twice"
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return "missing", error.strerror or str(error)
    if found != move.sha256:
        return "changed", "its bytes are not those that were ingested"
    if os.path.lexists(move.target):
        return "taken", f"{move.target} is there already"
    return "ready", ""


def judge_kept(
    move: Move, stay: Row | None, roots: dict[str, Row], judged: dict[int, str]
) -> tuple[str, str]:
    """Say whether the photo that stays is there, with the bytes that were ingested, in another file."""
    if stay is None or stay["source_id"] not in roots or stay["removed_at"] is not None:
        return "kept_missing", "the image that is kept of its group has left its source"
    root = roots[stay["source_id"]]["root"]
    path = f"{root.rstrip('/')}/{stay['uri']}"
    local = files.local_path(root) is not None and stay["byte_offset"] is None
    if local and os.path.realpath(path) == os.path.realpath(move.source):
        return "kept", "it is the very file that is kept"
    if stay["image_id"] not in judged:
        judged[stay["image_id"]] = check_bytes(stay, root)
    wrong = judged[stay["image_id"]]
    return ("kept_missing", f"{path}, which is to stay, {wrong}") if wrong else ("ready", "")


def check_bytes(image: Row, root: str) -> str:
    """Say what is wrong with the bytes of an image, "" where nothing is."""
    try:
        content = read_content(root, image["uri"], image["byte_offset"], image["n_bytes"])
    except (ContentError, OSError) as error:
        return f"cannot be read: {error}"
    same = hashlib.sha256(content).hexdigest() == image["content_hash"]
    return "" if same else "has other bytes than were ingested"
