"""Mining through the job: over a planted graph, and from models that COLMAP's own library writes."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.diffuse import DiffuseConfig
from resight.jobs.diffuse import main as diffuse
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.mine_pairs import main as mine
from resight.mining.settings import MineConfig
from resight.store import TableStore
from resight.tables import IMAGES, TRAINING_POOLS, TRAINING_TUPLES
from resight.workspace import Workspace
from tests.mining.models import write_models
from tests.mining.planted import draw_arcs

SHARED = {"anchors": 0, "k_positive": 12, "k_negative": 24, "validation": 0.3, "max_cluster": 0.2}


def import_vectors(store, folder, name, uris, X):
    file = str(folder / f"{name}.parquet")
    pq.write_table(pa.table({"uri": uris, "vector": X.astype(float).tolist()}), file)
    ingest(store, IngestConfig(source=file, kind="vectors", source_id=name))
    import_descriptors(store, ImportConfig(source=file, source_id=name, dtype="float32"), Options(name=name))


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mining")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    X, labels = draw_arcs(np.random.default_rng(3), n_arcs=8, n_points=24)
    X, labels = np.vstack([X, X[:3]]), np.append(labels, labels[:3])  # three copies
    import_vectors(store, folder, "arcs", [f"{label}/{i}" for i, label in enumerate(labels)], X)
    build_graph(store, GraphConfig(k=8), Options(name="k8"))
    return store


def read(store, table, build):
    """Rows with the uris of their images instead of ids."""
    images = store.reader.read(IMAGES).to_pylist()
    uris = {row["image_id"]: row["uri"] for row in images}
    named = ("anchor", "item", "positive", "negative")
    rows = store.reader.read(table, build).to_pylist()
    return [{name: uris[v] if name in named else v for name, v in row.items()} for row in rows]


def thing(uri):
    return uri.split("/")[0]


def pairs_of(rows, role):
    return {(row["anchor"], row["item"]) for row in rows if row["role"] == role}


@pytest.fixture(scope="module")
def solved(store):
    outcome = mine(store, MineConfig(**SHARED, solve=True), Options(name="solved"))
    return outcome, read(store, TRAINING_POOLS, "solved"), read(store, TRAINING_TUPLES, "solved")


def test_pools_of_a_graph_are_pure_and_reported(solved):
    outcome, pools, _ = solved
    positive, negative = pairs_of(pools, "positive"), pairs_of(pools, "negative")
    assert np.mean([thing(a) == thing(b) for a, b in positive]) > 0.97
    assert np.mean([thing(a) != thing(b) for a, b in negative]) > 0.97
    notes = outcome.run.notes
    assert notes["positive_manifold"]["n"] == len(positive)
    assert notes["positive_manifold"]["similarity"] < notes["negative_manifold"]["similarity"]
    assert notes["crossing_share"].get("positive", 0) < 0.5 < sum(notes["crossing"].values())
    assert 0.15 < notes["validation_images"] <= 0.3
    assert all(row["reason"].startswith("place ") for row in pools)


def test_no_image_is_in_tuples_of_both_sides(solved):
    outcome, pools, tuples = solved
    sides = {}
    for row in [*pools, *tuples]:
        for name in ("anchor", "item", "positive", "negative"):
            sides.setdefault(row.get(name), set()).add(row["split"])
    sides.pop(None)
    assert {len(split) for split in sides.values()} == {1}
    assert set.union(*sides.values()) == {"train", "validation"}
    assert 0 < outcome.run.notes["validation_tuples"] < 0.6
    known = pairs_of(pools, "positive") | pairs_of(pools, "negative")
    assert {(row["anchor"], row[role]) for row in tuples for role in ("positive", "negative")} <= known


def test_offline_rows_give_the_same_pools_and_a_second_run_only_exports(store, solved, tmp_path):
    diffuse(store, DiffuseConfig(graph="k8", alpha=0.99, shortlist=10_000, depth=60, max_iter=200))
    outcome = mine(store, MineConfig(**SHARED), Options(name="offline"))
    pools = read(store, TRAINING_POOLS, "offline")
    for role in ("positive", "negative"):
        assert pairs_of(pools, role) == pairs_of(solved[1], role)
    again = mine(store, MineConfig(**SHARED, block_anchors=3, export=str(tmp_path / "out")))
    assert (outcome.state, again.state) == ("committed", "unchanged")
    tuples = read(store, TRAINING_TUPLES, "offline")
    lines = (tmp_path / "out" / "tuples.csv").read_text().splitlines()
    assert again.notes["exported"]["csv_rows"] == len(tuples) == len(lines) - 1
    with pytest.raises(SettingError, match="diffuse --depth 101"):
        mine(store, MineConfig(**SHARED | {"k_negative": 100}))


def test_settings_that_cannot_work_are_refused(tmp_path):
    for settings, message in (
        ({"k_negative": 0}, "k_negative: at least 1"),
        ({"solve": True, "manifold": "m"}, "solve: with --manifold"),
        ({"models": "folder"}, "models: a folder belongs"),
        ({"pairs_from": "reconstruction"}, "models: a folder belongs"),
        ({"export": "s3a://bucket/x"}, "export: .* remote"),
        ({"shards": True}, "shards: only with --export"),
    ):
        with pytest.raises(SettingError, match=message):
            MineConfig.from_mapping(settings)
    with pytest.raises(SettingError, match="no such file"):
        MineConfig(pairs_from="reconstruction", models=str(tmp_path / "none")).check()


@pytest.fixture(scope="module")
def modelled(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    names = write_models(folder / "colmap", n_models=9, n_images=7)
    rng = np.random.default_rng(4)
    centres = np.repeat(rng.standard_normal((9, 12)), 7, axis=0)
    X = centres + 0.5 * rng.standard_normal(centres.shape)
    import_vectors(store, folder, "views", [f"photos/{name}" for name in names], X)
    conf = {"pairs_from": "reconstruction", "models": str(folder / "colmap"), "prefix": "photos/"}
    return store, conf | {"n_negatives": 2, "query_share": 0.5, "validation": 0.4, "max_scale": 9.0}


def test_tuples_of_models_have_negatives_of_other_models_of_their_side(modelled):
    store, conf = modelled
    outcome = mine(store, MineConfig(**conf), Options(name="sfm"))
    pools, tuples = (read(store, table, "sfm") for table in (TRAINING_POOLS, TRAINING_TUPLES))
    model = {row["anchor"]: row["anchor"].split("/")[1] for row in pools}
    assert outcome.run.notes["models"] == 9
    assert outcome.run.notes["anchors"] == 9 * 4  # half of seven, rounded half up
    for row in pools:
        assert (row["item"].split("/")[1] == model[row["anchor"]]) == (row["role"] == "positive")
    chosen = {}
    for row in tuples:
        chosen.setdefault((row["anchor"], row["positive"]), []).append(row)
    assert {row["anchor"] for row in tuples} == set(model)
    for some in chosen.values():
        assert len({row["negative"].split("/")[1] for row in some}) == len(some) == 2
        alike = [row["negative_similarity"] for row in sorted(some, key=lambda row: row["rank"])]
        assert alike == sorted(alike, reverse=True)
    sides = {(row["anchor"].split("/")[1], row["split"]) for row in pools}
    sides |= {(row["item"].split("/")[1], row["split"]) for row in pools}
    assert len(sides) == 9
    assert {split for _, split in sides} == {"train", "validation"}


def test_models_whose_images_are_unknown_or_too_few_are_refused(modelled, tmp_path):
    store, conf = modelled
    with pytest.raises(SettingError, match=r"such as '0/.*--prefix"):
        mine(store, MineConfig(**conf | {"prefix": ""}))
    with pytest.raises(SettingError, match="each of 8 negatives is of another model"):
        mine(store, MineConfig(**conf | {"n_negatives": 8}))
    with pytest.raises(SettingError, match="holds no COLMAP model"):
        mine(store, MineConfig(**conf | {"models": str(tmp_path)}))
