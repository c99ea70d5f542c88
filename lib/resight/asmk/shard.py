"""The inverted file of some images as a folder of files that a search maps into memory.

A shard holds at most 65,536 images, numbered from 0 in the order of their ids (their *ordinals*):

- ``image_ids.npy`` (n,) int64, ascending, images without entries included;
- ``offsets.npy`` (k + 1,) uint32: entries ``offsets[c]`` to ``offsets[c + 1]`` are of word c;
- ``ordinals.npy`` (E,) uint16, ascending inside a word: the image of every entry;
- ``codes.npy`` (E, w) uint8 packed bits, or (E, d) float16 or float32 vectors.

An entry of 128 bits takes 18 bytes. An id is the difference to the first image of the shard, not to the entry
before it: two bytes suffice for either, and this one is read without a sum over the list. Images may be
added in further shards and removed by leaving them out of the norms; no shard is ever changed. The checksum
of a shard is verified when a machine first opens it, and again when size, time or place of a file there
changed: a damaged one is named and never searched, and the next run of ``build-index`` replaces it.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from resight import files
from resight.knn.matrix import map_array

MAX_IMAGES = 1 << 16  # an ordinal is a uint16
MAX_ENTRIES = (1 << 32) - 1  # an offset is a uint32
NAMES = ("codes.npy", "image_ids.npy", "offsets.npy", "ordinals.npy")  # the order of the checksum
BLOCK_BYTES = 16 << 20


class CorruptShardError(RuntimeError):
    """The files of a shard are not those that were written."""


class ShardInfo(NamedTuple):
    """What the table ``shards`` says of a shard's files."""

    n_images: int
    n_entries: int
    n_bytes: int
    sha256: str


class Shard(NamedTuple):
    """The mapped arrays of a shard, see the module."""

    codes: np.ndarray
    image_ids: np.ndarray
    offsets: np.ndarray
    ordinals: np.ndarray

    @property
    def n_images(self) -> int:
        """Number of images, those without entries included."""
        return len(self.image_ids)

    @property
    def n_words(self) -> int:
        """Size of the codebook."""
        return len(self.offsets) - 1

    def words_of(self, entries: np.ndarray) -> np.ndarray:
        """Visual word (m,) int32 of each of ``entries`` (m,), which number the rows of ``codes``."""
        return (np.searchsorted(self.offsets, entries, side="right") - 1).astype(np.int32)

    def entries_of(self, ordinals: np.ndarray) -> np.ndarray:
        """Entries (m,) int64, ascending, of some images."""
        wanted = np.zeros(self.n_images, bool)
        wanted[ordinals] = True
        return np.flatnonzero(wanted[self.ordinals])


@dataclass(frozen=True)
class ShardFiles:
    """Where a shard lies and what it must be; small, so a task carries it."""

    folder: str
    sha256: str
    n_images: int = 0
    n_entries: int = 0

    def open(self) -> Shard:
        """Map the files into memory; kept per process.

        Raises
        ------
        CorruptShardError
            A file is missing, cut off or changed.
        """
        return open_shard(self.folder, self.sha256)


def write_shard(
    folder: str,
    words: np.ndarray,
    ordinals: np.ndarray,
    codes: np.ndarray,
    image_ids: np.ndarray,
    *,
    n_words: int,
) -> ShardInfo:
    """Write the entries of some images.

    Parameters
    ----------
    folder : str
        On any file system; belongs to these very entries, since files of equal names are replaced.
    words : ndarray, (E,) int
        Visual word of each entry, in any order; entries of one word keep the order of their images.
    ordinals : ndarray, (E,) int
        Index of each entry's image in ``image_ids``.
    codes : ndarray, (E, w) uint8, or (E, d) float16 or float32
        Packed bits, or unit vectors.
    image_ids : ndarray, (n,) int64
        Strictly ascending; images without entries included, so that a search can return them last.

    Raises
    ------
    ValueError
        More images or entries than a shard takes, a word or an ordinal out of range, ids out of order.
    """
    check_entries(words, ordinals, codes, image_ids, n_words)
    if (np.diff(ordinals) < 0).any():
        by_image = np.argsort(ordinals, kind="stable")
        words, ordinals, codes = words[by_image], ordinals[by_image], codes[by_image]
    offsets, order = group_by_word(np.ascontiguousarray(words, np.int64), n_words)
    arrays = {
        "codes.npy": lambda: codes[order],
        "image_ids.npy": lambda: np.asarray(image_ids, np.int64),
        "offsets.npy": lambda: offsets.astype(np.uint32),
        "ordinals.npy": lambda: ordinals[order].astype(np.uint16),
    }
    checksum, n_bytes = hashlib.sha256(), 0
    for name in NAMES:  # one after the other: the largest is held twice, not all of them
        data = to_npy(arrays[name]())
        checksum.update(data)
        n_bytes += len(data)
        files.write_bytes(files.join(folder, name), data)
    return ShardInfo(len(image_ids), len(words), n_bytes, checksum.hexdigest())


