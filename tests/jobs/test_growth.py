"""A graph that follows its collection equals one that is built from nothing."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES, NEIGHBORS, NODES
from resight.workspace import Workspace
from tests.synthetic import planted

CONF = GraphConfig(k=4, block_rows=30)
ACCEPT = Options(accept_loss=True)


def bring(store, file, names, X):
    """Let a file of vectors be the collection, and build its graph."""
    pq.write_table(pa.table({"uri": names, "vector": X.astype(float).tolist()}), file)
    ingest(store, IngestConfig(source=str(file), kind="vectors", source_id="v"), ACCEPT)
    conf = ImportConfig(source=str(file), source_id="v", dtype="float32")
    import_descriptors(store, conf, Options(name="v", accept_loss=True))
    return build_graph(store, CONF, ACCEPT)


def open_store(spark, folder):
    return TableStore(Workspace.open(str(folder), "parquet", create=True), spark)


def test_images_that_come_and_go_change_only_their_lists(spark, tmp_path):
    X = planted(np.random.default_rng(2), k=20, m=6, n_distractors=40, n_copies=8, d=12).vectors
    names = np.array([f"{i:03d}" for i in range(len(X))])
    grown = open_store(spark, tmp_path / "grown")
    bring(grown, tmp_path / "a.parquet", names[2:150].tolist(), X[2:150])
    file = tmp_path / "a.parquet"
    outcome = bring(grown, file, names[3:].tolist(), X[3:])
    assert outcome.run.notes["lists"] == "renew"
    assert 0 < outcome.run.notes["lists_changed"] < 0.6 * len(X)
    anew = open_store(spark, tmp_path / "anew")
    bring(anew, file, names[3:].tolist(), X[3:])
    gone = {n["node_id"] for n in grown.reader.read(NODES).to_pylist() if n["status"] == "missing"}
    assert len(gone) == 1  # the image that left stays known, as one without a vector
    keys = {NEIGHBORS: ["src"], NODES: ["node_id"], EDGES: ["src", "dst"], COMPONENTS: ["node_id"]}
    for table, key in keys.items():
        order = [(name, "ascending") for name in key]
        rows = [store.reader.read(table).sort_by(order).to_pylist() for store in (grown, anew)]
        assert [row for row in rows[0] if row[key[0]] not in gone] == rows[1]
    smaller = bring(grown, file, names[60:].tolist(), X[60:])
    assert smaller.run.notes["lists"] == "all", "too many left to renew single lists"
    assert "lists_changed" not in smaller.run.notes
