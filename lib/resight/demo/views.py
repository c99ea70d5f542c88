"""Another look at a photographed object: the camera moves, the light changes, things get in the way.

The picture is taken to be a plane in space. A pinhole camera looks at it (Hartley & Zisserman,
*Multiple View Geometry*, section 8.1.1: the plane z = 0 maps through ``K [r1 r2 t]``) and is moved back or
sideways so that its frame stays inside the plane: no view has an invented border.
Images are (h, w, 3) uint8 RGB; every function gives a new one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["VIEWS", "Props", "look_at", "stick_on"]

FOCAL = 1.2  # focal length in units of the longer side


@dataclass(frozen=True)
class Props:
    """What else may be seen: grounds to lie on or to stand in front, and other prints."""

    grounds: Sequence[np.ndarray]
    prints: Sequence[np.ndarray]


Rng = np.random.Generator
View = Callable[[np.ndarray, Props, Rng], np.ndarray]


def look_at(
    image: np.ndarray,
    *,
    angles: tuple[float, float, float],
    zoom: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    longer_side: int = 512,
) -> np.ndarray:
    """Photograph the plane ``image`` from another side.

    Parameters
    ----------
    image : ndarray, (h, w, 3) uint8
    angles : tuple
        Yaw, pitch and roll of the camera in degrees.
    zoom : float
        1 is the largest frame inside the plane, 2 shows half of its width.
    shift : tuple
        Where the frame lies, as parts of the free space to the right and down, from -1 to 1.
    longer_side : int
        Size of the result, in pixels; its shape is that of ``image``.
    """
    height, width = image.shape[:2]
    half = np.array([width, height]) / 2
    frame = half * [(-1, -1), (1, -1), (1, 1), (-1, 1)]  # (4, 2) corners, clockwise
    onto = frame_on_plane(frame, np.radians(angles))
    onto -= (onto.max(0) + onto.min(0)) / 2
    onto *= (half / onto.max(0)).min() / zoom
    onto += half + np.array(shift) * (half - onto.max(0))
    scale = longer_side / max(height, width)
    size = (round(width * scale), round(height * scale))
    corners = (frame + half) * scale
    warp = cv2.getPerspectiveTransform(onto.astype(np.float32), corners.astype(np.float32))
    return cv2.warpPerspective(image, warp, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def frame_on_plane(frame: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Project the corners of a camera's frame (4, 2) back onto the plane: (4, 2), centred units."""
    focal = FOCAL * 2 * frame.max()
    R, _ = cv2.Rodrigues(np.array([angles[1], 0.0, 0.0]))
    R = cv2.Rodrigues(np.array([0.0, angles[0], 0.0]))[0] @ R
    R = cv2.Rodrigues(np.array([0.0, 0.0, angles[2]]))[0] @ R
    H = np.column_stack([focal * R[:2, 0], focal * R[:2, 1], [0.0, 0.0]])  # K [r1 r2 t], two rows
    H = np.vstack([H, [R[2, 0], R[2, 1], focal]])
    points = np.column_stack([frame, np.ones(4)]) @ np.linalg.inv(H).T
    return points[:, :2] / points[:, 2:]


def relight(image: np.ndarray, gains: Sequence[float], gamma: float = 1.0) -> np.ndarray:
    """Apply ``gains`` per channel after the tone curve ``x ** gamma``."""
    light = (image / 255.0) ** gamma * np.asarray(gains)
    return to_pixels(light)


