"""Files are moved only where everything still holds, never lost, and come back."""

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from resight.cli import main
from resight.dedup.quarantine import move as moving
from resight.dedup.quarantine.listed import read_list
from resight.tables import DUPLICATE_GROUPS, IMAGES, SOURCES
from tests.report.committed import Committed

CONTENT = {"a/kept.jpg": b"kept", "a/copy.jpg": b"copy", "=odd, name.jpg": b"odd", "b/old.jpg": b"old"}
IDS = {uri: 4611686018427380000 + i for i, uri in enumerate(CONTENT)}


class Collection:
    """A source of four files, the first of which is kept of one group of all."""

    def __init__(self, root):
        self.photos, self.folder, self.list = root / "photos", root / "away", root / "list.csv"
        for uri, content in CONTENT.items():
            (self.photos / uri).parent.mkdir(parents=True, exist_ok=True)
            (self.photos / uri).write_bytes(content)
        self.committed = Committed(root / "w")
        self.commit()

    def commit(self, **changes):
        n = len(CONTENT)
        images = {
            "image_id": list(IDS.values()),
            "source_id": ["s"] * n,
            "uri": list(CONTENT),
            "content_hash": [hashlib.sha256(content).hexdigest() for content in CONTENT.values()],
            "n_bytes": [len(content) for content in CONTENT.values()],
        }
        root = Path(self.committed.workspace.root)
        source = {"source_id": ["s"], "root": [str(self.photos)], "kind": ["folder"]}
        shutil.rmtree(root / "tables", ignore_errors=True)
        self.committed.commit("ingest-images", (IMAGES, images | changes), (SOURCES, source))
        groups = {"group_id": [7] * n, "image_id": list(IDS.values()), "keep": [True] + [False] * (n - 1)}
        self.committed.commit("find-duplicates", (DUPLICATE_GROUPS, groups))

    def write_list(self, uris, **row):
        with self.list.open("w", newline="") as stream:
            rows = csv.DictWriter(stream, ["image_id", "uri"])
            rows.writeheader()
            rows.writerows({"image_id": IDS[uri], "uri": f"{self.photos}/{uri}"} | row for uri in uris)

    def call(self, *words, list_of=(), **row):
        self.write_list(list_of, **row)
        root = ["--workspace", self.committed.workspace.root]
        assert main(["quarantine", *root, "--list", str(self.list), "--to", str(self.folder), *words]) == 0

    def there(self):
        return {
            str(path.relative_to(self.photos)): path.read_bytes()
            for path in self.photos.rglob("*")
            if path.is_file()
        }

    def away(self):
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*.jpg")}

    def undo_list(self):
        (found,) = self.folder.glob("undo-*.jsonl")
        return found


@pytest.fixture
def collection(tmp_path, caplog):
    caplog.set_level("INFO")
    return Collection(tmp_path)


OTHERS = [uri for uri in CONTENT if uri != "a/kept.jpg"]


def test_nothing_is_moved_unless_it_is_said(collection, caplog):
    collection.call(list_of=OTHERS)
    assert collection.there() == CONTENT
    assert not collection.folder.exists()
    assert "3 ready; nothing was moved: say --apply" in caplog.text


def test_files_move_with_their_paths_and_come_back(collection, capsys):
    collection.call("--apply", "--json", list_of=OTHERS)
    assert collection.there() == {"a/kept.jpg": b"kept"}
    assert collection.away() == {f"s/{uri}": CONTENT[uri] for uri in OTHERS}
    undo = str(collection.undo_list())
    assert json.loads(capsys.readouterr().out) == {"files": {"moved": 3}, "undo": undo}
    assert main(["quarantine", "--undo", undo]) == 0
    assert len(collection.away()) == 3
    for _ in range(2):  # the second time there is nothing left to do
        assert main(["quarantine", "--undo", undo, "--apply"]) == 0
        assert collection.there() == CONTENT
        assert not collection.away()


@pytest.mark.parametrize(
    ("uri", "harm", "status"),
    [
        ("a/kept.jpg", lambda c: None, "kept"),
        ("a/copy.jpg", lambda c: (c.photos / "a/copy.jpg").write_bytes(b"edited"), "changed"),
        ("a/copy.jpg", lambda c: (c.photos / "a/copy.jpg").unlink(), "missing"),
        ("a/copy.jpg", lambda c: (c.photos / "a/kept.jpg").unlink(), "kept_missing"),
        ("a/copy.jpg", lambda c: (c.photos / "a/kept.jpg").write_bytes(b"edited"), "kept_missing"),
        ("a/copy.jpg", lambda c: c.commit(byte_offset=[None, 512, None, None]), "tar_member"),
        ("a/copy.jpg", lambda c: c.commit(uri=["x", "../a", "y", "z"]), "other_file"),
    ],
)
def test_a_file_stays_where_something_changed(collection, caplog, uri, harm, status):
    harm(collection)
    before = collection.there()
    collection.call("--apply", list_of=[uri])
    assert collection.there() == before
    assert not collection.away()
    assert f"1 {status};" in caplog.text
    assert f", {status}): " in caplog.text
    assert collection.undo_list().read_text() == ""


