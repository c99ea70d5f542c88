"""Photos and names of a workspace by image id, read as they are asked for and kept."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from resight.reader import Reader
from resight.report.sections import Photo
from resight.report.source import Source
from resight.viz.pictures import Box, Shown
from resight.viz.text import file_name

__all__ = ["Album", "decode_preview"]

Place = tuple[float, float, float, float]
NOTHING = np.full((90, 120, 3), 236, np.uint8)  # where a photo has no preview
NOTHING[::6, ::6] = 205


class Album:
    """The photos of a workspace, small: their previews and uris.

    Parameters
    ----------
    reader : Reader
        As `resight.open` (its ``tables``) or `resight.reader.open` gives it.
    """

    def __init__(self, reader: Reader) -> None:
        self.source = Source(reader, 0, 0, 0)
        self.pixels: dict[int, np.ndarray] = {}
        self.photos: dict[int, Photo] = {}

    def load(self, image_ids: Iterable[int]) -> None:
        """Read the photos of some images at once; what was read before is not read again."""
        wanted = sorted(set(image_ids) - set(self.photos))
        if not wanted:
            return
        self.photos |= self.source.read_photos(wanted)
        jpegs = self.source.read_previews(wanted)
        self.pixels |= {i: decode_preview(jpegs[i]) if i in jpegs else NOTHING for i in wanted}

    def name(self, image_id: int) -> str:
        """Give the file name of an image."""
        self.load([image_id])
        return file_name(self.photos[image_id].uri)

    def show(
        self,
        image_id: int,
        *lines: str,
        mark: str = "",
        share: float | None = None,
        boxes: Sequence[tuple[Place, str]] = (),
    ) -> Shown:
        """Give a photo with its name and further lines below it.

        ``boxes`` are (y0, x0, y1, x1) in pixels of the image, each with a few words.
        """
        self.load([image_id])
        photo = self.photos[image_id]
        places = ((self.place_of(photo, place), words) for place, words in boxes)
        drawn = tuple(Box(place, words) for place, words in places if place is not None)
        text = "\n".join([file_name(photo.uri), *(line for line in lines if line)])
        return Shown(self.pixels[image_id], text, mark, drawn, share)

    def place_of(self, photo: Photo, box: Place) -> Place | None:
        """Give a box of pixels as shares of the photo; None where its size is unknown."""
        if not photo.height or not photo.width:
            return None
        h, w = photo.height, photo.width
        return box[0] / h, box[1] / w, box[2] / h, box[3] / w

    def size_of(self, image_id: int) -> tuple[int, int]:
        """Give the width and height of an image; those of its preview where they are unknown."""
        self.load([image_id])
        photo = self.photos[image_id]
        h, w = self.pixels[image_id].shape[:2]
        return photo.width or w, photo.height or h


def decode_preview(jpeg: bytes) -> np.ndarray:
    """Decode a preview to pixels (h, w, 3) uint8; a grey pattern where it is broken.

    >>> decode_preview(b"no picture").shape
    (90, 120, 3)
    """
    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return NOTHING
