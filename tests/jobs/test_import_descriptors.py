"""Vectors made elsewhere, matched to images by uri and by id."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.config import SettingError
from resight.context import LossError
from resight.job import Options
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES
from resight.workspace import Workspace

X = np.random.default_rng(3).normal(size=(4, 3))


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    source = save(folder / "all.parquet", name=["a", "b", "c", "d"], emb=X.tolist())
    ingest(store, IngestConfig(source=source, kind="vectors", id_column="name", vector_column="emb"))
    return store


def save(file, **columns):
    pq.write_table(pa.table(columns), file)
    return str(file)


def vectors_of(store, name):
    rows = store.reader.read(GLOBAL_DESCRIPTORS, name).to_pylist()
    uris = {r["image_id"]: r["uri"] for r in store.reader.read(IMAGES).to_pylist()}
    return {uris[r["image_id"]]: r["vector"] and np.frombuffer(r["vector"], "f4") for r in rows}


def test_ids_in_a_column_of_any_name_are_matched_by_uri_or_image_id(store, tmp_path):
    ids = {row["uri"]: row["image_id"] for row in store.reader.read(IMAGES).to_pylist()}
    tables = {
        "uris": (save(tmp_path / "u.parquet", name=list("abcd"), emb=X.tolist()), "name", "uri"),
        "ids": (
            save(tmp_path / "i.parquet", key=[ids[u] for u in "abcd"], emb=X.tolist()),
            "key",
            "image_id",
        ),
        "auto": (save(tmp_path / "z.parquet", image_id=[ids[u] for u in "abcd"], emb=X.tolist()), "", "auto"),
    }
    for name, (source, column, match) in tables.items():
        conf = ImportConfig(
            source=source, id_column=column, match=match, vector_column="emb", dtype="float32"
        )
        import_descriptors(store, conf, Options(name=name))
        found = vectors_of(store, name)
        expected = X / np.linalg.norm(X, axis=1, keepdims=True)
        np.testing.assert_allclose([found[uri] for uri in "abcd"], expected, atol=1e-6)


def test_ids_that_no_image_has_are_an_error(store, tmp_path):
    conf = ImportConfig(
        source=save(tmp_path / "v.parquet", uri=["photos/a", "photos/b"], vector=X[:2].tolist())
    )
    with pytest.raises(
        SettingError, match="--match: none of the 2 ids is the uri of an image, such as 'phot"
    ):
        import_descriptors(store, conf)


def test_vectors_that_leave_and_vectors_that_break_are_guarded_apart(store, tmp_path):
    source = save(tmp_path / "g.parquet", uri=list("abcd"), vector=X.tolist())
    import_descriptors(store, ImportConfig(source=source))
    save(tmp_path / "g.parquet", uri=list("abc"), vector=[[np.nan] * 3, *X[1:3].tolist()])
    for options, words in [
        (Options(max_bad=1), r"1 of 4 \(25\.0%\) removed, more than --max-removed"),
        (Options(max_removed=1), r"1 of 4 \(25\.0%\) bad, more than --max-bad"),
    ]:
        with pytest.raises(LossError, match=words):
            import_descriptors(store, ImportConfig(source=source), options)
    outcome = import_descriptors(store, ImportConfig(source=source), Options(max_bad=0.25, max_removed=0.25))
    assert outcome.run.outputs["global_descriptors"].statuses == {"missing": 1, "nan": 1, "ok": 2}
