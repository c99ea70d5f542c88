import numpy as np
import pyarrow as pa
import pytest

from resight.asmk.kernel import Selectivity
from resight.asmk.search import encode_query, search_index
from resight.asmk.searching.index import load_index_files
from resight.asmk.searching.recipe import Recipe
from resight.asmk.searching.spark import (
    Grid,
    encode_queries,
    plan_grid,
    search_queries,
    write_index_files,
)
from resight.codebook.model import Codebook
from resight.rerank.hqe import Expansion, search_expanded
from tests.asmk.indexes import draw_images, image_norm, word_weights, write_index

K, N, B = 30, 15, 24
IDS = np.arange(N) * 7 + 2
RECIPE = Recipe(B, Selectivity(2.0, -1.0), m=2, depth=6)


EXPANDING = RECIPE._replace(depth="all", expansion=Expansion(B, 4, 0.1, 1))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    rng = np.random.default_rng(3)
    images = draw_images(rng, n=N, k=K, n_bits=B, most=25)
    weights, folder = word_weights(images, K, idf=True), tmp_path_factory.mktemp("index")
    return write_index(folder, images, IDS, weights, n_bytes=B // 8, per_shard=4, removed=IDS[[1]])


@pytest.fixture(scope="module")
def asked(spark, index):
    """Descriptors of five queries, one without any, and one of an image of the collection."""
    rng = np.random.default_rng(4)
    vectors = [rng.normal(size=(n, B)).astype(np.float32) for n in (30, 0, 12, 20, 25)]
    own = [-1, -1, int(IDS[4]), -1, -1]
    rows = {"query_id": [50, 10, 40, 30, 20], "own": own, "vectors": [V.tobytes() for V in vectors]}
    return vectors, np.array(own), spark.createDataFrame(pa.table(rows)).repartition(3)


def unpack(answers):
    rows = {row["query_id"]: row for row in answers.toArrow().to_pylist()}
    assert len(rows) == 5
    return [
        (np.frombuffer(row["image_ids"], "<i8"), np.frombuffer(row["scores"], "<f4"), row["no_support"])
        for row in (rows[query] for query in (50, 10, 40, 30, 20))
    ]


@pytest.mark.parametrize(
    ("grid", "recipe"),
    [
        (Grid(1, 1), EXPANDING),
        (Grid(2, 3), EXPANDING),
        (Grid(2, 3), RECIPE),
        (Grid(9, 1), RECIPE),
        (Grid(1, 4), RECIPE),
    ],
)
def test_distributed_rankings_are_the_local_ones(index, asked, grid, recipe):
    vectors, own, rows = asked
    encoded = encode_queries(rows, index, recipe, dtype="float32", n_blocks=grid.n_blocks)
    found = unpack(search_queries(encoded, index, recipe, grid))
    queries = [encode_query(V, index.codebook.open(), recipe.m) for V in vectors]
    given = queries, own, index.open(), recipe.table()
    depth = recipe.limit(N - 1)
    local = (
        search_expanded(*given, recipe.expansion, depth=depth)
        if recipe.expansion
        else search_index(*given, depth=depth)
    )
    for (ids, scores, no_support), expected in zip(found, local, strict=True):
        assert ids.tolist() == expected.image_ids.tolist()
        assert scores.tobytes() == expected.scores.astype(np.float32).tobytes()
        assert no_support == (not expected.scores[0] > 0)


def test_the_files_of_an_index_hold_norms_and_weights_of_the_tables(spark, tmp_path, rng):
    images = draw_images(rng, n=N, k=K, n_bits=B)
    weights, root = word_weights(images, K, idf=True), str(tmp_path)
    held = write_index(tmp_path, images, IDS, weights, n_bytes=B // 8, per_shard=6)
    shards = {
        "shard": [2, 0, 1],
        "path": [f"shards/{i}" for i in (2, 0, 1)],
        "sha256": [held.shards[i].sha256 for i in (2, 0, 1)],
        "n_images": [held.shards[i].n_images for i in (2, 0, 1)],
        "n_entries": [held.shards[i].n_entries for i in (2, 0, 1)],
    }
    norms = [image_norm(image, weights) for image in images]
    stats = {"image_id": IDS, "norm": norms, "status": ["ok"] * (N - 1) + ["crashed"]}
    words = {"word_id": np.flatnonzero(weights), "idf": weights[weights > 0]}
    tables = [spark.createDataFrame(pa.table(rows)).repartition(2) for rows in (shards, stats, words)]
    codebook, folder = Codebook(np.eye(K, B, dtype=np.float32)), f"{root}/files"
    written = write_index_files(tuple(tables), codebook, folder, root)
    assert load_index_files(folder, root) == written
    assert written.shards == held.shards
    assert write_index_files(tuple(tables), codebook, folder, root) == written
    opened = written.open()
    assert opened.X.id_of(np.arange(N - 1)).tolist() == IDS[:-1].tolist()
    np.testing.assert_array_equal(opened.X.rows(0, N - 1)[:, 0], np.float32(norms[:-1]))
    np.testing.assert_array_equal(opened.weights, weights.astype(np.float32))


@pytest.mark.parametrize("n_queries", [0, 1, 3, 64, 65, 5000])
@pytest.mark.parametrize("n_shards", [0, 1, 2, 40])
@pytest.mark.parametrize("n_slots", [None, 1, 16])
def test_every_plan_has_cells_and_no_more_groups_than_shards(n_queries, n_shards, n_slots):
    grid = plan_grid(n_queries, n_shards, n_slots)
    assert grid.n_blocks * 64 >= n_queries
    assert 1 <= grid.n_groups <= max(n_shards, 1)
