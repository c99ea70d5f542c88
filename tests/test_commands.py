import pytest

from resight.commands import FITTED, drop_build, plan_jobs
from resight.config import SettingError
from resight.job import Options
from resight.tables import EDGES
from tests.toy import ComponentsConfig, EdgesConfig, open_store, sources
from tests.toy import write_components as components
from tests.toy import write_edges as edges


def names(planned):
    return [declared.name for declared, _ in planned]


def test_a_run_goes_from_images_to_the_report():
    expected = ["ingest-images", "extract-features", "build-graph", "find-duplicates", "search", "report"]
    assert names(plan_jobs("x", "report", "", None)) == expected
    assert names(plan_jobs("x", "build-graph", "", None)) == expected[:3]
    assert "evaluate" in names(plan_jobs("x", "report", "truth.csv", None))


def test_a_run_with_a_model_fits_it_and_goes_on_with_what_it_whitens(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[fit-model]\n[extract-features]\npooling = 'gem'\n")
    planned = plan_jobs("x", "build-graph", "", file)
    assert names(planned)[1:4] == ["extract-features", "fit-model", "extract-features"]
    assert (planned[3][1].whitening, planned[3][1].descriptors) == (FITTED, FITTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[build-grap]", r"\[build-grap\] is no job"),
        ("build-graph = 3", "build-graph is no table"),
        ("[build-graph]\nk = 0", r"\[build-graph\] Expected `int` >= 1"),
    ],
)
def test_wrong_files_of_a_run_name_job_and_key(tmp_path, text, message):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(SettingError, match=message):
        plan_jobs("x", "report", "", file)


@pytest.mark.parametrize("table_format", ["delta", "parquet"])
def test_a_dropped_build_is_gone_and_its_children_come_first(spark, tmp_path, table_format):
    store = open_store(spark, tmp_path, table_format)
    edges(store, EdgesConfig(n=2), Options(name="a"))
    edges(store, EdgesConfig(n=4), Options(name="b"))
    components(store, ComponentsConfig(graph="a"), Options(name="child"))
    with pytest.raises(SettingError, match="child were made from 'a'"):
        drop_build(store.workspace, "a", "file")
    drop_build(store.workspace, "child", "file")
    drop_build(store.workspace, "a", "file")
    with pytest.raises(SettingError, match="no build of 'edges' is called 'a'"):
        store.read(EDGES, "a")
    assert sources(store, "b") == [0, 1, 2, 3]
    assert edges(store, EdgesConfig(n=2), Options(name="a")).state == "committed"
    assert sources(store, "a") == [0, 1]
