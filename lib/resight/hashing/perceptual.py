"""Hashes of pixels in eight positions: quarter turns of the picture, mirrored or not.

The photo is reduced once to a small grey square, and that is turned, not the photo. Position t is t quarter
turns clockwise (t < 4), or t - 4 of them after mirroring left to right. Average, difference, DCT and wavelet
hashes (64 bits) are those of the package ImageHash on that square; PDQ (256 bits) is the published algorithm,
the 16 x 16 lowest frequencies (without the constant) against their median, on means of areas: the published
filter and samples lie off centre, so that its code of a turned photo is not the turned code. Codes of both
differ in some 20 bits of 256, where 31 is the published limit for copies.

Source: "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm", Meta, 2019.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ["BITS", "FLAT", "N_TURNS", "PixelCodes", "hash_pixels", "invert_turn", "turn_pixels"]

BITS = {"ahash": 64, "dhash": 64, "phash": 64, "whash": 64, "pdq": 256}
N_TURNS = 8
SIDE = 64  # of the grey square
LOW = 16  # frequencies of PDQ in each direction
FLAT = 0.5  # quality below which a code says little: PDQ's own advice
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
STEPS = 90.0  # PDQ: sum of grey steps, of 100 levels, that gives one per cent of quality


class PixelCodes(NamedTuple):
    """The codes of one picture."""

    codes: dict[str, np.ndarray]  # by kind, (8, bits / 8) uint8, one row per position
    quality: float  # 0 to 1; below `FLAT` the picture has next to no structure


def turn_pixels(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Put pixels (h, w) or (h, w, 3) into position ``turn``, 0 to 7."""
    mirrored = pixels[:, ::-1] if turn >= 4 else pixels
    return np.rot90(mirrored, -(turn % 4))


def invert_turn(turn: int) -> int:
    """Give the position that undoes ``turn``; a mirrored one undoes itself."""
    return turn if turn >= 4 else -turn % 4


def hash_pixels(pixels: np.ndarray, kinds: Sequence[str] = tuple(BITS)) -> PixelCodes:
    """Hash a picture (h, w, 3) uint8 RGB in all positions.

    Raises
    ------
    ValueError
        No such pixels, or a kind that is not one of `BITS`.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"pixels {pixels.shape} {pixels.dtype}, expected (h, w, 3) uint8")
    unknown = sorted(set(kinds) - set(BITS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no hash of pixels; there are {', '.join(BITS)}")
    grey = reduce_luma(pixels)
    turned = [np.ascontiguousarray(turn_pixels(grey, turn)) for turn in range(N_TURNS)]
    codes = {kind: np.stack([pack_bits(hash_grey(small, kind)) for small in turned]) for kind in kinds}
    return PixelCodes(codes, measure_quality(grey))


def reduce_luma(pixels: np.ndarray) -> np.ndarray:
    """Reduce pixels to a grey square (64, 64) float32, 0 to 255: each sample is the mean of its area."""
    luma: np.ndarray = pixels.astype(np.float32) @ LUMA
    if min(luma.shape) < SIDE:
        height, width = (max(n, SIDE) for n in luma.shape)
        luma = cv2.resize(luma, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def measure_quality(grey: np.ndarray) -> float:
    """Sum the steps between neighbours of a grey square (64, 64), as PDQ does: 0 (flat) to 1."""
    levels = [np.trunc(np.diff(grey, axis=axis) * (100 / 255)) for axis in (0, 1)]
    steps = sum(float(np.abs(level).sum(dtype=np.float64)) for level in levels)
    return float(min(1.0, np.floor(steps / STEPS) / 100))


def hash_grey(grey: np.ndarray, kind: str) -> np.ndarray:
    """Hash a grey square (64, 64) float32: bits, bool, of any shape."""
    if kind == "pdq":
        return hash_pdq(grey)
    import imagehash
    from PIL import Image

    functions: dict[str, Callable] = {
        "ahash": imagehash.average_hash,
        "dhash": imagehash.dhash,
        "phash": imagehash.phash,
        "whash": imagehash.whash,
    }
    rounded = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return functions[kind](Image.fromarray(rounded)).hash


def hash_pdq(grey: np.ndarray) -> np.ndarray:
    """PDQ of a grey square (64, 64): bits (16, 16) bool, of frequencies 1 to 16 down and across.

    Bit 16 i + j of the code is frequency i + 1 down and j + 1 across: the published code read backwards.
    """
    i = np.arange(1, LOW + 1)[:, None]
    basis = np.sqrt(2 / SIDE) * np.cos(np.pi / (2 * SIDE) * i * (2 * np.arange(SIDE) + 1))
    frequencies = basis @ grey.astype(np.float64) @ basis.T
    return frequencies > np.median(frequencies)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Pack bits of any shape, row by row, little-endian."""
    return np.packbits(bits.ravel(), bitorder="little")
