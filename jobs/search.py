"""Rank the images of a collection for every query."""

import logging
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from msgspec import structs
from pyspark.sql import DataFrame

from resight import files
from resight.cli import run
from resight.config import Meta, SettingError, digest_of, execution
from resight.diffusion.partitioned.slots import check_slots, count_slots
from resight.diffusion.partitioned.storage.spark import write_partitioned_files
from resight.diffusion.plan import Plan, choose_path
from resight.features.fitting.spark import select_images
from resight.graph.builds import of_fused, of_images, of_regions
from resight.images.sources import parse_source
from resight.images.version import version_of_source
from resight.job import Input, job
from resight.jobs.build_graph import (
    GraphConfig,
    join_descriptors,
    list_regions,
    open_graph,
    open_regions,
    open_vectors,
)
from resight.jobs.build_index import is_codebook
from resight.knn.matrix import VectorFiles
from resight.search.asked.spark import Asked, Dtypes, ask_collection, ask_files
from resight.search.collection import SearchFiles
from resight.search.filter import parse_filter
from resight.search.fused.similarity import COLOUR
from resight.search.fused.verified import check_verified
from resight.search.regions import RegionFiles
from resight.search.settings import (
    SearchSettings,
    needs_fusion,
    needs_graph,
    needs_index,
    needs_manifold,
    needs_regions,
    needs_vectors,
)
from resight.search.storage.spark import write_manifold_files, write_mask, write_region_files
from resight.store import TableStore
from resight.tables import (
    COMPONENTS,
    EDGES,
    EXPLANATIONS,
    GLOBAL_DESCRIPTORS,
    IMAGE_STATS,
    IMAGES,
    LOCAL_DESCRIPTORS,
    MANIFOLD_NEIGHBORS,
    MODELS,
    NODES,
    QUERIES,
    REGION_DESCRIPTORS,
    RESULTS,
    SHARDS,
    SOURCES,
    VERIFIED_PAIRS,
    WORD_STATS,
)
from resight.verification.settings import VerifySettings
from resight.workspace import Run, input_key

GRAPH = (EDGES, NODES, COMPONENTS)
INDEX = (SHARDS, IMAGE_STATS, WORD_STATS)
BATCH = 16  # queries that are solved together at least
FURTHER = "further"  # role of the search that --also names; that of the graph is of other queries
SHORTLIST = 10_000  # images of a query's small system, as in the paper
log = logging.getLogger("resight")
FLAGS = ("no_support", "iterations", "residual")


class SearchConfig(SearchSettings, frozen=True):
    """Settings of ``search``."""

    queries: Annotated[
        str, Meta(description="folder, glob, tar or manifest (columns y0 x0 y1 x1: boxes) of query images")
    ] = ""
    root: Annotated[str, Meta(description="folder of a manifest's uris; default: the manifest's own")] = ""
    queries_from: Annotated[
        Literal["", "collection"], Meta(description="collection: every image asks, itself left out")
    ] = ""
    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    graph: Annotated[str, Meta(description="build of the graph (diffusion, fused); default: the newest")] = ""
    manifold: Annotated[
        str, Meta(description="build of diffuse (offline_diffusion); default: the newest")
    ] = ""
    colour: Annotated[
        str, Meta(description="build of further descriptors (fused); default: the graph's, if it has any")
    ] = ""
    also: Annotated[
        str,
        Meta(description="build of a search of the same queries by a further index (fused); default: none"),
    ] = ""
    index: Annotated[str, Meta(description="build of build-index; default: the newest")] = ""
    filter: Annotated[
        tuple[str, ...],
        Meta(description="return only images with column=value, a column of images or of their manifest"),
    ] = ()
    path: Annotated[
        Literal["auto", "replicated", "partitioned", "truncated"],
        Meta(
            description="diffusion: whole graph in each task, its rows over tasks, or a shortlist per query"
        ),
    ] = "auto"
    task_memory: Annotated[float, execution("GiB that a task may fill: decides the path", gt=0)] = 4.0
    n_parts: Annotated[int, execution("parts of a partitioned graph; 0: as few as fit", ge=0)] = 0
    chunk_size: Annotated[int, execution("query images per chunk of work", ge=1)] = 256

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        parse_filter(self.filter)
        if bool(self.queries) == bool(self.queries_from):
            raise ValueError("queries: give --queries or --queries-from collection, and only one of them")
        if self.also and self.method != "fused":
            raise ValueError("also: only for the method fused")
        if self.shortlist and self.path in ("replicated", "partitioned"):
            raise ValueError("shortlist: only on the path truncated, or auto, which then is that one")
        if self.path == "partitioned" and not needs_graph(self):
            raise ValueError("path: partitioned is for the method diffusion")
        if self.path == "truncated" and not (needs_graph(self) or needs_regions(self)):
            raise ValueError("path: truncated is for the methods diffusion and regional_diffusion")
        super().__post_init__()

    def settings(self) -> SearchSettings:
        """Give the part that the kernels know."""
        return SearchSettings(**{name: getattr(self, name) for name in SearchSettings.__struct_fields__})

    @property
    def preload(self) -> tuple[str, ...]:
        """What networks are built with, if there are images to describe."""
        return ("timm",) if self.queries else ()

    def check(self) -> None:
        """Look for query images on a local disk."""
        if self.queries and files.local_path(self.queries):
            parse_source(self.queries, root=self.root, option="--queries")


