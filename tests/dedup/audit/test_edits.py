"""Edits give what they say: sizes, the same pixels again, and the original where the transform puts it."""

import cv2
import numpy as np
import pytest

from resight.dedup.audit.edits import EDITS, edit_photo, measure_remaining
from resight.verification.agreement import measure_agreement

CASES = [(edit.name, strength) for edit in EDITS.values() for strength in edit.strengths]
LEAST_AGREEMENT = {"recompressed": 0.75, "bannered": 0.4, "stamped": 0.5, "filtered": 0.6, "blended": 0.5}


def scene(seed, height, width):
    """Smooth blobs with edges: a stand-in for a photo."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    for _ in range(60):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        cv2.circle(image, centre, int(rng.integers(4, 30)), colour, -1)
    return cv2.GaussianBlur(image, (0, 0), 1.2)


PHOTO, OTHER = scene(1, 150, 200), scene(2, 160, 120)
GREY = np.repeat(cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def make(name, strength, seed=3):
    return edit_photo(PHOTO, name, strength, OTHER, np.random.default_rng(seed))


@pytest.mark.parametrize(("name", "strength"), CASES)
def test_the_transform_lays_the_original_over_its_copy(name, strength):
    pixels, transform = make(name, strength)
    original = GREY if name == "filtered" else PHOTO
    agreement = measure_agreement(original, pixels, transform)
    assert agreement > LEAST_AGREEMENT.get(name, 0.9)


@pytest.mark.parametrize(("name", "strength"), CASES)
def test_a_copy_is_the_same_again_and_leaves_the_original_alone(name, strength):
    before = PHOTO.copy()
    first, second = make(name, strength), make(name, strength)
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.transform, second.transform)
    assert np.array_equal(PHOTO, before)
    assert first.pixels is not PHOTO
    assert first.pixels.dtype == np.uint8
    assert first.pixels.ndim == 3


@pytest.mark.parametrize("share", EDITS["cropped"].strengths)
def test_a_crop_keeps_its_share_of_the_area(share):
    pixels, transform = make("cropped", share)
    height, width = pixels.shape[:2]
    assert width * height == pytest.approx(share * PHOTO.shape[0] * PHOTO.shape[1], rel=0.02)
    assert measure_remaining(transform, (200, 150), (width, height)) == pytest.approx(share, rel=0.02)
    x, y = np.round(-transform[:2, 2]).astype(int)
    assert np.array_equal(pixels, PHOTO[y : y + height, x : x + width])


@pytest.mark.parametrize(
    ("name", "strength", "shape"),
    [
        ("recompressed", 40, (150, 200)),
        ("resized", 0.5, (75, 100)),
        ("squared", 1.0, (200, 200)),
        ("turned", 90, (200, 150)),
        ("turned", 180, (150, 200)),
        ("mirrored", 1, (150, 200)),
        ("rotated", 10, (150, 200)),
        ("screenshot", 0.6, (200, 200)),
        ("blended", 0.5, (150, 200)),
        ("pasted", 0.3, (200, 150)),
    ],
)
def test_sizes_follow_from_the_edit(name, strength, shape):
    assert make(name, strength).pixels.shape[:2] == shape


def test_turns_and_mirrors_are_exact():
    for degrees in (90, 180, 270):
        assert np.array_equal(make("turned", degrees).pixels, np.rot90(PHOTO, -degrees // 90))
    assert np.array_equal(make("mirrored", 0).pixels, PHOTO[:, ::-1])
    assert np.array_equal(make("mirrored", 1).pixels, PHOTO[::-1])


@pytest.mark.parametrize(("name", "share"), [("bannered", 0.2), ("stamped", 0.3)])
def test_what_is_covered_is_a_part_of_the_photo(name, share):
    changed = (make(name, share).pixels != PHOTO).any(2).mean()
    assert 0.02 < changed <= 1.1 * share


@pytest.mark.parametrize("name", sorted(EDITS))
def test_tiny_and_extreme_photos_can_be_copied(name):
    strip, dot = scene(4, 9, 300), scene(5, 8, 8)
    for photo, other in ((strip, dot), (dot, strip)):
        for strength in EDITS[name].strengths:
            copied = edit_photo(photo, name, strength, other, np.random.default_rng(0))
            assert min(copied.pixels.shape[:2]) >= 1


def test_a_blend_and_a_paste_show_the_other_photo_too():
    blended = make("blended", 0.5).pixels
    resized = cv2.resize(OTHER, (200, 150), interpolation=cv2.INTER_CUBIC)
    assert measure_agreement(blended, resized, np.eye(3)) > 0.5
    pasted = make("pasted", 0.3).pixels
    assert measure_agreement(OTHER, pasted, np.diag([150 / 120, 200 / 160, 1.0])) > 0.5
