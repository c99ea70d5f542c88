"""The photographs that other packages carry, and the parts of them that count as one object.

Parts of one file that serve as different objects share no pixel. Nothing is downloaded: a package
that is not installed is an error with the command that installs it.
"""

import gzip
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from resight.config import SettingError

__all__ = ["BACKDROPS", "DISTRACTORS", "OBJECTS", "PRINTS", "Photo", "load_photo"]

SKIMAGE, SKLEARN, MATPLOTLIB = "skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data"
DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
LONGEST, SHORTEST = 640, 400  # limits of the longer side of a loaded photo
WHITE = 255

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Photo:
    """A photograph, or the part of one inside ``box`` (x0, y0, x1, y1 in pixels of the file).

    ``second`` is another real photograph of the same object, where there is one. ``tint`` multiplies
    the three channels, to give a grey texture the colour of its material.
    """

    name: str
    family: str
    path: str
    licence: str
    box: Box | None = None
    second: "Photo | None" = None
    tint: tuple[float, float, float] | None = None


def sample(file: str) -> str:
    """Path of one of matplotlib's sample data files."""
    return f"{MATPLOTLIB}/sample_data/{file}"


def garage(side: str, box: Box, name: str, second: Photo | None = None) -> Photo:
    """Name a part of the stereo pair that shows a motorcycle in a garage."""
    path = f"{SKIMAGE}/motorcycle_{side}.png"
    return Photo(name, "things", path, "Middlebury stereo 2014 (research data)", box, second)


NASA, FREE = "public domain (NASA)", "no known copyright restrictions"
CC0, UNSTATED, FLICKR = "CC0", "not stated by the package", "CC BY 2.0, see README.txt beside it"

SHELF = garage("left", (445, 0, 741, 105), "shelf", garage("right", (405, 0, 701, 105), "shelf"))
MOTORCYCLE = garage(
    "left", (135, 130, 741, 500), "motorcycle", garage("right", (135, 130, 741, 500), "motorcycle")
)

OBJECTS: tuple[Photo, ...] = (
    Photo("astronaut", "people", f"{SKIMAGE}/astronaut.png", NASA, (0, 0, 300, 400)),
    Photo("admiral", "people", sample("grace_hopper.jpg"), "public domain (US Navy)"),
    Photo("cameraman", "people", f"{SKIMAGE}/camera.png", CC0),
    Photo("cat", "nature", f"{SKIMAGE}/chelsea.png", CC0),
    Photo("dahlia", "nature", f"{SKLEARN}/flower.jpg", FLICKR, (120, 20, 470, 340)),
    Photo("lake", "nature", f"{SKLEARN}/china.jpg", FLICKR, (370, 150, 640, 427)),
    Photo("moon", "nature", f"{SKIMAGE}/moon.png", UNSTATED),
    Photo("galaxies", "nature", f"{SKIMAGE}/hubble_deep_field.jpg", NASA, (340, 440, 670, 870)),
    Photo("coffee", "things", f"{SKIMAGE}/coffee.png", CC0, (60, 0, 445, 400)),
    MOTORCYCLE,
    SHELF,
    Photo("coins", "things", f"{SKIMAGE}/coins.png", FREE),
    Photo("helmet", "things", f"{SKIMAGE}/astronaut.png", NASA, (300, 270, 512, 512)),
    Photo("pavilion", "places", f"{SKLEARN}/china.jpg", FLICKR, (0, 20, 335, 427)),
    Photo("rocket", "places", f"{SKIMAGE}/rocket.jpg", "public domain (SpaceX)", (80, 40, 560, 427)),
    Photo("wall", "places", f"{SKIMAGE}/brick.png", CC0, tint=(1.0, 0.78, 0.68)),
    Photo("page", "documents", f"{SKIMAGE}/page.png", UNSTATED),
    Photo("handwriting", "documents", f"{SKIMAGE}/text.png", "public domain"),
    Photo("retina", "science", f"{SKIMAGE}/retina.jpg", CC0),
    Photo("tissue", "science", f"{SKIMAGE}/ihc.png", FREE, (0, 0, 512, 300)),
    Photo("brain", "science", sample("s1045.ima.gz"), UNSTATED),
    Photo("relief", "science", sample("jacksboro_fault_dem.npz"), UNSTATED),
    Photo("snake", "graphics", f"{SKIMAGE}/logo.png", "BSD-3-Clause (scikit-image)"),
    Photo("wordmark", "graphics", sample("logo2.png"), "matplotlib licence"),
    Photo("gift", "graphics", sample("Minduka_Present_Blue_Pack.png"), UNSTATED),
)

GRASS = Photo("grass", "", f"{SKIMAGE}/grass.png", CC0, tint=(0.82, 1.0, 0.6))
GRAVEL = Photo("gravel", "", f"{SKIMAGE}/gravel.png", CC0, tint=(1.0, 0.95, 0.86))
TABLE = Photo("table", "", f"{SKIMAGE}/coffee.png", CC0, (470, 0, 600, 130))
FLOOR = garage("left", (0, 400, 130, 500), "floor")
BACKDROPS: tuple[Photo, ...] = (GRASS, GRAVEL, TABLE, FLOOR)


def tiles(photo: Photo, boxes: list[Box]) -> tuple[Photo, ...]:
    """Cut ``photo`` into parts that look alike and are not the same."""
    name, path, licence = photo.name, photo.path, photo.licence
    return tuple(Photo(f"{name} {i}", "", path, licence, box, tint=photo.tint) for i, box in enumerate(boxes))