def check_entries(
    words: np.ndarray, ordinals: np.ndarray, codes: np.ndarray, image_ids: np.ndarray, n_words: int
) -> None:
    """Raise ValueError where entries cannot be written as a shard."""
    n_images, n_entries = len(image_ids), len(words)
    if n_images > MAX_IMAGES or n_entries > MAX_ENTRIES:
        raise ValueError(
            f"a shard takes {MAX_IMAGES} images and {MAX_ENTRIES} entries, got {n_images}, {n_entries}"
        )
    if ordinals.shape != (n_entries,) or codes.ndim != 2 or len(codes) != n_entries:
        raise ValueError(f"{n_entries} words, ordinals {ordinals.shape}, codes {codes.shape}")
    if codes.dtype not in (np.uint8, np.float16, np.float32):
        raise ValueError(f"codes are uint8, float16 or float32, got {codes.dtype}")
    if (np.diff(image_ids) <= 0).any():
        raise ValueError("image_ids are not strictly ascending")
    for name, values, stop in (("words", words, n_words), ("ordinals", ordinals, n_images)):
        if n_entries and (values.min() < 0 or values.max() >= stop):
            raise ValueError(f"{name} {values.min()} to {values.max()} are not in [0, {stop})")


def to_npy(array: np.ndarray) -> bytes:
    """Give an array as the bytes of a ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array))
    return stream.getvalue()


@numba.njit(cache=True, nogil=True)
def group_by_word(words, n_words):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sort entries by word, keeping their order inside a word: offsets (k + 1,) and order (E,) int64."""
    offsets = np.zeros(n_words + 1, np.int64)
    for word in words:
        offsets[word + 1] += 1
    for c in range(n_words):
        offsets[c + 1] += offsets[c]
    next_free, order = offsets.copy(), np.empty(words.size, np.int64)
    for i in range(words.size):
        order[next_free[words[i]]] = i
        next_free[words[i]] += 1
    return offsets, order


@lru_cache(maxsize=256)
def open_shard(folder: str, sha256: str) -> Shard:
    """Map a shard whose checksum is ``sha256``, see `ShardFiles.open`."""
    verify_shard(folder, sha256)
    return Shard(*(map_array(folder, name) for name in NAMES))


def verify_shard(folder: str, sha256: str) -> None:
    """Compute the checksum of a shard, once per machine and state of its files."""
    verify_once(f"shard {folder}", sha256, [files.join(folder, name) for name in NAMES], digest_files)


def verify_once(what: str, expected: str, uris: Sequence[str], digest: Callable[[list[Path]], str]) -> None:
    """Compute a checksum of files by ``digest``, once per machine and state of the files.

    Raises
    ------
    CorruptShardError
        One of them is missing, or the checksum is not the ``expected`` one; it says of ``what``.
    """
    try:
        paths = [files.local_file(uri) for uri in uris]
        seen = files.cache_folder() / "verified" / digest_state(what, expected, paths)
        if seen.exists():
            return
        found = digest(paths)
    except FileNotFoundError as error:
        raise CorruptShardError(f"{what}: {error}") from None
    if found != expected:
        raise CorruptShardError(f"{what}: the files have the checksum {found}, expected {expected}")
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.touch()


def digest_state(what: str, expected: str, paths: list[Path]) -> str:
    """Hash what changes when a file is written again: its size, its time, its number on the disk."""
    stats = [path.stat() for path in paths]
    state = [(one.st_size, one.st_mtime_ns, one.st_ino) for one in stats]
    return hashlib.sha256(f"{what}\0{expected}\0{state}".encode()).hexdigest()[:32]


def digest_files(paths: list[Path]) -> str:
    """SHA-256 over files, one after the other."""
    checksum = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                checksum.update(block)
    return checksum.hexdigest()
