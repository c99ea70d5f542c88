"""`inspect_image`: facts of good files, a status for all others, whatever the decoder does."""

import dataclasses
import hashlib
import io
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from resight.images.decode import Decoded, DecodeError, decode_image
from resight.images.inspect import inspect_image, measure_sharpness
from resight.images.resize import fit_longer_side
from tests.images.encodings import encode, exif_of, noise, photo
from tests.mutations import ENCODINGS, encoded_photos, mutate, mutated_file

NO_FACTS = {"pixel_hash", "width", "height", "format", "taken_at", "sharpness", "preview"}
PIXELS = noise((6, 8, 3))


def test_facts_of_a_photo():
    content = encode(photo((60, 40)), "JPEG", exif=exif_of({0x0112: 6, 0x0132: "2024:05:17 14:03:59"}))
    facts = inspect_image(content)
    assert (facts.status, facts.error) == ("ok", None)
    assert (facts.width, facts.height, facts.format) == (40, 60, "jpeg")
    assert facts.taken_at.isoformat() == "2024-05-17T14:03:59+00:00"
    assert facts.content_hash == hashlib.sha256(content).hexdigest()


def test_the_pixel_hash_is_of_size_and_rgb():
    facts = inspect_image(encode(Image.fromarray(PIXELS)))
    expected = hashlib.sha256(struct.pack("<qq", 6, 8) + PIXELS.tobytes()).hexdigest()
    assert facts.pixel_hash == expected


def test_equal_pixels_share_their_hash_in_any_format():
    image = Image.fromarray(PIXELS)
    turned = encode(image.transpose(Image.Transpose.ROTATE_90), exif=exif_of({0x0112: 6}))
    files = [encode(image, name) for name in ("PNG", "TIFF", "BMP", "PPM")] + [turned]
    assert len({inspect_image(content).pixel_hash for content in files}) == 1
    assert len({inspect_image(content).content_hash for content in files}) == len(files)


def test_the_same_bytes_in_another_shape_have_another_pixel_hash():
    shapes = [PIXELS, PIXELS.reshape(8, 6, 3), PIXELS.reshape(1, 48, 3)]
    assert len({inspect_image(encode(Image.fromarray(p))).pixel_hash for p in shapes}) == 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 2), (30, 40)])
def test_sharpness_is_the_variance_of_the_laplacian(shape):
    pixels = noise((*shape, 3))
    luma = np.rint(pixels @ [0.299, 0.587, 0.114])
    around = np.pad(luma, 1, mode="reflect") if min(shape) > 1 else None
    got = measure_sharpness(pixels)
    assert got.dtype == np.float32
    if around is not None:
        cross = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
        assert got == pytest.approx((cross - 4 * luma).var(), rel=0.01)


def test_blur_lowers_sharpness():
    sharp = photo((200, 150))
    soft = sharp.resize((50, 38)).resize((200, 150))
    assert inspect_image(encode(soft)).sharpness < inspect_image(encode(sharp)).sharpness / 2


@pytest.mark.parametrize("side", [1, 64, 256])
def test_the_preview_is_a_small_upright_jpeg(side):
    content = encode(photo((300, 200)), "PNG", exif=exif_of({0x0112: 6}))
    preview = Image.open(io.BytesIO(inspect_image(content, preview_side=side).preview))
    expected = fit_longer_side(decode_image(content).pixels, side)
    assert (preview.format, preview.size) == ("JPEG", expected.shape[1::-1])
    assert np.abs(np.asarray(preview).astype(int) - expected).mean() < 8
    assert preview.size[1] == side


def test_facts_are_the_same_in_every_process():
    program = "import sys; from resight.images.inspect import inspect_image as i; "
    program += "f = i(sys.stdin.buffer.read()); print(f.pixel_hash, f.sharpness, f.preview.hex())"
    content = encode(photo((300, 200)), "JPEG")
    command = [sys.executable, "-c", program]
    text = subprocess.run(command, input=content, capture_output=True, check=True).stdout
    facts = inspect_image(content)
    assert text.decode().split() == [facts.pixel_hash, str(facts.sharpness), facts.preview.hex()]