QUARTERS: list[Box] = [(x, y, x + 256, y + 256) for y in (0, 256) for x in (0, 256)]
STARS: list[Box] = [(0, 0, 330, 430), (340, 0, 670, 430), (680, 0, 1000, 430)]
STARS += [(0, 440, 330, 870), (680, 440, 1000, 870)]
PATCHES: list[Box] = [(0, y, 125, y + 125) for y in range(0, 500, 125)]  # of `read_patches`

PRINTS: tuple[Photo, ...] = (
    Photo("clock", "", f"{SKIMAGE}/clock_motion.png", "public domain"),
    Photo("wheel", "", f"{SKIMAGE}/color.png", UNSTATED),
    Photo("phantom", "", f"{SKIMAGE}/phantom.png", UNSTATED),
    Photo("checkers", "", f"{SKIMAGE}/chessboard_GRAY.png", UNSTATED),
    Photo("horse", "", f"{SKIMAGE}/horse.png", CC0),
    Photo("island", "", sample("topobathy.npz"), UNSTATED),
)
DISTRACTORS: tuple[Photo, ...] = (
    *tiles(GRASS, QUARTERS),
    *tiles(GRAVEL, QUARTERS),
    *tiles(Photo("stars", "", f"{SKIMAGE}/hubble_deep_field.jpg", NASA), STARS),
    *tiles(Photo("faces", "", f"{SKIMAGE}/lfw_subset.npy", UNSTATED), PATCHES),
    TABLE,
    FLOOR,
    Photo("leaves", "", f"{SKLEARN}/flower.jpg", FLICKR, (480, 0, 640, 300)),
    garage("left", (0, 0, 230, 125), "timber"),
    Photo("shuttle", "", f"{SKIMAGE}/astronaut.png", NASA, (345, 0, 512, 262)),
    Photo("cell", "", f"{SKIMAGE}/cell.png", CC0),
    Photo("vessels", "", f"{SKIMAGE}/microaneurysms.png", CC0),
    *PRINTS,
)


def load_photo(photo: Photo) -> np.ndarray:
    """Read the pixels of ``photo``: (h, w, 3) uint8 RGB, the longer side from 400 to 640."""
    pixels = read_file(photo.path)
    if photo.box:
        x0, y0, x1, y1 = photo.box
        pixels = pixels[y0:y1, x0:x1]
    if photo.tint:
        pixels = (pixels * np.array(photo.tint)).astype(np.uint8)
    longer = max(pixels.shape[:2])
    scale = min(max(longer, SHORTEST), LONGEST) / longer
    if scale == 1:
        return np.ascontiguousarray(pixels)
    filtering = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=filtering)


@lru_cache(maxsize=64)
def read_file(path: str) -> np.ndarray:
    """Read a package's file as RGB pixels (h, w, 3) uint8; ``path`` starts with the package."""
    package, _, inside = path.partition("/")
    file = package_folder(package) / inside
    if not file.is_file():
        raise SettingError(f"the installed {DISTRIBUTIONS[package]} has no file {inside}")
    return READERS.get(file.suffix, read_picture)(file)


def package_folder(package: str) -> Path:
    """Find where ``package`` is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SettingError(
            f"the demo needs {DISTRIBUTIONS.get(package, package)}: pip install 'resight[demo]' brings it"
        )
    return Path(spec.submodule_search_locations[0])


def read_picture(file: Path) -> np.ndarray:
    """Read an image file; transparent parts are white."""
    with Image.open(file) as picture:
        if "A" not in picture.getbands():
            return np.array(picture.convert("RGB"))
        white = Image.new("RGBA", picture.size, (WHITE, WHITE, WHITE, WHITE))
        return np.array(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))


def read_slice(file: Path) -> np.ndarray:
    """Read matplotlib's slice of a head: 256 x 256 values of 16 bits."""
    with gzip.open(file) as stream:
        values = np.frombuffer(stream.read(), np.uint16).reshape(256, 256)
    return grey(values / values.max())


def read_heights(file: Path) -> np.ndarray:
    """Read a grid of heights and light it from the north-west, as maps do."""
    with np.load(file) as arrays:
        heights = arrays["elevation"] if "elevation" in arrays else arrays["topo"][::-1]
    down, across = np.gradient(heights.astype(np.float64))
    steep = 1.5 * across.std()
    light = (0.7 * steep - 0.5 * across - 0.5 * down) / np.sqrt(across**2 + down**2 + steep**2)
    return grey(np.clip(0.5 + light / 2, 0, 1))


def read_patches(file: Path) -> np.ndarray:
    """Read the 200 patches of 25 x 25 pixels as eight sheets of 5 x 5, one below the other."""
    patches = np.load(file)  # (200, 25, 25) in [0, 1]; the first half are faces
    sheets = patches.reshape(8, 5, 5, 25, 25).swapaxes(2, 3)
    return grey(sheets.reshape(1000, 125))


def grey(values: np.ndarray) -> np.ndarray:
    """Turn values (h, w) in [0, 1] into grey pixels (h, w, 3) uint8."""
    return np.repeat(np.round(255 * values).astype(np.uint8)[:, :, None], 3, axis=2)


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".gz": read_slice,
    ".npz": read_heights,
    ".npy": read_patches,
}
