"""Keypoints of many photos as files that every worker maps into memory: none is shipped once per pair.

A folder holds parts of some hundred photos: ``images-*.npy`` (n, 7) int64 with image_id (ascending over all
parts), width, height, the first of its keypoints, where they end, where its preview ends, and the file of the
keypoints; ``points-*.npy`` (m, 5) float32, ``vectors-*.npy`` (m, d) and ``previews-*.npy`` (b,) uint8, the
JPEG files one after the other. File 0 is the part's own; others are pairs ``points-kept-*.npy`` and
``vectors-kept-*.npy``, which the task that found the keypoints wrote: they are not written again.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
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
HELD_FILES = 1024  # files of keypoints that stay mapped
ARRAYS = ("images", "points", "vectors", "previews")


class Kept(NamedTuple):
    """Where the ``n`` keypoints of a photo lie already: from ``first`` on in a pair of files."""

    file: int
    first: int
    n: int


class Described(NamedTuple):
    """Photos of a part: ids (n,) ascending, sizes (n, 2) width and height, keypoints, and JPEG or None."""

    ids: np.ndarray
    sizes: np.ndarray
    features: Sequence[LocalFeatures | Kept]
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
    jpegs, at, end = [jpeg or b"" for jpeg in described.previews], [], 0
    own = [one for one in described.features if isinstance(one, LocalFeatures)]
    for one in described.features:
        n = one.n if isinstance(one, Kept) else len(one.points)
        first = one.first if isinstance(one, Kept) else end
        at.append((first, first + n, one.file if isinstance(one, Kept) else 0))
        end += 0 if isinstance(one, Kept) else n
    places, ends = np.array(at, np.int64).reshape(-1, 3), np.cumsum([len(jpeg) for jpeg in jpegs])
    columns = [described.ids, described.sizes, places[:, :2], ends, places[:, 2]]
    images, joined = np.column_stack(columns).astype(np.int64), join_keypoints(own, dtype)
    previews = np.frombuffer(b"".join(jpegs), np.uint8)
    arrays: list[np.ndarray] = [images.reshape(-1, 7), *joined, previews]
    return tuple(save_array(folder, kind, array) for kind, array in zip(ARRAYS, arrays, strict=True))


def join_keypoints(features: Sequence[LocalFeatures], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Join the keypoints of some photos: points (m, 5) float32 and vectors (m, d) of ``dtype``."""
    d = max((one.vectors.shape[1] for one in features), default=0)
    points = [np.zeros((0, 5), np.float32), *(one.points for one in features)]
    vectors = [np.zeros((0, d), dtype), *(one.vectors for one in features if len(one.points))]
    return np.concatenate(points), np.concatenate(vectors).astype(dtype)


def keep_features(folder: str, features: Sequence[LocalFeatures], *, dtype: str = "float16") -> list[Kept]:
    """Write keypoints into a folder of `FeatureFiles` before its parts; say where they lie."""
    arrays, digest = join_keypoints(features, dtype), hashlib.blake2b(digest_size=7)
    for array in arrays:
        digest.update(array.tobytes())
    file = int.from_bytes(digest.digest(), "big")
    for kind, array in zip(ARRAYS[1:3], arrays, strict=True):
        files.create_once(files.join(folder, kept_name(kind, file)), to_npy(array))
    firsts = np.append(0, np.cumsum([len(one.points) for one in features]))
    return [Kept(file, int(a), len(one.points)) for a, one in zip(firsts, features, strict=False)]


def kept_name(kind: str, file: int) -> str:
    """Name one of a pair of files.

    >>> kept_name("points", 255)
    'points-kept-000000000000ff.npy'
    """
    return f"{kind}-kept-{file:014x}.npy"


def to_npy(array: np.ndarray) -> bytes:
    """Give an array as the bytes of a ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@lru_cache(maxsize=HELD_FILES)
def open_kept(folder: str, file: int) -> tuple[np.ndarray, np.ndarray]:
    """Map points and vectors that `keep_features` wrote."""
    points, vectors = (map_array(folder, kept_name(kind, file)) for kind in ARRAYS[1:3])
    return points, vectors


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
        first, last, file = (int(images[row, column]) for column in (3, 4, 6))
        if file:
            points, vectors = open_kept(self.layout.folder, file)
        found = LocalFeatures(np.asarray(points[first:last]), vectors[first:last].astype(np.float32))
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
        return previews[images[row - 1, 5] if row else 0 : images[row, 5]].tobytes()

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
