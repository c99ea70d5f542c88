"""`decode_image` in whole: formats, limits, damage, and what it leaves untouched."""

import io
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from resight.images.decode import READERS, DecodeError, decode_image, quiet_pillow
from resight.images.listing import IMAGE_EXTENSIONS
from tests.images.encodings import encode, exif_of, photo, upright
from tests.mutations import ENCODINGS


def status_of(content, **options):
    with pytest.raises(DecodeError) as caught:
        decode_image(content, **options)
    return caught.value.status


@pytest.mark.parametrize(("name", "options"), ENCODINGS)
@pytest.mark.parametrize("size", [(1, 1), (61, 43), (3, 70_000)])
def test_every_encoding_gives_the_pixels_that_pillow_gives(name, options, size):
    if name in ("JPEG", "GIF", "WEBP", "AVIF") or "jpeg" in options.values():
        size = (min(size), min(max(size), 700))  # these formats go no further
    content = encode(photo(size), name, **options)
    decoded = decode_image(content)
    np.testing.assert_array_equal(decoded.pixels, upright(content))
    assert decoded.pixels.flags.writeable
    assert decoded.pixels.flags.c_contiguous
    assert decoded.format == name.lower()


def test_what_is_listed_by_its_name_has_a_reader():
    formats = Image.registered_extensions()
    readable = {reader.format for reader in READERS.values()}
    unread = {name for name in IMAGE_EXTENSIONS if formats.get(f".{name}") not in readable}
    assert unread == {"heic", "heif"}, "listed so that a team learns that they are there"


@pytest.mark.parametrize(
    ("name", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})]
)
def test_the_first_frame_is_decoded(name, options):
    frames = [Image.new("RGB", (20, 30), color) for color in ("red", "green", "blue")]
    content = encode(frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    decoded = decode_image(content)
    assert (decoded.pixels == [255, 0, 0]).all()
    assert decoded.pixels.shape == (30, 20, 3)


def png_of_size(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


def test_the_limit_on_pixels_is_checked_before_decoding():
    content = png_of_size(60_000, 60_000)  # a header, no pixels
    assert status_of(content) == "too_large"
    content = png_of_size(2000, 2000)
    assert status_of(content, max_pixels=3_999_999) == "too_large"
    assert status_of(content, max_pixels=4_000_000) == "undecodable"


@pytest.mark.parametrize(("name", "options"), ENCODINGS)
def test_an_image_at_the_limit_passes_and_one_above_does_not(name, options):
    content = encode(photo((40, 25)), name, **options)
    assert decode_image(content, max_pixels=1000).width == 40
    assert status_of(content, max_pixels=999) == "too_large"


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "BMP"])
def test_the_limit_of_other_users_of_pillow_does_not_count(name, monkeypatch):
    content = encode(photo((40, 25)), name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert decode_image(content).width == 40
    assert Image.MAX_IMAGE_PIXELS == 600


def test_a_webp_canvas_is_refused_before_it_is_allocated():
    for options in ({"lossless": True}, {"lossless": False}, {"exif": exif_of({0x0112: 1})}):
        content = encode(photo((300, 200)), "WEBP", **options)
        assert status_of(content[:40], max_pixels=59_999) == "too_large"
        assert status_of(content[:40], max_pixels=60_000) == "undecodable"


@pytest.mark.parametrize(("name", "options"), ENCODINGS)
@pytest.mark.parametrize("part", [0.01, 0.5, 0.9])
def test_truncated_files_are_undecodable(name, options, part):
    content = encode(photo((300, 200)), name, **options)
    assert status_of(content[: int(part * len(content))]) == "undecodable"


def test_no_bytes_is_empty():
    assert status_of(b"") == "empty"


@pytest.mark.parametrize(
    "content",
    [
        b"dear diary",
        bytes(5000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xff\xd8\xff",
        b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
        b"\0\0\0\x18ftypheic" + bytes(100),
    ],
)
def test_what_is_no_photograph_is_undecodable(content):
    assert status_of(content) == "undecodable"


def test_a_raw_file_does_not_pass_for_its_thumbnail():
    assert status_of(encode(photo(), "TIFF", tiffinfo={254: 1})) == "undecodable"


@pytest.mark.parametrize("longer_side", [1, 7, 100, 128, 199, 200, 201, 5000])
@pytest.mark.parametrize("size", [(801, 600), (600, 801), (800, 1), (3, 799)])
def test_a_scaled_jpeg_is_never_below_the_size_asked_for(size, longer_side):
    content = encode(photo(size), "JPEG", exif=exif_of({0x0112: 6}))
    decoded = decode_image(content, longer_side=longer_side)
    assert (decoded.height, decoded.width) == size
    got = max(decoded.pixels.shape)
    assert min(longer_side, max(size)) <= got <= max(size)
    assert got < 2 * longer_side or got <= -(-max(size) // 8) or min(size) < 8


def test_a_scaled_jpeg_shows_the_same():
    content = encode(photo((640, 480)), "JPEG", quality=95)
    half = decode_image(content).pixels.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    assert np.abs(decode_image(content, longer_side=320).pixels - half).mean() < 1


def test_other_warnings_and_the_filters_stay_as_they_are():
    before = list(warnings.filters)
    with quiet_pillow(), pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode_image, [encode(photo(), "JPEG")] * 100))
    assert list(warnings.filters) == before


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(DecodeError("too_large", "9 x 9 pixels")))
    assert (error.status, error.reason, str(error)) == ("too_large", "9 x 9 pixels", str(error))


STARVED = """
import io, resource
from PIL import Image
from resight.images.decode import DecodeError, decode_image
file = io.BytesIO()
Image.new("L", (9000, 9000)).save(file, "PNG")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
try:
    decode_image(file.getvalue())
except DecodeError as error:
    assert error.status == "too_large", error
else:
    raise SystemExit("decoded in 64 MB")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its address space")
def test_running_out_of_memory_is_a_decode_error():
    subprocess.run([sys.executable, "-c", STARVED], check=True)
