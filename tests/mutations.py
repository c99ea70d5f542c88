"""Damaged files: seeded mutations of the photographs that PyPI packages carry."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = {
    "sklearn": "datasets/images/china.jpg",
    "matplotlib": "mpl-data/sample_data/grace_hopper.jpg",
    "skimage": "data/chelsea.png",
}
ENCODINGS = (
    ("JPEG", {"quality": 80}),
    ("JPEG", {"progressive": True, "restart_marker_rows": 1}),
    ("PNG", {}),
    ("GIF", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("WEBP", {"quality": 80}),
    ("WEBP", {"lossless": True}),
    ("AVIF", {"quality": 60}),
    ("JPEG2000", {}),
    ("BMP", {}),
    ("PPM", {}),
)


def package_photos() -> list[bytes]:
    """The bytes of a JPEG of scikit-learn, a JPEG of matplotlib and a PNG of scikit-image."""
    specs = {package: find_spec(package) for package in PHOTOS}
    return [(Path(specs[p].origin).parent / file).read_bytes() for p, file in PHOTOS.items()]


def encoded_photos(side: int = 160) -> list[bytes]:
    """Every photo of `package_photos` at ``side`` pixels in every encoding, with EXIF tags."""
    files = []
    for content in package_photos():
        image = Image.open(io.BytesIO(content)).convert("RGB")
        image.thumbnail((side, side))
        exif = Image.Exif()
        exif[0x0112], exif[0x0132] = 6, "2020:01:02 03:04:05"
        for name, options in ENCODINGS:
            tags = {} if name in ("GIF", "BMP", "PPM", "JPEG2000") else {"exif": exif}
            file = io.BytesIO()
            image.save(file, name, **options, **tags)
            files.append(file.getvalue())
    return files


def mutate(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Damage a file one to three times, each time in a way that ``rng`` chooses."""
    for _ in range(rng.integers(1, 4)):
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        content = damage(bytearray(content), others, rng) if content else content
    return content


def some_range(size: int, rng: np.random.Generator) -> tuple[int, int]:
    """A range within ``size`` bytes, short ones as likely as long ones."""
    start = int(rng.integers(size))
    return start, start + int(2 ** rng.uniform(0, np.log2(size + 1)))


def flip_bits(content: bytearray, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Turn 1 to 64 bits anywhere."""
    for place in rng.integers(len(content), size=2 ** rng.integers(7)):
        content[place] ^= 1 << int(rng.integers(8))
    return bytes(content)


def edit_header(content: bytearray, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Set 1 to 8 of the first 512 bytes to values that sizes and counts break on."""
    for place in rng.integers(min(512, len(content)), size=rng.integers(1, 9)):
        content[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF]))
    return bytes(content)


def cut_end(content: bytearray, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Keep the beginning only; nothing at all now and then."""
    return bytes(content[: rng.integers(len(content))])


def drop_range(content: bytearray, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Leave bytes out, what follows moves up."""
    start, stop = some_range(len(content), rng)
    return bytes(content[:start] + content[stop:])


def fill_range(content: bytearray, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Overwrite bytes with zeros or ones, as a failing disk does."""
    start, stop = some_range(len(content), rng)
    stop = min(stop, len(content))
    content[start:stop] = bytes([int(rng.choice([0, 0xFF]))]) * (stop - start)
    return bytes(content)


def splice(content: bytearray, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Go on with another file somewhere in the middle."""
    other = others[rng.integers(len(others))]
    start = rng.integers(len(content))
    return bytes(content[:start]) + other[rng.integers(len(other)) :]


DAMAGES = (flip_bits, edit_header, cut_end, drop_range, fill_range, splice)


def mutated_files(n: int, *, seed: int, side: int = 160) -> list[bytes]:
    """Give ``n`` damaged files; the same for the same versions of Pillow and the packages."""
    files = encoded_photos(side)
    return [mutated_file(files, seed, i) for i in range(n)]


def mutated_file(files: list[bytes], seed: int, i: int) -> bytes:
    """The ``i``-th damaged file, whatever the others are."""
    return mutate(files[i % len(files)], files, np.random.default_rng([seed, i]))
