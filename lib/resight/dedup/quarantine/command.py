"""The command ``resight quarantine``: a list is applied, or undone."""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from resight.config import SettingError
from resight.dedup.quarantine.listed import read_list
from resight.dedup.quarantine.move import apply_moves, name_undo_list, undo_moves
from resight.dedup.quarantine.plan import Move, plan_moves, refuse_inside
from resight.reader import Reader
from resight.tables import DUPLICATE_GROUPS
from resight.workspace import Workspace

__all__ = ["run_quarantine"]

log = logging.getLogger("resight")


def run_quarantine(words: list[str]) -> None:
    """Move listed copies into a quarantine folder, or back; nothing is moved without --apply."""
    text = (
        "Move the images of a list, as find-duplicates --export writes it, into a quarantine folder, where "
        "they keep their paths, or move them back with the undo list that is written there. Without --apply "
        "it says what would be done. A file stays where its bytes changed since it was ingested, where it is "
        "the one that its group keeps or that one is not there, and where it is a member of a tar."
    )
    parser = argparse.ArgumentParser(prog="resight quarantine", description=text, allow_abbrev=False)
    add = parser.add_argument
    add("--workspace", metavar="URI", help="root of the workspace whose groups were listed")
    add("--duplicates", metavar="NAME", default="", help="build of find-duplicates; default: the newest")
    add("--list", type=Path, metavar="FILE", help="CSV or JSON lines with image_id and uri")
    add("--to", type=Path, metavar="FOLDER", help="the quarantine folder, outside of every source")
    add("--undo", type=Path, metavar="FILE", help="undo list whose files are moved back")
    add("--apply", action="store_true", help="move files; without it nothing is changed")
    add("--json", action="store_true", help="print the counts as one line of JSON")
    parsed = parser.parse_args(words)
    undo_list = parsed.undo
    if undo_list is None:
        undo_list, moves = plan_quarantine(parsed)
        moves = apply_moves(moves, undo_list) if parsed.apply else moves
    elif parsed.list or parsed.to:
        raise SettingError("--undo: it takes no --list and no --to")
    else:
        moves = undo_moves(undo_list, apply=parsed.apply)
    report_moves(moves, undo_list, parsed)


def plan_quarantine(parsed: argparse.Namespace) -> tuple[Path, Iterator[Move]]:
    """Plan the moves of a list; give where the undo list will be, too."""
    lacking = [name for name in ("workspace", "list", "to") if not getattr(parsed, name)]
    if lacking:
        raise SettingError(f"--{lacking[0]} is required, unless --undo is given")
    pinned = {DUPLICATE_GROUPS.name: parsed.duplicates} if parsed.duplicates else {}
    reader, folder = Reader(Workspace.open(parsed.workspace), pinned), parsed.to.expanduser().absolute()
    reader.find(DUPLICATE_GROUPS)
    refuse_inside(folder, reader)
    return name_undo_list(folder), plan_moves(read_list(parsed.list), reader, folder)


def report_moves(moves: Iterable[Move], undo_list: Path, parsed: argparse.Namespace) -> None:
    """Log every file that stays with the reason, and count what became of all."""
    counts = Counter[str]()
    for move in moves:
        counts[move.status] += 1
        if move.status not in ("ready", "moved"):
            log.warning("stays: %s (image %d, %s): %s", move.source, move.image_id, move.status, move.reason)
    words = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no file is listed"
    if not parsed.apply:
        log.info("%s; nothing was moved: say --apply", words)
    elif parsed.undo is None:
        log.info("%s; move them back with: resight quarantine --undo %s --apply", words, undo_list)
    else:
        log.info("%s back", words)
    if parsed.json:
        undo = str(undo_list) if parsed.apply and parsed.undo is None else None
        sys.stdout.write(json.dumps({"files": counts, "undo": undo}) + "\n")