def shade(image: np.ndarray, angle: float, depth: float) -> np.ndarray:
    """Darken by up to ``depth`` along a direction, as light from a window falls off."""
    h, w = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    fall = (np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(2)  # from -1 to 1
    return to_pixels(image / 255.0 * (1 - depth * (fall[:, :, None] + 1) / 2))


def add_noise(image: np.ndarray, sigma: float, rng: Rng) -> np.ndarray:
    """Add sensor noise of standard deviation ``sigma`` (in grey levels), coarser than a pixel."""
    noise = rng.normal(0, 1.6 * sigma, image.shape).astype(np.float32)
    return to_pixels((image + cv2.GaussianBlur(noise, (3, 3), 0)) / 255.0)


def to_pixels(light: np.ndarray) -> np.ndarray:
    """Round values in [0, 1] to uint8, cutting what lies outside."""
    return np.clip(np.round(255 * light), 0, 255).astype(np.uint8)


def smear(image: np.ndarray, length: int, angle: float) -> np.ndarray:
    """Blur as a hand that shook: along a line of ``length`` pixels at ``angle`` degrees."""
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), angle, 1)
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def stick_on(image: np.ndarray, ground: np.ndarray, rng: Rng, *, share: float, border: int = 0) -> np.ndarray:
    """Lay a print of ``image`` on ``ground`` and photograph both.

    ``share`` is the longer side of the print over that of the photograph, ``border`` the width of
    its white margin.
    """
    if border:
        image = cv2.copyMakeBorder(image, *(border,) * 4, cv2.BORDER_CONSTANT, value=(245,) * 3)
    h, w = ground.shape[:2]
    ih, iw = image.shape[:2]
    scale = share * max(h, w) / max(ih, iw)
    half = np.minimum(np.array([iw, ih]) * scale, 0.86 * np.array([w, h])) / 2
    half = np.array([iw, ih]) * (half / [iw, ih]).min()
    quad = frame_on_plane(
        half * [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        np.radians([signed(rng, 8, 20), signed(rng, 5, 15), signed(rng, 3, 14)]),
    )
    quad *= (half / np.abs(quad).max(0)).min()
    free = np.array([w, h]) / 2 - np.abs(quad).max(0)
    quad += np.array([w, h]) / 2 + rng.uniform(-0.7, 0.7, 2) * free
    start = np.array([(0, 0), (iw, 0), (iw, ih), (0, ih)], np.float32)
    small = cv2.GaussianBlur(image, (0, 0), 0.5 * max(iw / half[0] / 2, 1e-3))
    warp = cv2.getPerspectiveTransform(start, quad.astype(np.float32))
    laid = cv2.warpPerspective(small, warp, (w, h), flags=cv2.INTER_CUBIC)
    mask = cv2.warpPerspective(np.ones((ih, iw), np.float32), warp, (w, h))
    shadow = cv2.GaussianBlur(np.roll(mask, (7, 6), (0, 1)), (0, 0), 6)
    lit = ground * (1 - 0.55 * shadow[:, :, None])
    return to_pixels((lit + mask[:, :, None] * (laid - lit)) / 255.0)


def cover(image: np.ndarray, thing: np.ndarray, rng: Rng, *, share: float) -> np.ndarray:
    """Let a blob of ``thing`` stand in front of about ``share`` of ``image``, off its centre."""
    h, w = image.shape[:2]
    bearing = rng.uniform(0, 2 * np.pi)
    centre = np.array([w, h]) * (0.5 + 0.34 * np.array([np.cos(bearing), np.sin(bearing)]))
    long = np.sqrt(share * h * w / np.pi * 1.8)
    axes = (round(long), round(long / 1.8))
    blob = np.zeros((h, w), np.float32)
    middle = (round(centre[0]), round(centre[1]))
    cv2.ellipse(blob, middle, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(blob, (0, 0), 2.5)[:, :, None]
    front = cv2.GaussianBlur(cv2.resize(thing, (w, h)), (0, 0), 1.5)
    return to_pixels((image + mask * (0.8 * front - image)) / 255.0)


def signed(rng: Rng, low: float, high: float) -> float:
    """Draw from [low, high] with a random sign."""
    return float(rng.uniform(low, high) * rng.choice([-1, 1]))


def somewhere(rng: Rng) -> tuple[float, float]:
    """Draw a shift of the frame."""
    return float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.6, 0.6))


