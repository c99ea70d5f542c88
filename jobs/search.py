"""Rank the images of a collection for every query."""

import logging
from collections.abc import Mapping
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
from resight.diffusion.plan import Plan, choose_path, fit_lanes
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
from resight.search.fused.verified import Extraction, check_verified
from resight.search.locate import check_alpha
from resight.search.regions import RegionFiles
from resight.search.settings import (
    SearchSettings,
    needs_fusion,
    needs_graph,
    needs_index,
    needs_manifold,
    needs_regions,
    needs_vectors,
    opens_graph,
)
from resight.search.storage.spark import write_manifold_files, write_mask, write_region_files
from resight.session import DEFAULTS
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
    task_memory: Annotated[float, execution("GiB that a task may fill: auto goes by it", gt=0)] = 4.0
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

    def check_spark(self, properties: Mapping[str, str]) -> None:
        """Look whether all ranks of a graph in parts can run together."""
        if self.path == "partitioned":
            known = {"spark.master": DEFAULTS["spark.master"], **properties}
            check_slots(max(self.n_parts, 1), known.get)

    def differs(self, store: TableStore) -> bool:
        """Whether answers would be exact now and were not, or the reverse: memory and slots decide."""
        before = store.run.previous.notes.get("path") if store.run.previous else None
        return before is not None and is_cut(before) != is_cut(choose_plan(store, self).path)


def is_cut(path: str) -> bool:
    """Whether a path diffuses among shortlists; the others give the same results."""
    return path == "truncated"


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
        *(Input(table, "graph", when=opens_graph, kind=of_images) for table in GRAPH),
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
    check_keypoints(store, conf)
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
    """Choose how a search is distributed, say why, and find out what cannot work before anything is done."""
    if needs_manifold(conf):
        check_alpha(conf, store.run.inputs[MANIFOLD_NEIGHBORS.name])
    plan = choose_plan(store, conf)
    if not (needs_graph(conf) or needs_regions(conf)):
        return plan
    log.info("search: %s, because %s", plan.path, plan.reason)
    if plan.path == "partitioned":  # before anything is described or written
        check_slots(conf.n_parts or plan.n_parts, partial(store.spark.conf.get, default=None))
    store.note(path=plan.path)
    return plan


def choose_plan(store: TableStore, conf: SearchConfig) -> Plan:
    """Choose how a diffusion over a graph of images, or of regions, is distributed; others have one way."""
    of_regions = needs_regions(conf)
    if not (needs_graph(conf) or of_regions):
        return Plan("replicated", "the method has one way")
    n, nnz = (store.source(table)[1].n_rows for table in (NODES, EDGES))
    wanted = "truncated" if conf.shortlist and conf.path == "auto" else conf.path
    memory = int(conf.task_memory * 2**30)
    choose = partial(choose_path, n, nnz, BATCH, memory_bytes=memory, path=wanted, of_regions=of_regions)
    plan = choose(n_slots=None)
    if plan.path == "partitioned" and wanted == "auto":  # only then is it asked what the session can run
        plan = choose(n_slots=count_slots(partial(store.spark.conf.get, default=None)))
    return plan


def rank_by_keypoints(store: TableStore, conf: SearchConfig, queries: DataFrame, dtype: str) -> DataFrame:
    """Rank by local features over an inverted file."""
    from resight.search.local.spark import rank_by_index

    chosen = select_images(store.read(IMAGES), parse_filter(conf.filter)) if conf.filter else None
    n_slots = count_slots(lambda key: store.spark.conf.get(key, None))
    return rank_by_index(store, queries, conf.settings(), dtype=dtype, chosen=chosen, n_slots=n_slots)


def rank_by_fusion(store: TableStore, conf: SearchConfig, queries: DataFrame, dtypes: Dtypes) -> DataFrame:
    """Rank by vectors, an inverted file, verification and a graph of fused similarity together."""
    from resight.search.fused.running.spark import find_known, pack_further, rank_by_all
    from resight.search.fused.spark import FusedFiles

    more = []
    if input_key(RESULTS, FURTHER) in store.run.inputs:
        more.append(pack_further(store.read(RESULTS, role=FURTHER)))
    if VERIFIED_PAIRS.name in store.run.inputs:
        more.append(find_known(queries, store.read(VERIFIED_PAIRS), store.read(IMAGES)))
    searched = filter_images(store, conf, open_files(store))
    descriptors = join_descriptors(store, searched.vectors, conf.colour_weight)
    n_slots = count_slots(lambda key: store.spark.conf.get(key, None))
    fused = FusedFiles(searched, descriptors, None, dtypes.vectors, dtypes.keypoints)
    return rank_by_all(store, queries, fused, conf.settings(), more=more, n_slots=n_slots)


def check_keypoints(store: TableStore, conf: SearchConfig) -> None:
    """Raise `SettingError` where an index, or what is fused with it, does not fit; nothing was done yet."""
    if not needs_index(conf):
        return
    from resight.asmk.searching.recipe import read_recipe  # compiled loops, which no command line waits for
    from resight.search.fused.recipe import index_settings
    from resight.search.local.spark import read_codebook

    indexed, codebook = store.run.inputs[SHARDS.name], read_codebook(store)
    settings = index_settings(conf.settings()) if needs_fusion(conf) else conf.settings()
    read_recipe(settings, codebook.n_bits, indexed)
    if needs_fusion(conf):
        check_codebook(store)
        check_further(store, conf)
        verified, builds = store.run.inputs.get(VERIFIED_PAIRS.name), store.workspace.builds()
        if verified is not None:
            extraction = Extraction(builds[indexed.parents[MODELS.name]], codebook.sha256)
            check_verified(verified, VerifySettings(), extraction, builds)


def check_further(store: TableStore, conf: SearchConfig) -> None:
    """Raise `SettingError` where a further search is not one of the same queries."""
    from resight.search.fused.rankings import check_same_queries

    ranked = store.run.inputs.get(input_key(RESULTS, FURTHER))
    if ranked is not None:
        asked = {name: getattr(conf, name) for name in ("queries", "root", "queries_from")}
        check_same_queries(ranked, asked, list_queries(conf))


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
    n, nnz = (store.source(table)[1].n_rows for table in (NODES, EDGES))
    lanes = fit_lanes(n, nnz, n_parts, memory_bytes=int(conf.task_memory * 2**30))
    log.info("search: %d parts, %d queries are solved together", n_parts, lanes)
    tables = (store.read(NODES), store.read(EDGES), store.read(COMPONENTS))
    folder = files.join(store.shard_folder(EDGES), f"parts-{n_parts}")
    graph = write_partitioned_files(tables, folder, n_parts=n_parts)
    searched = filter_images(store, conf, SearchFiles(open_vectors(store))), graph
    work = store.staging(files.join(store.run.run_id, "parts"))
    return search_partitioned(queries, searched, conf.settings(), work, source_dtype=dtype, lanes=lanes)


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
