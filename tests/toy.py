"""Toy jobs over real tables: what a store and a commit do, without pictures."""

from typing import Annotated

from pyspark.sql import functions as sf

from resight.config import Config, Meta
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import COMPONENTS, EDGES
from resight.workspace import Workspace


class EdgesConfig(Config):
    n: Annotated[int, Meta(ge=0, description="edges to write")] = 3
    fail: Annotated[bool, Meta(description="fail after the write")] = False


class ComponentsConfig(Config):
    graph: Annotated[str, Meta(description="build of the edges")] = ""
    shift: Annotated[int, Meta(description="added to every component")] = 0


def edge_rows(spark, values):
    rows = [(int(v), int(v) + 1, 1.0) for v in values]
    return spark.createDataFrame(rows, spark_schema(EDGES))


@job("toy-edges", EdgesConfig, writes=(EDGES,), external=lambda conf: "fixed")
def write_edges(store, conf):
    """Write a chain."""
    store.write(EDGES, edge_rows(store.spark, range(conf.n)))
    if conf.fail:
        raise RuntimeError("killed before the commit")


@job("toy-components", ComponentsConfig, reads=(Input(EDGES, "graph"),), writes=(COMPONENTS,))
def write_components(store, conf):
    """Label each source by itself."""
    edges = store.read(EDGES)
    rows = edges.select(sf.col("src").alias("node_id"), (sf.col("src") + conf.shift).alias("component_id"))
    store.write(COMPONENTS, rows)


def open_store(spark, tmp_path, table_format="delta"):
    return TableStore(Workspace.open(str(tmp_path / "w"), table_format, create=True), spark)


def sources(store, build=""):
    return sorted(row["src"] for row in store.read(EDGES, build).collect())
