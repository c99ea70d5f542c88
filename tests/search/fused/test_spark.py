import numpy as np
import pyarrow as pa
import pytest

from resight.arrow import arrow_to_lists, lists_to_arrow, vectors_to_arrow
from resight.features.local.points import pack_features
from resight.knn.copies import to_offsets
from resight.rerank.fuse import choose_candidates
from resight.search.fused.rank import FusedRecipe, choose_images, fuse_lists, rank_fused
from resight.search.fused.running.spark import find_known
from resight.search.fused.spark import (
    FusedFiles,
    fuse_neighbors,
    list_candidates,
    list_near,
    pack_rankings,
    search_fused,
)
from resight.search.fused.verified import hash_contents, pack_known
from resight.verification.feature_files import Described, FeatureFiles, save_features
from resight.verification.verify import prepare_photo
from tests.search.fused.test_lists import sparse_lists
from tests.search.fused.test_rank import make_query, random_features
from tests.search.fused.worlds import make_world, ranked_row, save_world

N = 60


def shuffled(spark, table, rng, n_parts=4):
    return spark.createDataFrame(table.take(pa.array(rng.permutation(len(table))))).repartition(n_parts)


@pytest.mark.parametrize("block_images", [1, 13, 1000])
def test_distributed_lists_equal_local_ones(spark, rng, tmp_path, block_images):
    world = make_world(tmp_path, rng)
    expected, _, _ = sparse_lists(world, n_near=10, k=6, rng=rng)
    near = np.argsort(-(world.X @ world.X.T), axis=1)[:, 1:11]
    lists = lists_to_arrow(to_offsets(np.full(N, 10)), world.ids[near].ravel())
    neighbors = shuffled(spark, pa.table({"src": world.ids, "dst": lists}), rng)
    rows = [ranked_row(world, i) for i in range(N)]
    ends = to_offsets(np.full(N, N - 1))
    images, scores = (np.concatenate(column) for column in zip(*rows, strict=True))
    packed = [lists_to_arrow(ends, world.ids[images]), lists_to_arrow(ends, scores.astype(np.float32))]
    ranked = pa.table([world.ids, *packed], names=["query_id", "image_ids", "scores"])
    found = fuse_neighbors(
        neighbors, shuffled(spark, ranked, rng), world.files, k=6, block_images=block_images
    )
    table = found.toArrow().sort_by("src")
    np.testing.assert_array_equal(table["src"], world.ids[expected.src])
    np.testing.assert_array_equal(arrow_to_lists(table["dst"], "int64")[1], world.ids[expected.dst])
    similarity = arrow_to_lists(table["similarity"], "float32")[1]
    np.testing.assert_array_equal(similarity, expected.similarity)


def lay_out(world, queries, features):
    """Queries as the operator takes them; the second lacks its second vector and its keypoints."""
    found = [query.found for query in queries]
    ends = to_offsets(np.array([len(one) for one in found]))
    _, points, vectors = pack_features(features, "float32")
    columns = {
        "query_id": pa.array(range(len(queries))),
        "own": pa.array([int(world.ids[q.own]) if q.own >= 0 else -1 for q in queries]),
        "vector": vectors_to_arrow(np.stack([q.vectors[0] for q in queries])),
        "vector_2": pa.array([None if q.vectors[1] is None else q.vectors[1].tobytes() for q in queries]),
        "image_ids": lists_to_arrow(ends, world.ids[np.concatenate(found)]),
        "scores": lists_to_arrow(ends, np.concatenate([q.scores for q in queries]).astype(np.float32)),
        "points": points,
        "vectors": vectors,
        "width": pa.array([400] * len(queries), pa.int32()),
        "height": pa.array([400] * len(queries), pa.int32()),
    }
    return pa.table(columns)


def test_distributed_rankings_equal_local_ones(spark, rng, tmp_path):
    world, recipe = make_world(tmp_path, rng), FusedRecipe(25)
    described = [random_features(rng) for _ in range(N)]
    part = Described(world.ids, np.full((N, 2), 400), described, [None] * N)
    names = save_features(str(tmp_path), part, dtype="float32")
    features = FeatureFiles(str(tmp_path), ((int(world.ids[0]), names),))
    asking, queries, similar = [None, None, *(random_features(rng) for _ in range(7))], [], 0
    for i, own in enumerate([-1, 3, 8, -1, -1, 50, 51, -1, 2]):
        query, _ = make_query(rng, world, own=own)
        if i == 0:
            similar = int(query.near[2])
            asking[0] = described[similar]
        vectors = query.vectors if i != 1 else (query.vectors[0], None)
        photo = prepare_photo(asking[i], (400, 400), recipe.verification) if asking[i] else None
        queries.append(query._replace(vectors=vectors, photo=photo))
    searched = save_world(tmp_path, world)
    files = FusedFiles(searched, world.files, features, ("float32", "float32"), "float32")
    table = shuffled(spark, lay_out(world, queries, asking), rng)
    rows = search_fused(table, files, recipe).toArrow().sort_by("query_id")
    opened = searched.open(), world.files.open()
    expected = list(rank_fused(queries, *opened, recipe, features=features.open()))
    images = arrow_to_lists(rows["image_ids"], "int64")[1].reshape(-1, 25)
    np.testing.assert_array_equal(images, [world.ids[answer.ordinals] for answer in expected])
    scores = arrow_to_lists(rows["scores"], "float32")[1].reshape(-1, 25)
    np.testing.assert_allclose(scores, [answer.scores for answer in expected], atol=1e-6)
    (plain,) = rank_fused(queries[:1], *opened, recipe._replace(n_verified=0))
    rise = np.flatnonzero(plain.ordinals == similar) - np.flatnonzero(images[0] == world.ids[similar])
    assert rise > 0  # its keypoints are the query's


