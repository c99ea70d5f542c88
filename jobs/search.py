"""Rank the images of a collection for every query."""

from functools import reduce
from operator import or_
from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.config import Config, Meta, SettingError, digest_of, execution
from resight.features.work import ExtractWork, rescue_images
from resight.images.sources import parse_source
from resight.images.spark import assign_image_ids, list_source
from resight.job import Input, job
from resight.jobs.build_graph import open_vectors
from resight.jobs.extract_features import ExtractConfig
from resight.knn.spark import search_vectors
from resight.store import TableStore, spark_schema
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES, MODELS, QUERIES, RESULTS
from resight.workspace import Run

BOX = ("y0", "x0", "y1", "x1")


class SearchConfig(Config):
    """Settings of ``conf/search.toml``."""

    queries: Annotated[
        str, Meta(description="folder, glob, tar or manifest (columns y0 x0 y1 x1: boxes) of query images")
    ] = ""
    root: Annotated[str, Meta(description="folder of a manifest's uris; default: the manifest's own")] = ""
    queries_from: Annotated[
        Literal["", "collection"], Meta(description="collection: every image asks, itself left out")
    ] = ""
    method: Annotated[Literal["global"], Meta(description="global: similarity of global descriptors")] = (
        "global"
    )
    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    depth: Annotated[int | Literal["all"], Meta(description="results per query, or all")] = 100
    chunk_size: Annotated[int, execution("query images per chunk of work", ge=1)] = 256

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if bool(self.queries) == bool(self.queries_from):
            raise ValueError("queries: give --queries or --queries-from collection, and only one of them")
        if self.depth != "all" and self.depth < 1:
            raise ValueError("depth: at least 1, or all")


def list_queries(conf: SearchConfig) -> str:
    """Give the version of the query images: "" (always new) unless they are of the collection."""
    return conf.queries_from


@job(
    "search",
    SearchConfig,
    reads=(Input(GLOBAL_DESCRIPTORS, "descriptors"), IMAGES),
    writes=(QUERIES, RESULTS),
    external=list_queries,
)
def main(store: TableStore, conf: SearchConfig) -> None:
    """Rank images by the inner product of unit vectors; ties by image_id.

    Query images are described as the collection was. A query that cannot be read or described is a row of
    ``queries`` with a status, and has no results.
    """
    layout = open_vectors(store)
    ask = ask_collection if conf.queries_from else ask_files
    queries, vectors, dtype = ask(store, conf)
    store.write(QUERIES, queries)
    ranked = search_vectors(vectors, layout, depth=conf.depth, source_dtype=dtype)
    store.write(
        RESULTS, ranked.select(sf.lit(conf.method).alias("method"), "query_id", "rank", "image_id", "score")
    )


def ask_collection(store: TableStore, conf: SearchConfig) -> tuple[DataFrame, DataFrame, str]:
    """Let every image with a descriptor ask: rows of ``queries``, their vectors, and the dtype of these."""
    described = store.read(GLOBAL_DESCRIPTORS)
    uris = store.read(IMAGES).where("removed_at is null").select("image_id", "uri")
    rows = described.select("image_id", "status", "error").join(uris, "image_id")
    queries = rows.select(*query_columns("image_id", "uri", "image_id", "status", "error"))
    asking = sf.col("image_id").alias("query_id")
    there = described.where("status = 'ok'").join(uris, "image_id", "left_semi")
    vectors = there.select(asking, "vector", "image_id")
    return queries, vectors, store.properties(GLOBAL_DESCRIPTORS)["dtype"]


def ask_files(store: TableStore, conf: SearchConfig) -> tuple[DataFrame, DataFrame, str]:
    """Describe query images by the settings of the build that is searched."""
    source = parse_source(conf.queries, source_id="queries", root=conf.root)
    work = describe_like(store, store.run.inputs[GLOBAL_DESCRIPTORS.name])
    listed = list_source(store.spark, source, distinct=BOX).withColumns(
        {
            "source_id": sf.lit("queries"),
            "root": sf.lit(source.root),
            "content_hash": sf.lit(None).cast("string"),
        }
    )
    named = assign_image_ids(read_boxes(listed), store.spark.createDataFrame([], "image_id long"))
    named = named.withColumn("uri", sf.col("file")).drop("file")
    rows = store.persist("listed", named)
    key = digest_of([source.path, store.run.run_id, conf.chunk_size])
    chunks = Chunks(store.staging(key), work, rescue_images, conf.chunk_size)
    run_chunks(rows.where("status is null"), "image_id", chunks)
    described = read_chunks(store.spark, chunks, spark_schema(GLOBAL_DESCRIPTORS))
    found = described.select("image_id", sf.col("status").alias("found"), sf.col("error").alias("why"))
    known = rows.join(found, "image_id", "left").withColumns(
        {"status": sf.coalesce("status", "found"), "error": sf.coalesce("error", "why")}
    )
    columns = query_columns("image_id", "uri", None, "status", "error", *BOX)
    vectors = described.where("status = 'ok'").select(sf.col("image_id").alias("query_id"), "vector")
    return known.select(*columns), vectors, work.dtype


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


def query_columns(query_id: str, uri: str, image_id: str | None, status: str, error: str, *box: str) -> list:
    """Lay out columns as rows of ``queries``."""
    given = {"query_id": query_id, "uri": uri, "image_id": image_id, "status": status, "error": error}
    given |= {name: name for name in box}
    fields = spark_schema(QUERIES).fields
    sources = [(f, given.get(f.name)) for f in fields]
    return [(sf.col(c) if c else sf.lit(None)).cast(f.dataType).alias(f.name) for f, c in sources]


def describe_like(store: TableStore, described: Run) -> ExtractWork:
    """Give the work that describes an image as the build ``described`` did."""
    builds = store.workspace.builds()
    if described.job != "extract-features":
        raise SettingError(
            f"--queries: the descriptors {described.name!r} were made elsewhere, so that query images cannot "
            "be described; ask with --queries-from collection"
        )
    conf, base = ExtractConfig.from_mapping(described.settings), described
    if conf.descriptors:
        base = builds[described.parents[GLOBAL_DESCRIPTORS.name]]
    whitening = None
    if conf.whitening:
        fitted = builds[described.parents[MODELS.name]]
        rows = store.reader.read(MODELS, fitted.build_id).to_pylist()
        whitening = next(row["params"] for row in rows if row["kind"] == "whitening")
    source = ExtractConfig.from_mapping(base.settings) if base.job == "extract-features" else None
    if source is None or (base is not described and source.whitening):
        raise SettingError(
            f"--queries: {described.name!r} whitens {base.name!r}, which no image can be described by; "
            "ask with --queries-from collection"
        )
    settings = source.extractor_settings()
    return ExtractWork(settings, "float32", whitening)


if __name__ == "__main__":
    run(main)
