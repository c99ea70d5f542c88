"""Operators: `REGION_DESCRIPTORS` rows to the nodes of a graph of regions."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_vectors, vectors_to_arrow
from resight.config import SettingError
from resight.graph.regions.nodes import make_nodes
from resight.knn.copies import to_offsets
from resight.store import spark_schema
from resight.tables import NODES

GROUP_ROWS = 16_384  # regions that a task holds at a time
ROWS = "image_id long, number long, region_ix int, vector binary, status string, weight double"
SIGN = (1 << 63) - 1


def list_region_nodes(
    regions: DataFrame,
    *,
    dtype: str,
    n_groups: int,
    compress: int = 0,
    lam: float = 1.0,
    seed: int = 0,
) -> DataFrame:
    """Turn (image_id, region_ix, vector of ``dtype``) into node_id, `ROWS`; vectors become float32.

    Images are placed in ``n_groups`` groups, each held by one task at a time; how many there are does not
    matter to the result. ``node_id`` is a hash of the image, the number of the node in it and the seed: 63
    bits, so see `check_node_ids`.
    """

    def make_rows(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([("image_id", "ascending"), ("region_ix", "ascending")])
        images, counts = np.unique(rows["image_id"].to_numpy(), return_counts=True)
        X = arrow_to_vectors(rows["vector"], dtype)
        region_ix = rows["region_ix"].to_numpy()
        nodes = make_nodes(X, to_offsets(counts), region_ix, compress=compress, lam=lam, seed=seed)
        n_nodes = np.diff(nodes.offsets)
        first = np.repeat(nodes.offsets[:-1], n_nodes)
        columns = [
            np.repeat(images, n_nodes),
            np.arange(len(first)) - first,
            nodes.region_ix,
            vectors_to_arrow(nodes.vectors),
            pa.array(nodes.status.tolist(), pa.string()),
            pa.array(nodes.weights, mask=np.isnan(nodes.weights)),
        ]
        return pa.table(columns, names=[field.split(" ")[0] for field in ROWS.split(", ")])

    group = sf.pmod(sf.xxhash64("image_id"), sf.lit(n_groups)).alias("group")
    grouped = regions.select("image_id", "region_ix", "vector", group).where("vector is not null")
    nodes = grouped.groupBy("group").applyInArrow(make_rows, ROWS)
    hashed = sf.xxhash64("image_id", "number", sf.lit(seed).cast("long"))
    return nodes.select(hashed.bitwiseAND(sf.lit(SIGN)).alias("node_id"), "*")


def check_node_ids(nodes: DataFrame) -> None:
    """Raise `SettingError` where two nodes have one ``node_id``; runs a job."""
    met = nodes.groupBy("node_id").count().where("count > 1").first()
    if met is not None:
        raise SettingError(
            f"--seed: {met['count']} regions have the node_id {met['node_id']}; choose another"
        )


def build_region_nodes(nodes: DataFrame, copies: DataFrame) -> DataFrame:
    """Turn rows of `list_region_nodes` into `NODES`, with what stands for each by ``copies``."""
    joined = nodes.drop("vector", "number").join(copies.select("node_id", "dup_of"), "node_id", "left")
    return joined.select(spark_schema(NODES).fieldNames())
