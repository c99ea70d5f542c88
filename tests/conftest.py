"""One Spark session for each process of the run, with settings that bring out bugs and start fast."""

import os
import resource
import shutil
import sys

import hypothesis
import numpy as np
import pytest

os.environ["PYSPARK_PYTHON"] = sys.executable
JAVA = (  # options of every Java that starts
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:ReservedCodeCacheSize=240m",  # the first option alone leaves 48 MiB: too little for a long run
)
os.environ["JDK_JAVA_OPTIONS"] = " ".join(JAVA)
SPACE = 14 << 30  # bytes of addresses of a process: a test that runs wild ends with its name, not the machine
if sys.platform == "linux":
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))
hypothesis.settings.register_profile(
    "resight", deadline=None, derandomize=True, database=None, max_examples=50
)  # the same examples in every run, whatever else the machine does
hypothesis.settings.load_profile("resight")

LONG = ("test_clusters.py", "tests/test_reader.py", "tests/jobs/", "partitioned/")
FAST = {
    "spark.master": "local[2,4]",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "3",  # not 1: that hides bugs; not 200: slow
    "spark.sql.execution.arrow.maxRecordsPerBatch": "7",  # every test crosses a batch boundary
    "spark.driver.memory": "2g",
    "spark.sql.codegen.wholeStage": "false",  # to compile the plans of small tables costs more than it saves
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.executorEnv.RESIGHT_PRELOAD": "timm",
}


def pytest_collection_modifyitems(items):
    """Begin with the files that take minutes, or one process of the run ends long after the other."""
    items.sort(key=lambda item: next((i for i, name in enumerate(LONG) if name in item.nodeid), len(LONG)))


@pytest.fixture(scope="session")
def spark():
    from resight.session import start_session

    session = start_session(FAST)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def kept(spark, tmp_path_factory):
    """Give a folder of photos, a workspace that knows them, and where a copy of the photos is kept."""
    from resight.jobs.ingest_images import IngestConfig, main
    from resight.store import TableStore
    from resight.workspace import Workspace
    from tests.pictures import save_collection

    folder = tmp_path_factory.mktemp("collection")
    photos = save_collection(folder / "here/photos")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    main(store, IngestConfig(source=str(photos)))
    return photos, folder / "w", shutil.copytree(photos, folder / "kept")


@pytest.fixture
def collection(spark, kept, tmp_path):
    """Give six photos and the store of a workspace that knows them; a test may change both."""
    from resight.store import TableStore
    from resight.workspace import Workspace

    photos, workspace, copies = kept
    shutil.rmtree(photos.parent, ignore_errors=True)
    shutil.copytree(copies, photos)  # with the times of the files
    return photos, TableStore(Workspace.open(str(shutil.copytree(workspace, tmp_path / "w"))), spark)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