def test_a_link_and_a_second_mention_stay(collection, caplog):
    (collection.photos / "b/old.jpg").unlink()
    (collection.photos / "b/old.jpg").symlink_to(collection.photos / "a/kept.jpg")
    collection.call("--apply", list_of=["b/old.jpg", "a/copy.jpg", "a/copy.jpg"])
    assert "1 link, 1 moved, 1 repeated" in caplog.text
    assert set(collection.there()) == {"a/kept.jpg", "=odd, name.jpg", "b/old.jpg"}


def test_nothing_is_ever_overwritten(collection, caplog):
    (collection.folder / "s/a").mkdir(parents=True)
    (collection.folder / "s/a/copy.jpg").write_bytes(b"other")
    collection.call("--apply", list_of=OTHERS)
    assert collection.away()["s/a/copy.jpg"] == b"other"
    assert "1 taken" in caplog.text
    (collection.photos / "b/old.jpg").write_bytes(b"new")
    assert main(["quarantine", "--undo", str(collection.undo_list()), "--apply"]) == 0
    assert collection.there() == CONTENT | {"b/old.jpg": b"new"}
    assert collection.away() == {"s/a/copy.jpg": b"other", "s/b/old.jpg": b"old"}


def test_another_file_system_is_copied_to_and_compared(collection, monkeypatch, caplog):
    def refuse(*args, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    collection.call("--apply", list_of=OTHERS[:2])
    assert collection.away() == {f"s/{uri}": CONTENT[uri] for uri in OTHERS[:2]}
    monkeypatch.setattr(moving, "hash_file", lambda path: "damaged")
    collection.call("--apply", list_of=OTHERS[2:])
    assert "1 failed" in caplog.text
    assert "b/old.jpg" in collection.there()
    assert "s/b/old.jpg" not in collection.away()


def test_a_move_that_was_cut_off_is_undone(collection, monkeypatch):
    def fail(self, **options):
        raise OSError(5, "cut")

    monkeypatch.setattr(moving.Path, "unlink", fail)
    collection.call("--apply", list_of=["a/copy.jpg"])
    assert "a/copy.jpg" in collection.there()
    assert "s/a/copy.jpg" in collection.away()
    monkeypatch.undo()
    with collection.undo_list().open("a") as stream:
        stream.write('{"from": "half a li')
    assert main(["quarantine", "--undo", str(collection.undo_list()), "--apply"]) == 0
    assert collection.there() == CONTENT
    assert not collection.away()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "x"], "--workspace is required"),
        (["--undo", "x.jsonl", "--to", "x"], "--undo: it takes no --list and no --to"),
        (["--undo", "x.jsonl"], "--undo: cannot read x.jsonl"),
        (["--workspace", "nowhere", "--list", "x.csv", "--to", "x"], "nowhere is no workspace"),
    ],
)
def test_wrong_words_are_refused(words, message, caplog):
    assert main(["quarantine", *words]) == 2
    assert message in caplog.text


def test_a_folder_inside_of_a_source_is_refused(collection, caplog):
    collection.folder = collection.photos / "away"
    collection.write_list(OTHERS)
    words = ["--workspace", collection.committed.workspace.root, "--list", str(collection.list)]
    assert main(["quarantine", *words, "--to", str(collection.folder), "--apply"]) == 2
    assert "lies in the source" in caplog.text
    assert collection.there() == CONTENT


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "must end in .csv, .json, .jsonl"),
        ("a.csv", "image_id\n1\n", "has no column uri"),
        ("a.csv", "image_id,uri\n4.6E+18,x\n", "line 2: image_id '4.6E[+]18' is no whole number"),
        ("a.jsonl", "[]\n", "line 1: no object with image_id and uri"),
        ("a.jsonl", "{", "line 1"),
        ("a.json", '[{"uri": "x"}]', "entry 1: no object with image_id and uri"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_list(tmp_path / name))


def test_lists_are_read_in_parts_and_as_they_were_written(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffuri,image_id,reason\n./=1+1.jpg,5,x\n./b.jpg,6,y\n,7,z\n")
    assert list(read_list(tmp_path / "a.csv", n_rows=2)) == [[(5, "=1+1.jpg"), (6, "./b.jpg")], [(7, "")]]
    (tmp_path / "a.jsonl").write_text('{"image_id": "9223372036854775807", "uri": "\\ud83d\\ude00.jpg"}\n')
    assert list(read_list(tmp_path / "a.jsonl")) == [[(2**63 - 1, "\U0001f600.jpg")]]
