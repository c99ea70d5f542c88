"""Regional diffusion against a dense solve, and what makes it worth its cost."""

import msgspec
import numpy as np
import pytest

from resight.arrow import vectors_to_arrow
from resight.knn.copies import to_offsets
from resight.search.collection import SearchFiles
from resight.search.found import join_regions
from resight.search.rank import QueryRegions, answer_queries
from resight.search.regions import load_region_files
from resight.search.settings import SearchSettings
from resight.search.spark import search, unpack_results
from tests.search.collections import save_collection
from tests.search.region_collections import (
    Regions,
    dense_regional,
    save_region_collection,
    small_objects,
)
from tests.synthetic import planted, unit

ALL = SearchSettings(method="regional_diffusion", depth="all", tol=1e-12, alpha=0.9, query_neighbors=12)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    X, regions, objects = small_objects(
        np.random.default_rng(4), k=5, m=6, n_distractors=8, n_copies=3, n_background=3
    )
    files, A = save_region_collection(tmp_path_factory.mktemp("regions"), X, regions)
    return files, regions, A, X, objects


def ask(regions, images):
    """The regions of some images, as queries."""
    parts = [regions.of(image) for image in images]
    return QueryRegions(to_offsets(np.array([len(p) for p in parts])), np.concatenate(parts))


def answers(made, images, settings, *, own=False):
    asked = np.array(images)
    own = asked if own else np.full(len(asked), -1)
    return list(answer_queries(made[3][asked], own, made[0].open(), settings, regions=ask(made[1], asked)))


@pytest.mark.parametrize("query_pool", ["sum_of_powers", "power_of_sum"])
@pytest.mark.parametrize("region_pool", ["gmp", "sum"])
def test_scores_equal_a_dense_solve_and_the_rest_follows_by_similarity(made, query_pool, region_pool):
    _, regions, A, X, _ = made
    settings = msgspec.structs.replace(ALL, query_pool=query_pool, region_pool=region_pool)
    weights = regions.weights if region_pool == "gmp" else np.ones(len(regions.R))
    images = [0, 9, 20]
    for image, answer in zip(images, answers(made, images, settings), strict=True):
        f = dense_regional(regions.of(image), regions, A, k_q=12, alpha=0.9, query_pool=query_pool)
        F = np.bincount(regions.owner, weights=weights * f)
        reached = np.bincount(regions.owner, weights=f != 0) > 0
        n = int(reached.sum())
        assert sorted(answer.ordinals) == list(range(len(X)))
        assert set(answer.ordinals[:n]) == set(np.flatnonzero(reached))
        np.testing.assert_allclose(answer.scores[:n], F[answer.ordinals[:n]], rtol=1e-5, atol=1e-9)
        similarity = X.astype(float) @ X[image].astype(float)
        assert (np.diff(similarity[answer.ordinals[n:]]) <= 1e-6).all()
        assert (np.diff(answer.scores) <= 1e-9).all()
        for ordinal, region in zip(answer.ordinals, answer.regions, strict=True):
            rows = np.flatnonzero(regions.owner == ordinal)
            top = regions.region_ix[rows[np.argmax((weights * f)[rows])]] if reached[ordinal] else -1
            assert region == top


@pytest.mark.parametrize("renormalise", [True, False])
def test_a_shortlist_of_all_images_changes_nothing(made, renormalise):
    images = [0, 9, 20]
    changes = {"shortlist": len(made[3]), "renormalise": renormalise}
    short = answers(made, images, msgspec.structs.replace(ALL, **changes))
    for a, b in zip(answers(made, images, ALL), short, strict=True):
        n = int((a.regions >= 0).sum())
        assert set(a.ordinals[:n]) == set(b.ordinals[:n])
        np.testing.assert_allclose(np.sort(a.scores), np.sort(b.scores), rtol=1e-8, atol=1e-11)
        np.testing.assert_array_equal(a.ordinals[n:], b.ordinals[n:])
        np.testing.assert_array_equal(a.regions[a.ordinals.argsort()], b.regions[b.ordinals.argsort()])


