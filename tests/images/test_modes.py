"""Every kind of sample becomes the RGB that Pillow, or arithmetic written out, says."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from resight.images.decode import decode_image
from resight.images.modes import rgb_pixels, scale_samples, share_pixels
from tests.images.encodings import encode, noise, photo, upright

LOSSLESS = [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})]


def on_white(rgba):
    color, alpha = rgba[..., :3].astype(int), rgba[..., 3:].astype(int)
    return np.rint((color * alpha + 255 * (255 - alpha)) / 255).astype(np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr", "CMYK", "HSV"])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "GIF"])
def test_opaque_modes_give_the_pixels_that_pillow_gives(name, mode):
    supported = {"JPEG": "1 L RGB YCbCr CMYK", "PNG": "1 L P RGB", "TIFF": "1 L P RGB YCbCr CMYK"}
    image = photo(mode=mode if mode in supported.get(name, "1 L P RGB").split() else "RGB")
    content = encode(image, name)
    np.testing.assert_array_equal(decode_image(content).pixels, upright(content))


@pytest.mark.parametrize("adobe", [True, False])
def test_ink_is_subtracted_from_white_in_cmyk_jpegs(adobe):
    content = encode(photo(mode="CMYK"), "JPEG", quality=95)
    start = content.index(b"\xff\xee\x00\x0eAdobe")
    content = content if adobe else content[:start] + content[start + 16 :]
    stored = np.asarray(photo(mode="CMYK")).astype(float)
    expected = (255 - stored[..., :3]) * (255 - stored[..., 3:]) / 255
    assert np.abs(decode_image(content).pixels - expected).mean() < 3


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_shown_on_white(name, options, mode):
    shape = (20, 30, len(mode))
    content = encode(Image.fromarray(noise(shape), mode), name, **options)
    rgba = noise(shape)[..., [0, 0, 0, 1]] if mode == "LA" else noise(shape)
    np.testing.assert_array_equal(decode_image(content).pixels, on_white(rgba))


@pytest.mark.parametrize("name", ["PNG", "GIF"])
@pytest.mark.parametrize("clear", [None, 3])
def test_a_palette_is_looked_up_and_its_clear_entry_is_white(name, clear):
    index, palette = noise((20, 30)) % 16, noise((16, 3))
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    expected = palette[index]
    if clear is not None:
        expected[index == clear] = 255
    content = encode(image, name, **({} if clear is None else {"transparency": clear}))
    np.testing.assert_array_equal(decode_image(content).pixels, expected)


def test_a_palette_with_several_alphas_is_shown_on_white():
    index, palette = noise((20, 30)) % 16, noise((16, 4))
    image = Image.fromarray(index, "P")
    image.putpalette(palette[:, :3].tobytes())
    content = encode(image, transparency=palette[:, 3].tobytes())
    np.testing.assert_array_equal(decode_image(content).pixels, on_white(palette[index]))


@pytest.mark.parametrize(("mode", "clear"), [("L", 7), ("RGB", (7, 7, 7)), ("I;16", 7)])
def test_the_clear_colour_of_a_png_is_white(mode, clear):
    samples = np.full((4, 6), 7, np.uint16 if mode == "I;16" else np.uint8)
    samples[0] = 9
    image = Image.fromarray(samples)
    content = encode(image.convert(mode) if mode == "RGB" else image, transparency=clear)
    pixels = decode_image(content).pixels
    assert (pixels[1:] == 255).all()
    assert (pixels[0] < 10).all()


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_samples_keep_their_high_byte(name):
    samples = noise((20, 30), np.uint16)
    pixels = decode_image(encode(Image.fromarray(samples), name)).pixels
    np.testing.assert_array_equal(pixels, np.repeat(samples[..., None] >> 8, 3, axis=2))


def test_big_endian_16_bit_tiffs_are_read_in_their_order():
    samples = noise((20, 30), np.uint16)
    image = Image.frombytes("I;16B", (30, 20), samples.astype(">u2").tobytes())
    pixels = decode_image(encode(image, "TIFF")).pixels
    np.testing.assert_array_equal(pixels[..., 0], samples >> 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100.4, 255], [0, 100, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([0, 50_000, 100_000], [0, 128, 255]),
        ([np.nan, 0.2, np.inf], [0, 51, 0]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([-3.4e38, 0, 3.4e38], [0, 128, 255]),
        ([-5, -5, -5], [0, 0, 0]),
    ],
)
def test_float_samples_are_scaled_by_their_range(values, expected):
    samples = np.array([values], np.float32)
    pixels = decode_image(encode(Image.fromarray(samples), "TIFF")).pixels
    np.testing.assert_array_equal(pixels[0, :, 0], expected)


def test_32_bit_integers_within_a_byte_stay():
    np.testing.assert_array_equal(scale_samples(np.array([[0, 1, 200]], np.int32)), [[0, 1, 200]])


def test_lab_is_converted():
    rgb = np.asarray(photo((30, 20)).resize((6, 4)).resize((30, 20)))  # no colour out of reach
    L, a, b = np.moveaxis(rgb2lab(rgb), 2, 0)
    lab = np.rint(np.stack([L * 2.55, a, b], axis=2)).astype(np.int64).astype(np.uint8)
    content = encode(Image.frombytes("LAB", (30, 20), lab.tobytes()), "TIFF")
    assert Image.open(io.BytesIO(content)).mode == "LAB"
    assert np.abs(decode_image(content).pixels - rgb.astype(int)).mean() < 6


@pytest.mark.parametrize(("size", "is_whole"), [((7, 5), True), ((4200, 1000), False)])
def test_pixels_are_taken_from_memory_that_is_whole_or_in_parts(rng, size, is_whole):
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert (share_pixels(image) is not None) == is_whole
    found = rgb_pixels(image)
    np.testing.assert_array_equal(found, pixels)
    assert found.flags.writeable
    assert found.flags.c_contiguous
