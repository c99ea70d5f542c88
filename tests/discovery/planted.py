"""Photos of known things pasted on clutter that no two images share."""

from typing import NamedTuple

import cv2
import numpy as np

from resight.demo.photos import OBJECTS, load_photo

SIDE = 320


class Scene(NamedTuple):
    """An image (h, w, 3) uint8; the number of its object, -1 without one, and the object's box."""

    pixels: np.ndarray
    thing: int
    box: tuple[int, int, int, int]


def paint_clutter(rng) -> np.ndarray:
    """Soft colours with a dozen shapes at random: nothing that another image shows."""
    soft = rng.integers(40, 220, size=(6, 6, 3)).astype(np.uint8)
    canvas = cv2.resize(soft, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        points = (rng.uniform(0, SIDE, 2) + rng.normal(scale=30, size=(int(rng.integers(3, 8)), 2))).astype(
            int
        )
        if rng.uniform() < 0.5:
            cv2.fillPoly(canvas, [points], colour)
        else:
            cv2.polylines(canvas, [points], False, colour, int(rng.integers(2, 9)))
    return canvas


def plant_scenes(rng, *, n_things=4, views=6, n_empty=6, share=(0.4, 0.55)) -> list[Scene]:
    """Paste every thing into ``views`` images, at random places and in sizes of a ``share`` of the side."""
    scenes = []
    for thing, photo in enumerate(OBJECTS[:n_things]):
        pixels = load_photo(photo)
        for _ in range(views):
            canvas = paint_clutter(rng)
            scale = rng.uniform(*share) * SIDE / max(pixels.shape[:2])
            small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            h, w = small.shape[:2]
            y, x = rng.integers(SIDE - h), rng.integers(SIDE - w)
            canvas[y : y + h, x : x + w] = np.clip(small * rng.uniform(0.85, 1.1), 0, 255).astype(np.uint8)
            scenes.append(Scene(canvas, thing, (int(y), int(x), int(y + h), int(x + w))))
    scenes += [Scene(paint_clutter(rng), -1, (0, 0, 0, 0)) for _ in range(n_empty)]
    return [scenes[i] for i in rng.permutation(len(scenes))]


def overlap(a, b) -> float:
    """Intersection of two boxes (y0, x0, y1, x1) over their union."""
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    inner = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inner / (sum(areas) - inner)
