"""Find the things that recur in a collection, though no one named them."""

import logging
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.config import Meta, SettingError, digest_of, execution
from resight.discovery.bank import RegionBank
from resight.discovery.found import FOUND, rescue_found
from resight.discovery.gathering.spark import list_descriptors, list_instances, list_maps, rank_objects
from resight.discovery.pooling import fit_box_whitening
from resight.discovery.settings import DiscoverySettings, network_settings
from resight.discovery.spark import (
    build_region_graph,
    climb_regions,
    list_regions,
    solve_centrality,
    write_bank,
)
from resight.discovery.work import CentralityWork, ObjectWork, RegionWork
from resight.features.fitting.spark import sample_rows, sum_covariance
from resight.features.settings import ExtractSettings
from resight.graph.matrix import GraphFiles
from resight.graph.regions.spark import check_node_ids
from resight.job import Input, job
from resight.jobs.extract_features import arithmetic, run_extraction, vector_properties
from resight.knn.plan import choose_method
from resight.knn.spark import search_exact
from resight.search.queries.like import find_work
from resight.store import TableStore, spark_schema
from resight.tables import (
    GLOBAL_DESCRIPTORS,
    IMAGES,
    MODELS,
    OBJECT_INSTANCES,
    OBJECTS,
    SALIENCY_MAPS,
    SOURCES,
)
from resight.workspace import Run

log = logging.getLogger("resight")
FITTED_ON = 100_000  # boxes that a whitening is fitted on
READ = ("image_id", "content_hash", "root", "uri", "byte_offset", "n_bytes")


class DiscoverConfig(DiscoverySettings, frozen=True):
    """Settings of ``discover-objects``."""

    descriptors: Annotated[
        str, Meta(description="build of extract-features whose network and whitening describe boxes")
    ] = ""
    whitening: Annotated[
        Literal["auto", "none"],
        Meta(description="auto: that of the descriptors; where they have none, it is fitted on the boxes"),
    ] = "auto"
    dims: Annotated[int, Meta(ge=1, description="dimensions of a whitening that is fitted")] = 512
    power: Annotated[
        float, Meta(ge=0, le=1, description="of a whitening that is fitted: 0 rotates, 1 whitens fully")
    ] = 0.3
    k: Annotated[int, Meta(ge=1, le=2048, description="neighbours of a box in the graph")] = 50
    alpha: Annotated[float, Meta(ge=0, lt=1, description="weight of the neighbours in the centrality")] = 0.99
    tol: Annotated[float, Meta(gt=0, lt=1, description="relative residual of the centrality")] = 1e-6
    similarity: Annotated[
        float, Meta(ge=0, le=1, description="least cosine of neighbouring boxes of one object")
    ] = 0.5
    min_images: Annotated[
        int, Meta(ge=2, description="images of an object, copies of a file counted once")
    ] = 3
    represent: Annotated[
        bool, Meta(description="also describe every image by its objects (global_descriptors)")
    ] = False
    dtype: Annotated[
        Literal["float16", "float32"], Meta(description="of the vectors that --represent stores")
    ] = "float16"
    seed: Annotated[int, Meta(description="of samples and of the ids of boxes")] = 0
    method: Annotated[
        Literal["auto", "exact", "ivf"],
        Meta(description="neighbours of boxes: all pairs, inverted lists, or by size"),
    ] = "auto"
    recall: Annotated[float, Meta(gt=0, le=1, description="what the inverted lists are tuned for")] = 0.95
    block_rows: Annotated[int, execution("vectors per block of the exact path: bounds memory", ge=1)] = 25_000
    block_nodes: Annotated[int, execution("boxes per block of the graph: bounds memory", ge=1)] = 65_536
    max_task_edges: Annotated[int, execution("edges that one task joins into components", ge=1)] = 4_000_000
    chunk_size: Annotated[int, execution("images per chunk of work", ge=1)] = 256

    def kernel_settings(self) -> DiscoverySettings:
        """Give the part that the kernels know."""
        names = DiscoverySettings.__struct_fields__
        return DiscoverySettings(**{name: getattr(self, name) for name in names})

    def build_name(self) -> str:
        """Name the build by what it finds."""
        return "objects"


def is_described(run: Run) -> bool:
    """Whether descriptors were made by a network here, so that parts of images can be described alike."""
    return run.job == "extract-features" and run.settings.get("extractor") != "colour"