def test_a_shortlist_is_searched_and_solved_by_its_regions_alone(made):
    _, regions, A, X, _ = made
    settings = msgspec.structs.replace(ALL, shortlist=7)
    _, index, inverse = np.unique(regions.R, axis=0, return_index=True, return_inverse=True)
    place = np.searchsorted(np.sort(index), index[inverse.ravel()])
    for image, answer in zip([0, 9, 20], answers(made, [0, 9, 20], settings), strict=True):
        similarity = X.astype(float) @ X[image].astype(float)
        rows = np.flatnonzero(np.isin(regions.owner, np.argsort(-similarity, kind="stable")[:7]))
        columns = (regions.node_ids, regions.R, regions.owner, regions.region_ix, regions.weights)
        some = Regions(*(column[rows] for column in columns))
        nodes = place[rows][np.sort(np.unique(some.R, axis=0, return_index=True)[1])]
        f = dense_regional(regions.of(image), some, A[np.ix_(nodes, nodes)], k_q=12, alpha=0.9)
        F = np.bincount(some.owner, weights=some.weights * f, minlength=len(X))
        n = int((np.bincount(some.owner, weights=f != 0) > 0).sum())
        assert 1 < n <= 7
        np.testing.assert_allclose(answer.scores[:n], F[answer.ordinals[:n]], rtol=1e-5, atol=1e-9)
        assert (np.diff(similarity[answer.ordinals[n:]]) <= 1e-6).all()
        assert (answer.regions[n:] == -1).all()
        assert sorted(answer.ordinals) == list(range(len(X)))


def test_the_reader_gives_the_regions_of_results_that_were_reached(made):
    found = [
        answer._replace(regions=np.where(answer.ordinals % 5, answer.regions, -1))
        for answer in answers(made, [0, 9], ALL)
    ]
    regions = np.concatenate([answer.regions for answer in found])
    assert set(regions.tolist()) >= {-1, 0, 1}
    assert join_regions(found).to_pylist() == [None if r < 0 else r for r in regions.tolist()]
    plain = [answer._replace(regions=None) for answer in found]
    assert join_regions(plain).null_count == len(regions)


def test_one_region_per_image_equals_global_diffusion(tmp_path, rng):
    X = planted(rng, k=6, m=6, n_distractors=10, n_copies=4, d=16).vectors
    n, nothing = len(X), np.zeros(len(X), np.int32)
    regions = Regions(np.arange(n), X, np.arange(n), nothing, np.full(n, 0.5))
    regional = save_region_collection(tmp_path / "r", X, regions)[0].open()
    images = save_collection(tmp_path / "g", np.arange(n), X)[0].open()
    Q = unit(X[::9] + 0.1 * rng.normal(size=X[::9].shape)).astype(np.float32)
    own, asking = np.full(len(Q), -1), QueryRegions(np.arange(len(Q) + 1), Q)
    settings = msgspec.structs.replace(ALL, method="diffusion")
    for a, b in zip(
        answer_queries(Q, own, images, settings),
        answer_queries(Q, own, regional, ALL, regions=asking),
        strict=True,
    ):
        reached = a.scores > 0
        np.testing.assert_allclose(b.scores[reached], 0.5 * a.scores[reached], rtol=1e-9)
        np.testing.assert_allclose(b.scores[~reached], a.scores[~reached], rtol=1e-9)
        assert (np.isclose(a.scores, np.roll(a.scores, 1)) | (a.ordinals == b.ordinals)).mean() > 0.9


