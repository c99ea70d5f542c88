"""Properties of queries and positives (ECCV 2016, TPAMI 2018), on scenes with known cameras."""

import numpy as np
import pytest

from resight.mining.reconstruction.colmap import read_model
from resight.mining.reconstruction.covisible import are_eligible, draw_queries, median_scale, pair_images
from tests.mining.models import make_model, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_model(make_model(2, n_images=12, n_points=200, track_length=4), folder)
    return read_model(str(folder))


def pair(model, queries, **options):
    ids = np.arange(len(model.names)) * 10
    return pair_images(np.array(queries), ids, *model[1:], **options)


def seen_by(model, image):
    return set(model.points[model.offsets[image] : model.offsets[image + 1]].tolist())


def sizes_of(model, image):
    own = slice(model.offsets[image], model.offsets[image + 1])
    return dict(zip(model.points[own].tolist(), model.sizes[own].tolist(), strict=True))


def test_pairs_are_what_sets_of_points_say(model):
    pairs = pair(model, range(12))
    for query, item, common, overlap, scale in zip(*(c.tolist() for c in pairs), strict=True):
        both = seen_by(model, query) & seen_by(model, item)
        assert (common, overlap) == (len(both), len(both) / len(seen_by(model, query)))
        ratios = [sizes_of(model, item)[p] / sizes_of(model, query)[p] for p in both]
        ratios = [r for r in ratios if np.isfinite(r)]
        expected = max(np.median(ratios), 1 / np.median(ratios)) if ratios else np.nan
        np.testing.assert_allclose(scale, expected)
        assert not scale < 1
    assert (pairs.query != pairs.item).all()


def test_a_pool_holds_the_nearest_cameras_of_the_model(model):
    for k in (3, 100):
        pairs = pair(model, [5], k=k)
        distance = np.linalg.norm(model.centres - model.centres[5], axis=1)
        expected = [i for i in np.argsort(distance, kind="stable") if i != 5][:k]
        assert pairs.item.tolist() == expected
        assert len(expected) == min(k, 11)


def test_motion_and_scale_of_a_model_change_no_pool(model, rng):
    turned = model.centres @ np.linalg.qr(rng.standard_normal((3, 3)))[0] * 7.5 + 3
    before, after = pair(model, range(12), k=4), pair(model._replace(centres=turned), range(12), k=4)
    np.testing.assert_array_equal(before.item, after.item)


def test_an_image_without_a_centre_is_in_no_pool(model):
    centres = model.centres.copy()
    centres[3] = np.nan
    pairs = pair(model._replace(centres=centres), [0, 3])
    assert 3 not in pairs.item
    assert set(pairs.query.tolist()) == {0}


def test_eligible_positives_share_enough_at_a_like_scale(model):
    pairs = pair(model, range(12))
    chosen = are_eligible(pairs, min_overlap=0.3, max_scale=1.5)
    assert 0 < chosen.sum() < len(chosen)
    assert (pairs.overlap[chosen] >= 0.3).all()
    assert ((pairs.scale[chosen] >= 1) & (pairs.scale[chosen] <= 1.5)).all()
    assert are_eligible(pairs, min_overlap=0, max_scale=np.inf).all()
    assert not are_eligible(pairs, min_overlap=1.01).any()
    mean = [pairs.overlap[rows].mean() for rows in (most_common(pairs), np.flatnonzero(chosen))]
    assert mean[0] >= mean[1]


def most_common(pairs):
    return [np.flatnonzero(pairs.query == q)[pairs.n_common[pairs.query == q].argmax()] for q in range(12)]


def test_queries_are_a_tenth_of_a_model_and_at_most_thirty():
    ids = np.random.default_rng(1).permutation(11042)
    assert [len(draw_queries(ids[:n])) for n in (1, 25, 300, 11042)] == [1, 3, 30, 30]
    first, second = draw_queries(ids, seed=1), draw_queries(ids[::-1], seed=1)
    assert set(ids[first]) == set(ids[::-1][second])
    assert set(ids[draw_queries(ids, seed=2)]) != set(ids[first])


def test_a_scale_is_the_same_in_both_directions():
    ratios = np.array([0.5, np.nan, 0.25, 0.5])
    assert median_scale(ratios) == median_scale(1 / ratios) == 2
    assert np.isnan(median_scale(np.array([np.nan])))
