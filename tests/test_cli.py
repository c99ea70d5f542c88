import argparse
import ast
import json
import re
import subprocess
import sys
from typing import get_type_hints

import msgspec
import pytest

from resight.cli import job_parser, main, option_of, overview, show
from resight.config import SettingError
from resight.job import JOBS, load_job
from resight.launch import OUTER, check_early
from resight.session import JAVA_HELP, check_java

SLOW_TO_IMPORT = {
    *(
        "torch",
        "torchvision",
        "timm",
        "numba",
        "llvmlite",
        "scipy",
        "sklearn",
        "faiss",
        "pandas",
        "deltalake",
    ),
    *("pyspark.ml", "pyspark.pandas"),
}


def test_help_lists_the_jobs_in_the_order_of_the_flow(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"  {name} ") for name in JOBS]
    assert places == sorted(places)
    assert text == overview()


@pytest.mark.parametrize("name", JOBS)
def test_help_of_a_job_shows_every_setting_with_type_default_and_meaning(name):
    declared = load_job(name)
    text = job_parser(declared).format_help()
    hints = get_type_hints(declared.config, include_extras=True)
    for field in msgspec.structs.fields(declared.config):
        assert f"--{field.name.replace('_', '-')}" in text
        told = option_of(field, hints[field.name])["help"]
        assert re.fullmatch(r"\w.+ \(.+\)", told), "a meaning, then the type in brackets"
        assert "default" in told or "required" in told
    assert declared.doc.splitlines()[0] in text