@pytest.mark.parametrize(
    ("content", "max_pixels", "status"),
    [(b"", 10, "empty"), (b"text", 10, "undecodable"), (encode(photo()), 10, "too_large")],
)
def test_a_failed_decode_gives_status_error_and_content_hash(content, max_pixels, status):
    facts = inspect_image(content, max_pixels=max_pixels)
    assert (facts.status, facts.content_hash) == (status, hashlib.sha256(content).hexdigest())
    assert facts.error.isprintable()
    assert all(getattr(facts, name) is None for name in NO_FACTS)


def test_a_decoder_of_the_user_is_used():
    def decode_raw(content, *, max_pixels, longer_side):
        assert (max_pixels, longer_side) == (99, None)
        return Decoded(np.frombuffer(content, np.uint8).reshape(6, 8, 3), 8, 6, "own")

    facts = inspect_image(PIXELS.tobytes(), max_pixels=99, decoder=decode_raw)
    assert (facts.status, facts.format, facts.width, facts.height) == ("ok", "own", 8, 6)
    assert facts.pixel_hash == inspect_image(encode(Image.fromarray(PIXELS))).pixel_hash


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (KeyError("plane"), "undecodable"),
        (DecodeError("too_large", "a gigapixel"), "too_large"),
        (MemoryError(), "crashed"),
        (RecursionError("deep\nlines"), "undecodable"),
    ],
)
def test_a_decoder_that_fails_costs_its_image_only(failure, status):
    def decode_badly(content, *, max_pixels, longer_side):
        raise failure

    facts = inspect_image(b"raw", decoder=decode_badly)
    assert facts.status == status
    assert facts.error
    assert facts.error.isprintable()


@pytest.mark.parametrize(
    "result",
    [
        None,
        PIXELS,
        Decoded(PIXELS, 9, 6, "own"),
        Decoded(PIXELS[..., 0], 8, 6, "own"),
        Decoded(PIXELS.astype(np.float32), 8, 6, "own"),
        Decoded(PIXELS[:0], 8, 0, "own"),
    ],
)
def test_a_decoder_that_gives_nonsense_is_undecodable(result):
    facts = inspect_image(b"raw", decoder=lambda content, **options: result)
    assert facts.status == "undecodable"


def test_a_decoder_that_ignores_the_limit_is_too_large():
    decoded = Decoded(PIXELS, 8, 6, "own")
    facts = inspect_image(b"raw", max_pixels=47, decoder=lambda content, **options: decoded)
    assert facts.status == "too_large"


def inspect_mutations(start, stop):
    files = encoded_photos(96)
    return [inspect_image(mutated_file(files, 0, i)) for i in range(start, stop)]


def test_no_damaged_file_raises_or_kills():
    """Run apart: a file that kills its process breaks the pool and fails here, not in pytest."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        facts = pool.submit(inspect_mutations, 0, 600).result()
    counts = Counter(f.status for f in facts)
    assert sum(counts[s] for s in ("ok", "undecodable", "too_large", "empty")) == 600
    assert min(counts["ok"], counts["undecodable"]) > 60
    for f in facts:
        present = {n for n, v in dataclasses.asdict(f).items() if v is not None}
        wanted = NO_FACTS - {"taken_at"} if f.status == "ok" else {"error"}
        assert present - {"taken_at"} == wanted | {"content_hash", "status"}


def test_a_damaged_jpeg_has_one_status_at_every_size():
    files = encoded_photos(200)
    jpegs = [f for f in files if f.startswith(b"\xff\xd8")]
    for i in range(100):
        content = mutate(jpegs[i % len(jpegs)], files, np.random.default_rng(i))
        small = inspect_image(content, decoder=lambda c, **_: unscaled(c))
        assert small.status == inspect_image(content).status


def unscaled(content):
    """Decode at a smaller size, enlarged so that it passes for the whole."""
    decoded = decode_image(content, longer_side=30)
    pixels = np.zeros((decoded.height, decoded.width, 3), np.uint8)
    return dataclasses.replace(decoded, pixels=pixels)


def test_mutations_are_seeded_and_damage():
    files = encoded_photos(64)
    assert len(files) == 3 * len(ENCODINGS)
    first, second = ([mutated_file(files, 1, i) for i in range(100)] for _ in range(2))
    assert first == second
    assert first != [mutated_file(files, 2, i) for i in range(100)]
    assert sum(m != files[i % len(files)] for i, m in enumerate(first)) > 90
