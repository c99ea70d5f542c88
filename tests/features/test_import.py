"""Vectors made elsewhere: every form they come in, and every way they can be wrong."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from resight.arrow import arrow_to_vectors
from resight.config import SettingError
from resight.features.imports import find_ids, lists_to_matrix, open_npy, pack_matrix, read_ids
from resight.features.spark import (
    VectorFormat,
    find_id_column,
    images_of_vectors,
    import_vectors,
    match_vectors,
    read_vectors,
    unmatched_vectors,
)
from resight.jobs.import_descriptors import ImportConfig
from resight.store import spark_schema
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES

DIMENSION = 5


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def make_vectors(n):
    return np.random.default_rng(1).normal(size=(n, DIMENSION)).astype(np.float32)


def uris_of(n):
    return [f"sub dir/ü{i}.jpg" for i in range(n)]


def make_images(spark, uris):
    rows = [(100 + i, uri, f"hash{i}") for i, uri in enumerate(uris)]
    return spark.createDataFrame(rows, "image_id long, uri string, content_hash string")


def write_vectors(folder, form, X, ids):
    """Write ``X`` in one of the forms; return where it is and how to read it."""
    if form.startswith("npy"):
        np.save(folder / "v.npy", X)
        if form == "npy+npy":
            np.save(folder / "v.ids.npy", np.array(ids))
        elif form == "npy+txt":
            (folder / "v_ids.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
        else:
            (folder / "v.csv").write_text("n,uri\n" + "".join(f'{i},"{u}"\n' for i, u in enumerate(ids)))
        return folder / "v.npy"
    columns = {
        "list": pa.array(X.tolist(), pa.list_(pa.float32())),
        "double": pa.array(X.tolist(), pa.list_(pa.float64())),
        "fixed": pa.FixedSizeListArray.from_arrays(X.ravel(), DIMENSION),
        "binary": pa.array([row.tobytes() for row in X], pa.binary()),
        "delta": pa.array(X.tolist(), pa.list_(pa.float32())),
    }
    table = pa.table({"uri": ids, "vector": columns[form]})
    if form == "delta":
        write_deltalake(folder / "v", table)
        return folder / "v"
    pq.write_table(table, folder / "v [1] %20.parquet", row_group_size=4)
    return folder / "v [1] %20.parquet"


@pytest.mark.parametrize(
    "form", ["list", "double", "fixed", "binary", "delta", "npy+npy", "npy+txt", "npy+csv"]
)
def test_every_form_gives_each_image_its_unit_vector(spark, tmp_path, form):
    X, uris = make_vectors(20), uris_of(20)
    order = np.random.default_rng(2).permutation(20)
    location = write_vectors(tmp_path, form, X[order], [uris[i] for i in order])
    frame = import_vectors(
        spark, str(location), images=make_images(spark, uris), form=VectorFormat(dtype="float32")
    )
    assert frame.schema.simpleString() == spark_schema(GLOBAL_DESCRIPTORS).simpleString()
    rows = frame.toArrow().sort_by("image_id")
    assert rows["content_hash"].to_pylist() == [f"hash{i}" for i in range(20)]
    assert set(rows["status"].to_pylist()) == {"ok"}
    np.testing.assert_allclose(arrow_to_vectors(rows["vector"], "float32"), unit(X), atol=1e-7)


@pytest.mark.parametrize("block_bytes", [1, 3 * 4 * DIMENSION, 1 << 20])
def test_blocks_of_an_array_do_not_matter(spark, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr("resight.features.spark.BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("resight.features.spark.BATCH_ROWS", 2)
    X, uris = make_vectors(10), uris_of(10)
    location = write_vectors(tmp_path, "npy+txt", X, uris)
    rows = read_vectors(spark, str(location)).toArrow().sort_by("id")
    assert rows["id"].to_pylist() == uris
    expected = unit(X.astype(np.float64)).astype(np.float16)
    np.testing.assert_array_equal(arrow_to_vectors(rows["vector"]), expected)


BAD = {
    "nan": [1, np.nan, 0],
    "inf": [1, np.inf, 0],
    "zero": [0, 0, 0],
    "short": [1, 2],
    "null": None,
    "hole": [1, None, 2],
    "huge": [1e30, 0, 0],
    "tiny": [1e-30, 0, 0],
}


EXPECTED = dict.fromkeys(["nan", "inf", "hole"], "nan") | dict.fromkeys(["huge", "tiny"], "ok")
EXPECTED |= {"zero": "zero", "short": "bad_dimension", "null": "missing", "absent": "missing"}
EXPECTED |= {"twice": "ambiguous", "same": "ok", "good": "ok"}


def test_bad_vectors_become_rows_with_a_status(spark, tmp_path):
    ids = [*BAD, "twice", "twice", "same", "same", "good", "unknown", None]
    lists = [*BAD.values(), [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [1, 2, 3], [3, 2, 1], [1, 1, 1]]
    table = pa.table({"uri": ids, "vector": pa.array(lists, pa.list_(pa.float64()))})
    pq.write_table(table, tmp_path / "v.parquet")
    images = make_images(spark, [*BAD, "twice", "same", "good", "absent"])
    vectors = read_vectors(spark, f"{tmp_path}/v.parquet")
    rows = match_vectors(vectors, images).join(images.select("image_id", "uri"), "image_id").collect()
    assert {row["uri"]: row["status"] for row in rows} == EXPECTED
    assert all((row["vector"] is None) == (row["status"] != "ok") for row in rows)
    left = unmatched_vectors(vectors, images).collect()
    assert sorted((r["id"] or "", r["n_rows"]) for r in left) == [("", 1), ("unknown", 1)]


def test_vectors_are_joined_by_image_id(spark, tmp_path):
    pq.write_table(
        pa.table({"image_id": [101, 100, 7], "e": make_vectors(3).tolist()}), tmp_path / "v.parquet"
    )
    images = make_images(spark, ["a", "b"])
    form = VectorFormat(id_column="image_id", vector_column="e")
    rows = import_vectors(spark, f"{tmp_path}/v.parquet", images=images, form=form).collect()
    assert {r["image_id"]: r["status"] for r in rows} == {100: "ok", 101: "ok"}
    vectors = read_vectors(spark, f"{tmp_path}/v.parquet", form=form)
    assert [r["id"] for r in unmatched_vectors(vectors, images, id_column="image_id").collect()] == ["7"]


def test_columns_have_any_name_and_errors_name_the_option(spark, tmp_path):
    location = f"{tmp_path}/v.parquet"
    pq.write_table(pa.table({"key `1`": ["a", "b"], "emb.x": make_vectors(2).tolist()}), location)
    form = VectorFormat(id_column="key `1`", vector_column="emb.x")
    assert sorted(r["id"] for r in read_vectors(spark, location, form=form).collect()) == ["a", "b"]
    with pytest.raises(SettingError, match=r"--id-column: .*no column uri, but key `1`, emb\.x"):
        read_vectors(spark, location)
    with pytest.raises(SettingError, match=r"--vector-column: .*no column vector"):
        read_vectors(spark, location, form=VectorFormat(id_column="key `1`"))


@pytest.mark.parametrize(
    ("names", "chosen"), [(["image_id", "v"], "image_id"), (["image_id", "uri"], "uri"), (["x"], "uri")]
)
def test_the_column_of_ids_is_found_by_its_name(spark, tmp_path, names, chosen):
    pq.write_table(pa.table({name: [1] for name in names}), tmp_path / "v.parquet")
    assert find_id_column(spark, f"{tmp_path}/v.parquet") == chosen
    np.save(tmp_path / "v.npy", np.zeros((1, 2)))
    assert find_id_column(spark, f"{tmp_path}/v.npy") == "uri"


def test_vectors_without_pixels_become_images(spark, tmp_path):
    X, uris = make_vectors(6), uris_of(6)
    vectors = read_vectors(spark, str(write_vectors(tmp_path, "npy+npy", X, uris)))
    none = spark.createDataFrame([], spark_schema(IMAGES))
    images = images_of_vectors(vectors, none, source_id="team").localCheckpoint()
    assert images.schema.simpleString() == spark_schema(IMAGES).simpleString()
    rows = {r["uri"]: r for r in images.collect()}
    assert set(rows) == set(uris)
    assert all(r["status"] == "ok" and r["width"] is None and r["source_id"] == "team" for r in rows.values())
    described = match_vectors(vectors, images).collect()
    assert {(r["image_id"], r["content_hash"], r["status"]) for r in described} == {
        (r["image_id"], r["content_hash"], "ok") for r in rows.values()
    }
    assert images_of_vectors(vectors, images, source_id="team").isEmpty()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a"], "vector": [[1.0]]}, "no column uri, but id, vector"),
        ({"uri": ["a"], "v": [[1.0]]}, "no column vector"),
        ({"uri": ["a"], "vector": ["1,2"]}, "is string"),
        ({"uri": ["a"], "vector": pa.array([[]], pa.list_(pa.float32()))}, "holds no vectors"),
    ],
)
def test_a_table_that_holds_no_vectors_is_a_setting_error(spark, tmp_path, columns, words):
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(SettingError, match=words):
        read_vectors(spark, f"{tmp_path}/v.parquet")


@pytest.mark.parametrize(
    ("columns", "settings", "words"),
    [
        ({"id": ["a"], "vector": [[1.0]]}, {}, "--id-column: .*no column uri, but id, vector"),
        ({"image_id": [1], "v": [[1.0]]}, {}, "--vector-column: .*no column vector, but image_id, v"),
        ({"uri": ["a"], "vector": [[1.0]]}, {"id_column": "key"}, "--id-column: .*no column key"),
    ],
)
def test_columns_of_a_table_are_looked_for_without_spark(tmp_path, columns, settings, words):
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    write_deltalake(tmp_path / "v", pa.table(columns))
    for name in ("v.parquet", "v"):
        with pytest.raises(SettingError, match=words):
            ImportConfig(source=f"{tmp_path}/{name}", **settings).check()
    (tmp_path / "v.parquet").write_bytes(b"nothing")
    with pytest.raises(SettingError, match=r"--source: cannot read .* as Parquet"):
        ImportConfig(source=f"{tmp_path}/v.parquet").check()


@pytest.mark.parametrize("dtype", ["abc", "O", "S4", "f4,f4", ""])
def test_binaries_hold_numbers_of_a_known_kind(dtype):
    with pytest.raises(SettingError, match=r"^binary_dtype: .* is no numpy dtype of numbers"):
        ImportConfig.from_mapping({"source": "x", "binary_dtype": dtype})


@pytest.mark.parametrize(
    ("X", "ids", "words"),
    [
        (np.zeros((3, 2)), "a\nb\n", "has 3 rows"),
        (np.zeros((3, 2)), None, "no ids beside"),
        (np.zeros(3), "a\nb\nc\n", "must hold numbers"),
        (np.asfortranarray(np.zeros((3, 2))), "a\nb\nc\n", "C order"),
        (np.array([[{}]]), "a\n", "plain array"),
    ],
)
def test_an_array_that_fits_nothing_is_a_setting_error(spark, tmp_path, X, ids, words):
    np.save(tmp_path / "v.npy", X)
    if ids:
        (tmp_path / "v.txt").write_text(ids)
    with pytest.raises(SettingError, match=words):
        read_vectors(spark, f"{tmp_path}/v.npy")
    with pytest.raises(SettingError, match=words):
        ImportConfig(source=f"{tmp_path}/v.npy").check()


def test_a_cut_or_foreign_file_is_a_setting_error(spark, tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((9, 9)))
    for data, words in [(buffer.getvalue()[:-1], "is cut"), (b"", "not a .npy"), (b"PK" * 99, "not a .npy")]:
        (tmp_path / "v.npy").write_bytes(data)
        with pytest.raises(SettingError, match=words):
            open_npy(f"{tmp_path}/v.npy")
    with pytest.raises(SettingError, match="no such file"):
        read_vectors(spark, f"{tmp_path}/gone.parquet")


@pytest.mark.parametrize(
    "ids", [np.array([3, 1, 2]), np.array([b"3", b"1", b"2"]), np.array(["3", "1", "2"])]
)
def test_rows_of_an_array_are_those_of_numpy(tmp_path, rng, ids):
    X = rng.normal(size=(3, 4)).astype(">f8")
    np.save(tmp_path / "v.npy", X)
    np.save(tmp_path / "ids.npy", ids)
    array = open_npy(f"{tmp_path}/v.npy")
    np.testing.assert_array_equal(array.read(1, 9), X[1:])
    assert read_ids(find_ids(f"{tmp_path}/v.npy"), 1, 3) == ["1", "2"]


def test_lists_of_a_sliced_column_are_its_own():
    column = pa.array([[9.0, 9.0], [1.0, 2.0], None, [3.0], [4.0, 5.0]])[1:]
    X, status, error = lists_to_matrix(column, 2)
    np.testing.assert_array_equal(X, [[1, 2], [0, 0], [0, 0], [4, 5]])
    assert status == ["ok", "missing", "bad_dimension", "ok"]
    assert error[2] == "1 values, not 2"


def test_values_beyond_half_precision_are_marked_where_length_is_kept():
    vectors, status = pack_matrix(np.array([[1e6, 0], [1e-9, 0], [3, 4]]), unit=False)
    assert status.tolist() == ["nan", "zero", "ok"]
    np.testing.assert_array_equal(arrow_to_vectors(vectors[2:]), [[3, 4]])
