"""Operators: packed regions of images to `REGION_DESCRIPTORS` rows, and the whitening of such rows."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from resight.arrow import arrow_to_lists, arrow_to_vectors, vectors_to_arrow
from resight.features.whitening import Whitening
from resight.store import spark_schema
from resight.tables import REGION_DESCRIPTORS

Batches = Iterator[pa.RecordBatch]
BOX = ("y0", "x0", "y1", "x1")


def unpack_regions(described: DataFrame, *, dtype: str) -> DataFrame:
    """Give every region a row.

    ``described`` has ``image_id, width, height, region_boxes, region_vectors``: float32 shares of the sides
    (r, 4) and vectors (r, d) of ``dtype``, packed as `resight.features.work` does. Boxes become pixels,
    rounded outwards; images without regions give no row.
    """

    def unpack(batches: Batches) -> Batches:
        for batch in batches:
            offsets, shares = arrow_to_lists(batch["region_boxes"], "float32")
            counts = np.diff(offsets) // 4
            if not counts.sum():
                continue
            image = np.repeat(np.arange(len(counts)), counts)
            sides = np.stack([batch[side].to_numpy() for side in ("height", "width")] * 2, axis=1)[image]
            exact = shares.reshape(-1, 4).astype(np.float64) * sides
            edges = np.hstack([np.floor(exact[:, :2] + 1e-3), np.ceil(exact[:, 2:] - 1e-3)]).astype(np.int32)
            first = np.repeat(np.cumsum(counts) - counts, counts)
            number = (np.arange(len(image)) - first).astype(np.int32)
            values = arrow_to_lists(batch["region_vectors"], dtype)[1].reshape(len(image), -1)
            columns = [batch["image_id"].take(pa.array(image)), number, *np.ascontiguousarray(edges.T)]
            yield pa.record_batch(
                [*columns, vectors_to_arrow(values)], names=["image_id", "region_ix", *BOX, "vector"]
            )

    present = described.where("region_boxes is not null")
    columns = present.select("image_id", "width", "height", "region_boxes", "region_vectors")
    return columns.mapInArrow(unpack, spark_schema(REGION_DESCRIPTORS))


def project_regions(regions: DataFrame, whitening: bytes, *, dtype: str, stored: str) -> DataFrame:
    """Whiten `REGION_DESCRIPTORS` rows of dtype ``dtype`` to such rows of ``stored``."""

    def project(batches: Batches) -> Batches:
        model = Whitening.from_bytes(whitening)
        for batch in batches:
            if not len(batch):
                continue
            projected = model.apply(arrow_to_vectors(batch["vector"], dtype).astype(np.float32))
            vectors = vectors_to_arrow(projected.astype(stored))
            yield batch.set_column(batch.schema.get_field_index("vector"), "vector", vectors)

    schema = spark_schema(REGION_DESCRIPTORS)
    return regions.select(*schema.fieldNames()).mapInArrow(project, schema)
