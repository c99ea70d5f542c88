"""What the store asks of Spark: small tables in one task, small plans interpreted, the session left alone."""

import pytest
from pyspark.sql import functions as sf

from resight import spark as planning
from resight.config import Config
from resight.job import job
from resight.tables import EDGES, NODES
from tests.toy import EdgesConfig, edge_rows, open_store
from tests.toy import write_edges as edges

THRESHOLD = "spark.sql.autoBroadcastJoinThreshold"


@pytest.mark.parametrize(("largest", "during"), [(5000, "-1"), (1, None)])
@pytest.mark.parametrize("fails", [False, True])
def test_the_session_has_options_for_small_tables_only_while_a_body_runs(
    spark, tmp_path, monkeypatch, largest, during, fails
):
    monkeypatch.setattr(planning, "SMALL_ROWS", largest)
    store, before, seen = open_store(spark, tmp_path, "parquet"), spark.conf.get(THRESHOLD), []
    edges(store, EdgesConfig(n=3))

    def body(store, conf):
        store.read(EDGES)
        seen.append(spark.conf.get(THRESHOLD))
        if fails:
            raise RuntimeError("in the middle")

    declared = job("looks", Config, reads=(EDGES,), writes=(NODES,))(body)
    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            declared(store)
    else:
        declared(store)
    assert seen == [during or before]
    assert spark.conf.get(THRESHOLD) == before != "-1"


@pytest.mark.parametrize(("limit", "n"), [(1 << 20, 1), (0, 2)])
def test_one_task_reads_and_groups_what_is_small(spark, tmp_path, monkeypatch, limit, n):
    monkeypatch.setattr(planning, "ONE_TASK_BYTES", limit)
    store, found = open_store(spark, tmp_path, "parquet"), []

    def body(store, conf):
        rows = spark.range(8).repartition(2)
        store.write(EDGES, edge_rows(spark, range(8)).repartition(2))
        kept = (store.persist("some", rows), store.written(EDGES))
        found.extend(frame.select(sf.spark_partition_id()).distinct().count() for frame in kept)

    job("looks", Config, writes=(EDGES,))(body)(store)
    assert found == [n, n]
    assert store.read(EDGES).count() == 8
