"""A torch dataset of mined tuples: images as tensors, read from where they lie. No Spark."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

import resight.reader
from resight.features.photos import Failure, decode_photo
from resight.images.content import ContentError, ContentReader
from resight.images.decode import MAX_PIXELS
from resight.images.resize import fit_longer_side
from resight.mining.placing import TRAIN
from resight.mining.training import Place, list_ids, locate_images, read_tuples

log = logging.getLogger("resight")
Transform = Callable[[torch.Tensor], torch.Tensor]


class TupleDataset(Dataset):
    """Pairs of a build with their negatives.

    Parameters
    ----------
    workspace : str
        Root of the workspace.
    build : str
        Build of mine-pairs; by default the newest.
    split : str
        ``train`` or ``validation``.
    longer_side : int
        Larger images are made smaller, upright, aspect kept.
    transform : callable, optional
        Applied to every image, (3, h, w) uint8 RGB.

    Notes
    -----
    An item is a dictionary: ``anchor`` and ``positive`` (3, h, w), ``negatives`` a list of such, the nearest
    first, ``weight`` float, ``ids`` a dictionary of the same names. Sizes differ: collate as a list. A tuple
    with an image that cannot be read is replaced by the next one that can.
    """

    def __init__(
        self,
        workspace: str,
        build: str = "",
        *,
        split: str = TRAIN,
        longer_side: int = 362,
        transform: Transform | None = None,
    ) -> None:
        reader = resight.reader.open(workspace)
        tuples = read_tuples(reader, build, split=split)
        self.anchors = tuples.rows["anchor"].to_numpy()
        self.positives = tuples.rows["positive"].to_numpy()
        self.weights = tuples.rows["weight"].to_numpy()
        self.offsets, self.negatives = tuples.offsets, tuples.negatives
        self.places = locate_images(reader, list_ids(tuples).tolist())
        self.longer_side, self.transform = longer_side, transform

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.anchors)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Load a tuple, or the next one that can be loaded.

        Raises
        ------
        IndexError
            There is no such tuple.
        RuntimeError
            None of them can be loaded.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        for number in range(index, index + len(self)):
            item = self.load(number % len(self))
            if item is not None:
                return item
        raise RuntimeError(f"the images of all {len(self)} tuples are gone or cannot be read")

    def load(self, i: int) -> dict[str, Any] | None:
        """Load tuple ``i``; None where one of its images cannot be read."""
        negatives = self.negatives[self.offsets[i] : self.offsets[i + 1]].tolist()
        anchor, positive = int(self.anchors[i]), int(self.positives[i])
        loaded = list[torch.Tensor]()
        for image_id in (anchor, positive, *negatives):
            pixels = self.load_image(image_id)
            if pixels is None:
                return None
            loaded.append(pixels)
        ids = {"anchor": anchor, "positive": positive, "negatives": negatives}
        images = {"anchor": loaded[0], "positive": loaded[1], "negatives": loaded[2:]}
        return images | {"weight": float(self.weights[i]), "ids": ids}

    def load_image(self, image_id: int) -> torch.Tensor | None:
        """Load one image (3, h, w) uint8, transformed; None where it cannot be read."""
        place = self.places.get(image_id)
        decoded = (
            decode_place(place, self.longer_side) if place else Failure("missing", "it left the collection")
        )
        if isinstance(decoded, Failure):
            log.warning("image %d cannot be trained with: %s", image_id, decoded.error)
            return None
        fitted = np.ascontiguousarray(fit_longer_side(decoded.pixels, self.longer_side))
        pixels = torch.from_numpy(fitted).permute(2, 0, 1).contiguous()
        return self.transform(pixels) if self.transform else pixels


def decode_place(place: Place, longer_side: int) -> Any:
    """Read and decode one image, or say why not."""
    try:
        with ContentReader(place.root) as reader:
            content = reader.read(place.uri, place.byte_offset, place.n_bytes)
    except ContentError as error:
        return Failure("unreadable", str(error))
    return decode_photo(content, max_pixels=MAX_PIXELS, longer_side=longer_side)