def draw(images: Sequence[np.ndarray], rng: Rng) -> np.ndarray:
    """Draw one of ``images``."""
    return images[int(rng.integers(len(images)))]


def tilted(rng: Rng) -> tuple[float, float, float]:
    """Draw the angles of a camera that is held carelessly."""
    return signed(rng, 8, 20), signed(rng, 4, 12), signed(rng, 2, 7)


def plain(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """Leave the photograph as it is."""
    return image


def aside(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """From the left or the right, in cool light that falls off to one side."""
    angles = (signed(rng, 34, 46), signed(rng, 2, 10), signed(rng, 1, 5))
    seen = look_at(image, angles=angles, zoom=1.1, shift=somewhere(rng))
    return shade(relight(seen, (0.95, 1.0, 1.06)), rng.uniform(0, 2 * np.pi), 0.5)


def above(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """From above or below, overexposed."""
    angles = (signed(rng, 4, 12), signed(rng, 30, 42), signed(rng, 2, 8))
    return relight(look_at(image, angles=angles, zoom=1.05), (1.12, 1.1, 1.06), gamma=0.85)


def turned(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """With a camera that is not held level."""
    angles = (signed(rng, 4, 12), signed(rng, 4, 12), signed(rng, 12, 22))
    return look_at(image, angles=angles, longer_side=600)


def sideways(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """On its side or upside down, as a camera without a sense of gravity stores it."""
    seen = look_at(image, angles=tilted(rng), zoom=1.05)
    return np.ascontiguousarray(np.rot90(seen, int(rng.integers(1, 4))))


def close(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """Show a detail: half of the width or less."""
    angles = (signed(rng, 4, 12), signed(rng, 4, 12), signed(rng, 1, 6))
    shift = (float(rng.uniform(-0.35, 0.35)), float(rng.uniform(-0.35, 0.35)))
    return look_at(image, angles=angles, zoom=rng.uniform(1.8, 2.2), shift=shift)


def dusk(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """In little, warm light, with a noisy sensor."""
    seen = look_at(image, angles=tilted(rng), zoom=1.15, shift=somewhere(rng))
    return add_noise(relight(seen, (0.58, 0.45, 0.33), gamma=1.25), 9, rng)


def blurred(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """From an unsteady hand."""
    seen = look_at(image, angles=tilted(rng), zoom=1.15, shift=somewhere(rng))
    return smear(seen, 15, rng.uniform(0, 180))


def tiny(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """Shrink to what goes into a message: 160 pixels."""
    seen = look_at(image, angles=tilted(rng), zoom=1.1, longer_side=640)
    height, width = seen.shape[:2]
    return cv2.resize(seen, (width // 4, height // 4), interpolation=cv2.INTER_AREA)


def hidden(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """With something in front of a part of it."""
    seen = look_at(image, angles=tilted(rng))
    return cover(seen, draw(props.grounds, rng), rng, share=rng.uniform(0.15, 0.22))


def pasted(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """As a print that lies on some ground."""
    ground = look_at(draw(props.grounds, rng), angles=tilted(rng))
    return stick_on(image, ground, rng, share=rng.uniform(0.7, 0.85), border=14)


def among(image: np.ndarray, props: Props, rng: Rng) -> np.ndarray:
    """As a print on top of others."""
    scene = look_at(draw(props.grounds, rng), angles=tilted(rng))
    for number in rng.permutation(len(props.prints))[:3]:
        scene = stick_on(props.prints[number], scene, rng, share=rng.uniform(0.4, 0.6), border=14)
    return stick_on(image, scene, rng, share=rng.uniform(0.62, 0.75), border=14)


VIEWS: dict[str, View] = {
    view.__name__: view
    for view in (
        plain,
        aside,
        above,
        turned,
        sideways,
        close,
        dusk,
        blurred,
        tiny,
        hidden,
        pasted,
        among,
    )
}
