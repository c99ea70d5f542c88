"""Chunks of work: images made ready to be compared, and pairs of them related."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
import pyarrow as pa

from resight.dedup.relating.decide import relate_views
from resight.dedup.relating.relation import Relation
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.views import THUMB, View, frame_size, prepare_view
from resight.features.local.points import LocalFeatures, pack_features
from resight.features.work import read_images
from resight.images.decode import DecodeError, decode_image, describe_error
from resight.tables import DUPLICATE_CANDIDATES
from resight.verification.feature_files import FeatureFiles, OpenFeatures
from resight.verification.match import Prepared
from resight.verification.overlap import Size

__all__ = ["RELATED", "VIEWED", "RelateWork", "ViewWork", "rescue_related", "rescue_views"]

DTYPE = "int16"  # of stored keypoint vectors, ready to be matched
QUALITY = {False: 95, True: 99}  # of the stored picture, a grey JPEG, by strictness
HELD = 64  # views that stay ready in a process, at a third of a MB, and some 2 MB where pixels were compared
STAMP = np.dtype("<f4")  # of the stored thumb, which stands before the picture
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


Made = tuple[Size, LocalFeatures, bytes]


@dataclass(frozen=True)
class ViewWork:
    """Read images, reduce them and find their keypoints: `VIEWED` rows in the same order."""

    settings: RelateSettings

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Make the images of ``rows`` (image_id, content hash and where the bytes lie) ready."""
        failures: dict[int, tuple[str, str]] = {}
        made: list[Made | None] = []
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

    def view(self, content: bytes) -> Made:
        """Decode and describe one image: its size, keypoints, and its thumb before a JPEG of the view."""
        side = self.settings.max_side * (2 if self.settings.strict else 1)
        decoded = decode_image(content, longer_side=side)
        size = decoded.width, decoded.height
        view = prepare_view(decoded.pixels, self.settings, size)
        quality = QUALITY[self.settings.strict]
        jpeg = cv2.imencode(".jpg", view.grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        points, vectors, *_ = view.keypoints
        found = LocalFeatures(points.astype(np.float32), vectors)
        return size, found, view.thumb.astype(STAMP).tobytes() + jpeg


def lay_out_views(
    rows: pa.Table,
    made: list[Made | None],
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
    """Relate pairs of images whose views lie in one of ``views``."""

    views: tuple[FeatureFiles, ...]
    settings: RelateSettings

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Relate the pairs of ``rows`` (image_a, image_b, contents, found_by): `RELATED` rows."""
        opened = tuple(views.open() for views in self.views)
        rows = rows.sort_by([("image_a", "ascending"), ("image_b", "ascending")])
        found = []
        for a, b in zip(rows["image_a"].to_pylist(), rows["image_b"].to_pylist(), strict=True):
            views = load_view(opened, a, self.settings), load_view(opened, b, self.settings)
            found.append(relate_views(*views, self.settings))
        return lay_out(rows, found)


@lru_cache(maxsize=HELD)
def load_view(opened: tuple[OpenFeatures, ...], image_id: int, settings: RelateSettings) -> View:
    """Give the view of an image; those that were used last are kept in the process, over its chunks."""
    holding = next((one for one in opened if one.find(image_id)), opened[-1])
    return StoredView(holding, image_id, settings)


class StoredView(View):
    """A view that `ViewWork` made; its picture is decoded where it is looked at."""

    def __init__(self, opened: OpenFeatures, image_id: int, settings: RelateSettings) -> None:
        self.found, self.size = opened.features(image_id)
        self.stored = opened.stored(image_id)
        self.frame = frame_size(self.size, settings)

    @cached_property
    def grey(self) -> np.ndarray:  # type: ignore[override]
        """Brightness (h, w) uint8."""
        jpeg = np.frombuffer(self.stored, np.uint8, offset=THUMB * THUMB * STAMP.itemsize)
        grey = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise ValueError(f"a stored view of {self.size} cannot be decoded")
        return grey

    @cached_property
    def thumb(self) -> np.ndarray:
        """Brightness on a square, see `View.thumb`."""
        values = np.frombuffer(self.stored, STAMP, count=THUMB * THUMB)
        return values.reshape(THUMB, THUMB).astype(np.float64)

    @cached_property
    def keypoints(self) -> Prepared:
        """Keypoints in pixels of `frame`."""
        points, vectors = self.found
        squares = np.einsum("nd,nd->n", vectors, vectors)
        return Prepared(points.astype(np.float64), vectors, squares, np.zeros(0, np.int32))


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
