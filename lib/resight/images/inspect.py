"""Turn the bytes of an image file into what the tables hold about it."""

import hashlib
import io
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from resight.images.decode import MAX_PIXELS, Decoded, DecodeError, decode_image, describe_error
from resight.images.resize import fit_longer_side

PREVIEW_QUALITY = 85


class Decoder(Protocol):
    """What decodes: `decode_image`, or a team's own function for the formats that it has."""

    def __call__(self, content: bytes, *, max_pixels: int, longer_side: int | None) -> Decoded:
        """Decode ``content`` or raise; ``longer_side`` is a permission, not a demand."""


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image file; only hash, status and error where it gave no pixels.

    Parameters
    ----------
    content_hash, pixel_hash : str
        SHA-256, hexadecimal, of the bytes and by `hash_pixels`.
    status : str
        ``ok``, ``undecodable``, ``too_large``, ``empty`` or ``crashed`` (it exhausted memory).
    error : str or None
        One line for people where the status is not ``ok``.
    width, height : int or None
        Of the upright image.
    format : str or None
        Such as "jpeg".
    taken_at : datetime or None
        UTC, where EXIF knows.
    sharpness : float32 or None
        By `measure_sharpness`, of the image at preview size.
    preview : bytes or None
        A small upright JPEG.
    """

    content_hash: str
    status: str = "ok"
    error: str | None = None
    pixel_hash: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    taken_at: datetime | None = None
    sharpness: np.float32 | None = None
    preview: bytes | None = None


def inspect_image(
    content: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    preview_side: int = 256,
    decoder: Decoder = decode_image,
) -> ImageFacts:
    """Decode an image file and describe it; no content and no decoder makes this raise.

    ``decoder`` may be any function that gives a `Decoded` or raises: `DecodeError` chooses the
    status, ``MemoryError`` is ``crashed``, anything else ``undecodable``.
    """
    facts = ImageFacts(hashlib.sha256(content).hexdigest())
    try:
        decoded = decoder(content, max_pixels=max_pixels, longer_side=None)
        check_decoded(decoded, max_pixels)
        return describe_decoded(facts, decoded, preview_side)
    except DecodeError as error:
        return replace(facts, status=error.status, error=error.reason)
    except MemoryError:
        return replace(facts, status="crashed", error="not enough memory")
    except Exception as error:
        return replace(facts, status="undecodable", error=describe_error(error))


def check_decoded(decoded: Decoded, max_pixels: int) -> None:
    """Hold a decoder to its contract: all pixels of an upright RGB image within the limit."""
    pixels, size = decoded.pixels, (decoded.height, decoded.width)
    if pixels.shape != (*size, 3) or pixels.dtype != np.uint8 or 0 in size:
        got = f"{pixels.dtype} pixels of shape {pixels.shape}"
        raise DecodeError("undecodable", f"the decoder gave {got} for an image of {size}")
    if pixels.size > 3 * max_pixels:
        raise DecodeError("too_large", f"{size} pixels, the limit is {max_pixels}")


def describe_decoded(facts: ImageFacts, decoded: Decoded, preview_side: int) -> ImageFacts:
    """Add what the pixels tell."""
    small = fit_longer_side(decoded.pixels, preview_side)
    return replace(
        facts,
        pixel_hash=hash_pixels(decoded.pixels),
        width=decoded.width,
        height=decoded.height,
        format=decoded.format,
        taken_at=decoded.taken_at,
        sharpness=measure_sharpness(small),
        preview=encode_preview(small),
    )


def hash_pixels(pixels: np.ndarray) -> str:
    """SHA-256 of height and width (little-endian int64 each), then the RGB bytes, row by row.

    Two files with equal pixels (h, w, 3) uint8 share it, whatever their formats and tags.
    """
    digest = hashlib.sha256(np.array(pixels.shape[:2], "<i8").tobytes())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def measure_sharpness(pixels: np.ndarray) -> np.float32:
    """Variance of the Laplacian of the luma of pixels (h, w, 3) uint8, in grey levels squared.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000; the 4-neighbour
    Laplacian with mirrored borders. Comparable between images of one size.
    """
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.float32(cv2.Laplacian(luma, cv2.CV_64F).var())


def encode_preview(pixels: np.ndarray) -> bytes:
    """Encode pixels (h, w, 3) uint8 as a JPEG; equal pixels give equal bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=PREVIEW_QUALITY)
    return file.getvalue()
