import json
import os
import shutil
import time

import pytest

from resight import files
from resight.config import SettingError
from resight.context import RunContext
from resight.job import Options
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES
from resight.workspace import Workspace
from tests.toy import ComponentsConfig, EdgesConfig, edge_rows, open_store, sources
from tests.toy import write_components as components
from tests.toy import write_edges as edges

FORMATS = pytest.mark.parametrize("table_format", ["delta", "parquet"])


@FORMATS
def test_a_second_run_does_nothing(spark, tmp_path, table_format):
    store = open_store(spark, tmp_path, table_format)
    assert [edges(store).state, components(store).state] == ["committed", "committed"]
    assert [edges(store).state, components(store).state] == ["unchanged", "unchanged"]
    assert len(store.workspace.runs()) == 2


@pytest.mark.parametrize(
    ("declared", "conf", "message"),
    [
        (edges, EdgesConfig(n=-1), "^n: Expected `int` >= 0"),
        (components, ComponentsConfig(shift="x"), "^shift: Expected `int`, got `str`"),
        (extract, ExtractConfig(pooling="gme"), "^pooling: Invalid enum value 'gme'; allowed: mac"),
        (extract, ExtractConfig(levels=99), "^levels: Expected `int` <= 8"),
        (extract, ExtractConfig(decoder="no.such:thing"), "^--decoder: cannot import"),
    ],
)
def test_settings_made_by_hand_are_checked_like_those_of_the_command_line(tmp_path, declared, conf, message):
    store = open_store(lambda: pytest.fail("Spark was started"), tmp_path)
    with pytest.raises(SettingError, match=message):
        declared(store, conf)


@FORMATS
def test_nothing_of_a_failed_run_is_read(spark, tmp_path, table_format):
    store = open_store(spark, tmp_path, table_format)
    with pytest.raises(RuntimeError, match="before the commit"):
        edges(store, EdgesConfig(n=5, fail=True))
    with pytest.raises(SettingError, match="table 'edges' is missing"):
        store.read(EDGES)
    edges(store, EdgesConfig(n=2))
    with pytest.raises(RuntimeError, match="before the commit"):
        edges(store, EdgesConfig(n=5, fail=True))
    assert sources(store) == [0, 1]


@FORMATS
def test_builds_live_side_by_side_and_are_read_by_name(spark, tmp_path, table_format):
    store = open_store(spark, tmp_path, table_format)
    edges(store, EdgesConfig(n=2), Options(name="small"))
    edges(store, EdgesConfig(n=4), Options(name="large"))
    assert (sources(store, "small"), sources(store, "large")) == ([0, 1], [0, 1, 2, 3])
    components(store, ComponentsConfig(graph="small"))
    assert store.read(COMPONENTS).count() == 2


def test_a_name_in_use_by_other_settings_is_refused_unless_replaced(spark, tmp_path):
    store = open_store(spark, tmp_path, "parquet")
    edges(store, EdgesConfig(n=2), Options(name="mine"))
    with pytest.raises(SettingError, match="--name: 'mine' is a build of toy-edges"):
        edges(store, EdgesConfig(n=3), Options(name="mine"))
    edges(store, EdgesConfig(n=3), Options(name="mine", replace=True))
    assert sources(store, "mine") == [0, 1, 2]


@FORMATS
def test_a_deleted_output_is_computed_again(spark, tmp_path, table_format):
    store = open_store(spark, tmp_path, table_format)
    edges(store)
    found = store.workspace.list_files(EDGES, *locate(store))
    files.delete(next(iter(found)))
    assert edges(store).state == "committed"
    assert sources(store) == [0, 1, 2]


def test_an_output_altered_by_somebody_else_is_put_right(spark, tmp_path):
    store = open_store(spark, tmp_path)
    edges(store)
    spark.sql(f"DELETE FROM delta.`{store.workspace.table_uri(EDGES)}` WHERE src = 1")
    assert sources(store) == [0, 1, 2], "readers stay at the committed version"
    assert edges(store).state == "committed"
    newest = spark.read.format("delta").load(store.workspace.table_uri(EDGES))
    assert newest.count() == 3


def test_a_build_is_readable_however_old_its_version_is(spark, tmp_path):
    store = open_store(spark, tmp_path)
    edges(store, EdgesConfig(n=2), Options(name="old"))
    edges(store, EdgesConfig(n=4), Options(name="new"))
    log = tmp_path / "w/tables/edges/_delta_log"
    for i, file in enumerate(sorted(log.glob("*.json"))):
        os.utime(file, (time.time() - (40 - i) * 86400,) * 2)
    spark.sql("CLEAR CACHE")
    assert sources(store, "old") == [0, 1]


def test_another_name_is_taken_although_nothing_else_changed(spark, tmp_path):
    store = open_store(spark, tmp_path, "parquet")
    edges(store, EdgesConfig(n=2), Options(name="first"))
    assert edges(store, EdgesConfig(n=2), Options(name="second")).state == "unchanged"
    assert sources(store, "second") == [0, 1]


