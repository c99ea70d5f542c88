import numpy as np
import pytest
from pyspark.errors import PySparkException

from resight.arrow import arrow_to_vectors
from resight.features.extract import extract_contents
from resight.features.settings import ExtractSettings
from resight.job import Options
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.fit_model import FitConfig
from resight.jobs.fit_model import main as fit
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import LossError, TableStore
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES
from resight.workspace import Workspace
from tests.pictures import save_collection, save_photo

SMALL = {"longer_side": 96, "chunk_size": 2}


@pytest.fixture
def photos(tmp_path):
    return save_collection(tmp_path / "photos")


@pytest.fixture
def store(spark, tmp_path, photos):
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(photos)))
    return store


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
