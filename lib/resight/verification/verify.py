"""Verify a pair of photos by their keypoints."""

from typing import NamedTuple

import numpy as np

from resight.codebook.model import Codebook
from resight.codebook.quantize import assign
from resight.features.local.points import LocalFeatures
from resight.verification.estimate import REFERENCE, Estimate, estimate_affine
from resight.verification.match import Prepared, match_features, prepare_features
from resight.verification.mirror import mirror_features
from resight.verification.overlap import Size, measure_overlap, measure_spread
from resight.verification.robust import estimate_robustly
from resight.verification.settings import VerifySettings

LEAST_INLIERS = 4  # below, a map is no evidence


class Photo(NamedTuple):
    """A photo to verify: its keypoints, width and height, and those keypoints mirrored where wanted."""

    features: Prepared
    size: Size
    mirrored: Prepared | None = None


class Verified(NamedTuple):
    """What the keypoints of two photos say.

    ``transform`` (3, 3) float64 maps pixels of a to pixels of b (of a fundamental matrix: x_b F x_a = 0);
    None, like ``model``, where fewer than four matches agree. ``spread`` and ``overlap`` are shares of the
    smaller photo, NaN where they mean nothing. A mirrored copy has a transform that mirrors.
    """

    n_matches: int = 0
    n_inliers: int = 0
    model: str | None = None
    transform: np.ndarray | None = None
    spread: float = float("nan")
    overlap: float = float("nan")


def prepare_photo(
    features: LocalFeatures, size: Size, settings: VerifySettings, codebook: Codebook | None = None
) -> Photo:
    """Prepare a photo of ``size`` (width, height) once for all its pairs.

    With a ``codebook``, which both photos of a pair need then, only keypoints of one visual word match.
    """
    prepared = prepare_words(features, settings, codebook)
    if not settings.mirrored:
        return Photo(prepared, size)
    return Photo(prepared, size, prepare_words(mirror_features(features, size[0]), settings, codebook))


def prepare_words(features: LocalFeatures, settings: VerifySettings, codebook: Codebook | None) -> Prepared:
    """Prepare keypoints, each with the visual word that is nearest where there is a codebook."""
    words = None
    if codebook is not None:
        n = min(len(features.points), settings.max_keypoints)
        words = assign(features.vectors[:n], codebook)[:, 0] if n else np.zeros(0, np.int32)
    return prepare_features(features, max_keypoints=settings.max_keypoints, words=words)


def verify_pair(a: Photo, b: Photo, settings: VerifySettings) -> Verified:
    """Match the keypoints of two photos and find the transform that explains most matches.

    With ``settings.mirrored`` the mirrored photo a is tried too, and taken where it explains more.
    """
    found = verify_prepared(a.features, b.features, a.size, b.size, settings)
    if a.mirrored is None:
        return found
    turned = verify_prepared(a.mirrored, b.features, a.size, b.size, settings)
    if turned.n_inliers <= found.n_inliers:
        return found
    if turned.transform is None:
        return turned
    flip = np.array([[-1.0, 0, a.size[0] - 1], [0, 1, 0], [0, 0, 1]])
    return turned._replace(transform=turned.transform @ flip)


def verify_prepared(
    a: Prepared, b: Prepared, size_a: Size, size_b: Size, settings: VerifySettings
) -> Verified:
    """Verify one way round, see `verify_pair`."""
    matches = match_features(a, b, ratio=settings.ratio)
    shrink_a, shrink_b = (REFERENCE / max(size) for size in (size_a, size_b))
    points_a = a.points[matches[:, 0], :4] * np.array([shrink_a, shrink_a, shrink_a, 1])
    points_b = b.points[matches[:, 1], :4] * np.array([shrink_b, shrink_b, shrink_b, 1])
    estimate = estimate_transform(points_a, points_b, settings)
    if estimate is None or estimate.n_distinct < LEAST_INLIERS:
        return Verified(len(matches), estimate.n_distinct if estimate else 0)
    H = rescale(estimate.transform, shrink_a, shrink_b, settings.model)
    overlap = float("nan") if settings.model == "fundamental" else measure_overlap(H, size_a, size_b)
    inner_a, inner_b = (p[estimate.inliers, :2] for p in (points_a, points_b))
    spread = measure_spread(inner_a / shrink_a, inner_b / shrink_b, size_a, size_b)
    return Verified(len(matches), estimate.n_distinct, settings.model, H, spread, overlap)


def estimate_transform(
    points_a: np.ndarray, points_b: np.ndarray, settings: VerifySettings
) -> Estimate | None:
    """Estimate the kind of transform that the settings name, in pixels of `REFERENCE`."""
    if settings.model == "affine":
        return estimate_affine(points_a, points_b, tolerance=settings.tolerance)
    xy_a, xy_b = (np.ascontiguousarray(p[:, :2]) for p in (points_a, points_b))
    return estimate_robustly(xy_a, xy_b, model=settings.model, tolerance=settings.tolerance)


def rescale(H: np.ndarray, shrink_a: float, shrink_b: float, model: str) -> np.ndarray:
    """Turn a transform between reduced photos into one between the photos themselves."""
    down_a, down_b = np.diag([shrink_a, shrink_a, 1]), np.diag([shrink_b, shrink_b, 1])
    full = down_b @ H @ down_a if model == "fundamental" else np.linalg.inv(down_b) @ H @ down_a
    return full / full[2, 2] if model != "fundamental" and full[2, 2] else full
