"""Rank the images of a collection for every query."""

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
    vectors = described.where("status = 'ok'").select(asking, "vector", "image_id")
    return queries, vectors, store.properties(GLOBAL_DESCRIPTORS)["dtype"]


def ask_files(store: TableStore, conf: SearchConfig) -> tuple[DataFrame, DataFrame, str]:
    """Describe query images by the settings of the build that is searched."""
    source = parse_source(conf.queries, source_id="queries", root=conf.root)
    work = describe_like(store, store.run.inputs[GLOBAL_DESCRIPTORS.name])
    boxes = {name: sf.try_element_at("extra", sf.lit(name)).try_cast("int") for name in BOX}
    listed = list_source(store.spark, source).withColumns(
        {
            "source_id": sf.lit("queries"),
            "root": sf.lit(source.root),
            "content_hash": sf.lit(None).cast("string"),
        }
    )
    named = assign_image_ids(listed.withColumns(boxes), store.spark.createDataFrame([], "image_id long"))
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
    settings = ExtractConfig.from_mapping(base.settings).extractor_settings()
    return ExtractWork(settings, "float32", whitening)


if __name__ == "__main__":
    run(main)
