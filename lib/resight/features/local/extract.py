"""Find and describe the keypoints of a chunk of photos: bytes in, features and one status per photo out.

Photos are described one by one, never padded or batched: a photo's features do not depend on its chunk.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from resight.features.local.extractors import LocalExtractor, build_extractor
from resight.features.local.photos import ScaledPhoto, load_photo, move_points
from resight.features.local.points import LocalFeatures, inside_box
from resight.features.local.settings import LocalSettings
from resight.features.photos import Box, Failure, map_ahead, one_native_thread
from resight.features.whitening import Whitening

__all__ = ["LocalExtracted", "extract_local"]

NAN = Failure("nan", "a vector or the strength of a keypoint is not finite")


class LocalExtracted(NamedTuple):
    """What became of a chunk of n photos.

    Parameters
    ----------
    features : list of LocalFeatures or None
        Strongest first; None where the status is not ``ok``. A photo may have no keypoint at all.
    status : list of str
        ``ok``, ``missing``, the decoder's words, ``empty_box`` or ``nan``.
    error : list of str or None
        A sentence where the status is not ``ok``.
    """

    features: list[LocalFeatures | None]
    status: list[str]
    error: list[str | None]


def extract_local(
    contents: Iterable[bytes | None],
    settings: LocalSettings,
    *,
    whitening: Whitening | None = None,
    n_threads: int = 1,
    device: str | None = None,
    boxes: Sequence[Box | None] | None = None,
) -> LocalExtracted:
    """Find and describe the keypoints of a chunk of image files.

    Parameters
    ----------
    contents : iterable of bytes or None
        Files in order; None for one that could not be read. Consumed once, a few ahead.
    settings : LocalSettings
        What local features are.
    whitening : Whitening, optional
        Projects the activations of the extractor ``how``; its result is not normalised.
    n_threads : int
        On a CPU photos that are described at a time, on a GPU photos that are decoded at a time.
    device : str, optional
        Such as ``cuda:0``; by default the first GPU if there is one, else the CPU.
    boxes : sequence of (y0, x0, y1, x1), optional
        Parts of photos, half-open, in pixels of the upright photo. By ``settings.box_mode`` either keypoints
        of the whole photo with ``x0 < x < x1`` and ``y0 < y < y1``, the strongest ``max_keypoints`` of these,
        or those of the part cut out and scaled as a photo of its own.

    Returns
    -------
    LocalExtracted
        Features, status and error of every photo. A bad photo changes nothing for the others.
    """
    with one_native_thread(torch=settings.uses_network):
        extractor = build_extractor(settings, whitening=whitening, device=device)
        tasks = ((content, boxes[i] if boxes else None) for i, content in enumerate(contents))

        def load(task: tuple[bytes | None, Box | None]) -> ScaledPhoto | Failure:
            return load_photo(*task, settings)

        def describe(photo: ScaledPhoto | Failure) -> LocalFeatures | Failure:
            if isinstance(photo, Failure):
                return photo
            return describe_photo(photo, extractor, limit=settings.max_keypoints)

        if extractor.ahead:
            found = [describe(photo) for photo in map_ahead(load, tasks, n_threads=n_threads)]
        else:
            threads = n_threads if n_threads > 1 else 0
            found = list(map_ahead(lambda task: describe(load(task)), tasks, n_threads=threads))
    failures = [one if isinstance(one, Failure) else None for one in found]
    return LocalExtracted(
        [one if isinstance(one, LocalFeatures) else None for one in found],
        [failure.status if failure else "ok" for failure in failures],
        [failure.error if failure else None for failure in failures],
    )


def describe_photo(photo: ScaledPhoto, extractor: LocalExtractor, *, limit: int) -> LocalFeatures | Failure:
    """Describe one photo in pixels of its original."""
    found = extractor.describe(photo.pixels, limit=None if photo.box else limit)
    points, vectors = move_points(found.points, photo), found.vectors
    if photo.box:
        inside = inside_box(points, photo.box)
        points, vectors = points[inside][:limit], vectors[inside][:limit]
    if not (np.isfinite(points).all() and np.isfinite(vectors).all()):
        return NAN
    return LocalFeatures(points, np.ascontiguousarray(vectors, np.float32))
