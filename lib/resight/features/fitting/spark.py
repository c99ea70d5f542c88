"""Sums over a sample of descriptors, the same whatever the partitions."""

from collections.abc import Iterator
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_vectors, vectors_to_arrow
from resight.features.whitening import CovarianceSums, Whitening
from resight.store import spark_schema
from resight.tables import GLOBAL_DESCRIPTORS

GROUPS = 8  # tasks, and matrices that reach the driver: 8 x 13 MB at 1,280 dimensions


def sample_descriptors(descriptors: DataFrame, *, sample: int, seed: int) -> DataFrame:
    """Draw about ``sample`` usable descriptors by a hash of (id, ``seed``); all where there are fewer."""
    usable = descriptors.where("status = 'ok'").select("image_id", "vector")
    n = usable.count()
    if n <= sample:
        return usable
    draw = sf.pmod(sf.xxhash64("image_id", sf.lit(seed)), sf.lit(1 << 32))
    return usable.where(draw < int(sample / n * (1 << 32)))


def sum_covariance(sampled: DataFrame, *, dtype: str) -> CovarianceSums:
    """Sum the rows (``image_id``, ``vector`` of ``dtype``) of a sample that fits into `GROUPS` tasks.

    Raises
    ------
    ValueError
        The sample is empty.
    """

    def sum_group(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by("image_id")
        X = arrow_to_vectors(rows["vector"], dtype).astype(np.float32)
        return pa.table({"bucket": rows["bucket"][:1], "params": [CovarianceSums.of_rows(X).to_bytes()]})

    grouped = sampled.withColumn("bucket", sf.pmod(sf.xxhash64("image_id"), sf.lit(GROUPS)).cast("int"))
    summed = grouped.groupBy("bucket").applyInArrow(sum_group, "bucket int, params binary").collect()
    if not summed:
        raise ValueError("there is no usable descriptor to fit on")
    parts = sorted(summed, key=lambda row: row["bucket"])
    return reduce(add, (CovarianceSums.from_bytes(bytes(row["params"])) for row in parts))


def project_descriptors(descriptors: DataFrame, whitening: bytes, *, dtype: str, stored: str) -> DataFrame:
    """Whiten stored vectors: `GLOBAL_DESCRIPTORS` rows of dtype ``dtype`` to such rows of ``stored``.

    A row whose status is not ok passes as it is; a vector that projects to zero gets the status ``zero``.
    """

    def project_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = Whitening.from_bytes(whitening)
        for batch in batches:
            ok = np.array([word == "ok" for word in batch["status"].to_pylist()], bool)
            Y = np.zeros((len(batch), model.projection.shape[1]), np.float32)
            if ok.any():
                X = arrow_to_vectors(batch["vector"].filter(pa.array(ok)), dtype)
                Y[ok] = model.apply(X.astype(np.float32))
            full = ok & Y.any(axis=1)
            status = [
                s if f or s != "ok" else "zero"
                for s, f in zip(batch["status"].to_pylist(), full, strict=True)
            ]
            columns = {name: batch[name] for name in ("image_id", "content_hash")}
            columns |= {
                "vector": vectors_to_arrow(Y.astype(stored), full),
                "status": pa.array(status, pa.string()),
            }
            yield pa.record_batch(columns | {"error": batch["error"]})

    return descriptors.drop("build_id").mapInArrow(project_batches, spark_schema(GLOBAL_DESCRIPTORS))
