"""Describe a chunk of photos: bytes in, one unit vector and one status per photo out.

Photos are decoded ahead of the network, grouped by exact shape and run in batches that depend on the
order of the photos only: a chunk gives the same bytes whenever it is run on the same machine. Several
sizes of a photo are pooled as in Radenovic et al. (TPAMI 2018, section 3.5).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from resight.features.describe import Describer, build_describer
from resight.features.photos import Box, Failure, clip_box, decode_photo, map_ahead, one_native_thread
from resight.features.settings import ExtractSettings
from resight.features.whitening import Whitening
from resight.images.resize import fit_longer_side

__all__ = ["Extracted", "Regions", "extract_contents"]

TINY = 1e-12
DECODED_SIDE = 2  # JPEGs are decoded at twice the largest size or more, then averaged down
Sizes = dict[tuple[int, ...], np.ndarray]  # which sizes of the settings -> pixels (h, w, 3)
Slot = tuple[int, tuple[int, ...]]  # photo, sizes


class Extracted(NamedTuple):
    """What became of a chunk of n photos.

    Parameters
    ----------
    vectors : ndarray, (n, d) float32
        Unit rows; a zero row where the status is not ``ok``.
    status : list of str
        ``ok``, ``missing``, the decoder's words, ``empty_box``, ``zero`` or ``nan``.
    error : list of str or None
        A sentence where the status is not ``ok``.
    regions : list of Regions or None
        Of every photo, where the settings ask for regions; else empty.
    """

    vectors: np.ndarray
    status: list[str]
    error: list[str | None]
    regions: "list[Regions | None]"


class Regions(NamedTuple):
    """Regions of one photo.

    Parameters
    ----------
    boxes : ndarray, (r, 4) float32
        ``y0 x0 y1 x1`` as shares of the height and width of the photo (or of its box).
    vectors : ndarray, (r, d) float32
        Unit rows, or zeros.
    """

    boxes: np.ndarray
    vectors: np.ndarray


ZERO = Failure("zero", "its descriptor is the zero vector")
NAN = Failure("nan", "its descriptor is not finite")


def extract_contents(
    contents: Iterable[bytes | None],
    settings: ExtractSettings,
    *,
    whitening: Sequence[Whitening] = (),
    n_threads: int = 1,
    device: str | None = None,
    boxes: Sequence[Box | None] | None = None,
) -> Extracted:
    """Describe a chunk of image files.

    Parameters
    ----------
    contents : iterable of bytes or None
        Files in order; None for one that could not be read. Consumed once, a few ahead.
    settings : ExtractSettings
        What a descriptor is.
    whitening : sequence of Whitening
        Applied one after the other; where the settings say so, the first to every R-MAC region.
    n_threads : int
        Photos that are decoded at a time, and on a CPU batches that run at a time.
    device : str, optional
        Such as ``cuda:0``; by default the first GPU if there is one, else the CPU.
    boxes : sequence of (y0, x0, y1, x1), optional
        Describe only this part of a photo; half-open, in pixels of the upright photo.

    Returns
    -------
    Extracted
        Vectors, status and error of every photo. A bad photo changes nothing for the others.
    """
    with one_native_thread(torch=not settings.is_colour):
        first = whitening[0] if whitening else None
        describer = build_describer(settings, whitening=first, device=device)
        ahead = n_threads if n_threads > 1 or describer.ahead else 0
        tasks = ((content, boxes[i] if boxes else None) for i, content in enumerate(contents))
        photos = map_ahead(lambda task: load_photo(*task, settings=settings), tasks, n_threads=ahead)
        beside = n_threads if n_threads > 1 and not describer.ahead else 0
        V, failures, regions = describe_photos(photos, describer, settings, n_threads=beside)
        vectors = pool_sizes(V, settings)
        faults = find_faults(vectors, failures)
        for model in whitening[1:] if settings.whiten_regions else whitening:
            vectors = whiten_fine(vectors, faults, model)
            faults = find_faults(vectors, faults)
            regions = {i: Regions(r.boxes, model.apply(r.vectors)) for i, r in regions.items()}
    fine = np.array([fault is None for fault in faults], bool)
    vectors = np.where(fine[:, None], vectors, np.float32(0))
    status = [fault.status if fault else "ok" for fault in faults]
    error = [fault.error if fault else None for fault in faults]
    fine_regions = [regions.get(i) if ok else None for i, ok in enumerate(fine)] if settings.regions else []
    return Extracted(vectors, status, error, fine_regions)


def load_photo(content: bytes | None, box: Box | None, settings: ExtractSettings) -> Sizes | Failure:
    """Decode a file, cut out the box, scale to every size of the settings."""
    longest = DECODED_SIDE * max(settings.sizes) if box is None else None
    decoded = decode_photo(
        content, max_pixels=settings.max_pixels, longer_side=longest, decoder=settings.decoder
    )
    if isinstance(decoded, Failure):
        return decoded
    if box is None:
        return scale_photo(decoded.pixels, settings)
    part = clip_box(box, *decoded.pixels.shape[:2])
    if isinstance(part, Failure):
        return part
    y0, x0, y1, x1 = part
    return scale_photo(decoded.pixels[y0:y1, x0:x1], settings)


def scale_photo(pixels: np.ndarray, settings: ExtractSettings) -> Sizes:
    """Scale to every size; sizes that come out the same are described once."""
    found: dict[tuple[int, int], tuple[list[int], np.ndarray]] = {}
    for j, side in enumerate(settings.sizes):
        scaled = fit_longer_side(pixels, side, enlarge=settings.enlarge)
        found.setdefault(scaled.shape[:2], ([], scaled))[0].append(j)
    return {tuple(sizes): scaled for sizes, scaled in found.values()}


def describe_photos(
    photos: Iterable[Sizes | Failure],
    describer: Describer,
    settings: ExtractSettings,
    *,
    n_threads: int = 0,
) -> tuple[np.ndarray, list[Failure | None], dict[int, Regions]]:
    """Run photos through the describer: (n, s, d) float32 for s sizes, who failed, regions by photo."""
    failures: list[Failure | None] = []

    def slots() -> Iterator[tuple[Slot, np.ndarray]]:
        for i, photo in enumerate(photos):
            if isinstance(photo, Failure):
                failures.append(photo)
            else:
                failures.append(None)
                yield from (((i, sizes), pixels) for sizes, pixels in photo.items())

    batches = batches_by_shape(slots(), batch_pixels=describer.batch_pixels, held_pixels=settings.held_pixels)
    described = list(
        map_ahead(lambda batch: (batch[0], describer.describe(batch[1])), batches, n_threads=n_threads)
    )
    d = described[0][1].vectors.shape[1] if described else describer.count_dims()
    V = np.zeros((len(failures), len(settings.sizes), d), np.float32)
    regions: dict[int, Regions] = {}
    for batch_slots, batch in described:  # a GPU has been working on until here
        rows = batch.vectors if isinstance(batch.vectors, np.ndarray) else batch.vectors.cpu().numpy()
        for (i, sizes), row in zip(batch_slots, rows, strict=True):
            V[i, list(sizes)] = row
        if batch.regions is not None and batch.boxes is not None:
            arrays = batch.regions.float().cpu().numpy()
            regions |= {i: Regions(batch.boxes, r) for (i, _), r in zip(batch_slots, arrays, strict=True)}
    return V, failures, regions


def batches_by_shape(
    photos: Iterable[tuple[Slot, np.ndarray]], *, batch_pixels: int, held_pixels: int
) -> Iterator[tuple[list[Slot], np.ndarray]]:
    """Group photos (h, w, 3) of equal shape to batches (b, h, w, 3) without changing any pixel.

    A batch is given when one photo more would exceed ``batch_pixels``, at the end, or when more than
    ``held_pixels`` wait: then the group that has waited longest.
    """
    waiting: dict[tuple[int, ...], list[tuple[Slot, np.ndarray]]] = {}
    held = 0
    for slot, pixels in photos:
        shape, area = pixels.shape, pixels.shape[0] * pixels.shape[1]
        group = waiting.setdefault(shape, [])
        group.append((slot, pixels))
        held += area
        if (len(group) + 1) * area > batch_pixels:
            yield stack(waiting.pop(shape))
            held -= len(group) * area
        while held > held_pixels:
            shape, group = next(iter(waiting.items()))
            yield stack(waiting.pop(shape))
            held -= len(group) * shape[0] * shape[1]
    for group in waiting.values():
        yield stack(group)


def stack(group: list[tuple[Slot, np.ndarray]]) -> tuple[list[Slot], np.ndarray]:
    """Join a group to one array (b, h, w, 3)."""
    slots, pixels = zip(*group, strict=True)
    return list(slots), np.stack(pixels)


def pool_sizes(V: np.ndarray, settings: ExtractSettings) -> np.ndarray:
    """Pool the vectors of the sizes, (n, s, d) to (n, d)."""
    if V.shape[1] == 1:
        return V[:, 0]
    import torch

    from resight.features.pooling import pool_scales

    p = settings.p if settings.scale_pooling == "gem" else 1.0
    return pool_scales(torch.from_numpy(V), p=p).numpy()


def find_faults(vectors: np.ndarray, failures: list[Failure | None]) -> list[Failure | None]:
    """Add to the photos that have failed those whose vector is not finite or zero."""
    finite = np.isfinite(vectors).all(axis=1)
    zero = np.linalg.norm(vectors, axis=1) < TINY
    return [
        failure or (NAN if not fine else ZERO if empty else None)
        for failure, fine, empty in zip(failures, finite, zero, strict=True)
    ]


def whiten_fine(vectors: np.ndarray, faults: list[Failure | None], whitening: Whitening) -> np.ndarray:
    """Whiten the rows without a fault, (n, d) to (n, D) float32; the others become zeros."""
    fine = np.array([fault is None for fault in faults], bool)
    whitened = np.zeros((len(vectors), whitening.projection.shape[1]), np.float32)
    whitened[fine] = whitening.apply(vectors[fine])
    return whitened
