"""Python workers begin with what their daemon imported."""

import sys

import pyarrow as pa

from resight.workers.spark import MODULE, SHARED, preload


def seen(batches):
    """Tell which process runs, and which of the modules it had before it imported anything itself."""
    for _ in batches:
        names = [name for name in (*SHARED, "timm", "no_such_module") if name in sys.modules]
        yield pa.record_batch({"names": [",".join(names)], "argv": [sys.argv[0]]})


def test_workers_are_forked_with_the_modules_that_the_session_names(spark):
    assert spark.conf.get(MODULE) == "resight.workers.spark"
    rows = spark.range(4, numPartitions=2).mapInArrow(seen, "names string, argv string").collect()
    assert {row["names"] for row in rows} == {",".join((*SHARED, "timm"))}
    assert all(row["argv"].endswith("resight/workers/spark.py") for row in rows)


def test_a_module_that_is_missing_is_told_and_left_out(caplog):
    assert preload(" json,no_such_module ,") == [*SHARED, "json"]
    assert "RESIGHT_PRELOAD names no_such_module" in caplog.text