def list_queries(conf: SearchConfig) -> str:
    """Give the version of the query images: names, sizes and times; "" is always new."""
    if conf.queries_from:
        return conf.queries_from
    return version_of_source(parse_source(conf.queries, root=conf.root, option="--queries"))


def reads_keypoints(conf: SearchConfig) -> bool:
    """Whether the keypoints of indexed images are asked with, or verified."""
    return needs_fusion(conf) or (needs_index(conf) and bool(conf.queries_from))


@job(
    "search",
    SearchConfig,
    reads=(
        Input(MANIFOLD_NEIGHBORS, "manifold", when=needs_manifold),
        *(Input(table, "graph", when=needs_graph, kind=of_images) for table in GRAPH),
        *(Input(table, "graph", when=needs_regions, kind=of_regions, how="--of regions") for table in GRAPH),
        *(Input(table, "graph", when=needs_fusion, kind=of_fused, how="--of fused") for table in GRAPH),
        Input(REGION_DESCRIPTORS, "descriptors", when=needs_regions, how="--regions"),
        Input(GLOBAL_DESCRIPTORS, "descriptors", when=needs_vectors),
        Input(GLOBAL_DESCRIPTORS, "colour", optional=True, newest=False, role=COLOUR, when=needs_fusion),
        Input(RESULTS, "also", optional=True, newest=False, role=FURTHER, when=needs_fusion),
        Input(VERIFIED_PAIRS, "verified", optional=True, newest=False, when=needs_fusion),
        *(Input(table, "index", when=needs_index) for table in INDEX),
        Input(MODELS, when=needs_index, kind=is_codebook),
        Input(LOCAL_DESCRIPTORS, optional=True, when=reads_keypoints),
        Input(SOURCES, when=reads_keypoints),
        IMAGES,
    ),
    writes=(QUERIES, RESULTS, EXPLANATIONS),
    external=list_queries,
)
def main(store: TableStore, conf: SearchConfig) -> None:
    """Rank images by similarity, query expansion, diffusion, local features, or all; ties go by image_id.

    Query images are described as the collection was. A query that cannot be read or described is a row of
    ``queries`` with a status, and has no results.
    """
    from resight.search.spark import search as rank_queries
    from resight.search.spark import unpack_explanations, unpack_results

    plan = plan_path(store, conf)
    queries, asked, dtypes = describe_asked(store, conf)
    if needs_fusion(conf):
        ranked = rank_by_fusion(store, conf, asked, dtypes)
    elif needs_index(conf):
        ranked = rank_by_keypoints(store, conf, asked, dtypes.keypoints)
    elif plan.path == "partitioned":
        ranked = rank_by_parts(store, conf, plan, asked, dtypes.vectors[0])
    else:
        searched, settings = filter_images(store, conf, open_files(store)), conf.settings()
        if plan.path == "truncated":
            settings = structs.replace(settings, shortlist=conf.shortlist or SHORTLIST)
        ranked = rank_queries(asked, searched, settings, source_dtype=dtypes.vectors[0])
    answers = store.persist("answers", ranked)
    store.write(RESULTS, unpack_results(answers, conf.method))
    flags = answers.select("query_id", *FLAGS)
    store.write(QUERIES, queries.drop(*FLAGS).join(flags, "query_id", "left"))
    if conf.explain:
        store.write(EXPLANATIONS, unpack_explanations(answers))