def test_defaults_are_told_in_words():
    assert [show(value) for value in (True, False, (), (1, 2), "", 0.5)] == [
        *("yes", "no", "none", "1 2", "none", "0.5")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-job"], "unknown job 'no-such-job'; the jobs are: ingest-images"),
        (["build-graph", "--k", "0"], "k: from 1 to 2048, or auto"),
        (["build-graph", "--k", "many"], "--k many: Invalid enum value 'many'; allowed: an integer, auto"),
        (["build-graph"], "build-graph: --descriptors: table 'global_descriptors' is missing"),
        (["extract-features"], "extract-features: table 'images' is missing"),
        (["find-duplicates"], "find-duplicates: table 'images' is missing"),
        (["find-duplicates", "--effort", "quick"], "find-duplicates: --graph: table 'neighbors' is missing"),
        (["diffuse"], "diffuse: --graph: table 'edges' is missing"),
        (["diffuse", "--alpha", "1"], "--alpha 1: Expected `float` < 1.0"),
        (["evaluate", "--ground-truth", __file__], "line 1: column 'query_uri' is missing"),
        (["search"], "queries: give --queries or --queries-from collection"),
        (["search", "--queries", "/"], "search: --descriptors: table 'global_descriptors' is missing"),
        (["search", "--queries", "/no/such/folder"], "--queries: no such file or folder: /no/such/folder"),
        (["search", "--queries", "/no/such/*.jpg"], "--queries: no such folder: /no/such"),
        (["ingest-images"], "source: this setting is required"),
        (["ingest-images", "--source", "/no/such/folder"], "--source: no such file or folder"),
        (["extract-features", "--backbone", "timm:resnet18"], "weights: a timm backbone needs"),
        (["run", "--source", "x", "--conf", "/no/file.toml"], "cannot read the settings file /no/file.toml"),
        (["builds", "--drop", "nothing"], "no build is called 'nothing'"),
        (["fit-model", "--power", "2"], "--power 2: Expected `float` <= 1.0"),
        (["find-duplicates", "--export", "x.xls"], "export: x.xls must end in .csv, .json, .jsonl"),
        (["find-duplicates", "--export", "s3a://b/x.csv"], "export: s3a://b/x.csv lies on a remote"),
        (["find-duplicates", "--keep", "beauty"], "beauty"),
        (["evaluate", "--ground-truth", "t.csv", "--protocols", "new"], "unknown protocol"),
        (["import-descriptors", "--dtype", "int8"], "value 'int8'; allowed: float16, float32"),
        (["import-descriptors", "--source", "/no/v.parquet"], "--source: no such file or folder: /no/v"),
        (["evaluate", "--ground-truth", "/no/t.csv"], "--ground-truth: no such file or folder: /no/t.csv"),
        (["extract-features", "--backbone", "timm:x", "--weights", "/no/w"], "cannot read the weight file"),
        (["extract-features", "--layers", "blok3"], "layers: the backbone has no 'blok3'"),
        (["extract-features", "--precision", "float16"], "precision: float16 needs a GPU"),
        (["extract-features", "--backbone", "torchscript:no://w.pt"], "cannot read the weight file no://w"),
        (["run", "--source", "/", "--ground-truth", "/no/t.csv"], "--ground-truth: no such file or folder"),
        (["run", "--source", "/no/such/folder"], "--source: no such file or folder: /no/such/folder"),
        (["ingest-images", "--source", "/no/v.npy", "--kind", "vectors"], "--source: no such file or folder"),
        (["extract-local-features"], "table 'images' is missing"),
        (["build-index"], "(resight fit-model --kind codebook writes it)"),
        (["hash-images", "--kinds", "md5"], "value 'md5'; allowed: ahash, dhash, phash, whash, pdq"),
        (["verify-pairs"], "verify-pairs: --graph: table 'neighbors' is missing"),
        (["report", "--max-removed", "7"], "--max-removed 7.0: a share from 0 to 1"),
        (["run", "--source", "/", "--max-bad", "-1"], "--max-bad -1.0: a share from 0 to 1"),
        (["report", "--max-bad", "nan"], "--max-bad nan: a share from 0 to 1"),
    ],
)
def test_wrong_settings_exit_with_2_name_the_key_and_start_no_spark(
    words, message, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("resight.session.start_session", lambda settings: pytest.fail("Spark was started"))
    given = words if words[0] == "no-such-job" else [*words, "--workspace", str(tmp_path / "w")]
    (tmp_path / "w").mkdir()
    (tmp_path / "w/workspace.json").write_text('{"format_version": 1, "format": "parquet"}')
    caplog.clear()
    assert main(given) == 2
    assert message in caplog.text


def test_help_says_what_an_empty_value_means_and_not_that_there_is_none():
    text = " ".join(job_parser(load_job("ingest-images")).format_help().split())
    assert "default: those of images (several text)" in text
    assert "longer side of previews (integer; default 256)" in text


def test_half_precision_is_left_to_a_session_that_is_set_up_elsewhere(monkeypatch, tmp_path):
    conf = load_job("extract-features").config(precision="float16")
    file = tmp_path / "gpu.conf"
    parsed = argparse.Namespace(spark_conf=file)
    for name in OUTER:
        monkeypatch.delenv(name, raising=False)
    file.write_text("spark.task.resource.gpu.amount 0.5")
    check_early(conf, parsed)
    file.write_text("spark.ui.enabled false")
    with pytest.raises(SettingError, match="precision: float16 needs a GPU"):
        check_early(conf, parsed)
    monkeypatch.setenv("SPARK_REMOTE", "sc://server")
    check_early(conf, parsed)


def test_unknown_keys_of_a_settings_file_are_named(tmp_path, caplog):
    file = tmp_path / "graph.toml"
    file.write_text("kk = 3")
    words = ["build-graph", "--workspace", str(tmp_path), "--conf", str(file)]
    assert main(words) == 2
    assert f"{file}: kk: unknown setting; GraphConfig knows descriptors, k" in caplog.text


def test_unusable_workspaces_are_named(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert main(["report", "--workspace", str(tmp_path / "file")]) == 2
    assert "--workspace" in caplog.text
    assert main(["builds", "--workspace", str(tmp_path / "absent")]) == 2
    assert "is no workspace" in caplog.text
    assert main(["search", "--queries-from", "collection", "--workspace", str(tmp_path / "absent")]) == 2
    assert not (tmp_path / "absent").exists(), "only ingest-images and run make one"


def test_an_empty_workspace_has_no_builds_as_json(tmp_path, capsys):
    (tmp_path / "workspace.json").write_text('{"format_version": 1, "format": "delta"}')
    assert main(["builds", "--workspace", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_help_of_every_job_imports_no_networks_and_no_compilers():
    program = (
        "import sys; from resight.cli import job_parser, main; from resight.job import JOBS, load_job\n"
        "for name in JOBS: job_parser(load_job(name)).format_help()\n"
        "main(['--help']); print(sorted({name.split('.')[0] for name in sys.modules} | "
        "{name for name in sys.modules if name.startswith('pyspark.')}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "extract-features" in done.stdout
    imported = set(ast.literal_eval(done.stderr))
    assert {"resight", "pyspark.sql"} <= imported
    assert not imported & SLOW_TO_IMPORT


def test_a_missing_java_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SettingError) as caught:
        check_java()
    assert str(caught.value) == JAVA_HELP
