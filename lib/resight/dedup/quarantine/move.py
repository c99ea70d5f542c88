"""Move files and move them back: nothing is overwritten, and every move is written down before it is made."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from resight.config import SettingError
from resight.dedup.quarantine.plan import Move

__all__ = ["apply_moves", "move_file", "name_undo_list", "undo_moves"]

READY = "ready"


def name_undo_list(folder: Path) -> Path:
    """Name a new undo list in the quarantine folder, by the time."""
    return folder / f"undo-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.jsonl"


def apply_moves(moves: Iterable[Move], undo_list: Path) -> Iterator[Move]:
    """Move what is ready; give every move with what became of it (``moved``, or why not)."""
    undo_list.parent.mkdir(parents=True, exist_ok=True)
    with undo_list.open("x", encoding="utf-8") as stream:
        for move in moves:
            if move.status != READY:
                yield move
                continue
            facts = {"image_id": str(move.image_id), "sha256": move.sha256}
            stream.write(json.dumps({"from": move.source, "to": move.target} | facts) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
            yield attempt(move)


def attempt(move: Move) -> Move:
    """Move one file, or say why that failed."""
    try:
        move_file(Path(move.source), Path(move.target), sha256=move.sha256)
    except FileExistsError:
        return move._replace(status="taken", reason=f"{move.target} is there already")
    except OSError as error:
        return move._replace(status="failed", reason=error.strerror or str(error))
    return move._replace(status="moved")


def move_file(source: Path, target: Path, *, sha256: str) -> None:
    """Move a file to where nothing is yet.

    On one file system it gets a second name before it loses the first, so that it has a name at any
    moment; to another one it is copied, compared with ``sha256``, and then deleted.

    Raises
    ------
    FileExistsError
        Something is at ``target``; both files stay as they are.
    OSError
        The file cannot be moved, or its copy has other bytes; ``source`` stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without second names
        copy_file(source, target, sha256)
    source.unlink()


def copy_file(source: Path, target: Path, sha256: str) -> None:
    """Copy bytes and times to where nothing is yet; a copy that is not right is taken away again."""
    with source.open("rb") as read, target.open("xb") as written:
        try:
            shutil.copyfileobj(read, written, 1 << 20)
            written.flush()
            os.fsync(written.fileno())
            if hash_file(target) != sha256:
                raise OSError(f"{source} changed while it was copied")
            shutil.copystat(source, target)
        except BaseException:
            target.unlink()
            raise


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def undo_moves(undo_list: Path, *, apply: bool) -> Iterator[Move]:
    """Move the files of an undo list back, the last one first; without ``apply`` say what would be done.

    A file is moved back where it has the bytes that it had, and its old place is free.
    """
    for row in reversed(read_undo_list(undo_list)):
        back = Move(int(row["image_id"]), row["to"], row["from"], row["sha256"], READY)
        status, reason = judge_back(back, undo_list.parent)
        back = back._replace(status=status, reason=reason)
        if status != READY or not apply:
            yield back
            continue
        if is_same(Path(back.source), back.target):  # a move that was cut off between two names
            Path(back.source).unlink()
            moved = back._replace(status="moved")
        else:
            moved = attempt(back)
        if moved.status == "moved":
            remove_empty(Path(back.source).parent, undo_list.parent)
        yield moved


def read_undo_list(undo_list: Path) -> list[dict]:
    """Read an undo list; a last line that was not written to its end was never acted on."""
    try:
        lines = undo_list.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"--undo: cannot read {undo_list}: {error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append({name: str(row[name]) for name in ("image_id", "from", "to", "sha256")})
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break
            raise SettingError(f"--undo: {undo_list}, line {number}, is none of an undo list") from None
    return rows


def judge_back(back: Move, folder: Path) -> tuple[str, str]:
    """Say whether a file can be moved back."""
    source = Path(back.source)
    if ".." in source.parts or not source.is_relative_to(folder.absolute()):
        return "outside", f"{source} does not lie in the folder of the undo list"
    if not os.path.lexists(source):
        there = os.path.lexists(back.target)
        return ("in_place", "it was not moved, or is back already") if there else ("missing", "it is gone")
    if os.path.lexists(back.target) and not is_same(source, back.target):
        return "taken", f"{back.target} is there again"
    if source.is_symlink() or hash_file(source) != back.sha256:
        return "changed", "its bytes are not those that were moved"
    return READY, ""


def is_same(source: Path, target: str) -> bool:
    """Whether two paths are names of one file."""
    try:
        return source.samefile(target)
    except OSError:
        return False


def remove_empty(folder: Path, root: Path) -> None:
    """Remove folders that became empty, up to ``root``."""
    with suppress(OSError):
        while folder != root and folder.is_relative_to(root):
            folder.rmdir()
            folder = folder.parent
