"""What asks in a job: rows of ``queries``, what is ranked with, and the dtypes of that."""

from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.features.local.work import LOCAL_DESCRIBED, rescue_local
from resight.images.sources import Source
from resight.search.fused.similarity import COLOUR
from resight.search.queries.like import SIZED, SizedWork, Way, describe_images_like, rescue_sized
from resight.search.queries.spark import (
    BOX,
    attach_regions,
    describe_queries,
    flag_regionless,
    join_described,
    list_query_files,
    query_columns,
    tell_status,
)
from resight.search.settings import SearchSettings, needs_fusion, needs_index, needs_regions, needs_vectors
from resight.store import TableStore
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES, REGION_DESCRIPTORS
from resight.workspace import input_key

FUSED = ("vector", "vector_2", "points", "width", "height")


class Dtypes(NamedTuple):
    """Of the vectors of queries, one per descriptor, and of their keypoints."""

    vectors: tuple[str, ...]
    keypoints: str = ""


class Asked(NamedTuple):
    """Rows of `QUERIES`, what the usable ones among them ask with, and its dtypes."""

    queries: DataFrame
    asked: DataFrame
    dtypes: Dtypes


def ask_collection(store: TableStore, conf: SearchSettings, *, chunk_size: int) -> Asked:
    """Let every image that is described ask: rows of ``queries``, what they ask with, and its dtypes."""
    described, dtypes = read_collection(store, conf, chunk_size)
    if needs_regions(conf):
        described = flag_regionless(attach_regions(described, store.read(REGION_DESCRIPTORS)))
        described = store.persist("described", described)
    uris = store.read(IMAGES).where("removed_at is null").select("image_id", "uri")
    rows = described.select("image_id", "status", "error").join(uris, "image_id")
    queries = rows.select(*query_columns("image_id", "uri", "image_id", "status", "error"))
    there = described.join(uris, "image_id", "left_semi")
    return Asked(queries, select_asked(conf, there, "image_id"), dtypes)


def read_collection(store: TableStore, conf: SearchSettings, chunk_size: int) -> tuple[DataFrame, Dtypes]:
    """Give what is known of the images of the collection, by the method, and its dtypes.

    Keypoints are kept only where they are verified; else an index is asked by words and codes.
    """
    from resight.search.local.spark import describe_collection, encode_collection, query_work

    vectors, keypoints = Dtypes(()), None
    if needs_index(conf):
        verifies = needs_fusion(conf) and conf.n_verified > 0
        if verifies:
            keypoints = describe_collection(store, chunk_size=chunk_size)
        else:
            keypoints = encode_collection(store, conf, chunk_size=chunk_size)
        vectors = vectors._replace(keypoints=query_work(store).dtype)
    if keypoints is not None and not needs_vectors(conf):
        return keypoints, vectors
    roles = list_roles(store)
    stored = [store.read(GLOBAL_DESCRIPTORS, role=role) for role in roles]
    dtypes = tuple(store.properties(GLOBAL_DESCRIPTORS, role=role)["dtype"] for role in roles)
    if keypoints is None:
        return stored[0], vectors._replace(vectors=dtypes)
    sizes = store.read(IMAGES).select("image_id", "width", "height")
    joined = join_described(stored[0], keypoints.join(sizes, "image_id", "left"), *stored[1:])
    return store.persist("described", joined), vectors._replace(vectors=dtypes)


def list_roles(store: TableStore) -> list[str]:
    """List the roles of the descriptors that the run reads, the first one's before."""
    return [role for role in ("", COLOUR) if input_key(GLOBAL_DESCRIPTORS, role) in store.run.inputs]


def ask_files(store: TableStore, conf: SearchSettings, source: Source, key: str, *, chunk_size: int) -> Asked:
    """Describe query images by the settings of the builds that are searched; ``key`` names what they are."""
    ways, dtypes = choose_ways(store, conf)
    rows = list_query_files(store.spark, source, store.hold)
    folders = [store.staging(files.join(key, str(place))) for place in range(len(ways))]
    found = [
        describe_queries(rows, way, folder, chunk_size=chunk_size)
        for way, folder in zip(ways, folders, strict=True)
    ]
    described = found[0]
    if needs_fusion(conf):
        described = store.persist("described", join_described(*found))
    if needs_regions(conf):
        described = flag_regionless(described)
    columns = query_columns("image_id", "uri", None, "status", "error", *BOX)
    queries = tell_status(rows, described).select(*columns)
    return Asked(queries, select_asked(conf, described, None), dtypes)


def choose_ways(store: TableStore, conf: SearchSettings) -> tuple[list[Way], Dtypes]:
    """Choose what describes query images as those that are searched: vectors, keypoints, further vectors."""
    from resight.search.local.spark import query_work

    ways, dtypes = list[Way](), Dtypes(())
    if needs_vectors(conf):
        inputs = [store.run.inputs[input_key(GLOBAL_DESCRIPTORS, role)] for role in list_roles(store)]
        found = [describe_images_like(store.reader, described) for described in inputs]
        ways, dtypes = [way for way, _ in found], Dtypes(tuple(dtype for _, dtype in found))
    if not needs_index(conf):
        return ways, dtypes
    work = query_work(store)
    way = Way(work, rescue_local, LOCAL_DESCRIBED)
    if needs_fusion(conf):
        way = Way(SizedWork(work), rescue_sized, SIZED)
    return [*ways[:1], way, *ways[1:]], dtypes._replace(keypoints=work.dtype)


def select_asked(conf: SearchSettings, described: DataFrame, own: str | None) -> DataFrame:
    """Select the columns of described images that the search takes; ``own`` names that of their ids."""
    from resight.search.local.spark import own_columns

    usable = described.where("status = 'ok'")
    if needs_index(conf):
        more = [name for name in FUSED if name in usable.columns] if needs_fusion(conf) else []
        return own_columns(usable, own, *more)
    names = ["vector", "region_vectors"] if needs_regions(conf) else ["vector"]
    return usable.select(sf.col("image_id").alias("query_id"), *names, *([own] if own else []))
