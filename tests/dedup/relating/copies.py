"""Copies of a drawn photo by known transforms, and pages of digits."""

import cv2
import numpy as np

from tests.verification.scenes import draw_scene, turn, warp_scene

HEIGHT, WIDTH = 240, 320


def save_jpeg(pixels, quality=80):
    return cv2.imdecode(cv2.imencode(".jpg", pixels[:, :, ::-1], [1, quality])[1], 1)[:, :, ::-1].copy()


def cover(pixels):
    """Draw a banner with words over the middle."""
    banner = pixels.copy()
    banner[96:140] = (200, 30, 30)
    cv2.putText(banner, "SALE 50 %", (60, 128), 0, 1, (255, 255, 255), 2)
    return banner


def paste(pixels, ground, *, side=140, at=(60, 110)):
    """Paste a reduced photo onto another one."""
    small = cv2.resize(pixels, (side, side * HEIGHT // WIDTH), interpolation=cv2.INTER_AREA)
    pasted = ground.copy()
    pasted[at[0] : at[0] + small.shape[0], at[1] : at[1] + side] = small
    return pasted


def show_on_page(pixels):
    """Show a photo on a page with a bar and lines of text."""
    page = np.full((400, 420, 3), 250, np.uint8)
    page[:30] = (60, 90, 160)
    page[60:300, 50:370] = pixels
    for line in range(4):
        cv2.putText(page, "some words about it", (50, 325 + 20 * line), 0, 0.5, (20, 20, 20), 1)
    return page


def frame(pixels):
    """Put a plain border around a photo."""
    return cv2.copyMakeBorder(pixels, 40, 40, 60, 60, cv2.BORDER_CONSTANT, value=(240, 240, 240))


def filter_photo(pixels):
    """Blur, raise the contrast and take the colour away."""
    grey = cv2.cvtColor(cv2.GaussianBlur(pixels, (0, 0), 1.5), cv2.COLOR_RGB2GRAY).astype(float)
    return np.repeat(np.clip((grey - 128) * 1.3 + 128, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def copies_of(scene, other):
    """Copies of a photo (240, 320, 3) by name: pixels, what the photo is to it, and the transform to it."""
    rotation = turn(25, 1, (80, -30))
    near, cut = np.eye(3), turn(0, 1, (-60, -40))
    square = np.array([[0.75, 0, -0.125], [0, 1, 0], [0, 0, 1]])
    flipped = np.array([[-1.0, 0, WIDTH - 1], [0, 1, 0], [0, 0, 1]])
    quarter = np.array([[0, -1.0, HEIGHT - 1], [1, 0, 0], [0, 0, 1]])
    return {
        "recompressed": (save_jpeg(scene, 30), "near", near),
        "square": (cv2.resize(scene, (240, 240), interpolation=cv2.INTER_AREA), "near", square),
        "filtered": (filter_photo(scene), "near", near),
        "covered": (cover(scene), "near", near),
        "mirrored": (scene[:, ::-1].copy(), "mirrored", flipped),
        "quarter": (np.rot90(scene, -1).copy(), "turned", quarter),
        "rotated": (warp_scene(scene, rotation, (WIDTH, HEIGHT)), "turned", rotation),
        "cropped": (scene[40:200, 60:260].copy(), "contains", cut),
        "framed": (frame(scene), "crop", turn(0, 1, (60, 40))),
        "on a page": (show_on_page(scene), "composite", turn(0, 1, (50, 60))),
        "pasted": (paste(scene, other), "composite", None),
        "blended": (cv2.addWeighted(scene, 0.5, other, 0.5, 0), "composite", near),
    }


def draw_page(digit, *, lines=20):
    """Draw lines of numbers; ``digit`` is one of them."""
    rng, page = np.random.default_rng(0), np.full((lines * 24 + 20, 420, 3), 255, np.uint8)
    for line in range(lines):
        text = " ".join(str(rng.integers(100, 99999)) for _ in range(6))
        text = f"{text[:12]}{digit}{text[13:]}" if line == 7 else text
        cv2.putText(page, text, (10, 30 + 24 * line), 0, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return page


def draw_photos(seed=1):
    return draw_scene(seed, width=WIDTH, height=HEIGHT), draw_scene(seed + 50, width=WIDTH, height=HEIGHT)
