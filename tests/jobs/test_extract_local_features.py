from pathlib import Path

import numpy as np
import pytest

from resight.config import Config, SettingError
from resight.context import LossError
from resight.features.fitting.spark import sample_rows
from resight.features.local.extract import extract_local
from resight.features.local.points import unpack_features
from resight.features.local.settings import LocalSettings
from resight.features.whitening import Whitening
from resight.job import Options, job
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.jobs.extract_local_features import main as extract
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore, spark_schema
from resight.tables import IMAGES, LOCAL_DESCRIPTORS, MODELS
from tests.pictures import save_photo

SMALL = {"min_side": 0, "max_keypoints": 40, "chunk_size": 2}
MODEL = Whitening(np.full(192, 0.5), np.random.default_rng(0).normal(size=(192, 5)))


class ModelConfig(Config, frozen=True):
    pass


@job("toy-model", ModelConfig, writes=(MODELS,), external=lambda conf: "fixed")
def write_model(store, conf):
    """Write a projection."""
    rows = [("whitening", bytearray(MODEL.to_bytes()))]
    store.write(MODELS, store.spark.createDataFrame(rows, spark_schema(MODELS)))


@pytest.fixture
def photos(collection):
    return collection[0]


@pytest.fixture
def store(collection):
    return collection[1]


def rows_by_uri(store, build=""):
    uris = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    names = {row["image_id"]: row["uri"] for row in uris}
    return {names[row["image_id"]]: row for row in store.reader.read(LOCAL_DESCRIPTORS, build).to_pylist()}


def test_the_job_describes_images_as_the_kernel_does_and_once(store, photos):
    outcome = extract(store, ExtractLocalConfig(**SMALL))
    assert (outcome.name, outcome.notes["chunks"]["computed"] > 1) == ("rootsift", True)
    output = outcome.run.outputs["local_descriptors"]
    assert (output.properties, output.statuses) == ({"dtype": "float16", "dim": "128"}, {"ok": 6})
    found = rows_by_uri(store)
    files = sorted(photos.glob("*.jpg"))
    local = extract_local([f.read_bytes() for f in files], LocalSettings(min_side=0, max_keypoints=40))
    for file, expected in zip(files, local.features, strict=True):
        row = found[file.name]
        got = unpack_features(row["points"], row["vectors"], "float16")
        assert row["n_keypoints"] == len(got.points) == len(expected.points)
        np.testing.assert_array_equal(got.points, expected.points)
        np.testing.assert_array_equal(got.vectors, expected.vectors.astype(np.float16))
    assert extract(store, ExtractLocalConfig(**SMALL)).state == "unchanged"


def test_only_new_and_changed_images_are_described(store, photos):
    conf = ExtractLocalConfig(**SMALL)
    extract(store, conf)
    before = rows_by_uri(store)
    save_photo("china", photos / "sub/more.jpg", side=80)
    save_photo("rocket", photos / "flower.jpg", side=100)
    (photos / "coffee.jpg").unlink()
    ingest(store, IngestConfig(source=str(photos)), Options(accept_loss=True))
    with pytest.raises(LossError, match="1 of 7"):
        extract(store, conf)
    outcome = extract(store, conf, Options(accept_loss=True))
    assert outcome.notes["chunks"] == {"computed": 1}
    after = rows_by_uri(store)
    assert sorted(after) == sorted({*before, "sub/more.jpg"} - {"coffee.jpg"})
    assert after["china.jpg"] == before["china.jpg"]
    assert after["flower.jpg"]["points"] != before["flower.jpg"]["points"]


def test_a_run_that_was_killed_goes_on_and_gives_the_same_bytes(store, monkeypatch):
    extract(store, ExtractLocalConfig(**SMALL), Options(name="whole"))
    monkeypatch.setattr(TableStore, "update", lambda *_, **__: 1 / 0)  # all chunks are done, nothing written
    other = ExtractLocalConfig(**SMALL, max_pixels=10**7)
    with pytest.raises(ZeroDivisionError):
        extract(store, other, Options(name="resumed"))
    monkeypatch.undo()
    done = sorted(Path(store.workspace.staging).rglob("done/*.parquet"))
    done[0].unlink()
    outcome = extract(store, other, Options(name="resumed"))
    assert outcome.notes["chunks"] == {"computed": 1, "skipped": len(done) - 1}
    a, b = (rows_by_uri(store, name) for name in ("whole", "resumed"))
    keep = ("n_keypoints", "points", "vectors", "status")
    assert {k: [v[c] for c in keep] for k, v in a.items()} == {k: [v[c] for c in keep] for k, v in b.items()}


def test_a_sample_is_a_part_of_the_images_whatever_the_chunks(store):
    listed = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    images = store.spark.createDataFrame(
        [(row["image_id"], row["uri"]) for row in listed], "image_id long, uri string"
    )
    for seed in range(100):  # ids depend on the path of the photos, and what is drawn on the ids
        names = {row["uri"] for row in sample_rows(images, ["image_id"], sample=3, seed=seed).collect()}
        if 0 < len(names) < 6:
            break
    sampled = ExtractLocalConfig(**SMALL | {"sample": 3, "seed": seed})
    assert extract(store, sampled).name == "rootsift-sample3"
    assert set(rows_by_uri(store)) == names != set()
    extract(store, ExtractLocalConfig(**SMALL), Options(name="all"))
    everything = rows_by_uri(store, "all")
    assert all(rows_by_uri(store, "rootsift-sample3")[n]["points"] == everything[n]["points"] for n in names)


def test_conditions_choose_images_by_their_columns(store):
    extract(store, ExtractLocalConfig(**SMALL, only=("uri=china.jpg", "uri=coffee.jpg", "format=jpeg")))
    assert set(rows_by_uri(store)) == {"china.jpg", "coffee.jpg"}


def test_wrong_settings_are_refused_before_the_work(store):
    with pytest.raises(SettingError, match=r"^precision: float16 needs a GPU"):
        extract(store, ExtractLocalConfig(extractor="how", precision="float16"))
    with pytest.raises(SettingError, match=r"^whitening: only for activations"):
        ExtractLocalConfig.from_mapping({"whitening": "pca"})
    with pytest.raises(SettingError, match=r"^only: 'split' is not of the form"):
        ExtractLocalConfig.from_mapping({"only": ["split"]})


def test_activations_are_projected_by_a_fitted_model(store, photos):
    write_model(store, ModelConfig(), Options(name="pca"))
    changes = {"extractor": "how", "scales": (1.0,), "max_side": 128}
    conf = ExtractLocalConfig(**SMALL | changes, whitening="pca", dtype="float32")
    outcome = extract(store, conf)
    assert (outcome.name, outcome.run.outputs["local_descriptors"].properties["dim"]) == ("how-pca", "5")
    file = photos / "china.jpg"
    settings = LocalSettings(min_side=0, max_keypoints=40, **changes)
    expected = extract_local([file.read_bytes()], settings, whitening=MODEL, device="cpu").features[0]
    row = rows_by_uri(store)[file.name]
    got = unpack_features(row["points"], row["vectors"], "float32")
    np.testing.assert_array_equal(got.points, expected.points)
    np.testing.assert_allclose(got.vectors, expected.vectors, atol=1e-5)
