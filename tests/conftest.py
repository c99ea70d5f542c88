"""One Spark session for each process of the run, with settings that bring out bugs and start fast."""

import os
import resource
import sys

import hypothesis
import numpy as np
import pytest

os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ[
    "JDK_JAVA_OPTIONS"
] = (  # of every Java that starts; the first option alone shrinks the room for code to 48 MiB
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m"
)
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


@pytest.fixture
def rng():
    return np.random.default_rng(0)
