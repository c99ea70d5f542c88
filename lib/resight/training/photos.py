"""Photos of a training as the frozen stem of the network leaves them, computed once where memory allows."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from torch import Tensor

from resight.features.extract import batches_by_shape
from resight.features.photos import Failure, decode_photo, map_ahead
from resight.features.work import read_images
from resight.images.resize import fit_longer_side
from resight.training.network import Network
from resight.training.settings import TrainSettings

__all__ = ["Photos"]

DECODED_SIDE = 2  # JPEGs are decoded at twice the size or more, then averaged down, as by extract-features


class Photos:
    """What enters the trained part of a network, by row and longer side.

    Parameters
    ----------
    listed : Table
        ``root, uri, byte_offset, n_bytes, content_hash`` of every row.
    network : Network
        Whose stem photos go through.
    settings : TrainSettings
        Limits of photos, batches and memory.
    n_threads : int
        Photos that are decoded at a time; 0: in the thread that asks.

    Notes
    -----
    What is held is decided by `prepare` alone, so that a training which is resumed sees the same bits.
    """

    def __init__(
        self, listed: pa.Table, network: Network, settings: TrainSettings, *, n_threads: int = 0
    ) -> None:
        self.listed, self.network, self.settings, self.n_threads = listed, network, settings, n_threads
        self.held: dict[tuple[int, int], Tensor] = {}
        self.room = int(settings.cache_gb * 2**30)  # bytes
        self.failures: dict[int, Failure] = {}

    def prepare(self, rows: np.ndarray, side: int) -> None:
        """Look at the photos ``rows`` (r,) for the first time: hold what there is room for, note failures."""
        known = [int(row) for row in rows if (int(row), side) not in self.held]
        for row, maps in self.compute(known, side):
            n_bytes = maps.element_size() * maps.nelement()
            if n_bytes <= self.room:
                self.held[row, side] = maps.clone()  # not the batch that it is a part of
                self.room -= n_bytes

    def maps(self, rows: Sequence[int], side: int) -> dict[int, Tensor]:
        """Give the maps (c, h, w) of photos by row; a photo that cannot be read has none."""
        wanted = sorted({int(row) for row in rows})
        found = {row: self.held[row, side] for row in wanted if (row, side) in self.held}
        return found | dict(self.compute([row for row in wanted if row not in found], side))

    def compute(self, rows: Sequence[int], side: int) -> Iterator[tuple[int, Tensor]]:
        """Read, decode and scale photos, and run them through the stem in batches of one shape."""
        rows = [row for row in rows if row not in self.failures]
        unread: dict[int, tuple[str, str]] = {}
        contents = read_images(self.listed.take(pa.array(rows, pa.int64())), unread)
        loaded = map_ahead(lambda content: self.load(content, side), contents, n_threads=self.n_threads)

        def slots() -> Iterator[tuple[tuple[int, tuple[int, ...]], np.ndarray]]:
            for i, photo in enumerate(loaded):
                if isinstance(photo, Failure):
                    self.failures[rows[i]] = Failure(*unread[i]) if i in unread else photo
                else:
                    yield (rows[i], ()), photo

        conf = self.settings
        batches = batches_by_shape(slots(), batch_pixels=conf.batch_pixels, held_pixels=32_000_000)
        for batch, pixels in batches:
            yield from zip((row for row, _ in batch), self.network.enter(pixels), strict=True)

    def load(self, content: bytes | None, side: int) -> np.ndarray | Failure:
        """Decode a file and scale it: (h, w, 3) uint8 with ``side`` as its longer side."""
        longest = DECODED_SIDE * side
        decoded = decode_photo(content, max_pixels=self.settings.max_pixels, longer_side=longest)
        if isinstance(decoded, Failure):
            return decoded
        return fit_longer_side(decoded.pixels, side, enlarge=True)
