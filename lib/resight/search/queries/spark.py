"""Operators that prepare queries: their boxes, their regions, their rows of `QUERIES`."""

from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from resight.store import spark_schema
from resight.tables import QUERIES

BOX = ("y0", "x0", "y1", "x1")


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