def plan_path(store: TableStore, conf: SearchConfig) -> Plan:
    """Choose how a diffusion over a graph of images, or of regions, is distributed; others have one way."""
    of_regions = needs_regions(conf)
    if not (needs_graph(conf) or of_regions):
        return Plan("replicated", "the method has one way")
    n, nnz = (store.source(table)[1].n_rows for table in (NODES, EDGES))
    wanted = "truncated" if conf.shortlist and conf.path == "auto" else conf.path
    settings = partial(store.spark.conf.get, default=None)
    n_slots = count_slots(settings)
    memory = int(conf.task_memory * 2**30)
    plan = choose_path(
        n, nnz, BATCH, memory_bytes=memory, n_slots=n_slots, path=wanted, of_regions=of_regions
    )
    log.info("search: %s, because %s", plan.path, plan.reason)
    if plan.path == "partitioned":  # before anything is described or written
        check_slots(conf.n_parts or plan.n_parts, settings)
    store.note(path=plan.path)
    return plan


def rank_by_keypoints(store: TableStore, conf: SearchConfig, queries: DataFrame, dtype: str) -> DataFrame:
    """Rank by local features over an inverted file."""
    from resight.search.local.spark import rank_by_index

    chosen = select_images(store.read(IMAGES), parse_filter(conf.filter)) if conf.filter else None
    n_slots = count_slots(lambda key: store.spark.conf.get(key, None))
    return rank_by_index(store, queries, conf.settings(), dtype=dtype, chosen=chosen, n_slots=n_slots)


def rank_by_fusion(store: TableStore, conf: SearchConfig, queries: DataFrame, dtypes: Dtypes) -> DataFrame:
    """Rank by vectors, an inverted file, verification and a graph of fused similarity together."""
    from resight.search.fused.running.spark import join_further, join_known, rank_by_all

    check_codebook(store)
    if check_further(store, conf):
        queries = join_further(queries, store.read(RESULTS, role=FURTHER))
    verified = store.run.inputs.get(VERIFIED_PAIRS.name)
    if verified is not None:
        check_verified(verified, VerifySettings())
        queries = join_known(queries, store.read(VERIFIED_PAIRS), store.read(IMAGES))
    searched = filter_images(store, conf, open_files(store))
    descriptors = join_descriptors(store, searched.vectors, conf.colour_weight)
    n_slots = count_slots(lambda key: store.spark.conf.get(key, None))
    return rank_by_all(store, queries, searched, descriptors, conf.settings(), dtypes=dtypes, n_slots=n_slots)


def check_further(store: TableStore, conf: SearchConfig) -> bool:
    """Whether there is a further search; `SettingError` where it is not one of the same queries."""
    from resight.search.fused.rankings import check_same_queries

    ranked = store.run.inputs.get(input_key(RESULTS, FURTHER))
    if ranked is not None:
        asked = {name: getattr(conf, name) for name in ("queries", "root", "queries_from")}
        check_same_queries(ranked, asked, list_queries(conf))
    return ranked is not None


def check_codebook(store: TableStore) -> None:
    """Raise `SettingError` where the index was not made with the codebook that its graph was."""
    indexed, fitted = store.run.inputs[SHARDS.name], store.run.inputs[MODELS.name]
    if indexed.parents.get(MODELS.name) != fitted.build_id:
        raise SettingError(
            f"--index: {indexed.name!r} has another codebook than {fitted.name!r}, from which the graph "
            "comes; name an index that has it, or none"
        )


