"""Which transforms may lay one photo over another: of the frames, turned or not, and of the keypoints.

A transform maps pixels of the `View` of a to those of b, the centre of the first pixel at (0, 0).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from resight.dedup.relating.views import View
from resight.hashing.perceptual import N_TURNS, turn_pixels
from resight.verification.estimate import REFERENCE, count_distinct, estimate_affine, refine_map
from resight.verification.match import Prepared, match_features
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE, Size
from resight.verification.robust import estimate_robustly

__all__ = ["Alignment", "align_frames", "align_keypoints", "frame_transform"]

LEAST_CORRELATION = 0.4  # of two thumbs, from which their frames are laid on each other
TRIED = 2  # positions
LOOSE, TIGHT = 8.0, 2.0  # pixels that an inlier may be off in photos of 512: to be found, and to be exact
LEAST = 4  # inliers, below which a transform is not followed
PLENTY = 30  # exact inliers, from which the mirrored photo is not looked at
RATIO = 0.85
QUARTER = np.array([[0.0, -1, 1], [1, 0, 0], [0, 0, 1]])  # clockwise, of the unit square
MIRROR = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])


class Alignment(NamedTuple):
    """A transform (3, 3) from a to b, and what speaks for it.

    ``n_inliers`` keypoints are explained exactly, 0 where it is of the frames; ``n_loose`` roughly.
    ``is_bent`` says that it is a homography and no affine map.
    """

    transform: np.ndarray
    n_inliers: int = 0
    n_loose: int = 0
    is_bent: bool = False


def align_frames(a: View, b: View) -> Iterator[Alignment]:
    """Lay the frames on each other in the positions in which the photos look alike, the best first."""
    alike = [float(np.vdot(turn_pixels(a.thumb, turn), b.thumb)) for turn in range(N_TURNS)]
    for turn in sorted(range(N_TURNS), key=lambda t: -alike[t])[:TRIED]:
        if alike[turn] >= LEAST_CORRELATION:
            yield Alignment(frame_transform(turn, a.frame, b.frame))


def frame_transform(turn: int, size_a: Size, size_b: Size) -> np.ndarray:
    """Give the transform (3, 3) that lays a photo in position ``turn`` over another, stretched to it."""
    square = np.linalg.matrix_power(QUARTER, turn % 4) @ (MIRROR if turn >= 4 else np.eye(3))
    shrink, grow = np.diag([1 / size_a[0], 1 / size_a[1], 1]), np.diag([*size_b, 1.0])
    H: np.ndarray = TO_CENTRE @ grow @ square @ shrink @ FROM_CENTRE
    return H


def align_keypoints(a: View, b: View, screened: int = 0) -> Alignment | None:
    """Find the transform that explains most keypoints, of the photo or of the mirrored one.

    Of more than ``screened`` keypoints, the strongest say first which of the two is followed, if any is; 0:
    both are.
    """
    if screened and min(len(a.keypoints.points), len(b.keypoints.points)) > screened:
        upright, turned = (count_strongest(p, b, screened) for p in (a.keypoints, a.mirrored))
        if max(upright, turned) < LEAST:
            return None
        return align_mirrored(a, b) if turned > upright else estimate_pair(a, a.keypoints, b)
    found = estimate_pair(a, a.keypoints, b)
    if found is not None and found.n_inliers >= PLENTY:
        return found
    other = align_mirrored(a, b)
    return found if other is None or (found is not None and other.n_loose <= found.n_loose) else other


def align_mirrored(a: View, b: View) -> Alignment | None:
    """Find the transform that explains most keypoints of the mirrored photo."""
    found = estimate_pair(a, a.mirrored, b)
    flip = np.array([[-1.0, 0, a.frame[0] - 1], [0, 1, 0], [0, 0, 1]])
    return None if found is None else found._replace(transform=found.transform @ flip)


def count_strongest(keypoints: Prepared, b: View, limit: int) -> int:
    """Count the matches of the ``limit`` strongest keypoints that some similarity explains roughly."""
    own, other = (Prepared(*(column[:limit] for column in p)) for p in (keypoints, b.keypoints))
    matches = match_features(own, other, ratio=RATIO)
    if len(matches) < LEAST:
        return 0
    estimate = estimate_affine(
        own.points[matches[:, 0], :4], other.points[matches[:, 1], :4], tolerance=LOOSE
    )
    return 0 if estimate is None else estimate.n_distinct


def estimate_pair(view_a: View, a: Prepared, view_b: View) -> Alignment | None:
    """Match keypoints ``a`` of a photo with those of another: an affine map, exact, or else a homography."""
    b = view_b.keypoints
    matches = match_features(a, b, ratio=RATIO)
    if len(matches) < LEAST:
        return None
    shrink_a, shrink_b = (REFERENCE / max(view.frame) for view in (view_a, view_b))
    points_a = a.points[matches[:, 0], :4] * np.array([shrink_a, shrink_a, shrink_a, 1])
    points_b = b.points[matches[:, 1], :4] * np.array([shrink_b, shrink_b, shrink_b, 1])
    estimate = estimate_affine(points_a, points_b, tolerance=LOOSE)
    if estimate is None or estimate.n_distinct < LEAST:
        return None
    xy = np.concatenate([points_a[:, :2], points_b[:, :2]], axis=1)
    H, n_exact = refine_affine(estimate.transform, xy)
    is_bent = False
    if n_exact < 0.7 * estimate.n_distinct and estimate.n_distinct >= 2 * LEAST:
        near = [np.ascontiguousarray(p[estimate.inliers, :2]) for p in (points_a, points_b)]
        bent = estimate_robustly(*near, model="homography", tolerance=TIGHT)
        if bent is not None and bent.n_distinct > 1.3 * n_exact:
            H, n_exact, is_bent = bent.transform, bent.n_distinct, True
    back, down = np.diag([1 / shrink_b, 1 / shrink_b, 1]), np.diag([shrink_a, shrink_a, 1])
    full = back @ H @ down
    return Alignment(full / full[2, 2], n_exact, estimate.n_distinct, is_bent)


def refine_affine(H: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, int]:
    """Fit an affine map to the matches (m, 4) that it explains exactly; how many, each cell once."""
    model, inliers = np.array([*H[0, :2], *H[1, :2], H[0, 2], H[1, 2]]), np.zeros(len(xy), np.bool_)
    refine_map(xy, TIGHT, model, inliers)
    m0, m1, m2, m3, tx, ty = model
    return np.array([[m0, m1, tx], [m2, m3, ty], [0, 0, 1.0]]), count_distinct(xy, inliers)