class Recipe(NamedTuple):
    """How boxes are described, and the ``folder`` of what a resumed run finds again.

    ``whitening`` holds packed models, applied one after the other; ``fitted``: it is the run's own.
    """

    network: ExtractSettings
    whitening: tuple[bytes, ...]
    sha256: str
    folder: str
    fitted: bool = False


@job(
    "discover-objects",
    DiscoverConfig,
    reads=(IMAGES, SOURCES, Input(GLOBAL_DESCRIPTORS, "descriptors", kind=is_described)),
    writes=(SALIENCY_MAPS, OBJECTS, OBJECT_INSTANCES, GLOBAL_DESCRIPTORS, MODELS),
)
def main(store: TableStore, conf: DiscoverConfig) -> None:
    """Find boxes that resemble boxes of other images, and group them to objects, the most frequent first.

    Simeoni et al., "Graph-based particular object discovery", 2019: salient boxes of all images form a graph;
    patches that resemble its central boxes make up the object saliency of an image, whose boxes are the
    instances. Chunks of images and blocks of the graph that an interrupted run has finished are not computed
    again; a collection that has grown is looked at anew as a whole, as every box counts in every other's
    centrality, by the whitening that was fitted first.
    """
    images = store.read(IMAGES).where("status = 'ok' and removed_at is null and pixel_hash is not null")
    check_gone(store, images)
    recipe = read_recipe(store, conf)
    store.note(**arithmetic(store, recipe.network))
    firsts = images.groupBy("content_hash").agg(sf.min("image_id").alias("image_id")).select("image_id")
    distinct = images.join(firsts, "image_id", "left_semi")
    work = RegionWork(recipe.network, conf.kernel_settings(), recipe.sha256)
    chunk = {"chunk_size": conf.chunk_size, "label": main.name}
    found = run_extraction(store, distinct, work, rescue_found, schema=FOUND, **chunk)
    recipe = choose_whitening(store, conf, recipe, found)
    regions = store.persist("regions", list_regions(found, recipe.whitening, seed=conf.seed))
    seen = find_objects(store, conf, recipe, distinct, found, regions)
    write_tables(store, conf, recipe, images.select("image_id", "content_hash", "width", "height"), seen)


def check_gone(store: TableStore, images: DataFrame) -> None:
    """Refuse to lose more images than allowed since the last run."""
    previous = store.previous(SALIENCY_MAPS)
    if previous is not None:
        gone = previous.join(images, "image_id", "left_anti").count()
        store.check_loss(gone, previous.count(), "images that are gone")


def read_recipe(store: TableStore, conf: DiscoverConfig) -> Recipe:
    """Describe boxes as the descriptors of the run describe images."""
    from resight.features.backbones import weights_sha256

    like = find_work(store.reader, store.run.inputs[GLOBAL_DESCRIPTORS.name])
    try:
        network = network_settings(like.settings, conf.longer_side)
    except ValueError as error:
        raise SettingError(str(error)) from None
    last = store.run.previous and store.run.previous.run_id
    folder = store.staging(digest_of([store.source(IMAGES)[1].version, last, conf.chunk_size, "objects"]))
    whitening = () if conf.whitening == "none" else like.whitening
    return Recipe(network, whitening, like.sha256 or weights_sha256(network), folder)


def choose_whitening(store: TableStore, conf: DiscoverConfig, recipe: Recipe, found: DataFrame) -> Recipe:
    """Fit a whitening on the boxes where the descriptors have none; growth never refits it."""
    if conf.whitening == "none" or recipe.whitening:
        return recipe
    previous = store.previous(MODELS)
    if previous is not None:
        return recipe._replace(whitening=(bytes(previous.collect()[0]["params"]),), fitted=True)
    path = files.join(recipe.folder, "whitening.npz")
    if not files.exists(path):
        rows = store.hold(list_regions(found, seed=conf.seed).select("image_id", "region_ix", "vector"))
        key = ["image_id", "region_ix"]
        sampled = sample_rows(rows, key, sample=FITTED_ON, seed=conf.seed)
        if sampled.isEmpty():
            return recipe
        sums = sum_covariance(sampled, dtype="float32", key=key)
        fitted = fit_box_whitening(sums, dims=conf.dims, power=conf.power)
        files.create_once(path, fitted.to_bytes())
    return recipe._replace(whitening=(files.read_bytes(path),), fitted=True)