def rank_by_parts(
    store: TableStore, conf: SearchConfig, plan: Plan, queries: DataFrame, dtype: str
) -> DataFrame:
    """Rank by diffusion over a graph of which no task holds more than its part."""
    from resight.search.partitioned.spark import search_partitioned

    check_descent(store)
    n_parts = conf.n_parts or plan.n_parts
    tables = (store.read(NODES), store.read(EDGES), store.read(COMPONENTS))
    folder = files.join(store.shard_folder(EDGES), f"parts-{n_parts}")
    graph = write_partitioned_files(tables, folder, n_parts=n_parts)
    searched = filter_images(store, conf, SearchFiles(open_vectors(store))), graph
    work = store.staging(files.join(store.run.run_id, "parts"))
    return search_partitioned(queries, searched, conf.settings(), work, source_dtype=dtype)


def open_files(store: TableStore) -> SearchFiles:
    """Give the files of the inputs of the run, each written at the first use of its version."""
    check_descent(store)
    vectors, inputs = open_vectors(store), store.run.inputs
    if REGION_DESCRIPTORS.name in inputs:
        return SearchFiles(vectors, regions=open_region_files(store, vectors))
    graph = open_graph(store) if EDGES.name in inputs else None
    manifold = None
    if MANIFOLD_NEIGHBORS.name in inputs:
        folder = files.join(store.shard_folder(MANIFOLD_NEIGHBORS), last_name(vectors.folder))
        manifold = write_manifold_files(store.read(MANIFOLD_NEIGHBORS), vectors, folder)
        store.drop_old_shards(MANIFOLD_NEIGHBORS)
    return SearchFiles(vectors, graph, manifold)


def filter_images(store: TableStore, conf: SearchConfig, searched: SearchFiles) -> SearchFiles:
    """Restrict what is returned to the images that ``--filter`` allows."""
    if not conf.filter:
        return searched
    chosen = select_images(store.read(IMAGES), parse_filter(conf.filter))
    try:
        mask = write_mask(chosen, searched.vectors, files.join(store.staging(store.run.run_id), "allowed"))
    except ValueError as error:
        raise SettingError(f"--filter: {error}") from None
    return replace(searched, allowed=mask)


def open_region_files(store: TableStore, images: VectorFiles) -> RegionFiles:
    """Give the files of the graph of regions and of its nodes' vectors, made again as the graph's job did."""
    conf = GraphConfig.from_mapping(store.run.inputs[EDGES.name].settings)
    regions = open_regions(store, conf, list_regions(store, conf))
    folder = files.join(store.shard_folder(EDGES), f"regions-{last_name(images.folder)}")
    return write_region_files(store.read(NODES), regions, open_graph(store), images, folder)


def last_name(folder: str) -> str:
    """Give the last part of a path."""
    return files.join(folder).split("/")[-1]


def check_descent(store: TableStore) -> None:
    """Raise `SettingError` where the graph was made from other descriptors than those searched."""
    described = store.run.inputs[GLOBAL_DESCRIPTORS.name]
    for table in (EDGES, MANIFOLD_NEIGHBORS):
        run = store.run.inputs.get(table.name)
        made_of = descends_from(store, run) if run else described.build_id
        if run and made_of != described.build_id:
            raise SettingError(
                f"--descriptors: {run.name!r} was made from another build of descriptors than "
                f"{described.name!r}; name the one that belongs to it, or none"
            )


def descends_from(store: TableStore, run: Run) -> str:
    """Find the build of descriptors that ``run`` was made from."""
    builds = store.workspace.builds()
    while GLOBAL_DESCRIPTORS.name not in run.parents:
        run = builds[next(iter(run.parents.values()))]
    return run.parents[GLOBAL_DESCRIPTORS.name]


def describe_asked(store: TableStore, conf: SearchConfig) -> Asked:
    """Describe what asks: all images of the collection, or files by the settings of what is searched."""
    if conf.queries_from:
        return ask_collection(store, conf, chunk_size=conf.chunk_size)
    source = parse_source(conf.queries, source_id="queries", root=conf.root, option="--queries")
    key = digest_of([source.path, list_queries(conf) or store.run.run_id, conf.chunk_size])
    return ask_files(store, conf, source, key, chunk_size=conf.chunk_size)


if __name__ == "__main__":
    run(main)
