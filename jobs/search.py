"""Rank the images of a collection for every query."""

from functools import reduce
from operator import or_
from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.config import Meta, SettingError, digest_of, execution
from resight.features.work import ExtractWork, rescue_images
from resight.images.sources import parse_source
from resight.images.spark import assign_image_ids, list_source
from resight.job import Input, job
from resight.jobs.build_graph import open_graph, open_vectors
from resight.jobs.extract_features import ExtractConfig
from resight.search.collection import SearchFiles
from resight.search.settings import SearchSettings, needs_graph, needs_manifold
from resight.search.spark import search as rank_queries
from resight.search.spark import unpack_explanations, unpack_results
from resight.search.storage.spark import write_manifold_files
from resight.store import TableStore, spark_schema
from resight.tables import (
    COMPONENTS,
    EDGES,
    EXPLANATIONS,
    GLOBAL_DESCRIPTORS,
    IMAGES,
    MANIFOLD_NEIGHBORS,
    MODELS,
    NODES,
    QUERIES,
    RESULTS,
)
from resight.workspace import Run

BOX = ("y0", "x0", "y1", "x1")
FLAGS = ("no_support", "iterations", "residual")


class SearchConfig(SearchSettings):
    """Settings of ``conf/search.toml``."""

    queries: Annotated[
        str, Meta(description="folder, glob, tar or manifest (columns y0 x0 y1 x1: boxes) of query images")
    ] = ""
    root: Annotated[str, Meta(description="folder of a manifest's uris; default: the manifest's own")] = ""
    queries_from: Annotated[
        Literal["", "collection"], Meta(description="collection: every image asks, itself left out")
    ] = ""
    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    graph: Annotated[str, Meta(description="build of the graph (diffusion); default: the newest")] = ""
    manifold: Annotated[
        str, Meta(description="build of diffuse (offline_diffusion); default: the newest")
    ] = ""
    chunk_size: Annotated[int, execution("query images per chunk of work", ge=1)] = 256

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if bool(self.queries) == bool(self.queries_from):
            raise ValueError("queries: give --queries or --queries-from collection, and only one of them")
        super().__post_init__()

    def settings(self) -> SearchSettings:
        """Give the part that the kernels know."""
        return SearchSettings(**{name: getattr(self, name) for name in SearchSettings.__struct_fields__})

    def check(self) -> None:
        """Look for query images on a local disk."""
        if self.queries and files.local_path(self.queries):
            parse_source(self.queries, root=self.root, option="--queries")


def list_queries(conf: SearchConfig) -> str:
    """Give the version of the query images: "" (always new) unless they are of the collection."""
    return conf.queries_from


@job(
    "search",
    SearchConfig,
    reads=(
        Input(MANIFOLD_NEIGHBORS, "manifold", when=needs_manifold),
        Input(EDGES, "graph", when=needs_graph),
        Input(NODES, "graph", when=needs_graph),
        Input(COMPONENTS, "graph", when=needs_graph),
        Input(GLOBAL_DESCRIPTORS, "descriptors"),
        IMAGES,
    ),
    writes=(QUERIES, RESULTS, EXPLANATIONS),
    external=list_queries,
)
def main(store: TableStore, conf: SearchConfig) -> None:
    """Rank images by similarity, query expansion or diffusion; ties by similarity, then by image_id.

    Query images are described as the collection was. A query that cannot be read or described is a row of
    ``queries`` with a status, and has no results.
    """
    searched, settings = open_files(store), conf.settings()
    ask = ask_collection if conf.queries_from else ask_files
    queries, vectors, dtype = ask(store, conf)
    answers = store.persist("answers", rank_queries(vectors, searched, settings, source_dtype=dtype))
    store.write(RESULTS, unpack_results(answers, conf.method))
    flags = answers.select("query_id", *FLAGS)
    store.write(QUERIES, queries.drop(*FLAGS).join(flags, "query_id", "left"))
    if conf.explain:
        store.write(EXPLANATIONS, unpack_explanations(answers))


def open_files(store: TableStore) -> SearchFiles:
    """Give the files of the inputs of the run, each written at the first use of its version."""
    vectors, described = open_vectors(store), store.run.inputs[GLOBAL_DESCRIPTORS.name]
    graph = open_graph(store) if EDGES.name in store.run.inputs else None
    manifold = None
    for table in (EDGES, MANIFOLD_NEIGHBORS):
        run = store.run.inputs.get(table.name)
        made_of = descends_from(store, run) if run else described.build_id
        if run and made_of != described.build_id:
            raise SettingError(
                f"--descriptors: {run.name!r} was made from another build of descriptors than "
                f"{described.name!r}; name the one that belongs to it, or none"
            )
    if MANIFOLD_NEIGHBORS.name in store.run.inputs:
        folder = files.join(store.shard_folder(MANIFOLD_NEIGHBORS), files.join(vectors.folder).split("/")[-1])
        manifold = write_manifold_files(store.read(MANIFOLD_NEIGHBORS), vectors, folder)
        store.drop_old_shards(MANIFOLD_NEIGHBORS)
    return SearchFiles(vectors, graph, manifold)


def descends_from(store: TableStore, run: Run) -> str:
    """Find the build of descriptors that ``run`` was made from."""
    builds = store.workspace.builds()
    while GLOBAL_DESCRIPTORS.name not in run.parents:
        run = builds[next(iter(run.parents.values()))]
    return run.parents[GLOBAL_DESCRIPTORS.name]


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
    source = parse_source(conf.queries, source_id="queries", root=conf.root, option="--queries")
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
    """Give the work that describes an image as the build ``described`` did.

    A build that whitens the vectors of another is followed back to the one that described images.
    """
    builds, base = store.workspace.builds(), described
    whitening: tuple[bytes, ...] = ()
    while base.job == "extract-features":
        conf = ExtractConfig.from_mapping(base.settings)
        if conf.whitening:
            whitening = (read_whitening(store, base.parents[MODELS.name]), *whitening)
        if not conf.descriptors:
            return ExtractWork(conf.extractor_settings(), "float32", whitening)
        base = builds[base.parents[GLOBAL_DESCRIPTORS.name]]
    raise SettingError(
        f"--queries: the descriptors {base.name!r} were made elsewhere, so that query images cannot be "
        "described; ask with --queries-from collection"
    )


def read_whitening(store: TableStore, fitted: str) -> bytes:
    """Give the packed whitening of a build of fit-model."""
    rows = store.reader.read(MODELS, fitted).to_pylist()
    return next(row["params"] for row in rows if row["kind"] == "whitening")


if __name__ == "__main__":
    run(main)
