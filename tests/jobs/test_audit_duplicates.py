"""An audit end to end: planted copies are looked for, the collection stays, verdicts become an estimate."""

import csv

import pytest

from resight import files
from resight.cli import main as command
from resight.config import SettingError
from resight.jobs import audit_duplicates
from resight.jobs.audit_duplicates import AuditConfig
from resight.jobs.audit_duplicates import main as audit
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.find_duplicates import DuplicatesConfig
from resight.jobs.find_duplicates import main as find_duplicates
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore
from resight.tables import AUDITS, DUPLICATE_PAIRS, IMAGES, PLANTED_COPIES
from resight.workspace import Workspace
from tests.pictures import save_collection, save_photo

EDITS = ("recompressed", "turned", "blended")


@pytest.fixture(scope="module", params=["parquet"])
def store(request, spark, tmp_path_factory):
    folder = save_collection(tmp_path_factory.mktemp("photos"), ("china", "coffee", "rocket"))
    save_photo("china", folder / "china small.jpg", side=120)
    root = tmp_path_factory.mktemp("w")
    store = TableStore(Workspace.open(str(root), request.param, create=True), spark)
    ingest(store, IngestConfig(source=str(folder)))
    extract(store, ExtractConfig(extractor="colour"))
    build_graph(store, GraphConfig(k=4))
    conf = DuplicatesConfig(effort="quick", threshold=0.97, export=(str(root / "list.csv"),))
    find_duplicates(store, conf)
    (root / "list.csv").unlink()
    return store


def state_of(store):
    """The committed builds and the files behind them, audits apart."""
    runs = store.workspace.builds()
    return {
        build: {name: (output.version, output.digest) for name, output in run.outputs.items()}
        for build, run in runs.items()
        if run.job != "audit-duplicates"
    }


def figures(store):
    rows = store.reader.read(AUDITS).to_pylist()
    return {(row["figure"], row["subject"]): row for row in rows if row["strength"] is None}


def test_an_audit_measures_and_leaves_the_collection_alone(store):
    before, n_images = state_of(store), len(store.reader.read(IMAGES))
    outcome = audit(store, AuditConfig(sample=3, transformations=EDITS, seed=1))
    assert outcome.state == "committed"
    assert state_of(store) == before
    assert len(store.reader.read(IMAGES)) == n_images
    assert not files.list_files(store.workspace.staging, recursive=True)
    assert not files.exists(files.join(store.workspace.root, "list.csv"))
    copies = store.reader.read(PLANTED_COPIES).to_pylist()
    assert len(copies) == 9
    assert {row["status"] for row in copies} == {"ok"}
    found = figures(store)
    assert found["recall", "recompressed"]["value"] == found["recall", "turned"]["value"] == 1  # colours stay
    assert found["recall", "blended"]["value"] < 1
    assert found["recall", "all"]["n"] == 9
    assert 0 < found["recall", "all"]["ci_low"] < found["recall", "all"]["value"]
    assert found["planted_precision", "all"]["n_right"] >= 6
    assert audit(store, AuditConfig(sample=3, transformations=EDITS, seed=1)).state == "unchanged"


def test_verdicts_are_read_without_planting_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_duplicates, "audit_planted", None)
    settings = {"sample": 3, "transformations": EDITS, "seed": 1}
    listed = tmp_path / "judgements.csv"
    outcome = audit(store, AuditConfig(judge=str(listed), **settings))
    assert outcome.state == "unchanged"
    with listed.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == outcome.notes["to_judge"] == len(store.reader.read(DUPLICATE_PAIRS)) == 1
    assert {"china.jpg", "china small.jpg"} == {rows[0][f"uri_{side}"].rsplit("/")[-1] for side in "ab"}
    listed.write_text(listed.read_text().replace('""\n', '"copy"\n'))
    judged = AuditConfig(judgements=str(listed), **settings)
    before = figures(store)
    assert audit(store, judged).notes["judged"] == 1
    found = figures(store)
    assert found["judged_precision", "all"]["value"] == 1
    assert 0.2 < found["judged_precision", "near"]["ci_low"] < 0.3
    assert {key: found[key] for key in before} == before
    assert audit(store, judged).state == "unchanged"
    with pytest.raises(SettingError, match="is there already"):
        AuditConfig(judge=str(listed), **settings).check()


def test_wrong_settings_are_refused(tmp_path, caplog):
    words = ["audit-duplicates", "--workspace", str(tmp_path)]
    assert command([*words, "--transformations", "eaten"]) == 2
    assert "transformations: eaten is unknown or named twice" in caplog.text
    (tmp_path / "j.csv").write_text("image_a,image_b,verdict\n1,2,maybe\n")
    assert command([*words, "--judgements", str(tmp_path / "j.csv")]) == 2
    assert "verdict 'maybe'" in caplog.text
