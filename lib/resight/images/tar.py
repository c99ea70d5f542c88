"""Images inside tar shards (webdataset style): found by their headers, without reading their data.

POSIX.1-2001 pax, ustar, GNU and V7 headers. A shard that is cut or lies about sizes gives the members that
can be found, and a row that says what is wrong.
"""

import io
from collections.abc import Iterator
from tarfile import BLOCKSIZE, HeaderError, TarInfo
from typing import BinaryIO, NamedTuple

from resight import files
from resight.images.content import ContentError, ContentReader, normal_uri
from resight.images.listing import Entry, Selector, stat_uris

REGULAR = (b"0", b"\0", b"7")
EMPTY = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders: no data follows
SPARSE = b"S"
EXTENSIONS = (b"L", b"x")  # GNU long name, pax records of the next member
MAX_EXTENSION = 1 << 20
PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
CHUNK = 1 << 20


class Member(NamedTuple):
    """A regular file in a tar; ``error`` instead of a usable place where the shard is damaged."""

    name: str
    byte_offset: int
    n_bytes: int
    error: str | None = None


def list_members(file: BinaryIO, n_bytes: int) -> Iterator[Member]:
    """List the regular files of a tar of ``n_bytes``; a member without a name stands for the tar itself."""
    place: int | None = 0
    name, size = "", -1  # what an extension header says of the next member
    while place is not None and (block := read_at(file, place, BLOCKSIZE)):
        start, header = place + BLOCKSIZE, parse_header(block)
        if block == bytes(BLOCKSIZE):
            return  # the end mark
        if header is not None and header.type in EXTENSIONS and header.size <= MAX_EXTENSION:
            longer, size = parse_extension(header.type, read_at(file, start, header.size), size)
            name, place = longer or name, start + padded(header.size)
            continue
        if header is None:
            following = find_header(file, start)
            yield Member("", place, 0, damage(block, place, following))
        else:
            length = 0 if header.type in EMPTY else size if size >= 0 else header.size
            member = check_member(name or header.name, header.type, start, length, n_bytes)
            if header.type in REGULAR or member.error:
                yield member
            following = start + padded(length) if start + length <= n_bytes else find_header(file, start)
        place, name, size = following, "", -1
    if place is not None:
        yield Member("", place, 0, "the shard has no end mark: it may be cut")


def check_member(name: str, kind: bytes, start: int, length: int, n_bytes: int) -> Member:
    """Compare what a header states with the size of the shard."""
    n_lost = start + length - n_bytes
    error = f"the shard ends {n_lost} bytes too early" if n_lost > 0 else None
    if kind == SPARSE:
        error = "a sparse member: its bytes are not in one piece"
    return Member(name, start, min(length, max(n_bytes - start, 0)), error)


def padded(n_bytes: int) -> int:
    """Round up to whole blocks."""
    return -(-n_bytes // BLOCKSIZE) * BLOCKSIZE


def read_at(file: BinaryIO, place: int, n_bytes: int) -> bytes:
    """Read a piece of a file."""
    file.seek(place)
    return file.read(n_bytes)


def parse_header(block: bytes) -> TarInfo | None:
    """Read a header; None where its checksum or its numbers are wrong."""
    try:
        header = TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except (HeaderError, ValueError):
        return None
    return header if header.size >= 0 else None


def parse_extension(kind: bytes, data: bytes, size: int) -> tuple[str, int]:
    """Give the name and the size that an extension header states for the next member."""
    if kind == b"L":
        return data.rstrip(b"\0").decode("utf-8", "backslashreplace"), size
    name = ""
    while data:
        length, _, record = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            break
        key, _, value = record[: int(length) - len(length) - 2].partition(b"=")
        if key == b"path":
            name = value.decode("utf-8", "backslashreplace")
        elif key == b"size" and value.isdigit():
            size = int(value)
        data = data[int(length) :]
    return name, size


def find_header(file: BinaryIO, place: int) -> int | None:
    """Search for the next valid header from ``place`` on; None at the end of the file."""
    while chunk := read_at(file, place, CHUNK):
        for i in range(0, len(chunk) - BLOCKSIZE + 1, BLOCKSIZE):
            block = chunk[i : i + BLOCKSIZE]
            if block[257:262] == b"ustar" and parse_header(block) is not None:
                return place + i
        place += CHUNK
    return None


def damage(block: bytes, place: int, found: int | None) -> str:
    """Say what a block that is no header means."""
    if place == 0 and block[:2] in PACKED:
        return f"compressed with {PACKED[block[:2]]}: unpack it, members cannot be read one by one"
    lost = "what follows is lost" if found is None else f"the next member is at byte {found}"
    return f"damaged at byte {place}: {lost}"


def list_shard(root: str, shard: str, selector: Selector) -> list[Entry]:
    """List the images of one shard as ``shard/member``, with the time of the shard.

    A name that occurs twice is the last one, as tar means it. Rows with the uri of the shard itself say
    what is wrong with it.
    """
    stat = stat_uris(root, [shard])[0]
    if stat.status is not None or stat.n_bytes is None:
        return [stat]
    entries: dict[str, Entry] = {}
    with ContentReader(root) as reader:
        try:
            file = reader.open_shard(shard)
            if files.local_path(root) is None:
                file = io.BufferedReader(file, CHUNK)  # not one request per header
            for member in list_members(file, stat.n_bytes):
                entry = member_entry(shard, member, stat.modified_at)
                if not member.name:
                    entries.setdefault(shard, entry)
                elif selector.wants(entry.uri):
                    entries[entry.uri] = entry
        except ContentError as error:
            entries[shard] = Entry(shard, status=error.status, error=error.reason)
    return list(entries.values())


def member_entry(shard: str, member: Member, modified_at: int | None) -> Entry:
    """Give the row of a member."""
    if not member.name:
        return Entry(shard, None, modified_at, status="unreadable", error=member.error)
    try:
        name, status, error = normal_uri(member.name), None, member.error
    except ContentError as refused:
        name, status, error = member.name, refused.status, refused.reason
    if member.error:
        status = "unreadable"
    uri = f"{shard}/{name}"
    return Entry(uri, member.n_bytes, modified_at, member.byte_offset, None, status, error)
