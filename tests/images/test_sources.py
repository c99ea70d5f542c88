"""Sources, their listings, and the reading of one image."""

import os
import shutil
import socket
from pathlib import Path

import pytest
from pyarrow import fs

from resight.config import SettingError
from resight.images.content import ContentError, ContentReader, read_content
from resight.images.listing import (
    Selector,
    expand_braces,
    scan_folder,
    scan_remote,
    split_folders,
    stat_uris,
    walk_files,
)
from resight.images.sources import Source, match_source, parse_source, safe_uri, select_files

ODD = ["a b.jpg", "ü%20#.jpg", "[x]{y}*.jpg", "c:d?.jpg", "q\\x.png", "n\nl.jpg", "_MG_1.JPG", "k=v/é'\".jpg"]


def put(root, *names, data=b"x"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def listed(source, extensions=()):
    return sorted(e.uri for e in walk_files(source.root, select_files(source, extensions)))


@pytest.mark.parametrize("folder", ["plain", "ph [2019] a%20b #1", "{a}*?"])
def test_odd_names_are_listed_and_read(tmp_path, folder):
    source = parse_source(str(put(tmp_path / folder, *ODD)) + "/")
    assert (source.kind, source.root) == ("folder", str(tmp_path / folder))
    assert listed(source) == sorted(ODD)
    assert {read_content(source.root, uri) for uri in ODD} == {b"x"}


def test_hidden_files_and_other_types_are_left_out(tmp_path):
    put(tmp_path, "a.jpg", ".b.jpg", ".c/d.jpg", "notes.txt", "raw", "e.TIFF")
    source = parse_source(str(tmp_path))
    assert listed(source) == ["a.jpg", "e.TIFF"]
    assert listed(source, ["*"]) == ["a.jpg", "e.TIFF", "notes.txt", "raw"]
    assert listed(source, [".TXT"]) == ["notes.txt"]


def test_a_name_that_is_no_text_is_a_row(tmp_path):
    put(tmp_path, "a.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).touch()
    found = {e.uri: e.status for e in walk_files(str(tmp_path), Selector())}
    assert found == {"a.jpg": None, "\\xff.jpg": "unreadable"}


def test_links_are_followed_inside_the_source_only(tmp_path):
    root, away = put(tmp_path / "in", "a.jpg", "sub/b.jpg"), put(tmp_path / "out", "c.jpg")
    for name, target in {
        "to_file.jpg": root / "a.jpg",
        "loop": root,
        "away": away,
        "away.jpg": away / "c.jpg",
        "nothing.jpg": root / "gone.jpg",
    }.items():
        (root / name).symlink_to(target)
    found = {e.uri: e.status for e in walk_files(str(root), Selector())}
    outside = {"away": "outside_source", "away.jpg": "outside_source", "nothing.jpg": "missing"}
    assert found == {"a.jpg": None, "sub/b.jpg": None, "to_file.jpg": None} | outside


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("*/*.jpg", ["d1/b.jpg", "d2/b.jpg"]),
        ("**/*.jpg", ["a.jpg", "d1/b.jpg", "d1/e/c.jpg", "d2/b.jpg"]),
        ("d[1]/**", ["d1/b.jpg", "d1/e/c.jpg"]),
        ("d{1,2}/?.jpg", ["d1/b.jpg", "d2/b.jpg"]),
        ("d{1..1}/**/c.*", ["d1/e/c.jpg"]),
    ],
)
def test_globs(tmp_path, pattern, expected):
    put(tmp_path, "a.jpg", "d1/b.jpg", "d1/e/c.jpg", "d2/b.jpg")
    source = parse_source(f"{tmp_path}/{pattern}")
    assert source.kind == "glob"
    assert listed(source) == expected


def test_a_glob_enters_only_folders_that_can_match(tmp_path):
    put(tmp_path, "d1/b.jpg", "x/b.jpg", "d1/e/c.jpg")
    selector = select_files(parse_source(f"{tmp_path}/d*/*.jpg"))
    assert scan_folder(str(tmp_path), "", selector)[1] == ["d1"]
    assert scan_folder(str(tmp_path), "d1", selector)[1] == []