def test_inputs_come_from_the_history_of_the_inputs_chosen_before(spark, tmp_path):
    store = open_store(spark, tmp_path, "parquet")
    first = edges(store, EdgesConfig(n=2), Options(name="a"))
    edges(store, EdgesConfig(n=4), Options(name="b"))
    made = components(store, ComponentsConfig(graph="a"))
    assert made.run.parents == {"edges": first.build_id}
    changed = edges(store, EdgesConfig(n=2), Options(name="a"))
    assert (changed.state, components(store, ComponentsConfig(graph="a")).state) == ("unchanged", "unchanged")


@FORMATS
def test_update_inserts_replaces_and_deletes_by_key(spark, tmp_path, table_format):
    store = open_store(spark, tmp_path, table_format)
    edges(store)
    previous = store.workspace.find_build(EDGES)
    context = RunContext("r2", previous.build_id, {}, previous)
    bound = TableStore(store.workspace, spark, context)
    gone = edge_rows(spark, [0]).select("src", "dst")
    bound.update(EDGES, edge_rows(spark, [2, 7]), gone=gone)
    rows = bound.open(EDGES, previous.build_id, context.outputs["edges"])
    assert sorted(r["src"] for r in rows.collect()) == [1, 2, 7]
    assert context.outputs["edges"].n_rows == 3
    assert sources(store) == [0, 1, 2], "not committed yet"


def test_update_over_an_uncommitted_change_starts_from_what_was_committed(spark, tmp_path):
    store = open_store(spark, tmp_path)
    edges(store)
    spark.sql(f"DELETE FROM delta.`{store.workspace.table_uri(EDGES)}` WHERE src = 1")
    previous = store.workspace.find_build(EDGES)
    context = RunContext("r2", previous.build_id, {}, previous)
    bound = TableStore(store.workspace, spark, context)
    bound.update(EDGES, edge_rows(spark, [7]))
    rows = bound.open(EDGES, previous.build_id, context.outputs["edges"])
    assert sorted(r["src"] for r in rows.collect()) == [0, 1, 2, 7]


def test_wrong_columns_are_refused_with_what_differs(spark, tmp_path):
    store = open_store(spark, tmp_path)
    bound = TableStore(store.workspace, spark, RunContext("r", "b", {}, None))
    with pytest.raises(ValueError, match=r"edges: columns differ.*'affinity': \('int', 'double'\)"):
        bound.write(EDGES, spark.sql("select 1L src, 2L dst, 3 affinity"))


def test_the_reader_sees_what_spark_sees(spark, tmp_path):
    for table_format in ("delta", "parquet"):
        store = open_store(spark, tmp_path / table_format, table_format)
        edges(store)
        assert sorted(store.reader.read(EDGES)["src"].to_pylist()) == sources(store)


def test_parquet_versions_that_no_recent_run_names_are_deleted(spark, tmp_path):
    store = open_store(spark, tmp_path, "parquet")
    for _ in range(5):
        edges(store)
        found = store.workspace.list_files(EDGES, *locate(store))
        latest = next(iter(found))
        files.delete(latest)
    assert edges(store).state == "committed"
    folder = tmp_path / "w/tables/edges" / locate(store)[0]
    assert len(list(folder.iterdir())) == 3
    assert sources(store) == [0, 1, 2]


@FORMATS
@pytest.mark.parametrize("folder", ["w", "w [1] {a} `#`"])
def test_a_local_workspace_works_where_another_file_system_is_the_default(
    spark, tmp_path, table_format, folder
):
    spark.conf.set("fs.defaultFS", "hdfs://nowhere.invalid:8020")
    try:
        store = open_store(spark, tmp_path / folder, table_format)
        edges(store)
        assert sources(store) == [0, 1, 2]
        previous = store.workspace.find_build(EDGES)
        bound = TableStore(store.workspace, spark, RunContext("r2", previous.build_id, {}, previous))
        bound.update(EDGES, bound.persist("fresh", edge_rows(spark, [7])))
        assert bound.written(EDGES).count() == 4
    finally:
        spark.conf.unset("fs.defaultFS")


def test_paths_are_spelled_for_spark():
    assert files.spark_uri("/a b/%20") == "file:/a b/%20"
    assert files.spark_uri("/a[1]*", pattern=True) == "file:/a\\[1\\]\\*"
    assert files.spark_uri("here") == f"file:{os.path.abspath('here')}"  # noqa: PTH100
    for uri in ("s3a://bucket/a b", "hdfs://host/x", "dbfs:/x"):
        assert files.spark_uri(uri) == uri
    assert files.spark_uri("file:///x") == "file:/x"


def test_a_path_that_delta_would_decode_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(SettingError, match=r"--workspace: .*%20.*--format parquet"):
        Workspace.open(str(tmp_path / "a%20b"), create=True)
    assert not (tmp_path / "a%20b").exists()
    assert Workspace.open(str(tmp_path / "a%20b"), "parquet", create=True).format == "parquet"


def test_a_newer_workspace_is_refused(tmp_path):
    Workspace.open(str(tmp_path), create=True)
    (tmp_path / "workspace.json").write_text(json.dumps({"format_version": 99, "format": "delta"}))
    with pytest.raises(SettingError, match="format version 99"):
        Workspace.open(str(tmp_path))
    shutil.rmtree(tmp_path)
    with pytest.raises(SettingError, match="is no workspace"):
        Workspace.open(str(tmp_path))


def locate(store):
    run = store.workspace.find_build(EDGES)
    return run.build_id, run.outputs["edges"].version
