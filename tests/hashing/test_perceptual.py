"""Hashes of pixels: turns, flat pictures, and the libraries that publish the same hashes."""

import cv2
import numpy as np
import pytest
from PIL import Image

from resight.hashing.perceptual import BITS, FLAT, hash_pixels, invert_turn, turn_pixels
from tests.pictures import PHOTOS


def pixels_of(name, side=256):
    with Image.open(PHOTOS[name]) as photo:
        small = photo.convert("RGB")
        small.thumbnail((side, side))
        return np.asarray(small)


def n_different(a, b):
    return int(np.unpackbits(a ^ b).sum())


@pytest.mark.parametrize("name", ["astronaut", "china", "coffee"])
def test_the_hash_of_a_position_is_that_of_the_turned_photo(name):
    pixels = pixels_of(name)
    found = hash_pixels(pixels)
    for turn in range(8):
        turned = hash_pixels(np.ascontiguousarray(turn_pixels(pixels, turn)))
        assert abs(turned.quality - found.quality) <= 0.03
        for kind, n_bits in BITS.items():
            assert found.codes[kind].shape == (8, n_bits // 8)
            assert n_different(turned.codes[kind][0], found.codes[kind][turn]) <= 2, (kind, turn)


@pytest.mark.parametrize("turn", range(8))
def test_a_turn_is_undone_by_its_inverse(rng, turn):
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(turn_pixels(turn_pixels(pixels, turn), invert_turn(turn)), pixels)


def test_turns_are_clockwise_and_mirrored_before():
    pixels = np.array([[1, 2], [3, 4]])
    assert turn_pixels(pixels, 1).tolist() == [[3, 1], [4, 2]]
    assert turn_pixels(pixels, 4).tolist() == [[2, 1], [4, 3]]
    assert turn_pixels(pixels, 5).tolist() == [[4, 2], [3, 1]]


def test_a_photo_compressed_and_resized_keeps_its_codes_and_others_differ():
    names = ("astronaut", "china", "coffee", "chelsea")
    codes = {name: hash_pixels(pixels_of(name)).codes for name in names}
    for name in names:
        encoded = cv2.imencode(
            ".jpg", cv2.resize(pixels_of(name), (150, 140)), [cv2.IMWRITE_JPEG_QUALITY, 60]
        )[1]
        again = hash_pixels(cv2.imdecode(encoded, cv2.IMREAD_COLOR)).codes
        for kind, n_bits in BITS.items():
            assert n_different(codes[name][kind][0], again[kind][0]) <= n_bits // 8
    assert all(
        n_different(codes[a][kind][0], codes[b][kind][0]) > BITS[kind] // 4
        for kind in ("phash", "pdq")
        for a in names
        for b in names
        if a < b
    )


def test_a_flat_picture_has_low_quality_and_a_photo_high():
    flat = np.full((90, 120, 3), 200, np.uint8)
    assert hash_pixels(flat).quality == 0
    ramp = np.broadcast_to(np.linspace(90, 110, 120).astype(np.uint8)[None, :, None], (90, 120, 3))
    assert hash_pixels(ramp).quality < FLAT
    assert hash_pixels(pixels_of("china")).quality > 0.9


@pytest.mark.parametrize("name", ["astronaut", "rocket", "china"])
def test_pdq_matches_that_of_the_published_code(name):
    pdqhash = pytest.importorskip("pdqhash")
    pixels = pixels_of(name)
    bits, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    found = hash_pixels(pixels, ["pdq"])
    own = np.unpackbits(found.codes["pdq"][0], bitorder="little")
    assert int((own[::-1] != bits).sum()) <= 31
    assert abs(found.quality - quality / 100) <= 0.05


@pytest.mark.parametrize("kind", ["ahash", "dhash", "phash", "whash"])
def test_other_hashes_are_those_of_the_package_within_the_reduction(kind):
    import imagehash

    names = {"ahash": "average_hash"}
    for name in ("astronaut", "china"):
        pixels = pixels_of(name)
        expected = getattr(imagehash, names.get(kind, kind))(Image.fromarray(pixels)).hash.ravel()
        code = hash_pixels(pixels, [kind]).codes[kind][0]
        assert int((np.unpackbits(code, bitorder="little") != expected).sum()) <= 5


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"expected \(h, w, 3\) uint8"):
        hash_pixels(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="'md5' is no hash of pixels"):
        hash_pixels(np.zeros((4, 4, 3), np.uint8), ["md5"])


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (1000, 70, 3)])
def test_pictures_of_any_shape_have_codes(rng, shape):
    found = hash_pixels(rng.integers(0, 256, shape, dtype=np.uint8))
    assert set(found.codes) == set(BITS)
    assert 0 <= found.quality <= 1