def find_objects(
    store: TableStore,
    conf: DiscoverConfig,
    recipe: Recipe,
    images: DataFrame,
    found: DataFrame,
    regions: DataFrame,
) -> DataFrame:
    """Find in every image what resembles the central ones of ``regions``: `FOUND` rows, also of failures."""
    opened = open_graph(store, conf, regions, files.join(recipe.folder, "features"))
    if opened is None:
        return found
    bank, graph = opened
    centrality = CentralityWork(graph, conf.alpha, conf.tol)
    bank, figures = solve_centrality(store.spark, graph, bank, centrality, block_nodes=conf.block_nodes)
    store.note(regions=bank.vectors.n, edges=graph.nnz // 2, **figures)
    fine = found.where("status = 'ok'").select("image_id")
    rows = images.join(fine, "image_id").join(store.read(SOURCES).select("source_id", "root"), "source_id")
    work = ObjectWork(recipe.network, conf.kernel_settings(), bank, recipe.whitening, recipe.sha256)
    folder = files.join(recipe.folder, "objects")
    chunks = Chunks(folder, work, rescue_found, conf.chunk_size, label=main.name)
    store.note(object_chunks=run_chunks(rows.select(*READ), "image_id", chunks))
    seen = read_chunks(store.spark, chunks, from_arrow_schema(FOUND))
    return seen.unionByName(found.where("status != 'ok'"))


def open_graph(
    store: TableStore, conf: DiscoverConfig, regions: DataFrame, folder: str
) -> tuple[RegionBank, GraphFiles] | None:
    """Write boxes and the graph of their mutual neighbours as files; None where there are no boxes."""
    check_node_ids(regions)
    bank = write_bank(regions, folder)
    layout = bank.vectors
    if not layout.n:
        return None
    plan = choose_method(layout.n - layout.n_copies, layout.d, method=conf.method)
    log.info("discover-objects: %s, because %s", plan.method, plan.reason)
    if plan.method == "ivf":
        from resight.knn.inverted.spark import build_lists, search_inverted

        where = files.join(folder, "lists")
        inverted = build_lists(store.spark, layout, where, k=conf.k, recall=conf.recall, seed=conf.seed)
        bank, lists = replace(bank, lists=inverted), search_inverted(store.spark, layout, inverted, k=conf.k)
    else:
        lists = search_exact(store.spark, layout, k=conf.k, block_rows=conf.block_rows)
    graph = build_region_graph(
        store.hold(lists),
        bank,
        gamma=conf.gamma,
        keep_own=conf.keep_own,
        hold=store.hold,
        max_task_edges=conf.max_task_edges,
    )
    return bank, graph


def write_tables(
    store: TableStore, conf: DiscoverConfig, recipe: Recipe, images: DataFrame, seen: DataFrame
) -> None:
    """Group the boxes of ``seen`` to objects and write the tables; images of equal bytes share rows."""
    boxes = store.persist("boxes", list_regions(seen, seed=conf.seed))
    opened = open_graph(store, conf, boxes, files.join(recipe.folder, "instances"))
    climbs = boxes.selectExpr("node_id as src", "node_id as dst").limit(0)
    if opened is not None:
        bank, graph = opened
        floor = conf.similarity**conf.gamma
        climbs = climb_regions(store.spark, graph, bank, floor=floor, block_nodes=conf.block_nodes)
    steps = files.join(recipe.folder, "climbs")
    climbs = store.hold(climbs)
    rows = list_instances(boxes, climbs, images, min_images=conf.min_images, folder=steps)
    store.write(OBJECT_INSTANCES, rows)
    instances = store.written(OBJECT_INSTANCES)
    store.write(OBJECTS, rank_objects(instances))
    store.write(SALIENCY_MAPS, list_maps(seen, images))
    if conf.represent:
        described = store.persist("described", list_descriptors(seen, images, dtype=conf.dtype))
        store.write(GLOBAL_DESCRIPTORS, described, properties=vector_properties(described, conf.dtype))
    if recipe.fitted:
        fitted = [("whitening", bytearray(recipe.whitening[-1]))]
        store.write(MODELS, store.spark.createDataFrame(fitted, spark_schema(MODELS)))
    objects = store.written(OBJECTS)
    (row,) = objects.agg(sf.count("*").alias("n"), sf.max("n_images").alias("most")).collect()
    covered = instances.select("image_id").distinct().count()
    store.note(objects=row["n"], images_of_the_largest=row["most"] or 0, images_with_objects=covered)


if __name__ == "__main__":
    run(main)