def test_braces_are_written_out():
    assert expand_braces("s-{08..11}.{tar,x}")[:3] == ["s-08.tar", "s-08.x", "s-09.tar"]


def test_two_globs_of_one_folder_are_two_sources(tmp_path):
    put(tmp_path, "a.jpg", "b.png")
    first, second = (parse_source(f"{tmp_path}/*.{e}") for e in ("jpg", "png"))
    assert first.root == second.root
    assert first.source_id != second.source_id
    assert parse_source(f"{tmp_path}/./*.jpg") == first
    assert parse_source(str(tmp_path), source_id="mine").source_id == "mine"


def test_two_spellings_of_one_place_are_one_source(tmp_path):
    put(tmp_path / "a", "1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "m.csv").write_text("uri\na/1.jpg\n")
    (tmp_path / "n.csv").symlink_to(tmp_path / "m.csv")
    for first, second in [("a", "link"), ("link", "a"), ("a/*.jpg", "link/*.jpg"), ("m.csv", "n.csv")]:
        known, source = (parse_source(f"{tmp_path}/{name}") for name in (first, second))
        assert known.source_id != source.source_id
        assert match_source(source, [known]) == (known, [])


def test_a_folder_inside_a_known_folder_is_refused_with_both_names(tmp_path):
    put(tmp_path / "a", "1.jpg", "sub/2.jpg")
    put(tmp_path / "ab", "3.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "a/sub")
    outer = parse_source(f"{tmp_path}/a")
    for name in ("a/sub", "link"):
        inner = parse_source(f"{tmp_path}/{name}")
        for new, known in [(inner, outer), (outer, inner)]:
            with pytest.raises(SettingError, match=f"{new.path} and the source {known.path} .*--source-id"):
                match_source(new, [known])
    beside = parse_source(f"{tmp_path}/ab")
    assert match_source(beside, [outer]) == (beside, [])


def test_sources_that_can_share_files_are_named(tmp_path):
    put(tmp_path / "a", "1.jpg", "2.png", "s.tar")
    put(tmp_path / "a", "m.csv", data=b"uri\n")
    folder, glob, other, tar, manifest = (
        parse_source(f"{tmp_path}/{name}") for name in ("a", "a/*.jpg", "a/*.png", "a/s.tar", "a/m.csv")
    )
    assert match_source(glob, [folder, tar]) == (glob, [folder.path])
    assert match_source(glob, [other, manifest]) == (glob, [])
    assert match_source(manifest, [folder]) == (manifest, [folder.path])
    assert match_source(tar, [folder]) == (tar, [])
    far = [
        Source("r", "s3a://b/x", "folder", "s3a://b/x"),
        Source("q", "s3a://b/x/y", "glob", "s3a://b/x/y/*"),
    ]
    assert match_source(far[1], far[:1]) == (far[1], ["s3a://b/x"])


@pytest.mark.parametrize(
    ("name", "kind", "root"),
    [
        ("m.csv", "manifest", ""),
        ("s.tar", "tar", ""),
        ("tars", "tar", "tars"),
        ("t*.tar", "tar", ""),
        ("", "folder", ""),
    ],
)
def test_the_kind_is_found(tmp_path, name, kind, root):
    put(tmp_path, "s.tar", "tars/1.tar", "t1.tar", "a.jpg")
    put(tmp_path, "m.csv", data=b"x,URI\n")
    source = parse_source(f"{tmp_path}/{name}")
    assert (source.kind, source.root) == (kind, str(tmp_path / root))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("gone", "auto", "no such file or folder"),
        ("empty", "auto", "holds no files"),
        ("empty", "tar", "no shards"),
        ("x*.jpg", "auto", "holds no files"),
        ("gone/*.jpg", "auto", "no such folder"),
        ("notes.txt", "auto", "set --kind"),
        ("notes.txt", "folder", "no such folder"),
        ("gone.csv", "manifest", "no such manifest"),
        ("empty", "photos", "not one of auto, folder"),
    ],
)
def test_an_unreachable_or_empty_source_is_a_setting_error(tmp_path, name, kind, words):
    put(tmp_path, "notes.txt", "empty/.hidden")
    with pytest.raises(SettingError, match=words):
        parse_source(f"{tmp_path}/{name}", kind)


