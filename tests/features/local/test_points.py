"""Packed features come back, points move between photos, ties have an order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resight.features.local.photos import ScaledPhoto, move_points
from resight.features.local.points import (
    LocalFeatures,
    inside_box,
    join_features,
    pack_features,
    take_strongest,
    unpack_features,
)

FINITE = st.floats(-1e4, 1e4, width=16)


@st.composite
def photos(draw):
    """Features of some photos with d dimensions, None for one that failed."""
    d = draw(st.integers(1, 5))
    counts = draw(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=5))
    arrays = lambda shape: draw(hnp.arrays(np.float32, shape, elements=FINITE))  # noqa: E731
    return [None if n is None else LocalFeatures(arrays((n, 5)), arrays((n, d))) for n in counts]


@given(photos())
def test_packed_features_come_back(features):
    counts, points, vectors = pack_features(features, "float16")  # the values drawn fit into float16
    assert counts.to_pylist() == [None if one is None else len(one.points) for one in features]
    for one, p, v in zip(features, points.to_pylist(), vectors.to_pylist(), strict=True):
        if one is None:
            assert (p, v) == (None, None)
            continue
        back = unpack_features(p, v, "float16")
        np.testing.assert_array_equal(back.points, one.points)
        np.testing.assert_array_equal(back.vectors.ravel(), one.vectors.ravel())


@given(photos(), st.sampled_from(["float16", "float32"]), st.integers(0, 2))
def test_joined_features_are_those_of_the_rows(features, dtype, skipped):
    counts, points, vectors = pack_features(features, dtype)
    rows = pa.table({"n_keypoints": counts, "points": points, "vectors": vectors}).slice(skipped)
    offsets, P, X = join_features(rows, dtype)
    features = features[skipped:]
    assert np.diff(offsets).tolist() == [0 if one is None else len(one.points) for one in features]
    full = [one for one in features if one is not None and len(one.points)]
    assert X.dtype == np.dtype(dtype)
    if full:
        np.testing.assert_array_equal(P, np.concatenate([one.points for one in full]))
        np.testing.assert_array_equal(X, np.concatenate([one.vectors for one in full]))


def test_binaries_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match="3 values of vectors do not fit 2 keypoints"):
        unpack_features(bytes(40), bytes(6), "float16")
    with pytest.raises(ValueError, match="points of 41 bytes"):
        unpack_features(bytes(41), bytes(4), "float16")
    with pytest.raises(ValueError, match="1 values of vectors do not fit 0 keypoints"):
        unpack_features(b"", bytes(2), "float16")


def test_the_strongest_come_first_and_ties_have_one_order(rng):
    points = rng.integers(0, 2, (60, 5)).astype(np.float32)
    points = np.unique(points, axis=0)
    vectors = np.arange(len(points), dtype=np.float32)[:, None]
    expected = sorted(range(len(points)), key=lambda i: (-points[i, 4], *points[i, [1, 0, 3, 2]]))
    for _ in range(3):
        order = rng.permutation(len(points))
        found = take_strongest(LocalFeatures(points[order], vectors[order]), None)
        assert found.vectors.ravel().tolist() == expected
        some = take_strongest(LocalFeatures(points[order], vectors[order]), 7)
        np.testing.assert_array_equal(some.points, found.points[:7])


def test_the_box_is_strict():
    x, y = np.meshgrid(np.arange(6.0), np.arange(6.0))
    points = np.c_[x.ravel(), y.ravel(), np.zeros((36, 3))]
    found = points[inside_box(points, (1, 2, 5, 4)), :2]
    assert sorted(map(tuple, found)) == [(3, 2), (3, 3), (3, 4)]


def test_points_of_a_scaled_photo_move_by_the_centres_of_pixels():
    photo = ScaledPhoto(np.zeros((1, 1, 3), np.uint8), (2.0, 4.0), (10, 20))
    moved = move_points(np.array([[0, 0, 1, 30, 5], [1.5, 2, 2, 0, 4]]), photo)
    np.testing.assert_allclose(moved[0], [10.5, 21.5, np.sqrt(8), 30, 5], rtol=1e-6)
    np.testing.assert_allclose(moved[1], [13.5, 29.5, 2 * np.sqrt(8), 0, 4], rtol=1e-6)