def draw_pairs(rng, world, queries, chosen):
    """Verified pairs of every second image that each query chose, some of older bytes; what holds of them."""
    rows, known = {}, {int(world.ids[query.own]): {} for query in queries}
    for query, places in zip(queries, chosen, strict=True):
        for place in places[::2].tolist():
            a, b = sorted((int(world.ids[query.own]), int(world.ids[place])))
            is_stale, n = bool(rng.random() < 0.3), int(rng.integers(0, 90))
            rows.setdefault((a, b), (a, b, hash_contents(f"{a:40x}", f"{b:40x}") + is_stale, n, "ok"))
    for a, b, contents, n, _ in rows.values():
        for own, other in ((a, b), (b, a)):
            if own in known and contents == hash_contents(f"{a:40x}", f"{b:40x}"):
                known[own][other] = n
    return list(rows.values()), known


def test_what_is_known_and_near_is_taken_as_it_comes(spark, rng, tmp_path):
    world, recipe = make_world(tmp_path, rng), FusedRecipe(25)
    queries = [make_query(rng, world, own=own)[0] for own in (3, 8, 50)]
    searched = save_world(tmp_path, world)
    opened = searched.open(), world.files.open()
    chosen = [choose_images(query, opened[1], recipe) for query in queries]
    rows, known = draw_pairs(rng, world, queries, chosen)
    hashes = [(int(i), f"{i:40x}", None) for i in world.ids]
    images = spark.createDataFrame(hashes, "image_id long, content_hash string, removed_at timestamp")
    kinds = "image_a long, image_b long, contents long, n_inliers int, status string"
    pairs = spark.createDataFrame(rows, kinds)
    files = FusedFiles(searched, world.files, None, ("float32", "float32"), "float32")
    table = shuffled(spark, lay_out(world, queries, [random_features(rng)] * 3), rng)
    near = list_near(table, files, depth=recipe.depth)
    asked = table.join(near, "query_id").join(find_known(table, pairs, images), "query_id", "left")
    found = search_fused(asked, files, recipe).toArrow().sort_by("query_id")
    queries = [q._replace(known=pack_known(known[int(world.ids[q.own])])) for q in queries]
    expected = [world.ids[one.ordinals] for one in rank_fused(queries, *opened, recipe)]
    observed = arrow_to_lists(found["image_ids"], "int64")[1].reshape(-1, 25)
    np.testing.assert_array_equal(observed, expected)
    wanted = list_candidates(asked, files, recipe).toArrow()["image_id"].to_pylist()
    lacking = [choose_images(query, opened[1], recipe) for query in queries]
    assert sorted(wanted) == world.ids[np.unique(np.concatenate(lacking))].tolist()


def test_packed_rankings_hold_what_stands_out_in_order(spark, rng):
    n = 130
    rows = {"rank": np.arange(n, dtype=np.int32), "image_id": np.arange(n) * 7, "score": rng.random(n)}
    one = pa.table(rows | {"query_id": np.full(n, 3), "score": rows["score"].astype(np.float32)})
    two = one.slice(0, 4).set_column(3, "query_id", pa.array([9] * 4))
    packed = pack_rankings(shuffled(spark, pa.concat_tables([one, two]), rng)).toArrow().sort_by("query_id")
    offsets, images = arrow_to_lists(packed["image_ids"], "int64")
    assert packed["query_id"].to_pylist() == [3, 9]
    assert offsets.tolist() == [0, 101, 105]
    np.testing.assert_array_equal(images, np.r_[rows["image_id"][:101], rows["image_id"][:4]])
    scores = arrow_to_lists(packed["scores"], "float32")[1]
    np.testing.assert_array_equal(scores, one["score"].to_numpy()[np.r_[:101, :4]])


def test_candidates_are_the_best_of_either_ranking_and_asked_for_with_keypoints_only(spark, rng, tmp_path):
    world, recipe = make_world(tmp_path, rng), FusedRecipe(10, n_verified=4)
    queries = [make_query(rng, world, own=own)[0] for own in (-1, 3, 8)]
    table = shuffled(spark, lay_out(world, queries, [random_features(rng), None, random_features(rng)]), rng)
    files = FusedFiles(save_world(tmp_path, world), world.files, None, ("float32", "float32"), "float32")
    found = list_candidates(table, files, recipe).toArrow()["image_id"].to_pylist()
    expected = set()
    for query in (queries[0], queries[2]):
        fused = fuse_lists(query, world.files.open())
        chosen = choose_candidates(fused.fused, fused.scores, depth=4)
        expected |= set(world.ids[fused.ordinals[chosen]].tolist())
    assert sorted(found) == sorted(expected)


def test_a_query_without_a_vector_is_ranked_by_what_it_has(spark, rng, tmp_path):
    world = make_world(tmp_path, rng)
    query, _ = make_query(rng, world, own=8)
    table = lay_out(world, [query], [None]).set_column(2, "vector", pa.nulls(1, pa.binary()))
    files = FusedFiles(save_world(tmp_path, world), world.files, None, ("float32", "float32"), "float32")
    (row,) = search_fused(spark.createDataFrame(table), files, FusedRecipe(10)).toArrow().to_pylist()
    lacking = query._replace(vectors=(None, query.vectors[1]))
    (expected,) = rank_fused([lacking], files.searched.open(), world.files.open(), FusedRecipe(10))
    images = np.frombuffer(row["image_ids"], np.int64)
    np.testing.assert_array_equal(images, world.ids[expected.ordinals])
    assert not row["no_support"]
