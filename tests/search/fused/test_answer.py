"""The fused ranking without Spark: from a committed workspace, against the kernel on arrays."""

import numpy as np
import pytest

import resight
from resight.asmk.binarize import count_differences
from resight.asmk.kernel import lookup_table
from resight.asmk.search import encode_query
from resight.config import SettingError
from resight.rerank.fuse import Weighting
from resight.search.fused.rank import FusedQuery, FusedRecipe, Ranking, rank_fused
from resight.search.fused.similarity import Descriptors, Part
from resight.verification.feature_files import Described, FeatureFiles, save_features
from resight.verification.settings import VerifySettings
from resight.verification.verify import prepare_photo
from tests.search.fused.photos import SIZE, commit_photos

N = 5


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return commit_photos(tmp_path_factory.mktemp("fused"))


@pytest.fixture(scope="module")
def root(photos):
    return str(photos.root / "w")


def score_all(photos, i, m):
    """What the inverted file says of a photo, written out: scores (n,) with both norms."""
    query = encode_query(photos.features[i].vectors, photos.codebook, m)
    others = [encode_query(one.vectors, photos.codebook, 1) for one in photos.features]
    table, scores = lookup_table(128), np.zeros(N)
    for j, other in enumerate(others):
        common, a, b = np.intersect1d(query.words, other.words, return_indices=True)
        if len(common):
            found = table[np.diag(count_differences(query.codes[a], other.codes[b]))].sum()
            scores[j] = found / np.sqrt(len(query.words) * len(other.words))
    return scores


def expect(photos, opened, i, *, own, m=5, further=0.0, **settings):
    """Rank by the kernel for photo ``i``: ids and scores."""
    fused = opened.moment.fused
    order = np.lexsort((np.arange(N), -score_all(photos, i, m)))
    first = score_all(photos, i, m)[order].astype("f4")
    photo = prepare_photo(photos.features[i], SIZE, VerifySettings())
    again = score_all(photos, i, 1)
    other = np.lexsort((np.arange(N), -again))
    others = (Ranking(other, again[other].astype("f4")),) if further else ()
    query = FusedQuery((photos.X[i],), i if own else -1, np.arange(N), order, first, photo, others)
    folder = photos.root / "kernel"
    part = Described(photos.ids, np.tile(SIZE, (N, 1)), photos.features, [None] * N)
    files = FeatureFiles(str(folder), ((3, save_features(str(folder), part, dtype="float32")),))
    recipe = FusedRecipe(N, weighting=Weighting(0.4, further or 0.4), **settings)
    descriptors = Descriptors((Part(fused.collection.X),))
    (answer,) = rank_fused([query], fused.collection, descriptors, recipe, features=files.open())
    return photos.ids[answer.ordinals].tolist(), answer.scores


def check(found, place, expected):
    rows = [row for row in found.results.to_pylist() if row["query"] == place]
    assert [row["image_id"] for row in rows] == expected[0]
    np.testing.assert_allclose([row["score"] for row in rows], expected[1], atol=1e-5)


def test_ids_and_files_are_ranked_as_the_kernel_ranks_them(photos, root):
    opened = resight.open(root)
    found = opened.search([*photos.ids[:4].tolist(), photos.files[2], 77], method="fused")
    assert found.queries["status"].to_pylist() == ["ok"] * 5 + ["missing"]
    for place, i in enumerate([0, 1, 2, 3, 2]):
        check(found, place, expect(photos, opened, i, own=place < 4))
    firsts = {row["query"]: row["image_id"] for row in found.results.to_pylist() if row["rank"] == 0}
    assert firsts == {0: 14, 1: 3, 2: 92, 3: 15, 4: 15}


def test_settings_filters_and_a_further_index_change_what_they_should(photos, root):
    opened = resight.open(root, also="search")
    found = opened.search([photos.files[1]], method="fused", also_weight=0.7, n_verified=0)
    check(found, 0, expect(photos, opened, 1, own=False, further=0.7, n_verified=0))
    part = resight.open(root).search([3], method="fused", filter={"uri": ["b.png", "e.png"]})
    assert part.results["image_id"].to_pylist() == [14, 653]
    adaptive = resight.open(root).search([3], method="fused", weighting="adaptive")
    assert adaptive.results["image_id"][0].as_py() == 14


def test_a_box_asks_with_its_part_of_the_file(photos, root):
    opened = resight.open(root)
    boxes = [(0, 0, 160, 200), (20, 20, 140, 160), None]
    found = opened.search([photos.files[0]] * 3, method="fused", boxes=boxes).results.to_pylist()
    scores = [[row["score"] for row in found if row["query"] == i] for i in range(3)]
    assert scores[1] != scores[2]
    firsts = [row["image_id"] for row in found if row["rank"] == 0]
    assert firsts == [3, 3, 3]


def test_what_cannot_be_fused_is_named(photos, root):
    with pytest.raises(ValueError, match="takes images and ids, not vectors"):
        resight.open(root).search(photos.X[0], method="fused")
    for named, message in (
        ({"graph": "none"}, "no build of 'edges' is called 'none'"),
        ({"also": "none"}, "no build of 'results' is called 'none'"),
        ({"index": "none"}, "no build of 'shards' is called 'none'"),
    ):
        with pytest.raises(SettingError, match=message):
            resight.open(root, **named).search(3, method="fused")
