"""Scales of transforms against lengths that are moved, and partners within a label."""

import numpy as np
import pyarrow as pa
import pytest

from resight.mining.groups.work import LabelWork, scale_of


def moved_length(M, *, step=1e-6):
    """Mean growth of area near the origin by finite differences, as a length."""
    corners = np.array([[0, 0, 1], [step, 0, 1], [0, step, 1]], float)
    moved = corners @ M.T
    moved = moved[:, :2] / moved[:, 2:]
    return abs(np.linalg.det(moved[1:] - moved[0])) ** 0.5 / step


@pytest.mark.parametrize("kind", ["similarity", "affine", "homography"])
def test_scale_is_the_growth_of_lengths_at_the_origin(rng, kind):
    M = np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    M[2] = [0, 0, 1] if kind != "homography" else [1e-3, -2e-3, 1.4]
    growth = moved_length(M)
    assert scale_of(M.tobytes(), kind) == pytest.approx(max(growth, 1 / growth), rel=1e-4)
    assert scale_of(np.linalg.inv(M).tobytes(), "affine") >= 1


def test_what_tells_no_scale_has_none():
    flat = np.diag([1.0, 0.0, 1.0]).tobytes()
    for transform, kind in ((None, None), (np.eye(3).tobytes(), "fundamental"), (flat, "affine")):
        assert np.isnan(scale_of(transform, kind))


def test_images_of_a_label_are_partners_as_often_as_anchors_and_copies_never(rng):
    ids = rng.permutation(40)
    keys = np.where(ids < 4, 0, ids)  # four copies
    rows = pa.table({"image_id": ids, "copy_key": keys, "model": np.zeros(40, int)})
    pairs = LabelWork(5, seed=3)(rows)
    assert pairs.equals(LabelWork(5, seed=3)(rows.take(rng.permutation(40))))
    a, b = pairs["anchor"].to_numpy(), pairs["item"].to_numpy()
    assert len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(a)
    assert not ((a < 4) & (b < 4)).any()
    alone = LabelWork(5, seed=3)(rows.filter(pa.array(ids >= 4)))
    counts = [np.bincount(alone[name].to_numpy(), minlength=40) for name in ("anchor", "item")]
    assert (np.array(counts)[:, 4:] == 5).all()


def test_a_label_of_few_images_pairs_all_of_them():
    rows = pa.table({"image_id": [7, 3, 5], "copy_key": [7, 3, 5], "model": [3, 3, 3]})
    pairs = LabelWork(9)(rows)
    found = set(zip(pairs["anchor"].to_pylist(), pairs["item"].to_pylist(), strict=True))
    assert found == {(a, b) for a in (3, 5, 7) for b in (3, 5, 7) if a != b}
    assert pairs["model"].to_pylist() == [3] * 6
