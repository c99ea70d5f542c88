"""What all extractors share: photos decoded ahead of the work, in threads, and why one gives no pixels."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from resight.images.decode import Decoded, DecodeError, describe_error
from resight.images.ingest import DECODER, load_decoder

__all__ = ["Box", "Failure", "clip_box", "decode_photo", "map_ahead", "one_native_thread"]

AHEAD = 4  # decoded photos that wait, per thread
A = TypeVar("A")
B = TypeVar("B")
Box = tuple[int, int, int, int]


class Failure(NamedTuple):
    """Why a photo has no vector."""

    status: str
    error: str


@contextmanager
def one_native_thread(*, torch: bool) -> Iterator[None]:
    """Keep OpenCV and torch to one thread each: whole photos run side by side instead."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    if torch:
        from torch import set_num_threads

        set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def map_ahead(work: Callable[[A], B], items: Iterable[A], *, n_threads: int) -> Iterator[B]:
    """Apply ``work`` in order, in threads a few items ahead of the consumer; 0 threads: in this one."""
    if n_threads == 0:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > AHEAD * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def decode_photo(
    content: bytes | None, *, max_pixels: int, longer_side: int | None = None, decoder: str = DECODER
) -> Decoded | Failure:
    """Decode a file by ``decoder``; a file that gives no pixels is a failure, never an exception."""
    if content is None:
        return Failure("missing", "the file could not be read")
    try:
        return load_decoder(decoder)(content, max_pixels=max_pixels, longer_side=longer_side)
    except DecodeError as error:
        return Failure(error.status, error.reason)
    except MemoryError:  # the chunk finds out whose fault it is
        raise
    except Exception as error:  # a decoder that is not ours may raise anything
        return Failure("undecodable", describe_error(error))


def clip_box(box: Box, height: int, width: int) -> Box | Failure:
    """Give the part of a half-open box (y0, x0, y1, x1) that lies on the photo."""
    y0, x0 = max(box[0], 0), max(box[1], 0)
    y1, x1 = min(box[2], height), min(box[3], width)
    if y0 >= y1 or x0 >= x1:
        return Failure("empty_box", f"the box {box} holds no pixels of the photo")
    return y0, x0, y1, x1
