import numpy as np
import pytest

from resight.mining.reconstruction.nearest import find_negatives


@pytest.fixture
def scene(rng):
    models = rng.integers(0, 9, 60)
    forbidden = models[:12][:, None] == models
    return np.round(rng.random((12, 60)), 2), forbidden, models, rng.permutation(60) * 5


def slow_negatives(similarity, forbidden, models, ids, n, per_model):
    """Scan by falling similarity, from the definition."""
    chosen = []
    for row in range(len(similarity)):
        used = set()
        order = sorted(range(len(ids)), key=lambda j: (-similarity[row, j], ids[j]))
        for column in order:
            if not forbidden[row, column] and len(used) < n and not (per_model and models[column] in used):
                used.add(models[column] if per_model else column)
                chosen.append((row, column))
    return chosen


@pytest.mark.parametrize("per_model", [True, False])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_negatives_are_those_of_a_scan(scene, n, per_model):
    found = find_negatives(*scene, n=n, per_model=per_model)
    assert list(zip(*(c.tolist() for c in found), strict=True)) == slow_negatives(*scene, n, per_model)


def test_both_rules_agree_on_the_hardest_and_one_per_model_is_never_harder(scene):
    similarity, _, models, _ = scene
    tables = []
    for per_model in (True, False):
        row, column = find_negatives(*scene, n=5, per_model=per_model)
        assert np.bincount(row).tolist() == [5] * 12
        tables.append((column.reshape(12, 5), similarity[row, column].reshape(12, 5)))
    (spread, by_model), (_, nearest) = tables
    np.testing.assert_array_equal(spread[:, 0], tables[1][0][:, 0])
    assert (nearest >= by_model).all()
    assert all(len(set(models[row])) == 5 for row in spread)


def test_more_images_never_make_negatives_easier(scene):
    similarity, forbidden, models, ids = scene
    scores = []
    for some in (slice(0, 60, 2), slice(None)):
        part = similarity[:, some], forbidden[:, some], models[some], ids[some]
        row, column = find_negatives(*part, n=4)
        scores.append(part[0][row, column].reshape(12, 4))
    assert (scores[1] >= scores[0]).all()


def test_one_image_of_each_model_makes_the_rules_equal(scene):
    similarity, _, _, ids = scene
    models = np.arange(60)
    forbidden = np.arange(12)[:, None] == models
    found = [find_negatives(similarity, forbidden, models, ids, n=5, per_model=p) for p in (True, False)]
    np.testing.assert_array_equal(*found)
    nothing = find_negatives(similarity, np.ones((12, 60), bool), models, ids, n=5)
    assert len(nothing[0]) == 0
