import logging
import tomllib
from pathlib import Path

import msgspec
import pytest

from resight import files
from resight.cli import main
from resight.commands import FITTED, drop_build, name_inputs, plan_jobs, vacuum
from resight.config import SettingError
from resight.identity import require_inputs
from resight.job import Options
from resight.lease import hold_lease
from resight.tables import EDGES
from resight.workspace import Workspace
from tests.toy import ComponentsConfig, EdgesConfig, open_store, sources
from tests.toy import write_components as components
from tests.toy import write_edges as edges


def names(planned):
    return [declared.name for declared, _ in planned]


def test_a_run_goes_from_images_to_the_report():
    expected = ["ingest-images", "extract-features", "build-graph", "hash-images", "find-duplicates"]
    assert names(plan_jobs("x", "report", "", None)) == [*expected, "search", "report"]
    assert names(plan_jobs("x", "build-graph", "", None)) == expected[:3]
    assert "evaluate" in names(plan_jobs("x", "report", "truth.csv", None))


@pytest.mark.parametrize("job", ["diffuse", "extract-local-features", "fit-model", "verify-pairs"])
def test_a_run_until_an_optional_job_has_it(job):
    planned = names(plan_jobs("x", job, "", None))
    assert planned[-1] == ("extract-features" if job == "fit-model" else job)
    assert job in planned
    with pytest.raises(SettingError, match=r"evaluate\.ground_truth"):
        plan_jobs("x", "evaluate", "", None)


