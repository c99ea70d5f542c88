"""Graphs of descriptors that cannot be used."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES, GLOBAL_DESCRIPTORS, NEIGHBORS, NODES
from resight.workspace import Workspace
from tests.pictures import save_collection

BAD = {"zero": [0.0] * 4, "nan": [np.nan, 1.0, 0.0, 0.0], "missing": None}


def described(spark, folder, vectors):
    """A workspace of images with these vectors."""
    table = pa.table({"uri": [*vectors], "vector": pa.array(vectors.values(), pa.list_(pa.float32()))})
    pq.write_table(table, folder / "v.parquet")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(folder / "v.parquet"), kind="vectors"))
    options = Options(name="v", accept_loss=True)
    import_descriptors(store, ImportConfig(source=str(folder / "v.parquet"), dtype="float32"), options)
    return store


def test_where_no_vector_can_be_used_nodes_are_counted_and_have_no_edges(spark, tmp_path):
    store = described(spark, tmp_path, BAD)
    statuses = store.reader.read(GLOBAL_DESCRIPTORS)["status"].to_pylist()
    assert sorted(statuses) == ["missing", "nan", "zero"]
    outcome = build_graph(store, GraphConfig(k=3))
    noted = {"vectors": 0, "zero": 1, "nan": 1, "missing": 1}
    assert {name: outcome.notes[name] for name in noted} == noted
    assert len(store.reader.read(NODES)) == len(store.reader.read(COMPONENTS)) == len(BAD)
    assert len(store.reader.read(EDGES)) == len(store.reader.read(NEIGHBORS)) == 0


def test_images_of_equal_pixels_are_copies_whatever_their_bytes_and_their_last_bits(spark, tmp_path, rng):
    folder = save_collection(tmp_path / "photos")
    jpeg = (folder / "china.jpg").read_bytes()
    (folder / "said.jpg").write_bytes(jpeg[:2] + b"\xff\xfe\x00\x04hi" + jpeg[2:])  # a comment in its header
    Image.open(folder / "china.jpg").save(folder / "lossless.png")
    names = sorted(path.name for path in folder.iterdir())
    X = rng.normal(size=(len(names), 16))
    same = [names.index(name) for name in ("china.jpg", "said.jpg", "lossless.png")]
    X[same] = X[same[0]] + 1e-3 * rng.normal(size=(3, 16))
    pq.write_table(pa.table({"uri": names, "vector": X.tolist()}), tmp_path / "v.parquet")
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(folder)))
    import_descriptors(store, ImportConfig(source=str(tmp_path / "v.parquet"), dtype="float32"))
    assert build_graph(store, GraphConfig(k=2)).notes["copies"] == 2
    rows = store.reader.read(NEIGHBORS).to_pylist()
    assert {len(row["dst"]) // 8 for row in rows} <= {2, 4}, "two others, or copies and two others"
    ingest(store, IngestConfig(source=str(save_collection(tmp_path / "more", ["rocket"]))))
    outcome = build_graph(store, GraphConfig(k=2))
    assert (outcome.run.written, outcome.notes["copies"]) == ((), 2), "no vector changed"


def test_a_build_of_descriptors_that_is_not_there_is_named(spark, tmp_path):
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    with pytest.raises(SettingError, match=r"build-graph: .*descriptors.*extract-features"):
        build_graph(store, GraphConfig(descriptors="nowhere"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k: from 1 to 2048"),
        ({"k": 4096}, "k: from 1 to 2048"),
        ({"gamma": 0}, "gamma"),
        ({"recall": 1.5}, "recall"),
        ({"compress": 3}, "compress: only for a graph of regions"),
        ({"method": "lsh"}, "method"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        GraphConfig.from_mapping(settings)
