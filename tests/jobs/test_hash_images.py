"""Codes of a collection: of previews and of descriptors, computed once, with a reason where none is."""

import numpy as np
import pytest

from resight.arrow import arrow_to_vectors
from resight.config import SettingError
from resight.hashing.learned import HashModel, fit_itq
from resight.hashing.perceptual import hash_pixels
from resight.images.decode import decode_image
from resight.job import Options
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.hash_images import HashConfig
from resight.jobs.hash_images import main as hash_images
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore
from resight.tables import CODES, GLOBAL_DESCRIPTORS, IMAGES, MODELS, PREVIEWS
from resight.workspace import Workspace
from tests.pictures import save_collection, save_photo

PIXELS = HashConfig(kinds=("dhash", "pdq"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return save_collection(tmp_path_factory.mktemp("photos"), ("china", "coffee", "flower"))


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory, photos):
    root = tmp_path_factory.mktemp("w")
    store = TableStore(Workspace.open(str(root), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(photos)))
    return store


def rows_by_key(store, build=""):
    uris = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    names = {row["image_id"]: row["uri"] for row in uris}
    rows = store.reader.read(CODES, build).to_pylist()
    return {(names[row["image_id"]], row["kind"], row["turn"]): row for row in rows}


def test_previews_are_hashed_in_all_positions_and_only_new_ones_later(store, photos):
    outcome = hash_images(store, PIXELS)
    assert (outcome.name, outcome.run.outputs["codes"].statuses) == ("dhash-pdq", {"ok": 48})
    before = rows_by_key(store)
    for preview in store.reader.read(PREVIEWS).to_pylist():
        expected = hash_pixels(decode_image(preview["jpeg"]).pixels, PIXELS.kinds)
        found = [row for row in before.values() if row["image_id"] == preview["image_id"]]
        assert {(r["kind"], r["turn"]): r["code"] for r in found} == {
            (kind, turn): codes[turn].tobytes() for kind, codes in expected.codes.items() for turn in range(8)
        }
        assert {row["quality"] for row in found} == {np.float32(expected.quality)}
    assert hash_images(store, PIXELS).state == "unchanged"
    save_photo("rocket", photos / "flower.jpg")
    (photos / "coffee.jpg").unlink()
    ingest(store, IngestConfig(source=str(photos)), Options(accept_loss=True))
    hash_images(store, PIXELS, Options(accept_loss=True))
    after = rows_by_key(store)
    assert {key[0] for key in after} == {"china.jpg", "flower.jpg"}
    assert len(after) == 32
    assert all((after[key] == before[key]) == (key[0] == "china.jpg") for key in after)


def test_descriptors_are_encoded_by_a_model_that_growth_does_not_change(store, photos):
    extract(store, ExtractConfig(extractor="colour", dtype="float32"), Options(name="colour"))
    conf = HashConfig(kind="itq", bits=8, descriptors="colour")
    outcome = hash_images(store, conf)
    assert (outcome.name, outcome.run.outputs["codes"].n_rows) == ("itq8", 2)
    stored = store.reader.read(MODELS)["params"][0].as_py()
    rows = store.reader.read(GLOBAL_DESCRIPTORS).sort_by("image_id")
    X = arrow_to_vectors(rows["vector"], "float32")
    assert HashModel.from_bytes(stored).to_bytes() == fit_itq(X, 8).to_bytes()
    save_photo("coffee", photos / "coffee again.jpg")
    ingest(store, IngestConfig(source=str(photos)))
    extract(store, ExtractConfig(extractor="colour", dtype="float32"))
    assert hash_images(store, conf).run.outputs["codes"].n_rows == 3
    assert store.reader.read(MODELS)["params"][0].as_py() == stored
    found = store.reader.read(CODES).sort_by("image_id")
    X = arrow_to_vectors(store.reader.read(GLOBAL_DESCRIPTORS).sort_by("image_id")["vector"], "float32")
    codes = HashModel.from_bytes(stored).encode(X)
    assert found["code"].to_pylist() == [code.tobytes() for code in codes]
    assert set(found["turn"].to_pylist()) == {0}


def test_wrong_settings_are_refused():
    with pytest.raises(SettingError, match=r"^kinds: one is named twice"):
        HashConfig.from_mapping({"kinds": ["pdq", "pdq"]})
    with pytest.raises(SettingError, match=r"^descriptors: only with"):
        HashConfig.from_mapping({"descriptors": "x"})
    with pytest.raises(SettingError, match=r"^layers: only with --kind deephash"):
        HashConfig.from_mapping({"kind": "rbmh", "layers": [64]})
    with pytest.raises(SettingError, match=r"^duplicates: only with --kind deephash"):
        HashConfig.from_mapping({"kind": "itq", "duplicates": "d"})