def test_a_run_over_vectors_hashes_and_compares_no_pixels(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[ingest-images]\nkind = 'vectors'\n[import-descriptors]\nsource = 'x.parquet'\n")
    planned = plan_jobs("x.parquet", "find-duplicates", "", file)
    assert "hash-images" not in names(planned)
    assert planned[-1][1].effort == "quick"


def test_a_thorough_run_makes_an_index_and_asks_it_before_copies_are_looked_for(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[find-duplicates]\neffort = 'thorough'\ntop = 7\n")
    planned = plan_jobs("x", "find-duplicates", "", file)
    flow = ["ingest-images", "extract-features", "extract-local-features", "fit-model", "build-index"]
    assert names(planned) == [*flow, "build-graph", "hash-images", "search", "find-duplicates"]
    ranking, found = planned[-2][1], planned[-1]
    assert (ranking.method, ranking.queries_from, ranking.depth) == ("asmk", "collection", 7)
    assert planned[3][1].kind == "codebook"
    assert name_inputs(*found, {"results": "r", "queries": "r"}).results == "r"
    assert "build-index" not in names(plan_jobs("x", "hash-images", "", file))
    file.write_text("[find-duplicates]\neffort = 'thorough'\nresults = 'mine'\n")
    assert "build-index" not in names(plan_jobs("x", "find-duplicates", "", file))


def test_an_input_is_named_only_where_the_settings_read_it():
    hashed, conf = plan_jobs("x", "hash-images", "", None)[-1]
    made = {"global_descriptors": "d", "codes": "c", "neighbors": "n"}
    assert name_inputs(hashed, conf, made) == conf
    assert name_inputs(hashed, hashed.config(kind="itq"), made).descriptors == "d"
    found, conf = plan_jobs("x", "find-duplicates", "", None)[-1]
    assert (name_inputs(found, conf, made).codes, name_inputs(found, conf, made).graph) == ("c", "n")
    assert name_inputs(found, found.config(effort="quick"), made).codes == ""


def test_a_run_with_a_model_fits_it_and_goes_on_with_what_it_whitens(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[fit-model]\n[extract-features]\npooling = 'gem'\n")
    planned = plan_jobs("x", "build-graph", "", file)
    assert names(planned)[1:4] == ["extract-features", "fit-model", "extract-features"]
    assert (planned[3][1].whitening, planned[3][1].descriptors) == (FITTED, FITTED)


def test_a_codebook_is_for_the_index_and_whitens_nothing(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[extract-local-features]\n[fit-model]\nkind = 'codebook'\n[build-index]\n")
    expected = ["ingest-images", "extract-features", "extract-local-features", "fit-model", "build-index"]
    assert names(plan_jobs("x", "build-index", "", file)) == expected
    file.write_text("[[fit-model]]\nkind = 'codebook'\n[[fit-model]]\ndims = 9\n[build-index]\n")
    planned = plan_jobs("x", "build-index", "", file)
    assert names(planned)[2:] == ["fit-model", "extract-features", "fit-model", "build-index"]
    assert [planned[2][1].dims, planned[4][1].kind] == [9, "codebook"]
    file.write_text("[[fit-model]]\n[[fit-model]]\n")
    with pytest.raises(SettingError, match=r"fit-model\]\]: a run fits one whitening and one codebook"):
        plan_jobs("x", "report", "", file)


def test_a_run_looks_for_every_input_before_its_first_job(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("resight.session.start_session", lambda settings: pytest.fail("Spark was started"))
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    file, root = tmp_path / "run.toml", str(tmp_path / "w")
    file.write_text("[search]\nmethod = 'asmk'\n")
    assert main(["run", "--source", str(tmp_path), "--workspace", root, "--conf", str(file)]) == 2
    assert "search: --index: table 'shards' is missing" in caplog.text
    assert "build-index writes it); a run makes it where its --conf file has the table [build" in caplog.text
    workspace = Workspace.open(root)
    with pytest.raises(SettingError, match=r"build-index: --codebook: .*kind codebook.*\[fit-model\]"):
        require_inputs(plan_jobs("x", "build-index", "", None), workspace)
    file.write_text("[search]\nmethod = 'asmk'\n[build-index]\n[fit-model]\nkind = 'codebook'\n")
    with pytest.raises(SettingError, match=r"fit-model: --local: table 'local_descriptors' is missing"):
        require_inputs(plan_jobs("x", "report", "", file), workspace)
    file.write_text("[build-graph]\nof = 'regions'\n")
    with pytest.raises(SettingError, match=r"'region_descriptors' is missing .*features --regions writes"):
        require_inputs(plan_jobs("x", "report", "", file), workspace)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[find-duplicates]\neffort = 'thorough'\n",
        "[diffuse]\n[search]\nmethod = 'offline_diffusion'\n",
        "[extract-features]\nregions = true\n[build-graph]\nof = 'regions'\n",
    ],
)
def test_a_run_whose_jobs_make_what_later_ones_read_lacks_nothing(tmp_path, text):
    file = tmp_path / "run.toml"
    file.write_text(text)
    workspace = Workspace.open(str(tmp_path / "w"), create=True)
    require_inputs(plan_jobs("x", "search", "", file), workspace)


def test_the_example_of_a_settings_file_loads_and_holds_nothing_but_changes():
    file = Path(__file__).parents[1] / "conf/run.toml"
    given = tomllib.loads(file.read_text(encoding="utf-8"))
    planned = {declared.name: conf for declared, conf in reversed(plan_jobs("x", "report", "", file))}
    for name, table in given.items():
        conf = planned[name]
        defaults = {field.name: field.default for field in msgspec.structs.fields(conf)}
        assert [key for key in table if getattr(conf, key) == defaults[key]] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[build-grap]", r"run\.toml: \[build-grap\] is no job"),
        ("build-graph = 3", r"run\.toml: build-graph is no table"),
        ("[build-graph]\nk = 0", r"run\.toml: build-graph\.k: from 1 to 2048"),
        (
            "[extract-features]\nlonger_side = 'x'",
            r"run\.toml: extract-features\.longer_side: Expected `int`",
        ),
        ("[extract-features]\nlayers = [1]", r"run\.toml: extract-features\.layers\[0\]: Expected `str`"),
        ("[search]\nmethods = 'x'", r"run\.toml: search\.methods: unknown setting"),
        ("[evaluate]\nks = [1]", r"^evaluate\.ground_truth: give --ground-truth"),
    ],
)
def test_wrong_files_of_a_run_name_file_job_and_key(tmp_path, text, message):
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


def make_two_builds(spark, store):
    """Build "a", and "b" twice; give the folders of their files."""
    made = [edges(store, EdgesConfig(n=n), Options(name=name)) for name, n in (("a", 2), ("b", 4))]
    spark.sql(f"DELETE FROM delta.`{store.workspace.table_uri(EDGES)}` WHERE src = 3")
    assert edges(store, EdgesConfig(n=4), Options(name="b")).state == "committed"
    return [Path(store.workspace.table_uri(EDGES)) / f"build_id={outcome.build_id}" for outcome in made]


def data_files(folder):
    return {str(path) for path in folder.glob("*.parquet")}


def test_vacuum_frees_dropped_builds_and_old_versions_only(spark, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("resight.workspace.KEPT_RUNS", 1)
    store = open_store(spark, tmp_path, "delta")
    dropped, kept = make_two_builds(spark, store)
    root, build = ["--workspace", store.workspace.root], kept.name.removeprefix("build_id=")
    assert main(["builds", "--drop", "a", *root]) == 0
    assert "dropped a: edges 2 rows" in caplog.text
    assert data_files(dropped)
    before = data_files(kept)
    with hold_lease(files.join(store.workspace.root, "leases", f"{build}.json")):
        assert vacuum(store.workspace, "file") > 0
    assert not [path for path in dropped.rglob("*") if path.is_file()]
    assert data_files(kept) == before, "a build at work is left alone"
    assert main(["builds", "--vacuum", *root]) == 0
    assert data_files(kept) == set(store.workspace.list_files(EDGES, build, None)) < before
    assert sources(store, "b") == [0, 1, 2, 3]
    edges(store, EdgesConfig(n=2), Options(name="a"))
    assert sources(store, "a") == [0, 1]


def test_vacuum_deletes_nothing_where_a_needed_file_is_missing(spark, tmp_path):
    store = open_store(spark, tmp_path, "delta")
    build = edges(store).build_id
    folder = tmp_path / f"w/tables/edges/build_id={build}"
    (folder / "stray.parquet").write_bytes(b"left by a killed run")
    needed = next(iter(store.workspace.list_files(EDGES, build, None)))
    data = Path(needed).read_bytes()
    Path(needed).unlink()
    with pytest.raises(RuntimeError, match=f"{needed} is missing; nothing is deleted"):
        vacuum(store.workspace, "file")
    assert (folder / "stray.parquet").exists()
    Path(needed).write_bytes(data)
    assert vacuum(store.workspace, "file") == len(b"left by a killed run")
    assert sources(store) == [0, 1, 2]
