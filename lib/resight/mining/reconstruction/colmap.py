"""3D models as COLMAP writes them: ``cameras``, ``images`` and ``points3D``, ``.bin`` or ``.txt``.

What mining needs of a model: where each image was taken, which points it sees, and how large they look.
Nothing is executed: binary files are cut by the lengths that they state, which are checked.
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from resight import files

PARTS = ("cameras", "images", "points3D")
NO_POINT = -1
T = TypeVar("T")
CAMERAS = {  # number -> name, parameters, whether there are two focal lengths
    0: ("SIMPLE_PINHOLE", 3, False),
    1: ("PINHOLE", 4, True),
    2: ("SIMPLE_RADIAL", 4, False),
    3: ("RADIAL", 5, False),
    4: ("OPENCV", 8, True),
    5: ("OPENCV_FISHEYE", 8, True),
    6: ("FULL_OPENCV", 12, True),
    7: ("FOV", 5, True),
    8: ("SIMPLE_RADIAL_FISHEYE", 4, False),
    9: ("RADIAL_FISHEYE", 5, False),
    10: ("THIN_PRISM_FISHEYE", 12, True),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16, True),
    12: ("SIMPLE_DIVISION", 4, False),
    13: ("DIVISION", 5, True),
    14: ("SIMPLE_FISHEYE", 3, False),
    15: ("FISHEYE", 4, True),
    16: ("EUCM", 6, True),
}
TWO_LENGTHS = {name for name, _, has_two in CAMERAS.values() if has_two}


class ModelError(ValueError):
    """A file is no part of a model, or is damaged."""


class View(NamedTuple):
    """An image of a model, as its file states it.

    ``rotation`` (4,) and ``translation`` (3,) float64 take the world to the camera; ``points`` (m,) int64 are
    the points that its keypoints belong to, `NO_POINT` for none.
    """

    name: str
    camera_id: int
    rotation: np.ndarray
    translation: np.ndarray
    points: np.ndarray


class Model(NamedTuple):
    """What n images of a model see.

    ``names``: paths below the folder of the images. ``centres`` (n, 3) float64, in the frame of the model,
    NaN where unknown. Image i sees ``points[offsets[i]:offsets[i + 1]]`` int64, ascending, each once, and
    ``sizes`` float64 is how large a unit of length looks there, in longer sides of the image, NaN behind the
    camera.
    """

    names: list[str]
    centres: np.ndarray
    offsets: np.ndarray
    points: np.ndarray
    sizes: np.ndarray


def list_models(root: str) -> list[str]:
    """List the folders at or below ``root`` that hold a model, in the order of their names."""
    found: dict[str, set[str]] = {}
    for name in files.list_files(root, recursive=True):
        folder, _, file = name.rpartition("/")
        found.setdefault(folder, set()).add(file)
    kinds = [{f"{part}.{suffix}" for part in PARTS} for suffix in ("bin", "txt")]
    folders = sorted(folder for folder, there in found.items() if any(kind <= there for kind in kinds))
    return [files.join(root, folder) if folder else root for folder in folders]


def read_model(folder: str) -> Model:
    """Read a model; where both kinds of files are there, the binary ones.

    Raises
    ------
    ModelError
        A file is damaged; the message names it.
    """
    is_binary = files.exists(files.join(folder, "images.bin"))
    paths = [files.join(folder, f"{part}.{'bin' if is_binary else 'txt'}") for part in PARTS]
    if is_binary:
        focals, views = read_part(paths[0], binary_cameras), read_part(paths[1], binary_views)
        return join_parts(focals, views, read_part(paths[2], binary_points))
    focals, views = read_part(paths[0], text_cameras), read_part(paths[1], text_views)
    return join_parts(focals, views, read_part(paths[2], text_points))


def read_part(path: str, read: Callable[[bytes], T]) -> T:
    """Read one file of a model; `ModelError` names it where it is damaged."""
    data = files.read_bytes(path)
    try:
        return read(data)
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise ModelError(f"{path} is no part of a COLMAP model: {error}") from None


def join_parts(focals: dict[int, float], views: list[View], points: tuple[np.ndarray, np.ndarray]) -> Model:
    """Compute centres, and sizes as focal length over depth; points that the model lacks are left out."""
    centres, seen, sizes = np.full((len(views), 3), np.nan), list[np.ndarray](), list[np.ndarray]()
    ids, places = points
    for i, view in enumerate(views):
        R = rotation_matrix(view.rotation)
        centres[i] = -R.T @ view.translation
        own = np.unique(view.points[view.points != NO_POINT])
        at = np.minimum(np.searchsorted(ids, own), max(len(ids) - 1, 0))
        known = ids[at] == own if len(ids) else np.zeros(len(own), bool)
        depth = places[at[known]] @ R[2] + view.translation[2]
        focal = focals.get(view.camera_id, np.nan)
        seen.append(own[known])
        sizes.append(np.divide(focal, depth, out=np.full(len(depth), np.nan), where=depth > 0))
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in seen])]).astype(np.int64)
    flat = [np.concatenate([np.zeros(0, kind), *parts]) for kind, parts in ((np.int64, seen), (float, sizes))]
    return Model([view.name for view in views], centres, offsets, *flat)


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Turn a quaternion (w, x, y, z), of any length above 0, into a rotation (3, 3); NaN for others."""
    length = np.linalg.norm(quaternion)
    if not length > 0:
        return np.full((3, 3), np.nan)
    w, x, y, z = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def relative_focal(name: str, size: tuple[float, float], params: np.ndarray) -> float:
    """Give the focal length in longer sides of the image; NaN of a camera that has none."""
    if name not in {known for known, _, _ in CAMERAS.values()}:
        return float("nan")
    length = params[:2].mean() if name in TWO_LENGTHS else params[0]
    return float(length / max(size))


