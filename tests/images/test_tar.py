"""Members of tar shards: against `tarfile`, and with damage."""

import io
import tarfile

import pytest

from resight.images.content import ContentReader
from resight.images.listing import Selector
from resight.images.tar import list_members, list_shard

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
NAMES = ["a.jpg", "sub folder/ü.png", "n" * 80 + "/" + "m" * 90 + ".jpg"]


def make_tar(members, form=tarfile.PAX_FORMAT):
    """Bytes of a tar that holds ``members`` (name, data)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_shard(folder, data, name="s.tar"):
    (folder / name).write_bytes(data)
    return str(folder)


def content_of(n):
    return bytes((7 * n + i) % 256 for i in range(300 * n + n))


MEMBERS = [(f"{n}.jpg", content_of(n)) for n in range(1, 6)]


def header_place(data, name):
    return data.index(name.encode() + b"\0")


@pytest.mark.parametrize("form", FORMATS)
def test_members_are_those_of_tarfile(form):
    names = [n for n in NAMES if form != tarfile.USTAR_FORMAT or n.isascii()]
    data = make_tar([(name, content_of(len(name))) for name in names], form)
    found = [(m.name, m.byte_offset, m.n_bytes) for m in list_members(io.BytesIO(data), len(data))]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert found == [(m.name, m.offset_data, m.size) for m in tar.getmembers()]


def test_only_regular_files_with_an_image_name_are_listed(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in [
            ("d.jpg", tarfile.DIRTYPE),
            ("l.jpg", tarfile.SYMTYPE),
            ("h.jpg", tarfile.LNKTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.jpg"
            tar.addfile(info)
        for name in ["a.jpg", "a.json", "a.cls", "b.PNG"]:
            tar.addfile(tarfile.TarInfo(name))
    root = write_shard(tmp_path, buffer.getvalue())
    assert [e.uri for e in list_shard(root, "s.tar", Selector())] == ["s.tar/a.jpg", "s.tar/b.PNG"]


def test_members_read_back_by_their_offset(tmp_path):
    root = write_shard(tmp_path, make_tar(MEMBERS))
    (tmp_path / "x.tar").mkdir()
    write_shard(tmp_path / "x.tar", make_tar(MEMBERS))
    for shard in ["s.tar", "x.tar/s.tar"]:
        entries = list_shard(root, shard, Selector())
        with ContentReader(root, max_open=1) as reader:
            read = [reader.read(e.uri, e.byte_offset, e.n_bytes) for e in entries]
        assert read == [data for _, data in MEMBERS]


@pytest.mark.parametrize("step", range(1, 12))
def test_a_cut_shard_keeps_the_members_before_the_cut(tmp_path, step):
    data = make_tar(MEMBERS)
    end = len(data) * step // 12
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        whole = [m.name for m in tar.getmembers() if m.offset_data + m.size <= end]
    entries = list_shard(write_shard(tmp_path, data[:end]), "s.tar", Selector())
    assert [e.uri for e in entries if e.status is None] == [f"s.tar/{name}" for name in whole]
    mark = whole == [name for name, _ in MEMBERS] and data[end - 512 : end] == bytes(512)
    assert mark or any(e.status == "unreadable" and e.error for e in entries)


@pytest.mark.parametrize("stated", [b"77777777777\0", b"\x80" + b"\xff" * 11, b"-0000000001\0"])
def test_a_member_that_lies_about_its_size_loses_no_other(tmp_path, stated):
    data = bytearray(make_tar(MEMBERS))
    place = header_place(data, "3.jpg")
    data[place + 124 : place + 136] = stated
    data[place + 148 : place + 156] = b" " * 8
    data[place + 148 : place + 155] = b"%06o\0" % sum(data[place : place + 512])
    entries = list_shard(write_shard(tmp_path, bytes(data)), "s.tar", Selector())
    assert [e.uri[6] for e in entries if e.status is None] == ["1", "2", "4", "5"]
    assert [e.status for e in entries if e.status] == ["unreadable"]


def test_a_broken_header_loses_one_member(tmp_path):
    data = bytearray(make_tar(MEMBERS))
    data[header_place(data, "2.jpg") + 150] ^= 0x55
    entries = list_shard(write_shard(tmp_path, bytes(data)), "s.tar", Selector())
    assert [e.uri for e in entries if e.status is None] == [f"s.tar/{n}.jpg" for n in (1, 3, 4, 5)]
    assert [e.uri for e in entries if e.status] == ["s.tar"]


@pytest.mark.parametrize(
    ("data", "words"), [(b"\x1f\x8b" + b"z" * 600, "gzip"), (b"", "end mark"), (b"q" * 9, "damaged")]
)
def test_a_file_that_is_no_tar_is_one_row(tmp_path, data, words):
    entries = list_shard(write_shard(tmp_path, data), "s.tar", Selector())
    assert [(e.uri, e.status) for e in entries] == [("s.tar", "unreadable")]
    assert words in entries[0].error


def test_names_that_leave_the_shard_are_marked(tmp_path):
    data = make_tar([("../x.jpg", b"1"), ("/etc/y.jpg", b"2"), ("./z.jpg", b"3")])
    found = {e.uri: e.status for e in list_shard(write_shard(tmp_path, data), "s.tar", Selector())}
    outside = "outside_source"
    assert found == {"s.tar/../x.jpg": outside, "s.tar//etc/y.jpg": outside, "s.tar/z.jpg": None}


def test_a_name_twice_is_the_last_one(tmp_path):
    data = make_tar([("a.jpg", b"old"), ("a.jpg", b"newer")])
    assert [e.n_bytes for e in list_shard(write_shard(tmp_path, data), "s.tar", Selector())] == [5]


def test_mutated_shards_never_raise(rng):
    data = make_tar([(name, content_of(3)) for name in NAMES])
    for _ in range(300):
        broken = bytearray(data[: rng.integers(1, len(data))] if rng.random() < 0.3 else data)
        for place in rng.integers(0, len(broken), 20):
            broken[place] = rng.integers(256)
        members = list(list_members(io.BytesIO(bytes(broken)), len(broken)))
        assert all(m.n_bytes >= 0 and m.byte_offset + m.n_bytes <= len(broken) + 512 for m in members)
