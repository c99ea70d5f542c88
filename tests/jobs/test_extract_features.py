import numpy as np
import pytest
from pyspark.errors import PySparkException

from resight.arrow import arrow_to_vectors
from resight.chunks.spark import Chunks, run_chunks
from resight.config import SettingError
from resight.context import LossError
from resight.features.extract import extract_contents
from resight.features.settings import ExtractSettings
from resight.features.work import ExtractWork, rescue_images
from resight.job import Options
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.fit_model import FitConfig
from resight.jobs.fit_model import main as fit
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES, REGION_DESCRIPTORS
from resight.workspace import Workspace
from tests.pictures import save_collection, save_photo

SMALL = {"longer_side": 96, "chunk_size": 2}


@pytest.fixture
def photos(collection):
    return collection[0]


@pytest.fixture
def store(collection):
    return collection[1]


def vectors_by_uri(store, build=""):
    uris = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    names = {row["image_id"]: row["uri"] for row in uris}
    rows = store.reader.read(GLOBAL_DESCRIPTORS, build)
    dtype = store.properties(GLOBAL_DESCRIPTORS, build)["dtype"]
    X = arrow_to_vectors(rows["vector"], dtype)
    return {names[i]: x for i, x in zip(rows["image_id"].to_pylist(), X, strict=True)}


def test_the_job_describes_images_as_the_kernel_does(store, photos):
    outcome = extract(store, ExtractConfig(pooling="gem", dtype="float32", **SMALL))
    assert (outcome.name, outcome.run.outputs["global_descriptors"].properties["dim"]) == (
        "lite0-gem",
        "1280",
    )
    files = sorted(photos.glob("*.jpg"))
    settings = ExtractSettings(pooling="gem", longer_side=96)
    local = extract_contents([file.read_bytes() for file in files], settings)
    found = vectors_by_uri(store)
    cosines = [found[file.name] @ v for file, v in zip(files, local.vectors, strict=True)]
    assert min(cosines) >= 1 - 1e-6
    assert extract(store, ExtractConfig(pooling="gem", dtype="float32", **SMALL)).state == "unchanged"


def test_only_new_and_changed_images_are_described(store, photos):
    conf = ExtractConfig(extractor="colour", **SMALL)
    extract(store, conf)
    before = vectors_by_uri(store)
    save_photo("china", photos / "sub/more.jpg", side=80)
    save_photo("rocket", photos / "flower.jpg", side=100)
    (photos / "coffee.jpg").unlink()
    ingest(store, IngestConfig(source=str(photos)), Options(accept_loss=True))
    outcome = extract(store, conf, Options(accept_loss=True))
    assert outcome.notes["chunks"] == {"computed": 1}
    after = vectors_by_uri(store)
    assert sorted(after) == sorted({*before, "sub/more.jpg"} - {"coffee.jpg"})
    assert (after["china.jpg"] == before["china.jpg"]).all()
    assert not (after["flower.jpg"] == before["flower.jpg"]).all()


def test_a_file_that_changed_after_ingest_is_a_row_with_a_status(store, photos):
    save_photo("rocket", photos / "china.jpg")
    (photos / "flower.jpg").unlink()
    conf = ExtractConfig(extractor="colour", **SMALL)
    with pytest.raises(LossError, match="2 of 6"):
        extract(store, conf)
    outcome = extract(store, conf, Options(accept_loss=True))
    assert outcome.run.outputs["global_descriptors"].statuses == {"changed": 1, "missing": 1, "ok": 4}


def test_bad_images_are_a_share_of_the_collection_and_count_when_they_turn_bad(store, photos):
    conf = ExtractConfig(extractor="colour", **SMALL)
    extract(store, conf)
    save_photo("china", photos / "late.jpg", side=80)
    ingest(store, IngestConfig(source=str(photos)))
    save_photo("rocket", photos / "late.jpg")
    outcome = extract(store, conf, Options(max_bad=0.2))  # 1 of 6, although 1 is described
    assert outcome.run.outputs["global_descriptors"].statuses == {"changed": 1, "ok": 6}
    other = save_collection(photos.parent / "other", ["china", "flower"])
    ingest(store, IngestConfig(source=str(other)))
    outcome = extract(store, conf)  # what was bad before is no loss
    assert outcome.run.outputs["global_descriptors"].statuses == {"changed": 1, "ok": 8}


def test_a_whitening_of_regions_has_a_name():
    with pytest.raises(SettingError, match=r"^whiten_regions: name the whitening"):
        ExtractConfig.from_mapping({"whiten_regions": True})


def test_an_unreachable_source_fails_the_job_and_blames_no_image(store, photos):
    conf = ExtractConfig(extractor="colour", **SMALL)
    away = photos.rename(photos.parent / "away")
    with pytest.raises(PySparkException, match="unreachable"):
        extract(store, conf)
    away.rename(photos)
    assert extract(store, conf).run.outputs["global_descriptors"].statuses == {"ok": 6}