def test_an_unknown_scheme_is_a_setting_error():
    with pytest.raises(SettingError, match="cannot reach"):
        parse_source("nowhere://bucket/photos")


@pytest.mark.parametrize(
    "uri",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://b/x",
        "..\\x",
        "%2e%2e/x",
        "..%252fx",
        "%2Fetc/passwd",
        "a\0b",
    ],
)
def test_paths_cannot_leave_the_source(tmp_path, uri):
    with pytest.raises(ContentError) as caught:
        read_content(str(tmp_path), uri)
    assert caught.value.status == "outside_source"


def test_links_cannot_leave_the_source(tmp_path):
    put(tmp_path, "secret.jpg", "in/a.jpg")
    (tmp_path / "in/dir").symlink_to(tmp_path)
    for check in (safe_uri, read_content):
        with pytest.raises(ContentError, match="out of the source"):
            check(str(tmp_path / "in"), "dir/secret.jpg")
    assert safe_uri(str(tmp_path / "in"), "./a.jpg") == "a.jpg"


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("gone.jpg", "missing"),
        ("a.jpg/b", "missing"),
        ("d", "unreadable"),
        ("pipe", "unreadable"),
        ("big", "too_large"),
        ("n" * 5000, "unreadable"),
    ],
)
def test_a_bad_image_has_a_status(tmp_path, uri, status):
    put(tmp_path, "a.jpg", "d/b.jpg")
    put(tmp_path, "big", data=bytes(100))
    os.mkfifo(tmp_path / "pipe")
    with ContentReader(str(tmp_path), max_bytes=99) as reader, pytest.raises(ContentError) as caught:
        reader.read(uri)
    assert caught.value.status == status


def test_a_source_that_is_gone_judges_no_image(tmp_path):
    root = put(tmp_path / "in", "a.jpg", "sub/b.jpg")
    with ContentReader(str(root)) as reader:
        shutil.rmtree(root)
        with pytest.raises(FileNotFoundError, match="unreachable"):
            reader.read("a.jpg")
    for call in (lambda: stat_uris(str(root), ["a.jpg"]), lambda: scan_folder(str(root), "sub", Selector())):
        with pytest.raises(FileNotFoundError, match="unreachable"):
            call()


def test_a_member_beyond_its_shard_is_unreadable(tmp_path):
    put(tmp_path, "s.tar", data=bytes(10))
    for offset in (5, 500):
        with pytest.raises(ContentError, match="too early"):
            read_content(str(tmp_path), "s.tar/a.jpg", offset, 6)
    with pytest.raises(ContentError, match="no such file"):
        read_content(str(tmp_path), "gone.tar/a.jpg", 0, 6)


def test_sockets_and_pipes_are_not_listed(tmp_path):
    put(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "p.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.jpg"))
        assert listed(parse_source(str(tmp_path))) == ["a.jpg"]


def test_remote_listing_equals_local_listing(tmp_path):
    put(tmp_path, *ODD, ".h.jpg", "x.txt")
    for folder in ("", "k=v"):
        local = scan_folder(str(tmp_path), folder, Selector())
        remote = scan_remote(fs.LocalFileSystem(), str(tmp_path), folder, Selector())
        assert sorted(local[0]) == sorted(remote[0])
        assert local[1] == sorted(remote[1])


@pytest.mark.parametrize("n_parts", [1, 2, 3, 100])
def test_a_divided_source_is_the_whole_source(tmp_path, n_parts):
    put(tmp_path, *(f"{a}/{b}/{c}.jpg" for a in "xyz" for b in "pq" for c in "12"), "top.jpg")
    alone, whole = split_folders(str(tmp_path), Selector(), n_parts)
    parts = [e.uri for f in alone for e in scan_folder(str(tmp_path), f, Selector())[0]]
    parts += [e.uri for f in whole for e in walk_files(str(tmp_path), Selector(), f)]
    assert sorted(parts) == sorted(e.uri for e in walk_files(str(tmp_path), Selector()))


def test_times_are_microseconds(tmp_path):
    put(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(0, 1_234_567_891))
    assert next(walk_files(str(tmp_path), Selector())).modified_at == 1_234_567
    assert stat_uris(str(tmp_path), ["a.jpg", "gone"])[0].modified_at == 1_234_567
