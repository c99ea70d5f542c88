"""Operators that prepare queries: listed, described, their boxes, their regions, their rows of `QUERIES`."""

from collections.abc import Callable
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.images.sources import Source
from resight.images.spark import assign_image_ids, list_source
from resight.search.queries.like import Way
from resight.store import spark_schema
from resight.tables import QUERIES

BOX = ("y0", "x0", "y1", "x1")


def list_query_files(
    spark: SparkSession, source: Source, hold: Callable[[DataFrame], DataFrame] | None = None
) -> DataFrame:
    """List query images as an extraction takes them; ``uri`` is unique, ``status`` null or a fault.

    ``hold`` computes a frame once and gives it back as read from where it is kept.
    """
    listed = list_source(spark, source, distinct=BOX).withColumns(
        {
            "source_id": sf.lit("queries"),
            "root": sf.lit(source.root),
            "content_hash": sf.lit(None).cast("string"),
        }
    )
    none = spark.createDataFrame([], "image_id long").where(sf.lit(False))
    named = assign_image_ids(read_boxes(listed), none, hold=hold)
    return named.withColumn("uri", sf.col("file")).drop("file")


def describe_queries(rows: DataFrame, way: Way, folder: str, *, chunk_size: int) -> DataFrame:
    """Describe listed images that have no status yet, in chunks that are kept in ``folder``."""
    chunks = Chunks(folder, way.work, way.rescue, chunk_size)
    run_chunks(rows.where("status is null"), "image_id", chunks)
    return read_chunks(rows.sparkSession, chunks, from_arrow_schema(way.schema))


def tell_status(rows: DataFrame, described: DataFrame) -> DataFrame:
    """Give listed images that have no status yet the one that their description has."""
    found = described.select("image_id", sf.col("status").alias("found"), sf.col("error").alias("why"))
    return rows.join(found, "image_id", "left").withColumns(
        {"status": sf.coalesce("status", "found"), "error": sf.coalesce("error", "why")}
    )


def join_described(vectors: DataFrame, keypoints: DataFrame, further: DataFrame | None = None) -> DataFrame:
    """Join what is known of each image: vectors, its size, and keypoints, or their words and codes.

    The status of an image is ``ok`` where its vector or its keypoints are; what it lacks is null.
    """
    ok = sf.col("status") == "ok"
    names = ("points", "vectors", "words", "codes", "width", "height")
    kept = [sf.when(ok, sf.col(name)).alias(name) for name in names if name in keypoints.columns]
    status = [sf.col(name).alias(f"local_{name}") for name in ("status", "error")]
    joined = vectors.select("image_id", "vector", "status", "error").join(
        keypoints.select("image_id", *kept, *status), "image_id", "full"
    )
    some = (sf.coalesce("status", sf.lit("")) == "ok") | (sf.coalesce("local_status", sf.lit("")) == "ok")
    joined = joined.withColumns(
        {
            "vector": sf.when(sf.col("status") == "ok", sf.col("vector")),
            "status": sf.when(some, "ok").otherwise(sf.coalesce("status", "local_status")),
            "error": sf.when(~some, sf.coalesce("error", "local_error")),
        }
    ).drop("local_status", "local_error")
    if further is None:
        return joined
    second = further.where(ok).select("image_id", sf.col("vector").alias("vector_2"))
    return joined.join(second, "image_id", "left")


def read_boxes(listed: DataFrame) -> DataFrame:
    """Give each row the box of its manifest row, and a ``uri`` of its own for each box of a ``file``.

    A box that is incomplete, empty or no four whole numbers is a query with the status ``bad_box``.
    """
    given = [sf.try_element_at("extra", sf.lit(name)) for name in BOX]
    corners = {name: text.try_cast("int") for name, text in zip(BOX, given, strict=True)}
    some = reduce(or_, (text.isNotNull() for text in given))
    valid = (corners["y0"] >= 0) & (corners["x0"] >= 0)
    valid &= (corners["y1"] > corners["y0"]) & (corners["x1"] > corners["x0"])
    bad = some & ~sf.coalesce(valid, sf.lit(False))
    status = sf.coalesce("status", sf.when(bad, "bad_box"))
    error = sf.coalesce("error", sf.when(bad, sf.concat(sf.lit("not a box: "), sf.concat_ws(" ", *given))))
    uri = sf.concat_ws("#", "uri", sf.when(some, sf.concat_ws(",", *given)))
    return listed.withColumns(corners | {"file": sf.col("uri"), "uri": uri, "status": status, "error": error})


def query_columns(
    query_id: str, uri: str, image_id: str | None, status: str, error: str, *box: str
) -> list[Column]:
    """Lay out columns as rows of ``queries``."""
    given = {"query_id": query_id, "uri": uri, "image_id": image_id, "status": status, "error": error}
    given |= {name: name for name in box}
    fields = spark_schema(QUERIES).fields
    sources = [(f, given.get(f.name)) for f in fields]
    return [(sf.col(c) if c else sf.lit(None)).cast(f.dataType).alias(f.name) for f, c in sources]


def attach_regions(described: DataFrame, regions: DataFrame) -> DataFrame:
    """Give every image of ``described`` its `REGION_DESCRIPTORS` as one packed column, region_vectors."""
    listed = sf.sort_array(sf.collect_list(sf.struct("region_ix", "vector")))
    vectors = sf.transform(listed, lambda region: region["vector"])
    packed = sf.aggregate(vectors, sf.lit(b""), lambda some, vector: sf.concat(some, vector))
    grouped = regions.groupBy("image_id").agg(packed.alias("region_vectors"))
    return described.join(grouped, "image_id", "left")


def flag_regionless(described: DataFrame) -> DataFrame:
    """Give images with a descriptor but no region_vectors the status ``no_regions``."""
    lacking = (sf.col("status") == "ok") & sf.col("region_vectors").isNull()
    reason = sf.lit("the image has no regions")
    return described.withColumns(
        {
            "status": sf.when(lacking, "no_regions").otherwise(sf.col("status")),
            "error": sf.when(lacking, reason).otherwise(sf.col("error")),
        }
    )
