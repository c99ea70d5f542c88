"""The job that trains: without Spark, from tables; what it leaves describes images and queries by name."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from resight.arrow import arrow_to_vectors
from resight.cli import main as resight
from resight.context import RunContext
from resight.features.trained import TrainedNetwork
from resight.features.whitening import Whitening
from resight.job import Options
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.train_network import TrainConfig
from resight.search.describe import find_recipe
from resight.store import TableStore, spark_schema
from resight.tables import (
    GLOBAL_DESCRIPTORS,
    IMAGES,
    MODELS,
    SOURCES,
    TRAINING_LOG,
    TRAINING_POOLS,
    TRAINING_TUPLES,
)
from resight.workspace import Output, Workspace
from resight.writer import write_rows
from tests.report.committed import Committed
from tests.training.planted import SMALL, save_views, save_weights, tuple_rows

OPTIONS = ["--train-from", "block3", "--longer-side", "48", "--epochs", "1", "--learning-rate", "0.001"]


def commit_collection(committed, folder):
    photos = save_views(folder)
    ids = [10 * i + j for i in range(6) for j in range(4)]
    columns = {name: photos[name].to_pylist() for name in ("uri", "content_hash", "byte_offset", "n_bytes")}
    columns |= {"image_id": ids, "source_id": ["s"] * 24, "status": ["ok"] * 24, "pixel_hash": ["p"] * 24}
    columns |= {"width": [48] * 24, "height": [48] * 24}
    tuples = tuple_rows()
    pools = {"anchor": [0], "item": [33], "role": ["negative"]}
    committed.commit(
        "ingest-images", (IMAGES, columns), (SOURCES, {"source_id": ["s"], "root": [str(folder)]})
    )
    given = {name: tuples[name].to_pylist() for name in tuples.column_names}
    committed.commit("mine-pairs", (TRAINING_TUPLES, given), (TRAINING_POOLS, pools), name="mined")


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    committed = Committed(tmp_path_factory.mktemp("w"))
    commit_collection(committed, folder)
    words = ["--workspace", committed.workspace.root, "--weights", save_weights(folder), "--name", "tuned"]
    words += ["--backbone", f"timm:{SMALL}", "--whitening-dims", "8", *OPTIONS]
    assert resight(["train-network", *words]) == 0
    assert resight(["train-network", *words]) == 0  # nothing is left to do
    return committed


def test_a_training_is_a_build_of_a_network_a_whitening_and_a_log(committed):
    reader = committed.reader
    run = reader.find(MODELS, "tuned")
    assert run.sequence == 1
    assert run.notes["anchors"] == 12
    log = reader.read(TRAINING_LOG, "tuned").to_pylist()
    assert [(row["epoch"], row["step"]) for row in log] == [(0, 0), (1, 1), (1, 2), (1, 3)]
    assert [row["map"] is None for row in log] == [False, True, True, False]
    kinds = {row["kind"]: row["params"] for row in reader.read(MODELS, "tuned").to_pylist()}
    assert Whitening.from_bytes(kinds["whitening"]).projection.shape[1] == 8
    network = TrainedNetwork.from_bytes(kinds["network"])
    content = Path(committed.workspace.root, network.path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == network.sha256
    assert network.p == log[-1]["p"]


def test_images_and_queries_are_described_by_the_network_by_name(spark, committed, tmp_path):
    store = TableStore(committed.workspace, spark)
    conf = ExtractConfig(backbone="tuned", pooling="gem", p=0.0, longer_side=48, dtype="float32")
    extract(store, conf, Options(name="new"))
    rows = store.reader.read(GLOBAL_DESCRIPTORS, "new").sort_by("image_id")
    X = arrow_to_vectors(rows["vector"], "float32")
    run = store.reader.find(GLOBAL_DESCRIPTORS, "new")
    assert run.parents["models:network"] == store.reader.find(MODELS, "tuned").build_id
    recipe = find_recipe(store.reader, run)
    assert recipe.settings.p == store.reader.read(TRAINING_LOG)["p"][-1].as_py()
    photos = store.reader.read(IMAGES).sort_by("image_id")["uri"].to_pylist()
    root = store.reader.read(SOURCES)["root"][0].as_py()
    contents = [Path(root, uri).read_bytes() for uri in photos]
    np.testing.assert_allclose(recipe.describe(contents).vectors, X, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--backbone", "tuned2"], "--backbone: no build of 'models' is called 'tuned2'; there are: tuned"),
        (["--tuples", "nobody"], "--tuples: no build of 'training_tuples' is called 'nobody'"),
        (["--scales", "0.01"], "scales"),
        (["--train-from", "block77"], "train_from: the backbone has 7 blocks"),
    ],
)
def test_wrong_settings_are_named(committed, caplog, words, text):
    assert resight(["train-network", "--workspace", committed.workspace.root, *words]) == 2
    assert text in caplog.text


def test_the_settings_that_only_say_how_to_run_are_no_part_of_the_build():
    one = TrainConfig(processes=4, cache_gb=0.1, checkpoint_steps=3, tuples_per_pass=1)
    assert one.digest == TrainConfig().digest != TrainConfig(seed=1).digest


@pytest.mark.parametrize("table_format", ["delta", "parquet"])
def test_rows_written_without_spark_replace_those_of_their_build_only(tmp_path, table_format):
    workspace = Workspace.open(str(tmp_path), table_format, create=True)
    written = {}
    for run_id, build, kinds in (("1", "a", ["x"]), ("2", "b", ["y"]), ("3", "a", ["z", "w"])):
        context = RunContext(run_id, build, {}, None)
        write_rows(workspace, context, MODELS, pa.table({"params": [b"1"] * len(kinds), "kind": kinds}))
        written[run_id] = build, context.outputs["models"]
    rows = {k: workspace.dataset(MODELS, *o).to_table()["kind"].to_pylist() for k, o in written.items()}
    assert rows == {"1": ["x"], "2": ["y"], "3": ["z", "w"]}
    assert isinstance(written["3"][1], Output)
    assert written["3"][1].n_rows == 2
    assert workspace.is_clean(MODELS, *written["3"])


def test_spark_and_this_process_write_the_same_delta_table_in_turn(spark, tmp_path):
    workspace = Workspace.open(str(tmp_path), "delta", create=True)
    held = []
    for run_id, build, here in (("1", "a", True), ("2", "b", False), ("3", "a", True)):
        context = RunContext(run_id, build, {}, None)
        store = TableStore(workspace, spark, context)
        if here:
            write_rows(workspace, context, MODELS, pa.table({"kind": [run_id], "params": [b"p"]}))
        else:
            rows = spark.createDataFrame([(run_id, bytearray(b"p"))], spark_schema(MODELS))
            store.write(MODELS, rows)
        held.append((store, build, context.outputs["models"]))
    for store, build, output in held:
        assert [row["kind"] for row in store.open(MODELS, build, output).collect()] == [store.run.run_id]
    newest = spark.read.format("delta").load(workspace.table_uri(MODELS))
    assert {(row["build_id"], row["kind"]) for row in newest.collect()} == {("a", "3"), ("b", "2")}
