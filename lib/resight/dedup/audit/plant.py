"""Plant copies: which edits a sampled photo gets, and the files of its copies."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resight import files
from resight.dedup.audit.edits import EDITS, Edit, edit_photo, measure_remaining
from resight.demo.formats import jpeg
from resight.features.photos import Failure, decode_photo
from resight.images.content import ContentError, ContentReader

__all__ = ["LOCATED", "PLANNED", "PLANTED", "PlantWork", "crashed_plants", "plan_copies"]

QUALITY = 92  # of the files
LOCATED = ("image_id", "root", "uri", "byte_offset", "n_bytes")  # where a sampled photo is read
PLACE = [("root", pa.string()), ("uri", pa.string()), ("byte_offset", pa.int64()), ("n_bytes", pa.int64())]
PLANNED = pa.schema(
    [
        ("image_id", pa.int64()),
        ("other_id", pa.int64()),  # the photo that it is mixed with
        ("transformation", pa.string()),
        ("strength", pa.float64()),
        *PLACE,
        *((f"other_{name}", kind) for name, kind in PLACE),
    ]
)
PLANTED = pa.schema(
    [
        *(PLANNED.field(name) for name in ("image_id", "other_id", "transformation", "strength")),
        ("copy_uri", pa.string()),  # of the file, below the folder of planted copies
        ("remaining", pa.float32()),  # share of the original's area in the copy's frame
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
Photos = dict[tuple, np.ndarray | Failure]
Opener = Callable[[str], ContentReader]


def plan_copies(sample: pa.Table, *, names: Sequence[str], seed: int) -> pa.Table:
    """Plan one copy of every photo of a sample (`LOCATED`) by each edit of ``names``: `PLANNED` rows.

    A strength is drawn for each by (``seed``, edit, ``uri``). The photo to mix with is the next one of the
    sample; where it holds one photo alone, edits that mix are left out.
    """
    photos = sample.sort_by([("root", "ascending"), ("uri", "ascending")]).to_pylist()
    rows = []
    for number, photo in enumerate(photos):
        other = photos[(number + 1) % len(photos)]
        for edit in (EDITS[name] for name in names):
            if edit.mixes and len(photos) == 1:
                continue
            strength = float(generator(seed, edit.name, photo["uri"]).choice(edit.strengths))
            row = photo | {"transformation": edit.name, "strength": strength}
            row |= {f"other_{name}": other[name] if edit.mixes else None for name, _ in PLACE}
            rows.append(row | {"other_id": other["image_id"] if edit.mixes else None})
    return pa.Table.from_pylist(rows, schema=PLANNED)


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers of one copy, which do not depend on the other copies."""
    words = "/".join(names).encode(errors="surrogatepass")
    return np.random.default_rng([seed, zlib.crc32(words)])


@dataclass(frozen=True)
class PlantWork:
    """Settings of a chunk; the files are written below ``folder``."""

    folder: str
    seed: int
    max_pixels: int
    decoder: str

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Write the copies that are planned (`PLANNED`): `PLANTED` rows.

        A photo that cannot be read, or whose other photo cannot, has a row with the reason.
        """
        photos: Photos = {}
        with ExitStack() as stack:
            readers: dict[str, ContentReader] = {}

            def open_source(root: str) -> ContentReader:
                if root not in readers:
                    readers[root] = stack.enter_context(ContentReader(root))
                return readers[root]

            found = [self.plant(row, open_source, photos) for row in in_order(rows)]
        return pa.Table.from_pylist(found, schema=PLANTED)

    def plant(self, row: dict, open_source: Opener, photos: Photos) -> dict:
        """Write one copy."""
        edit = EDITS[row["transformation"]]
        pixels = self.read("", row, open_source, photos)
        other = self.read("other_", row, open_source, photos) if edit.mixes else pixels
        if isinstance(pixels, Failure):
            return row | pixels._asdict()
        if isinstance(other, Failure):
            return row | other._asdict()
        rng = generator(self.seed + 1, edit.name, row["uri"])
        copied = edit_photo(pixels, edit.name, row["strength"], other, rng)
        uri = f"{row['image_id']}-{edit.name}.jpg"
        content = jpeg(copied.pixels, quality_of(edit, row["strength"]))
        files.write_bytes(files.join(self.folder, uri), content)
        sizes = pixels.shape[1::-1], copied.pixels.shape[1::-1]
        return row | {
            "copy_uri": uri,
            "remaining": measure_remaining(copied.transform, *sizes),
            "status": "ok",
        }

    def read(self, prefix: str, row: dict, open_source: Opener, photos: Photos) -> np.ndarray | Failure:
        """Decode a photo, or take the one that was decoded last."""
        place = tuple(row[f"{prefix}{name}"] for name, _ in PLACE)
        if (prefix, place) not in photos:
            for key in [key for key in photos if key[0] == prefix]:
                del photos[key]
            photos[prefix, place] = self.decode(open_source(place[0]), place)
        return photos[prefix, place]

    def decode(self, source: ContentReader, place: tuple) -> np.ndarray | Failure:
        """Read and decode a photo."""
        try:
            content = source.read(*place[1:])
        except ContentError as failure:
            return Failure(failure.status, failure.reason)
        decoded = decode_photo(content, max_pixels=self.max_pixels, decoder=self.decoder)
        return decoded if isinstance(decoded, Failure) else decoded.pixels


def quality_of(edit: Edit, strength: float) -> int:
    """Quality of the file of a copy."""
    return round(strength) if edit.name == "recompressed" else QUALITY


def in_order(rows: pa.Table) -> Iterator[dict]:
    """Give the rows as dicts, those of one photo together."""
    yield from rows.sort_by([("root", "ascending"), ("uri", "ascending")]).to_pylist()


def crashed_plants(rows: pa.Table, reason: str) -> pa.Table:
    """Give photos whose decoding killed the process the status ``crashed``."""
    return pa.Table.from_pylist(
        [row | {"status": "crashed", "error": reason} for row in rows.to_pylist()], schema=PLANTED
    )
