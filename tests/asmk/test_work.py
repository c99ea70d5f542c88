"""A chunk of an index against the kernels, one image after the other."""

import json

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from resight.asmk.aggregate import aggregate_image, aggregate_vectors
from resight.asmk.kernel import Values
from resight.asmk.work import INDEXED, KEEP_ALL, IndexWork, describe_like, rescue_indexed
from resight.codebook.model import Codebook, save_codebook
from resight.codebook.quantize import assign
from resight.features.local.points import LocalFeatures, join_features, pack_features
from resight.features.local.settings import LocalSettings
from tests.pictures import save_photo

D = 128
SETTINGS = LocalSettings(max_keypoints=40, min_side=0, max_side=96)


@pytest.fixture
def codebook(rng):
    settings = json.dumps(msgspec.to_builtins(SETTINGS))
    return Codebook(rng.random((6, D)).astype("f4"), settings=settings, dtype="float16")


@pytest.fixture
def work(codebook, tmp_path):
    return IndexWork(save_codebook(codebook, str(tmp_path / "codebook")))


def stored_rows(rng, sizes):
    """Rows whose keypoints are stored already."""
    features = [LocalFeatures(rng.random((n, 5), np.float32), rng.random((n, D), np.float32)) for n in sizes]
    counts, points, vectors = pack_features(features, "float16")
    n = len(sizes)
    columns = {"image_id": pa.array(range(n), pa.int64()), "content_hash": ["h"] * n}
    columns |= {"root": ["nowhere"] * n, "uri": ["none"] * n}
    columns |= {"byte_offset": pa.nulls(n, pa.int64()), "n_bytes": pa.nulls(n, pa.int64())}
    return pa.table(columns | {"n_keypoints": counts, "points": points, "vectors": vectors})


@pytest.mark.parametrize("aggregate", [True, False])
def test_stored_keypoints_become_entries_without_a_file(rng, codebook, work, aggregate):
    rows = stored_rows(rng, [12, 0, 7])
    found = IndexWork(work.codebook, aggregate)(rows)
    assert found.schema.equals(INDEXED)
    offsets, _, vectors = join_features(rows, "float16")
    for i, row in enumerate(found.to_pylist()):
        X = vectors[offsets[i] : offsets[i + 1]].astype("f4").reshape(-1, D)
        words, codes = aggregate_image(X, assign(X, codebook), codebook, aggregate=aggregate)
        assert row["words"] == words.astype("<i4").tobytes()
        assert row["codes"] == codes.tobytes()
        assert (row["status"], row["n_keypoints"], row["vectors"]) == ("ok", len(X), None)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("aggregate", [True, False])
def test_entries_can_be_unit_vectors(rng, codebook, work, aggregate, dtype):
    rows, kind = stored_rows(rng, [12, 0, 7]), Values(0, D, dtype)
    found = IndexWork(work.codebook, aggregate, values=dtype)(rows).to_pylist()
    offsets, _, vectors = join_features(rows, "float16")
    for i, row in enumerate(found):
        X = vectors[offsets[i] : offsets[i + 1]].astype("f4").reshape(-1, D)
        words, expected = aggregate_vectors(X, assign(X, codebook), codebook.centroids, aggregate=aggregate)
        assert row["words"] == words.astype("<i4").tobytes()
        stored = kind.read(np.frombuffer(row["codes"], "u1"))
        np.testing.assert_array_equal(stored, expected.astype(dtype))
        np.testing.assert_allclose(np.linalg.norm(stored.astype("f8"), axis=1), 1, atol=2e-3)


def test_one_word_of_every_image_is_compared_with_its_true_one(rng, codebook, tmp_path):
    sizes = [*rng.integers(1, 9, 30).tolist(), 0]
    few = Codebook(rng.random((60, D)).astype("f4"), n_probes=1, settings=codebook.settings, dtype="float16")
    rows = stored_rows(rng, sizes)
    found = IndexWork(save_codebook(few, str(tmp_path)))(rows)["agrees"].to_pylist()
    offsets, _, vectors = join_features(rows, "float16")
    X = vectors[offsets[:-2] + np.array(sizes[:-1]) // 2].astype("f4")
    expected = assign(X, few)[:, 0] == assign(X, few, exact=True)[:, 0]
    assert found == [*expected.tolist(), None]
    assert {True, False} <= {*found}


def test_nothing_is_compared_where_an_assignment_is_exact(rng, work):
    assert work(stored_rows(rng, [3, 0]))["agrees"].null_count == 2


def test_a_descriptor_that_is_no_number_costs_its_image(rng, work):
    rows = stored_rows(rng, [3, 4])
    spoiled = np.full((3, D), np.nan, "f2").tobytes()
    vectors = pa.array([spoiled, rows["vectors"][1].as_py()], pa.binary())
    found = work(rows.set_column(rows.schema.get_field_index("vectors"), "vectors", vectors)).to_pylist()
    assert [row["status"] for row in found] == ["nan", "ok"]
    assert found[0]["words"] is None


@pytest.mark.parametrize(("keep", "n_kept"), [(0, None), (5, [5, 0, 3]), (KEEP_ALL, [12, 0, 3])])
def test_the_strongest_keypoints_are_kept(rng, work, keep, n_kept):
    rows = stored_rows(rng, [12, 0, 3])
    found = IndexWork(work.codebook, keep=keep)(rows)
    assert found["n_keypoints"].to_pylist() == [12, 0, 3]
    if n_kept is None:
        assert found["points"].null_count == 3
        return
    offsets, points, vectors = join_features(found, "float16")
    assert np.diff(offsets).tolist() == n_kept
    np.testing.assert_array_equal(points[: n_kept[0]], join_features(rows)[1][: n_kept[0]])
    np.testing.assert_array_equal(vectors[: n_kept[0]], join_features(rows)[2][: n_kept[0]])


def test_other_images_are_described_as_the_codebook_says(rng, tmp_path, codebook, work):
    save_photo("coffee", tmp_path / "coffee.jpg", side=120)
    stored = stored_rows(rng, [4, 2, 2])
    n = {"root": str(tmp_path), "uri": "coffee.jpg"}
    listed = stored.to_pylist()
    for row, uri in ((listed[1], "coffee.jpg"), (listed[2], "absent.jpg")):
        row |= n | {"uri": uri, "content_hash": None, "n_keypoints": None, "points": None, "vectors": None}
    rows = pa.Table.from_pylist(listed, schema=stored.schema)
    found = {row["image_id"]: row for row in work(rows).to_pylist()}
    assert [found[i]["status"] for i in range(3)] == ["ok", "ok", "missing"]
    described = describe_like(codebook)(rows.slice(1, 1))
    _, _, X = join_features(described, "float16")
    words, codes = aggregate_image(X.astype("f4"), assign(X.astype("f4"), codebook), codebook)
    assert found[1]["words"] == words.astype("<i4").tobytes()
    assert found[1]["codes"] == codes.tobytes()
    assert 0 < found[1]["n_keypoints"] <= 40


def test_an_image_that_kills_the_process_is_a_row(rng):
    found = rescue_indexed(stored_rows(rng, [1]), "killed by SIGSEGV")
    assert found.schema.equals(INDEXED)
    assert (found["status"][0].as_py(), found["words"][0].as_py()) == ("crashed", None)