def binary_cameras(data: bytes) -> dict[int, float]:
    """Read ``cameras.bin``: camera -> relative focal length."""
    focals, at = dict[int, float](), 8
    for _ in range(*struct.unpack_from("<Q", data)):
        camera, kind, width, height = struct.unpack_from("<IiQQ", data, at)
        if kind not in CAMERAS:
            raise ValueError(f"camera model {kind} is not known")
        name, n_params, _ = CAMERAS[kind]
        params = np.frombuffer(data, "<f8", n_params, at + 24)
        focals[camera] = relative_focal(name, (width, height), params)
        at += 24 + 8 * n_params
    return focals


def binary_views(data: bytes) -> list[View]:
    """Read ``images.bin``."""
    views, at = list[View](), 8
    for _ in range(*struct.unpack_from("<Q", data)):
        pose = np.frombuffer(data, "<f8", 7, at + 4)
        (camera,) = struct.unpack_from("<I", data, at + 60)
        end = data.index(b"\0", at + 64)
        (n_points,) = struct.unpack_from("<Q", data, end + 1)
        rows = np.frombuffer(data, [("xy", "<f8", 2), ("point", "<i8")], n_points, end + 9)
        views.append(View(data[at + 64 : end].decode(), camera, pose[:4], pose[4:], rows["point"]))
        at = end + 9 + 24 * n_points
    return views


def binary_points(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read ``points3D.bin``: ids (p,) int64, ascending, and places (p, 3) float64."""
    (n,), at = struct.unpack_from("<Q", data), 8
    if 51 * n > len(data):
        raise ValueError(f"{len(data)} bytes are too few for {n} points")
    starts = np.empty(n, np.int64)
    length = struct.Struct("<Q")
    for i in range(n):  # a record is as long as its track
        starts[i] = at
        at += 51 + 8 * length.unpack_from(data, at + 43)[0]
    if at > len(data):
        raise ValueError(f"{len(data)} bytes, its records need {at}")
    raw = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(32)]  # (p, 32): id and place
    return sort_points(raw[:, :8].copy().view("<i8")[:, 0], raw[:, 8:].copy().view("<f8"))


def text_lines(data: bytes) -> Iterator[str]:
    """Give the lines of a file that are no comments, empty ones too."""
    return (line for line in data.decode().splitlines() if not line.startswith("#"))


def text_cameras(data: bytes) -> dict[int, float]:
    """Read ``cameras.txt``: camera -> relative focal length."""
    focals = dict[int, float]()
    for line in filter(str.strip, text_lines(data)):
        camera, name, width, height, *params = line.split()
        size = float(width), float(height)
        focals[int(camera)] = relative_focal(name, size, np.array(params, float))
    return focals


def text_views(data: bytes) -> list[View]:
    """Read ``images.txt``: two lines for an image, the second with its keypoints, which may be empty."""
    lines, views = list(text_lines(data)), list[View]()
    while lines and not lines[-1].strip() and len(lines) % 2:
        lines.pop()
    for head, keypoints in zip(lines[::2], [*lines[1::2], ""][: len(lines[::2])], strict=True):
        _, *pose, camera, name = head.split(maxsplit=9)
        points = np.array(keypoints.split()[2::3], np.int64)
        values = np.array(pose, float)
        if len(values) != 7:
            raise ValueError(f"{head[:60]!r} describes no image")
        views.append(View(name.rstrip("\r\n"), int(camera), values[:4], values[4:], points))
    return views


def text_points(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read ``points3D.txt``: ids (p,) int64, ascending, and places (p, 3) float64."""
    rows = [line.split(maxsplit=4)[:4] for line in text_lines(data) if line.strip()]
    ids = np.array([row[0] for row in rows], np.int64)
    return sort_points(ids, np.array([row[1:] for row in rows], float).reshape(-1, 3))


def sort_points(ids: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order points by id."""
    order = np.argsort(ids)
    return ids[order].astype(np.int64), places[order].astype(np.float64)
