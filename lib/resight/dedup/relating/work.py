"""Chunks of work: images made ready to be compared, and pairs of them related."""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from PIL import Image

from resight.dedup.relating.decide import relate_views
from resight.dedup.relating.relation import Relation
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.views import View, find_keypoints, prepare_view
from resight.features.local.points import LocalFeatures, pack_features
from resight.features.work import read_images
from resight.images.decode import DecodeError, decode_image, describe_error
from resight.tables import DUPLICATE_CANDIDATES
from resight.verification.feature_files import FeatureFiles, OpenFeatures

__all__ = ["RELATED", "VIEWED", "RelateWork", "ViewWork", "rescue_related", "rescue_views"]

DTYPE = "float16"  # of stored keypoint vectors
QUALITY = {False: 95, True: 99}  # of the stored picture, JPEG without subsampling, by strictness
HELD = 64  # views that stay ready, at some 3 MB each
VIEWED = pa.schema(
    [
        ("image_id", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("points", pa.binary()),
        ("vectors", pa.binary()),
        ("preview", pa.binary()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
RELATED = pa.schema([field for field in DUPLICATE_CANDIDATES.schema if field.name != "build_id"])


@dataclass(frozen=True)
class ViewWork:
    """Read images, reduce them and find their keypoints: `VIEWED` rows in the same order."""

    settings: RelateSettings

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Make the images of ``rows`` (image_id, content hash and where the bytes lie) ready."""
        failures: dict[int, tuple[str, str]] = {}
        made: list[tuple[tuple[int, int], LocalFeatures, bytes] | None] = []
        for i, content in enumerate(read_images(rows, failures)):
            made.append(None)
            if content is None:
                continue
            try:
                made[i] = self.view(content)
            except DecodeError as error:
                failures[i] = (error.status, error.reason)
            except Exception as error:
                failures[i] = ("undecodable", describe_error(error))
        return lay_out_views(rows, made, failures)

    def view(self, content: bytes) -> tuple[tuple[int, int], LocalFeatures, bytes]:
        """Decode and describe one image: its size, keypoints and the reduced picture as JPEG."""
        decoded = decode_image(content)
        view = prepare_view(decoded.pixels, self.settings)
        file = io.BytesIO()
        quality = QUALITY[self.settings.strict]
        Image.fromarray(view.pixels).save(file, "JPEG", quality=quality, subsampling=0)
        return (
            (decoded.width, decoded.height),
            find_keypoints(view.pixels, self.settings.max_keypoints),
            file.getvalue(),
        )


def lay_out_views(
    rows: pa.Table,
    made: list[tuple[tuple[int, int], LocalFeatures, bytes] | None],
    failures: dict[int, tuple[str, str]],
) -> pa.Table:
    """Lay out `VIEWED` rows; what failed has a status and nothing else."""
    _, points, vectors = pack_features([one and one[1] for one in made], DTYPE)
    says = [failures.get(i, ("ok", None)) for i in range(len(rows))]
    columns = [
        rows["image_id"].combine_chunks(),
        pa.array([one and one[0][0] for one in made], pa.int32()),
        pa.array([one and one[0][1] for one in made], pa.int32()),
        points,
        vectors,
        pa.array([one and one[2] for one in made], pa.binary()),
        pa.array([word for word, _ in says], pa.string()),
        pa.array([reason for _, reason in says], pa.string()),
    ]
    return pa.table(columns, schema=VIEWED)


def rescue_views(rows: pa.Table, reason: str) -> pa.Table:
    """Give images that killed the process the status ``crashed``."""
    return lay_out_views(rows, [None] * len(rows), dict.fromkeys(range(len(rows)), ("crashed", reason)))


@dataclass(frozen=True)
class RelateWork:
    """Relate pairs of images whose views lie in ``views``."""

    views: FeatureFiles
    settings: RelateSettings

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Relate the pairs of ``rows`` (image_a, image_b, contents, found_by): `RELATED` rows."""
        opened = self.views.open()
        rows = rows.sort_by([("image_a", "ascending"), ("image_b", "ascending")])

        @lru_cache(maxsize=HELD)
        def load(image_id: int) -> View:
            return load_view(opened, image_id)

        ends = zip(rows["image_a"].to_pylist(), rows["image_b"].to_pylist(), strict=True)
        return lay_out(rows, [relate_views(load(a), load(b), self.settings) for a, b in ends])


def load_view(opened: OpenFeatures, image_id: int) -> View:
    """Read a view that `ViewWork` made."""
    found, size = opened.features(image_id)
    pixels = opened.preview(image_id)
    if pixels is None:
        raise ValueError(f"image {image_id} has no view")
    return View(pixels, size, found)


def lay_out(rows: pa.Table, found: list[Relation]) -> pa.Table:
    """Lay out `RELATED` rows; what means nothing is null."""
    columns: dict[str, pa.Array] = {
        name: rows[name].combine_chunks() for name in ("image_a", "image_b", "contents", "found_by")
    }
    packed = [None if r.transform is None else r.transform.astype("<f8").tobytes() for r in found]
    columns["transform"] = pa.array(packed, pa.binary())
    columns["relation"] = pa.array([r.relation for r in found], pa.string())
    columns["n_inliers"] = pa.array([r.n_inliers for r in found], pa.int32())
    for name in ("overlap_a", "overlap_b", "agreement", "share", "difference", "seam"):
        values = np.array([getattr(r, name) for r in found], np.float32)
        columns[name] = pa.array(values, pa.float32(), mask=~np.isfinite(values))
    columns["status"] = pa.array(["ok"] * len(found), pa.string())
    columns["error"] = pa.nulls(len(found), pa.string())
    return pa.table([columns[name] for name in RELATED.names], schema=RELATED)


def rescue_related(rows: pa.Table, reason: str) -> pa.Table:
    """Give pairs that killed the process the status ``crashed``."""
    nothing = lay_out(rows, [Relation()] * len(rows))
    for name, value in {"status": "crashed", "error": reason}.items():
        at = RELATED.get_field_index(name)
        nothing = nothing.set_column(at, RELATED.field(at), pa.array([value] * len(rows), pa.string()))
    return nothing
