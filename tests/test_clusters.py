"""The jobs over several processes: a local cluster, Spark Connect, and what is left after a kill."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from benchmarks.kill import CLUSTER, command, content, count, disturb
from resight.reader import open as open_workspace
from resight.session import find_delta_jars
from resight.tables import COMPONENTS, DUPLICATE_PAIRS, EDGES, GLOBAL_DESCRIPTORS, IMAGES, NEIGHBORS
from resight.workspace import COLLECTION
from tests.pictures import PHOTOS, save_collection, save_photo

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
INTERPRETED = (  # to compile the plans of small tables costs more than it saves; spark-submit does it below
    "spark.sql.codegen.wholeStage false\nspark.sql.codegen.factoryMode NO_CODEGEN\n"
)
LOCAL = "spark.master local[2,4]\nspark.ui.enabled false\nspark.sql.shuffle.partitions 2\n" + INTERPRETED


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = save_collection(tmp_path_factory.mktemp("photos"))
    for i, name in enumerate(sorted(PHOTOS) * 6):
        save_photo(name, folder / f"{i}.jpg", side=100 + i)
    shutil.copy(folder / "china.jpg", folder / "copy.jpg")
    return folder


def run(workspace, master, photos, until, table_format="parquet", **environment):
    conf = workspace.parent / "spark.conf"
    conf.write_text(master)
    settings = workspace.parent / "run.toml"
    settings.write_text(
        "[extract-features]\nextractor = 'colour'\nlonger_side = 128\n"
        "[build-graph]\nk = 5\nmax_task_edges = 40\n"
    )
    words = ["run", "--source", str(photos), "--until", until, "--conf", str(settings)]
    words += ["--format", table_format]
    env = os.environ | environment
    done = subprocess.run(command(workspace, conf, words), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return open_workspace(str(workspace))


def rows(reader, table, *keys):
    return reader.read(table).sort_by([(key, "ascending") for key in keys])


@pytest.fixture(scope="module")
def expected(tmp_path_factory, photos):
    return run(tmp_path_factory.mktemp("local") / "w", LOCAL, photos, "find-duplicates")


def test_a_cluster_of_two_executors_gives_the_tables_of_one_machine(expected, photos, tmp_path):
    found = run(tmp_path / "w", CLUSTER + INTERPRETED, photos, "build-graph", "delta")
    for table, keys in ((GLOBAL_DESCRIPTORS, ["image_id"]), (NEIGHBORS, ["src"]), (EDGES, ["src", "dst"])):
        assert rows(found, table, *keys).equals(rows(expected, table, *keys)), table.name
    assert rows(found, COMPONENTS, "node_id").equals(rows(expected, COMPONENTS, "node_id"))


def test_spark_connect_runs_ingest_to_duplicates(expected, photos, tmp_path):
    found = run(tmp_path / "w", LOCAL, photos, "find-duplicates", SPARK_REMOTE="local[2]")
    pairs = rows(found, DUPLICATE_PAIRS, "image_a", "image_b")
    assert "exact" in pairs["relation"].to_pylist()
    columns = ["image_a", "image_b", "relation", "similarity"]
    assert pairs.select(columns).equals(rows(expected, DUPLICATE_PAIRS, "image_a", "image_b").select(columns))


def test_spark_submit_runs_a_job_file(tmp_path):
    folder = save_collection(tmp_path / "photos", ("china", "flower", "rocket"))
    submit = ["--master", "local[2]", "--jars", ",".join(find_delta_jars())]
    submit += ["--properties-file", str(ROOT / "conf/spark/cluster.conf"), "--conf", "spark.ui.enabled=false"]
    words = ["--workspace", str(tmp_path / "w"), "--source", str(folder), "--lock", "none", "--json"]
    spark_submit = Path(pyspark.__file__).parent / "bin/spark-submit"
    done = subprocess.run(
        [spark_submit, *submit, ROOT / "jobs/ingest_images.py", *words],
        env=os.environ | {"PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["jobs"][0]["state"] == "committed"
    reader = open_workspace(str(tmp_path / "w"))
    assert reader.workspace.format == "delta"
    assert sorted(reader.read(IMAGES)["uri"].to_pylist()) == ["china.jpg", "flower.jpg", "rocket.jpg"]


@pytest.fixture(scope="module")
def ingested(expected, tmp_path_factory):
    """Give a workspace as it was before its images were described, and what their descriptions were."""
    folder = tmp_path_factory.mktemp("ingested")
    workspace = shutil.copytree(expected.workspace.root, folder / "w")
    for path in [*workspace.glob("runs/*"), *workspace.glob("tables/*/*")]:
        if not path.name.startswith(COLLECTION):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    conf = folder / "spark.conf"
    conf.write_text(LOCAL)
    return workspace, conf, content(Path(expected.workspace.root))


@pytest.mark.parametrize("kind", ["driver", "executor", "worker"])
def test_a_kill_costs_no_chunk_that_was_done_and_no_row(ingested, tmp_path, kind):
    source, conf, expected = ingested
    if kind == "executor":
        conf = tmp_path / "cluster.conf"
        conf.write_text(CLUSTER + INTERPRETED)
    workspace = shutil.copytree(source, tmp_path / "w")
    trial = disturb(workspace, conf, "colour", kind, due=lambda _: count(workspace, "done") >= 3)
    assert trial["killed"]["chunks"] >= 3
    assert content(workspace) == expected
    assert trial["repeated"] in (0, 1, 2), "at most the chunk that each of two tasks was at"