def average_precision(ordinals, positives):
    ranks = np.flatnonzero(np.isin(ordinals, positives)) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def test_small_objects_are_found_by_regions_and_located(made, tmp_path):
    _, _, _, X, objects = made
    whole = save_collection(tmp_path, np.arange(len(X)), X)[0].open()
    images = np.flatnonzero(objects >= 0)
    settings = msgspec.structs.replace(ALL, method="diffusion", query_neighbors=5)
    by_image = list(answer_queries(X[images], images, whole, settings))
    by_region = answers(made, images, ALL, own=True)
    precision = {"image": [], "region": []}
    located = []
    for image, a, b in zip(images, by_image, by_region, strict=True):
        positives = np.setdiff1d(np.flatnonzero(objects == objects[image]), image)
        precision["image"].append(average_precision(a.ordinals, positives))
        precision["region"].append(average_precision(b.ordinals, positives))
        located.extend(b.regions[np.isin(b.ordinals, positives)] == 0)
    assert np.mean(precision["region"]) > np.mean(precision["image"]) + 0.15
    assert np.mean(located) > 0.8


def test_a_shallow_answer_is_the_head_of_a_deep_one_and_leaves_the_query_out(made):
    images = [1, 7, 30]
    deep = answers(made, images, ALL, own=True)
    few = answers(made, images, msgspec.structs.replace(ALL, depth=5), own=True)
    for image, a, b in zip(images, deep, few, strict=True):
        np.testing.assert_array_equal(a.ordinals[:5], b.ordinals)
        np.testing.assert_array_equal(a.regions[:5], b.regions)
        assert image not in a.ordinals
        assert len(a.ordinals) == len(made[3]) - 1


def test_a_query_without_usable_regions_is_ranked_by_similarity_and_flagged(made):
    files, _, _, X, _ = made
    none = QueryRegions(np.zeros(2, np.int64), np.zeros((0, X.shape[1]), np.float32))
    for shortlist in (0, 5):
        settings = msgspec.structs.replace(ALL, shortlist=shortlist)
        answer = next(answer_queries(X[:1], np.array([-1]), files.open(), settings, regions=none))
        assert answer.no_support
        assert answer.ordinals[0] == 0
        assert (answer.regions == -1).all()


def test_regions_are_asked_for(made):
    files, regions, _, X, _ = made
    with pytest.raises(ValueError, match="needs the regions of each of 1 queries"):
        next(answer_queries(X[:1], np.array([-1]), files.open(), ALL))
    plain = SearchFiles(files.vectors).open()
    with pytest.raises(ValueError, match="build-graph --of regions"):
        next(answer_queries(X[:1], np.array([-1]), plain, ALL, regions=ask(regions, [0])))


def test_files_are_found_again(made):
    layout = made[0].regions
    layout.save()
    assert load_region_files(layout.folder, layout.vectors, layout.graph) == layout


@pytest.mark.parametrize("n_tasks", [1, 3, 50])
def test_distributed_equals_local(spark, made, n_tasks):
    files, regions, _, X, _ = made
    images = [0, 3, 11, 25]
    settings = msgspec.structs.replace(ALL, depth=6)
    vectors = vectors_to_arrow(X[images]).to_pylist()
    rows = [
        (100 + i, bytearray(v), bytearray(regions.of(i).tobytes()), i)
        for i, v in zip(images, vectors, strict=True)
    ]
    schema = "query_id long, vector binary, region_vectors binary, image_id long"
    frame = spark.createDataFrame(rows, schema).repartition(n_tasks)
    found = unpack_results(search(frame, files, settings, source_dtype="float32"), settings.method).toArrow()
    found = found.sort_by([("query_id", "ascending"), ("rank", "ascending")])
    local = answers(made, images, settings, own=True)
    assert found["query_id"].to_pylist() == [100 + i for i in images for _ in range(6)]
    np.testing.assert_array_equal(found["image_id"], np.concatenate([a.ordinals for a in local]))
    np.testing.assert_allclose(found["score"], np.concatenate([a.scores for a in local]), rtol=1e-5)
    best = found["region_ix"].fill_null(-1).to_numpy()
    np.testing.assert_array_equal(best, np.concatenate([a.regions for a in local]))
