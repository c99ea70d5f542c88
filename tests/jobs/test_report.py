"""The report where there is little or nothing to report, and none of it needs Spark."""

from pathlib import Path

import pytest

from resight.cli import job_parser, main
from resight.job import load_job
from resight.tables import DUPLICATE_GROUPS, IMAGES, SOURCES
from tests.report.committed import Committed

NOBODY = {"image_id": []}


@pytest.fixture
def committed(tmp_path):
    return Committed(tmp_path / "w")


def report(committed, *words):
    return main(["report", "--workspace", committed.workspace.root, *words])


def test_an_empty_workspace_is_an_error_that_names_the_job_to_run(committed, caplog):
    assert report(committed) == 2
    assert "table 'images' is missing" in caplog.text
    assert "resight ingest-images" in caplog.text
    assert not Path(committed.workspace.root, "report.html").exists()


def test_a_workspace_that_is_not_there_is_named(tmp_path, caplog):
    assert main(["report", "--workspace", str(tmp_path / "absent")]) == 2
    assert "absent" in caplog.text
    assert not (tmp_path / "absent").exists()


def test_a_collection_without_images_has_a_page(committed, tmp_path, capsys):
    committed.commit("ingest-images", (IMAGES, NOBODY), (SOURCES, {"source_id": []}))
    assert report(committed, "--output", str(tmp_path / "page.html")) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert "collection is empty" in (tmp_path / "page.html").read_text()


def test_a_build_of_duplicates_that_is_not_there_is_named_with_those_that_are(committed, caplog):
    committed.commit("ingest-images", (IMAGES, NOBODY), (SOURCES, {"source_id": []}))
    committed.commit("find-duplicates", (DUPLICATE_GROUPS, NOBODY), name="strict")
    assert report(committed, "--duplicates", "strikt") == 2
    assert "--duplicates" in caplog.text
    assert "strikt" in caplog.text
    assert "strict" in caplog.text


def test_help_names_the_tables_that_the_page_is_made_of():
    text = " ".join(job_parser(load_job("report")).format_help().split())
    named = text.partition("reads: ")[2].partition(" writes: ")[0].split(", ")
    assert {"images", "previews", "sources", "metrics", "duplicate_groups", "neighbors"} <= {*named}


@pytest.mark.parametrize(("option", "value"), [("--groups", "-1"), ("--neighbours", "few")])
def test_a_number_that_makes_no_sense_is_named(committed, caplog, option, value):
    assert report(committed, option, value) == 2
    assert f"{option} {value}" in caplog.text
