"""How query images are described: as the images of a collection were, and keypoints with sizes of photos."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from resight.chunks.work import Rescue, Work
from resight.config import SettingError
from resight.discovery import recipe
from resight.features.local.work import LOCAL_DESCRIBED, LocalWork, rescue_local
from resight.features.settings import ExtractSettings
from resight.features.trained import resolve_backbone
from resight.features.work import DESCRIBED, ExtractWork, read_images, rescue_images
from resight.images.decode import MAX_PIXELS, DecodeError, open_image
from resight.reader import Reader
from resight.tables import GLOBAL_DESCRIPTORS, MODELS
from resight.workspace import Run

SIDES = ("width", "height")
SIZED = pa.schema([*LOCAL_DESCRIBED, *(pa.field(name, pa.int32()) for name in SIDES)])


class Way(NamedTuple):
    """What describes a chunk of images, what is said of those that kill it, and the columns of both."""

    work: Work
    rescue: Rescue
    schema: pa.Schema


def describe_images_like(reader: Reader, described: Run) -> tuple[Way, str]:
    """Give what describes an image as the build ``described`` did, and the dtype of its vectors.

    Raises
    ------
    SettingError
        The descriptors were made elsewhere.
    """
    work = find_work(reader, described)
    return Way(work, rescue_images, DESCRIBED), work.dtype


def find_work(reader: Reader, described: Run) -> ExtractWork:
    """Give what described the images of a build, see `describe_images_like`.

    A build that whitens the vectors of another is followed back to the one that described images.
    """
    builds, base = reader.workspace.builds(), described
    whitening: tuple[bytes, ...] = ()
    if base.job == recipe.JOB:
        like = find_work(reader, builds[base.parents[GLOBAL_DESCRIPTORS.name]])
        settings, whitening = recipe.describe_like_boxes(reader, base, like.settings, like.whitening)
        return replace(like, settings=settings, whitening=whitening)
    while base.job == "extract-features":
        if base.settings.get("whitening"):
            rows = reader.read(MODELS, base.parents[MODELS.name]).to_pylist()
            whitening = (next(row["params"] for row in rows if row["kind"] == "whitening"), *whitening)
        if not base.settings.get("descriptors"):
            names = ExtractSettings.__struct_fields__
            known = {name: value for name, value in base.settings.items() if name in names}
            settings, sha256 = resolve_backbone(reader, ExtractSettings.from_mapping(known), base.parents)
            return ExtractWork(settings, "float32", whitening, sha256)
        base = builds[base.parents[GLOBAL_DESCRIPTORS.name]]
    raise SettingError(
        f"--queries: the descriptors {base.name!r} were made elsewhere, so that query images cannot be "
        "described; ask with --queries-from collection"
    )


@dataclass(frozen=True)
class SizedWork:
    """Describes keypoints as ``work`` does, and says how large each photo is: `SIZED` rows."""

    work: LocalWork

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Read and describe the images of ``rows``, in the same order."""
        described = self.work(rows)
        ok = [word == "ok" for word in described["status"].to_pylist()]
        contents = read_images(rows, {})
        sizes = [measure_sides(one) if there else None for one, there in zip(contents, ok, strict=True)]
        return add_sides(described, sizes)


def measure_sides(content: bytes | None) -> tuple[int, int] | None:
    """Read width and height in the header of an image file; a photo may still have to be turned upright."""
    try:
        return open_image(content, MAX_PIXELS).size if content is not None else None
    except (DecodeError, OSError):
        return None


def rescue_sized(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    return add_sides(rescue_local(rows, reason), [None] * len(rows))


def add_sides(described: pa.Table, sizes: list[tuple[int, int] | None]) -> pa.Table:
    """Append the columns width and height."""
    for place, name in enumerate(SIDES):
        column = pa.array([size and size[place] for size in sizes], pa.int32())
        described = described.append_column(pa.field(name, pa.int32()), column)
    return described
