"""Which descriptors of an image are drawn, by a hash of image, place and seed."""

import numpy as np

__all__ = ["choose_starts", "draw_descriptors"]

GAMMA, FIRST, SECOND = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)


def draw_descriptors(image_id: int, n: int, seed: int) -> np.ndarray:
    """Give each descriptor of an image a number (n,) in [0, 1) that depends on nothing else.

    The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), applied to image and place in turn.
    """
    with np.errstate(over="ignore"):
        start = mix(np.array([image_id & (2**64 - 1)], np.uint64) + GAMMA * np.uint64(seed & (2**64 - 1)))
        mixed = mix(start + GAMMA * np.arange(1, n + 1, dtype=np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def mix(z: np.ndarray) -> np.ndarray:
    """Scramble 64-bit numbers (n,) one to one."""
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))


def choose_starts(draws: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Take the ``k`` of ``points`` (n, d) with the smallest ``draws`` (n,): (min(k, n), d) float32."""
    order = np.argsort(draws, kind="stable")[:k]
    return np.ascontiguousarray(points[order], np.float32)
