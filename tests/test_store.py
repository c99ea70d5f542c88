"""Tables that older code wrote, and rows that are counted on the driver or by Spark."""

from typing import Annotated

import pytest
from pyspark.sql import functions as sf

from resight import counting
from resight.config import Config, Meta
from resight.context import RunContext
from resight.job import job
from resight.store import TableStore, spark_schema
from resight.tables import NODES, Table
from tests.toy import open_store

OLDER = Table(NODES.name, NODES.key, NODES.schema.remove(NODES.schema.get_field_index("dup_of")), "older")


class NodesConfig(Config):
    n: Annotated[int, Meta(ge=0, description="nodes to write")] = 2


def write_nodes(table):
    def body(store, conf):
        ids = store.spark.range(conf.n)
        given = {"node_id": sf.col("id"), "image_id": sf.col("id"), "status": sf.lit("ok")}
        fields = spark_schema(table).fields
        values = [given.get(f.name, sf.lit(None)).cast(f.dataType).alias(f.name) for f in fields]
        store.write(table, ids.select(*values))

    return body


@pytest.mark.parametrize("table_format", ["delta", "parquet"])
def test_a_table_with_fewer_columns_is_read_and_grows_new_ones(spark, tmp_path, table_format):
    store = open_store(spark, tmp_path, table_format)
    older = job("older", NodesConfig, writes=(OLDER,))(write_nodes(OLDER))
    newer = job("newer", NodesConfig, writes=(NODES,))(write_nodes(NODES))
    first, second = older(store, NodesConfig(n=2)), newer(store, NodesConfig(n=3))
    for outcome, n in ((first, 2), (second, 3)):
        rows = store.read(NODES, outcome.build_id).select("node_id", "dup_of", "status").collect()
        assert sorted(tuple(row) for row in rows) == [(i, None, "ok") for i in range(n)]
        assert store.reader.read(NODES, outcome.build_id)["dup_of"].null_count == n


@pytest.mark.parametrize("max_files", [64, 0])
def test_rows_are_counted_alike_with_spark_and_without(spark, tmp_path, monkeypatch, max_files):
    monkeypatch.setattr(counting, "MAX_FILES", max_files)
    store = open_store(spark, tmp_path, "parquet")
    output = job("nodes", NodesConfig, writes=(NODES,))(write_nodes(NODES))(
        store, NodesConfig(n=5)
    ).run.outputs
    assert (output["nodes"].n_rows, output["nodes"].statuses) == (5, {"ok": 5})
    bound = TableStore(store.workspace, spark, RunContext("r", "b", {}, None))
    bound.persist("some rows [1]", spark.range(7).repartition(2))
    assert bound.count("some rows [1]") == 7
