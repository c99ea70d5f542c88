"""One chunk of pairs: ids in, rows of ``verified_pairs`` out."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resight.codebook.model import CodebookFiles
from resight.tables import VERIFIED_PAIRS
from resight.verification.agreement import measure_agreement
from resight.verification.feature_files import FeatureFiles, OpenFeatures
from resight.verification.settings import VerifySettings
from resight.verification.verify import Photo, Verified, verify_pair

VERIFIED = pa.schema([field for field in VERIFIED_PAIRS.schema if field.name != "build_id"])
ENOUGH = 8  # inliers from which pixels are compared


@dataclass(frozen=True)
class VerifyWork:
    """Settings of a chunk.

    ``agreement``: whether the aligned previews are compared too; ``words``: the codebook of which matching
    keypoints share a visual word.
    """

    features: FeatureFiles
    settings: VerifySettings
    agreement: bool = False
    words: CodebookFiles | None = None

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Verify the pairs of ``rows`` (image_a, image_b, contents), ordered by both ids."""
        opened = self.features.open()
        rows = rows.sort_by([("image_a", "ascending"), ("image_b", "ascending")])
        prepare = opened.preparer(self.settings, self.words.open() if self.words else None)
        found, agreed = [], []
        for a, b in zip(rows["image_a"].to_pylist(), rows["image_b"].to_pylist(), strict=True):
            photo_a, photo_b = prepare(a), prepare(b)
            found.append(verify_pair(photo_a, photo_b, self.settings))
            compared = self.agreement and found[-1].n_inliers >= ENOUGH
            agreed.append(self.compare(opened, (a, b), (photo_a, photo_b), found[-1]) if compared else np.nan)
        return lay_out(rows, found, np.array(agreed, np.float32))

    def compare(
        self, opened: OpenFeatures, ids: tuple[int, int], photos: tuple[Photo, Photo], found: Verified
    ) -> float:
        """Measure the agreement of two previews; NaN where there is no map, or a preview is missing."""
        if found.transform is None or found.model == "fundamental":
            return float("nan")
        pixels = [opened.preview(image_id) for image_id in ids]
        if pixels[0] is None or pixels[1] is None:
            return float("nan")
        a, b = (photo.size for photo in photos)
        return measure_agreement(pixels[0], pixels[1], found.transform, size_a=a, size_b=b)


def rescue_pairs(rows: pa.Table, reason: str) -> pa.Table:
    """Give pairs that killed the process the status ``crashed``."""
    nothing = lay_out(rows, [Verified()] * len(rows), np.full(len(rows), np.nan, np.float32))
    said = {"status": ["crashed"] * len(rows), "error": [reason] * len(rows)}
    for name, values in said.items():
        at = VERIFIED.get_field_index(name)
        nothing = nothing.set_column(at, VERIFIED.field(at), pa.array(values, pa.string()))
    return nothing


def lay_out(rows: pa.Table, found: list[Verified], agreed: np.ndarray) -> pa.Table:
    """Lay out rows of ``verified_pairs``; what means nothing is null."""
    keys = [rows[name].combine_chunks() for name in ("image_a", "image_b", "contents")]
    counts = [pa.array([getattr(v, name) for v in found], pa.int32()) for name in ("n_matches", "n_inliers")]
    packed = [None if v.transform is None else v.transform.astype("<f8").tobytes() for v in found]
    shares = [np.array([getattr(v, name) for v in found], np.float32) for name in ("spread", "overlap")]
    measures = [pa.array(values, pa.float32(), mask=np.isnan(values)) for values in (*shares, agreed)]
    model = pa.array([v.model for v in found], pa.string())
    ok, no_error = pa.array(["ok"] * len(found), pa.string()), pa.nulls(len(found), pa.string())
    columns = [*keys, *counts, model, pa.array(packed, pa.binary()), *measures, ok, no_error]
    return pa.table(columns, schema=VERIFIED)
