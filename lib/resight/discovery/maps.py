"""Photos to activation maps, handed one by one to whatever looks at them."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from resight.config import SettingError
from resight.features.describe import NetworkDescriber, build_describer
from resight.features.extract import NAN, Sizes, Slot, batches_by_shape, load_photo
from resight.features.photos import Failure, map_ahead, one_native_thread
from resight.features.settings import ExtractSettings

__all__ = ["map_photos"]

T = TypeVar("T")
Batch = tuple[list[Slot], np.ndarray]


def map_photos(
    contents: Iterable[bytes | None],
    settings: ExtractSettings,
    look: Callable[[int, np.ndarray], T],
    *,
    n_threads: int = 1,
    device: str | None = None,
) -> list[T | Failure]:
    """Run image files through a network and ``look`` at the activations of each.

    Parameters
    ----------
    contents : iterable of bytes or None
        Files in order; None for one that could not be read. Consumed once, a few ahead.
    settings : ExtractSettings
        A network with one layer and one size.
    look : function (number, A) -> T
        ``A`` (h, w, c) float32, not negative. Called as batches come, in several threads.
    n_threads : int
        Photos that are decoded at a time, and on a CPU batches that run at a time.
    device : str, optional
        Such as ``cuda:0``; by default the first GPU if there is one, else the CPU.

    Returns
    -------
    list
        Of every file what ``look`` gave, or why there is nothing. Batches depend on the order of files only.
    """
    with one_native_thread(torch=True):
        describer = build_describer(settings, device=device)
        if not isinstance(describer, NetworkDescriber):
            raise ValueError("activation maps need a network")
        backbone = describer.backbone
        ahead = n_threads if n_threads > 1 or describer.ahead else 0
        photos = map_ahead(lambda content: load_photo(content, None, settings), contents, n_threads=ahead)
        found: dict[int, T | Failure] = {}
        limits = {"batch_pixels": describer.batch_pixels, "held_pixels": settings.held_pixels}

        def run(batch: Batch) -> dict[int, T | Failure]:
            slots, pixels = batch
            maps = backbone.maps(pixels)[0]
            if maps.ndim != 4:
                raise SettingError("descriptors: their network gives vectors, discovery needs maps")
            cells = maps.clamp_min(0).permute(0, 2, 3, 1).contiguous().cpu().numpy()
            looked = zip(slots, cells, strict=True)
            return {i: look(i, A) if np.isfinite(A).all() else NAN for (i, _), A in looked}

        batches = batches_by_shape(list_slots(photos, found), **limits)
        beside = n_threads if n_threads > 1 and not describer.ahead else 0
        for part in map_ahead(run, batches, n_threads=beside):
            found |= part
    return [found[i] for i in range(len(found))]


def list_slots(
    photos: Iterable[Sizes | Failure], found: dict[int, T | Failure]
) -> Iterator[tuple[Slot, np.ndarray]]:
    """Give the pixels of the photos with their numbers; write down in ``found`` which have none."""
    for i, photo in enumerate(photos):
        if isinstance(photo, Failure):
            found[i] = photo
        else:
            yield from (((i, sizes), pixels) for sizes, pixels in photo.items())
