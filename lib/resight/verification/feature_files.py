"""Keypoints of many photos as files that every worker maps into memory: none is shipped once per pair.

A folder holds parts of some hundred photos: ``images-*.npy`` (n, 5) int64 with image_id (ascending over all
parts), width, height, and where its keypoints and its preview end; ``points-*.npy`` (m, 5) float32,
``vectors-*.npy`` (m, d) and ``previews-*.npy`` (b,) uint8, the JPEG files one after the other.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resight import files
from resight.features.local.points import LocalFeatures
from resight.images.decode import decode_image
from resight.knn.matrix import map_array, save_array
from resight.verification.overlap import Size
from resight.verification.settings import VerifySettings

if TYPE_CHECKING:
    from resight.codebook.model import Codebook
    from resight.verification.verify import Photo

HELD = 128  # photos that stay prepared, at half a megabyte each
ARRAYS = ("images", "points", "vectors", "previews")


class Described(NamedTuple):
    """Photos of a part: ids (n,) ascending, sizes (n, 2) width and height, keypoints, and JPEG or None."""

    ids: np.ndarray
    sizes: np.ndarray
    features: list[LocalFeatures]
    previews: list[bytes | None]


@dataclass(frozen=True)
class FeatureFiles:
    """Where the keypoints lie; ``parts`` holds the first id of each part and its file names."""

    folder: str
    parts: tuple[tuple[int, tuple[str, ...]], ...]

    def open(self) -> "OpenFeatures":
        """Map the files into memory; kept per process."""
        return open_features(self)

    def save(self) -> None:
        """Write the list of parts as ``features.json``."""
        text = json.dumps(asdict(self) | {"folder": ""}, indent=1)
        files.write_bytes(files.join(self.folder, "features.json"), text.encode())


def load_feature_files(folder: str) -> FeatureFiles:
    """Read the list of parts that `FeatureFiles.save` wrote."""
    fields = json.loads(files.read_bytes(files.join(folder, "features.json")))
    return FeatureFiles(folder, tuple((first, tuple(names)) for first, names in fields["parts"]))


def save_features(folder: str, described: Described, *, dtype: str = "float16") -> tuple[str, ...]:
    """Write one part; give the names of its files."""
    jpegs = [jpeg or b"" for jpeg in described.previews]
    ends = [np.cumsum([len(f.points) for f in described.features]), np.cumsum([len(j) for j in jpegs])]
    images = np.column_stack([described.ids, described.sizes, *ends]).astype(np.int64)
    d = max((f.vectors.shape[1] for f in described.features), default=0)
    points = [np.zeros((0, 5), np.float32), *(f.points for f in described.features)]
    vectors = [np.zeros((0, d), dtype), *(f.vectors for f in described.features if len(f.points))]
    arrays: tuple[np.ndarray, ...] = (
        images.reshape(-1, 5),
        np.concatenate(points),
        np.concatenate(vectors).astype(dtype),
        np.frombuffer(b"".join(jpegs), np.uint8),
    )
    return tuple(save_array(folder, kind, array) for kind, array in zip(ARRAYS, arrays, strict=True))


class OpenFeatures:
    """The mapped arrays of some `FeatureFiles`."""

    def __init__(self, layout: FeatureFiles) -> None:
        self.layout = layout
        self.firsts = np.array([first for first, _ in layout.parts], np.int64)

    @cached_property
    def parts(self) -> list[list[np.ndarray]]:
        """Arrays of every part."""
        return [[map_array(self.layout.folder, name) for name in names] for _, names in self.layout.parts]

    def find(self, image_id: int) -> tuple[int, int] | None:
        """Give part and row of an image; None where it is not there."""
        part = int(np.searchsorted(self.firsts, image_id, side="right")) - 1
        if part < 0:
            return None
        ids = self.parts[part][0][:, 0]
        row = int(np.searchsorted(ids, image_id))
        return (part, row) if row < len(ids) and ids[row] == image_id else None

    def features(self, image_id: int) -> tuple[LocalFeatures, Size]:
        """Give the keypoints of an image, and its width and height; KeyError where it is not there."""
        images, points, vectors, _, row = self.row(image_id)
        rows = slice(images[row - 1, 3] if row else 0, images[row, 3])
        found = LocalFeatures(np.asarray(points[rows]), vectors[rows].astype(np.float32))
        return found, (int(images[row, 1]), int(images[row, 2]))

    def preparer(
        self, settings: VerifySettings, codebook: "Codebook | None" = None
    ) -> "Callable[[int], Photo]":
        """Make the function that prepares an image, or takes it from the `HELD` that were used last."""
        from resight.verification.verify import prepare_photo

        @lru_cache(maxsize=HELD)
        def prepare(image_id: int) -> "Photo":
            return prepare_photo(*self.features(image_id), settings, codebook)

        return prepare

    def preview(self, image_id: int) -> np.ndarray | None:
        """Decode the preview of an image, (h, w, 3) uint8; None where there is none."""
        jpeg = self.stored(image_id)
        return decode_image(jpeg).pixels if jpeg else None

    def stored(self, image_id: int) -> bytes:
        """Give the preview of an image as it was stored; empty where there is none."""
        images, _, _, previews, row = self.row(image_id)
        return previews[images[row - 1, 4] if row else 0 : images[row, 4]].tobytes()

    def row(self, image_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        """Give the arrays of an image's part, and its row there."""
        found = self.find(image_id)
        if found is None:
            raise KeyError(image_id)
        images, points, vectors, previews = self.parts[found[0]]
        return images, points, vectors, previews, found[1]


@lru_cache(maxsize=4)
def open_features(layout: FeatureFiles) -> OpenFeatures:
    """Open ``layout`` once per process."""
    return OpenFeatures(layout)