def test_whitening_stored_vectors_equals_whitening_while_describing(store):
    extract(store, ExtractConfig(extractor="colour", dtype="float32", **SMALL), Options(name="raw"))
    fit(store, FitConfig(descriptors="raw", dims=4), Options(name="pca4"))
    stored = ExtractConfig(descriptors="raw", whitening="pca4", dtype="float32")
    direct = ExtractConfig(extractor="colour", whitening="pca4", dtype="float32", **SMALL)
    extract(store, stored, Options(name="stored"))
    extract(store, direct, Options(name="direct"))
    a, b = vectors_by_uri(store, "stored"), vectors_by_uri(store, "direct")
    assert {x.shape for x in a.values()} == {(4,)}
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=1e-5)


def test_chunk_size_and_format_do_not_change_what_is_written(spark, tmp_path, photos):
    found = []
    for name, size in (("delta", 1), ("parquet", 50)):
        store = TableStore(Workspace.open(str(tmp_path / name), name, create=True), spark)
        ingest(store, IngestConfig(source=str(photos), chunk_size=size))
        extract(store, ExtractConfig(extractor="colour", chunk_size=size))
        found.append(vectors_by_uri(store))
    assert found[0].keys() == found[1].keys()
    assert all((found[0][name] == found[1][name]).all() for name in found[0])


def regions_of(store, build=""):
    rows = store.reader.read(REGION_DESCRIPTORS, build).sort_by(
        [("image_id", "ascending"), ("region_ix", "ascending")]
    )
    dtype = store.properties(REGION_DESCRIPTORS, build)["dtype"]
    return rows, arrow_to_vectors(rows["vector"], dtype).astype(np.float32)


def test_regions_are_rows_whose_sum_is_the_descriptor(store, photos):
    extract(store, ExtractConfig(regions=True, dtype="float32", **SMALL))
    rows, X = regions_of(store)
    ids = rows["image_id"].to_numpy()
    described = store.reader.read(GLOBAL_DESCRIPTORS)
    Y = dict(
        zip(described["image_id"].to_pylist(), arrow_to_vectors(described["vector"], "float32"), strict=True)
    )
    for image in np.unique(ids):
        total = X[ids == image].sum(0)
        np.testing.assert_allclose(total / np.linalg.norm(total), Y[image], atol=1e-5)
    images = {row["image_id"]: row for row in store.reader.read(IMAGES).to_pylist()}
    for row in rows.select(["image_id", "y0", "x0", "y1", "x1"]).to_pylist():
        image = images[row["image_id"]]
        assert 0 <= row["y0"] < row["y1"] <= image["height"]
        assert 0 <= row["x0"] < row["x1"] <= image["width"]


def test_regions_follow_their_images(store, photos):
    conf = ExtractConfig(regions=True, dtype="float32", **SMALL)
    extract(store, conf)
    first, changed = sorted(photos.glob("*.jpg"))[:2]
    first.unlink()
    save_photo("coffee", changed, side=120)
    ingest(store, IngestConfig(source=str(photos)), Options(accept_loss=True))
    extract(store, conf, Options(accept_loss=True))
    grown = regions_of(store)
    extract(
        store, ExtractConfig(regions=True, dtype="float32", longer_side=96, chunk_size=2, max_pixels=10**7)
    )
    assert grown[0].equals(regions_of(store)[0])


def test_whitening_stored_descriptors_whitens_their_regions(store):
    extract(store, ExtractConfig(regions=True, dtype="float32", **SMALL), Options(name="raw"))
    fit(store, FitConfig(descriptors="raw", dims=4), Options(name="pca"))
    extract(store, ExtractConfig(descriptors="raw", whitening="pca", dtype="float32"), Options(name="stored"))
    extract(
        store, ExtractConfig(regions=True, whitening="pca", dtype="float32", **SMALL), Options(name="again")
    )
    stored, again = regions_of(store, "stored"), regions_of(store, "again")
    assert stored[0].drop_columns("vector").equals(again[0].drop_columns("vector"))
    np.testing.assert_allclose(stored[1], again[1], atol=1e-4)


def test_half_precision_without_a_gpu_of_the_session_is_refused_by_the_job(store):
    with pytest.raises(SettingError, match="precision: float16 needs a GPU that Spark assigns"):
        extract(store, ExtractConfig(precision="float16", **SMALL))


def test_workers_compare_their_weight_file_with_the_one_of_the_build(spark, store, tmp_path):
    rows = spark.createDataFrame(store.reader.read(IMAGES, columns=["image_id"]))
    work = ExtractWork(ExtractSettings(longer_side=96), "float16", (), "0" * 64)
    with pytest.raises(SettingError, match=r"^weights: the weight file .* has SHA-256 .* with 0{64}"):
        run_chunks(rows, "image_id", Chunks(str(tmp_path / "c"), work, rescue_images, 2))
