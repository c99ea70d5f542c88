"""Sums over a sample of descriptors, the same whatever the partitions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_vectors, vectors_to_arrow
from resight.features.fitting.sample import IMAGE_COLUMNS
from resight.features.whitening import CovarianceSums, Whitening
from resight.store import spark_schema
from resight.tables import GLOBAL_DESCRIPTORS

GROUPS = 8  # tasks, and matrices that reach the driver: 8 x 13 MB at 1,280 dimensions


def select_images(images: DataFrame, allowed: Mapping[str, Sequence[str]]) -> DataFrame:
    """Keep the `IMAGES` rows whose columns, or manifest columns, have one of the values allowed."""
    return images.where(allow_values(allowed))


def allow_values(allowed: Mapping[str, Sequence[str]]) -> Column:
    """Give the condition of `select_images`; it may be null where a column is."""
    condition = sf.lit(True)
    for name, values in allowed.items():
        column = (
            sf.col(name).cast("string") if name in IMAGE_COLUMNS else sf.try_element_at("extra", sf.lit(name))
        )
        condition = condition & column.isin(*values)
    return condition


def sample_rows(rows: DataFrame, key: list[str], *, sample: int, seed: int) -> DataFrame:
    """Draw about ``sample`` rows by a hash of (``key``, ``seed``); all where there are fewer."""
    n = rows.count()
    if n <= sample:
        return rows
    draw = sf.pmod(sf.xxhash64(*key, sf.lit(seed)), sf.lit(1 << 32))
    return rows.where(draw < int(sample / n * (1 << 32)))


def sum_covariance(sampled: DataFrame, *, dtype: str, key: Sequence[str] = ("image_id",)) -> CovarianceSums:
    """Sum the rows (``key``, ``vector`` of ``dtype``) of a sample that fits into `GROUPS` tasks.

    A zero vector, such as that of a region without activations, has no direction and is left out.

    Raises
    ------
    ValueError
        The sample is empty.
    """

    def sum_rows(rows: pa.Table) -> CovarianceSums:
        X = arrow_to_vectors(rows["vector"], dtype).astype(np.float32)
        return CovarianceSums.of_rows(X[X.any(axis=1)])

    return sum_groups(sampled, key, sum_rows)


def sum_differences(pairs: DataFrame, descriptors: DataFrame, *, dtype: str) -> CovarianceSums:
    """Sum the differences of matching descriptors, as `pair_sums` does.

    Parameters
    ----------
    pairs : DataFrame
        ``image_a, image_b``, each pair once; a sample that fits into `GROUPS` tasks with its vectors. Pairs
        with an image that has no usable descriptor are left out.
    descriptors : DataFrame
        ``image_id, vector``.
    dtype : str
        Of the vectors.

    Raises
    ------
    ValueError
        No pair is left.
    """

    def sum_pairs(rows: pa.Table) -> CovarianceSums:
        left, right = (arrow_to_vectors(rows[f"vector_{s}"], dtype).astype(np.float32) for s in "ab")
        return CovarianceSums.of_rows(left - right, shift=np.zeros(left.shape[1]))

    for side in "ab":
        own = descriptors.select(
            sf.col("image_id").alias(f"image_{side}"), sf.col("vector").alias(f"vector_{side}")
        )
        pairs = pairs.join(own, f"image_{side}")
    return sum_groups(pairs, ["image_a", "image_b"], sum_pairs)


def sum_groups(
    rows: DataFrame, key: Sequence[str], sum_rows: Callable[[pa.Table], CovarianceSums]
) -> CovarianceSums:
    """Sum ``rows`` in `GROUPS` groups by a hash of ``key``, each sorted by it, and add the sums in order."""

    def sum_group(group: pa.Table) -> pa.Table:
        group = group.sort_by([(name, "ascending") for name in key])
        return pa.table({"bucket": group["bucket"][:1], "params": [sum_rows(group).to_bytes()]})

    grouped = rows.withColumn("bucket", sf.pmod(sf.xxhash64(*key), sf.lit(GROUPS)).cast("int"))
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
