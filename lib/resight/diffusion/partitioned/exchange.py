"""What the ranks of a partitioned solve need from each other."""

from typing import Protocol

import numpy as np

Pieces = list[tuple[int, np.ndarray]]  # the other rank, what goes to it or comes from it


class Exchange(Protocol):
    """One rank's side of the exchange; every rank makes the same calls in the same order.

    ``sent`` counts the bytes that this rank gave away in `swap`.
    """

    rank: int
    size: int
    sent: int

    def gather(self, x: np.ndarray) -> np.ndarray:
        """Collect an array of one shape and dtype from every rank: (size, ...), the same everywhere."""
        ...

    def swap(self, gives: Pieces, takes: Pieces) -> None:
        """Send contiguous arrays and fill others; what a rank gives to another is what that one takes."""
        ...


def sum_ranks(exchange: Exchange, x: np.ndarray) -> np.ndarray:
    """Add up an array over the ranks, in their order: every rank gets the same bits."""
    return np.cumsum(exchange.gather(x), axis=0)[-1]
