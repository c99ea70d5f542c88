"""Operators: boxes that climb to one top become an object, images of the same bytes share what was found."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.discovery.spark import BOX, Batches
from resight.graph.spark import find_components
from resight.store import spark_schema
from resight.tables import GLOBAL_DESCRIPTORS, OBJECT_INSTANCES, OBJECTS, SALIENCY_MAPS

FLOAT_BYTES = 4
ZERO = "its descriptor is the zero vector"
ROUNDING = 1e-3  # pixels by which a share times a side may miss a whole number


def list_instances(
    regions: DataFrame, climbs: DataFrame, images: DataFrame, *, min_images: int, folder: str
) -> DataFrame:
    """Name the object of every box that shares its top with boxes of others: `OBJECT_INSTANCES` rows.

    Parameters
    ----------
    regions : DataFrame
        Of `resight.discovery.spark.list_regions`, one image for each content.
    climbs : DataFrame
        (src, dst) of `resight.discovery.spark.climb_regions`; read twice.
    images : DataFrame
        (image_id, content_hash, width, height) of all images: those of equal bytes show the same objects.
    min_images : int
        Different contents that an object is seen in at least.
    folder : str
        For the steps of joining, outlives the result.
    """
    labels = find_components(climbs, folder=folder)
    named = regions.join(labels.withColumnRenamed("component_id", "object_id"), "node_id")
    seen = named.groupBy("object_id").agg(sf.countDistinct("content_hash").alias("n"))
    recurring = named.join(seen.where(sf.col("n") >= min_images), "object_id").drop("image_id")
    placed = recurring.join(images, "content_hash")
    sides = {"y": "height", "x": "width"}
    corners = {
        name: (
            sf.floor(sf.col(name) * sf.col(sides[name[0]]) + ROUNDING)
            if name[1] == "0"
            else sf.ceil(sf.col(name) * sf.col(sides[name[0]]) - ROUNDING)
        ).cast("int")
        for name in BOX
    }
    score = {"score": sf.col("saliency")}
    return placed.withColumns(corners | score).select(spark_schema(OBJECT_INSTANCES).names)


def rank_objects(instances: DataFrame) -> DataFrame:
    """Count the images of every object and add up their best scores: `OBJECTS` rows."""
    best = instances.groupBy("object_id", "image_id").agg(
        sf.max("score").alias("score"), sf.count("*").alias("n")
    )
    found = best.groupBy("object_id").agg(
        sf.count("*").cast("int").alias("n_images"),
        sf.sum("n").cast("int").alias("n_instances"),
        sf.sum(sf.col("score").cast("double")).alias("score"),
    )
    return found.select(spark_schema(OBJECTS).names)


def list_maps(found: DataFrame, images: DataFrame) -> DataFrame:
    """Give every image its saliency maps, or why it has none: `SALIENCY_MAPS` rows."""
    n_regions = (sf.octet_length("boxes") / (4 * FLOAT_BYTES)).cast("int").alias("n_regions")
    rows = found.select(
        "content_hash", "height", "width", "features", "objects", n_regions, "status", "error"
    )
    return rows.join(images.select("image_id", "content_hash"), "content_hash").select(
        spark_schema(SALIENCY_MAPS).names
    )


def list_descriptors(found: DataFrame, images: DataFrame, *, dtype: str) -> DataFrame:
    """Describe every image by its objects: `GLOBAL_DESCRIPTORS` rows, vectors of ``dtype``."""

    def convert(batches: Batches) -> Batches:
        for batch in batches:
            status, error = batch["status"].to_pylist(), batch["error"].to_pylist()
            vectors = [np.frombuffer(value or b"", np.float32) for value in batch["vector"].to_pylist()]
            empty = [word == "ok" and not vector.any() for word, vector in zip(status, vectors, strict=True)]
            packed = [vector.astype(dtype).tobytes() if vector.any() else None for vector in vectors]
            status = ["zero" if none else word for word, none in zip(status, empty, strict=True)]
            error = [ZERO if none else why for why, none in zip(error, empty, strict=True)]
            columns = {name: batch[name] for name in ("image_id", "content_hash")}
            columns |= {"vector": pa.array(packed, pa.binary()), "status": pa.array(status, pa.string())}
            yield pa.record_batch(columns | {"error": pa.array(error, pa.string())})

    rows = found.select("content_hash", "vector", "status", "error")
    shared = rows.join(images.select("image_id", "content_hash"), "content_hash")
    schema = spark_schema(GLOBAL_DESCRIPTORS)
    return shared.select(*schema.names).mapInArrow(convert, schema)
