"""Operators that repair the edges of a graph that follows its collection."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.graph.spark import Touching, build_edges
from resight.knn.matrix import save_array

Batches = Iterator[pa.RecordBatch]


def save_changed(now: DataFrame, then: DataFrame, folder: str) -> Touching:
    """Write the sources whose list in ``now`` is another than in ``then``, or is in one of them only.

    Both are `NEIGHBORS` rows. Runs a job; the driver sees a name.
    """

    def save(batches: Batches) -> Batches:
        found = [batch["src"].to_numpy() for batch in batches]
        changed = np.sort(np.concatenate([np.zeros(0, np.int64), *found]))
        row = [[save_array(folder, "changed", changed)], [len(changed)]]
        yield pa.record_batch(row, names=["name", "n"])

    sides = (
        rows.select("src", sf.struct("dst", "similarity").alias(name))
        for rows, name in ((now, "now"), (then, "then"))
    )
    joined = next(sides).join(next(sides), "src", "full").where("not (now <=> then)").select("src")
    written = joined.repartition(1).mapInArrow(save, "name string, n long").first()
    if written is None:
        raise RuntimeError("the list of changed sources was not written")
    return Touching(folder, *written)


def repair_edges(
    neighbors: DataFrame, previous: DataFrame, copies: DataFrame, changed: Touching, *, gamma: float = 3.0
) -> DataFrame:
    """Give the edges of ``neighbors``, from the ``previous`` ones: equal to `build_edges`.

    ``changed`` holds the sources whose list is another than that from which ``previous`` were built.
    """

    def keep(batches: Batches) -> Batches:
        for batch in batches:
            touched = changed.meets(batch["src"].to_numpy()) | changed.meets(batch["dst"].to_numpy())
            yield batch.filter(pa.array(~touched))

    edges = previous.select("src", "dst", "affinity")
    fresh = build_edges(neighbors, copies, gamma=gamma, touching=changed)
    return edges.mapInArrow(keep, edges.schema).unionByName(fresh)
