"""Find the nearest neighbours of every image, or region, and join mutual ones into a graph."""

import logging
from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.cli import run
from resight.config import Config, Meta, digest_of, execution
from resight.graph.matrix import GraphFiles
from resight.graph.regions.spark import (
    GROUP_ROWS,
    build_region_nodes,
    check_node_ids,
    list_region_nodes,
)
from resight.graph.spark import build_edges, build_nodes, find_components, list_copies
from resight.graph.storage.spark import write_graph_files
from resight.job import Input, job
from resight.knn.matrix import VectorFiles
from resight.knn.plan import choose_growth, choose_method
from resight.knn.spark import Approximation, expand_lists, list_neighbors, measure_recall
from resight.knn.storage.spark import write_vector_files
from resight.rerank.fuse import GAMMA
from resight.search.fused.similarity import COLOUR, DescriptorFiles
from resight.store import TableStore
from resight.tables import (
    COMPONENTS,
    EDGES,
    GLOBAL_DESCRIPTORS,
    IMAGES,
    NEIGHBORS,
    NODES,
    QUERIES,
    REGION_DESCRIPTORS,
    RESULTS,
)
from resight.workspace import input_key

MAX_K = 2048
ALSO = "also"  # role of the further search that a fused graph is made from
log = logging.getLogger("resight")


class GraphConfig(Config, frozen=True):
    """Settings of ``build-graph``."""

    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    k: Annotated[
        int | Literal["auto"],
        Meta(description="other nodes near each, distinct vectors; auto: 50, fused 20, all regions 200"),
    ] = "auto"
    of: Annotated[
        Literal["images", "regions", "fused"],
        Meta(
            description="nodes: images, their regions (extract-features --regions), or images by what the "
            "descriptors and an ASMK search say together"
        ),
    ] = "images"
    ranked: Annotated[
        str, Meta(description="fused: build of search --method asmk --queries-from collection --depth 120")
    ] = ""
    also: Annotated[
        str, Meta(description="fused: build of a further such search, by an index of other keypoints")
    ] = ""
    colour: Annotated[
        str, Meta(description="fused: build of further descriptors, such as colour; default: none")
    ] = ""
    colour_weight: Annotated[float, Meta(gt=0, description="fused: weight of their vectors")] = 0.6
    fused_weight: Annotated[
        float, Meta(ge=0, description="fused: weight of what the search adds to the similarity")
    ] = 0.4
    also_weight: Annotated[float, Meta(ge=0, description="fused: weight of what the further search adds")] = (
        0.4
    )
    compress: Annotated[
        int, Meta(ge=0, description="Gaussian components that replace the regions of an image; 0: keep all")
    ] = 0
    gmp_lambda: Annotated[
        float, Meta(gt=0, description="regularisation of the weights of an image's regions")
    ] = 1.0
    gamma: Annotated[
        float | Literal["auto"],
        Meta(description="exponent of the similarity in the affinity; auto: 3, or 2 fused"),
    ] = "auto"
    max_copies: Annotated[int, Meta(ge=1, description="images of one vector that a list shows")] = 10
    method: Annotated[
        Literal["auto", "exact", "ivf"],
        Meta(description="exact: all pairs; ivf: inverted lists; auto: by size"),
    ] = "auto"
    recall: Annotated[float, Meta(gt=0, le=1, description="what the inverted lists are tuned for")] = 0.95
    seed: Annotated[int, Meta(description="of samples, mixtures and the ids of regions")] = 0
    block_rows: Annotated[int, execution("vectors per block of the exact path: bounds memory", ge=1)] = 25_000
    max_task_edges: Annotated[int, execution("edges that one task joins into components", ge=1)] = 4_000_000

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if self.k != "auto" and not 1 <= self.k <= MAX_K:
            raise ValueError(f"k: from 1 to {MAX_K}, or auto")
        if self.gamma != "auto" and not self.gamma > 0:
            raise ValueError("gamma: above 0, or auto")
        if self.compress and self.of != "regions":
            raise ValueError("compress: only for a graph of regions, --of regions")
        for name in ("ranked", "also", "colour"):
            if self.of != "fused" and getattr(self, name):
                raise ValueError(f"{name}: only for --of fused")
        if self.of == "fused" and not self.ranked:
            raise ValueError(
                "ranked: --of fused needs a build of search --method asmk --queries-from collection"
            )

    @property
    def n_neighbors(self) -> int:
        """Give k: the paper takes 50, and 200 where the graph holds all regions."""
        if self.k != "auto":
            return self.k
        if self.of == "fused":
            return 20
        return 200 if self.of == "regions" and not self.compress else 50

    @property
    def n_similar(self) -> int:
        """Give the length of lists by one descriptor: fused ones are chosen from longer ones."""
        return max(50, self.n_neighbors) if self.of == "fused" else self.n_neighbors

    @property
    def exponent(self) -> float:
        """Give gamma: the paper takes 3."""
        if self.gamma != "auto":
            return self.gamma
        return GAMMA if self.of == "fused" else 3.0


def has_regions(conf: GraphConfig) -> bool:
    """Whether the graph is one of regions."""
    return conf.of == "regions"


def is_fused(conf: GraphConfig) -> bool:
    """Whether the graph is one of fused similarities."""
    return conf.of == "fused"


@job(
    "build-graph",
    GraphConfig,
    reads=(
        Input(REGION_DESCRIPTORS, "descriptors", when=has_regions, how="--regions"),
        Input(GLOBAL_DESCRIPTORS, "descriptors"),
        Input(RESULTS, "ranked", when=is_fused),
        Input(QUERIES, "ranked", when=is_fused),
        *(
            Input(t, "also", optional=True, newest=False, role=ALSO, when=is_fused)
            for t in (RESULTS, QUERIES)
        ),
        Input(GLOBAL_DESCRIPTORS, "colour", optional=True, newest=False, role=COLOUR, when=is_fused),
        IMAGES,
    ),
    writes=(NEIGHBORS, NODES, EDGES, COMPONENTS),
)
def main(store: TableStore, conf: GraphConfig) -> None:
    """List the k nearest nodes of each, among distinct vectors; copies never push neighbours out.

    A node is an image, or with ``--of regions`` a region of one. An edge joins two nodes that are in each
    other's lists. Nodes without a usable vector have no edges, and are counted. With ``--of fused`` the lists
    go by one descriptor, a second one and an ASMK search together.
    """
    if keeps_vectors(store):
        return
    if is_fused(conf):
        require_rankings(store)
    regions = keep_regions(store, conf) if has_regions(conf) else None
    layout = open_vectors(store) if regions is None else open_regions(store, conf, regions)
    plan = choose_method(layout.n - layout.n_copies, layout.d, method=conf.method)
    log.info("build-graph: %s, because %s", plan.method, plan.reason)
    store.note(vectors=layout.n, copies=layout.n_copies)
    copies = store.persist("copies", list_copies(store.spark, layout))
    renewed = None if is_fused(conf) else renew_lists(store, conf, layout, regions)
    approximate = Approximation(conf.recall, conf.seed) if plan.method == "ivf" else None
    lists = renewed
    if lists is None:
        lists = list_neighbors(
            store.spark, layout, k=conf.n_similar, block_rows=conf.block_rows, approximate=approximate
        )
    near = write_lists(store, conf, expand_lists(lists, layout, max_copies=conf.max_copies), layout)
    if renewed is not None and approximate:
        note_drift(store, conf, layout)
    note_recall(store, conf, near, layout, plan.method)
    write_nodes(store, regions, copies)
    edges = store.persist("edges", join_edges(store, conf, copies, grown=renewed is not None))
    store.write(EDGES, edges)
    note_isolated(store, edges)
    store.write(COMPONENTS, label_components(store, conf, edges, copies))


def keeps_vectors(store: TableStore) -> bool:
    """Whether all but the images is as the last run read it: then no vector is another one.

    What is read of an image is which others have its pixels, and that follows from the content described.
    """
    last = store.run.previous
    if last is None:
        return False
    read = {k: f"{r.build_id}@{r.outputs[k.partition(':')[0]].version}" for k, r in store.run.inputs.items()}
    if any(last.inputs.get(key) != version for key, version in read.items() if key != IMAGES.name):
        return False
    store.note(**last.notes)
    return True


def write_lists(store: TableStore, conf: GraphConfig, near: DataFrame, layout: VectorFiles) -> DataFrame:
    """Write the lists, fused ones made of ``near``; give those by one descriptor."""
    if not is_fused(conf):
        store.write(NEIGHBORS, near)
        return store.written(NEIGHBORS)
    near = store.persist("near", near)
    store.write(NEIGHBORS, fuse_lists(store, conf, near, layout))
    return near


def write_nodes(store: TableStore, regions: DataFrame | None, copies: DataFrame) -> None:
    """Write every node; note how many have a vector of length zero, one with a NaN, or none."""
    images = store.read(GLOBAL_DESCRIPTORS)
    nodes = build_nodes(images, copies) if regions is None else build_region_nodes(regions, copies)
    store.write(NODES, nodes)
    counted = store.run.outputs[NODES.name].statuses
    store.note(**{word: counted.get(word, 0) for word in ("zero", "nan", "missing")})


def require_rankings(store: TableStore) -> None:
    """Refuse searches that do not tell enough, or that some of the images were not there to ask in."""
    from resight.search.fused.rankings import check_answered, check_ranking

    usable = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'").select("image_id")
    for role, option in (("", "--ranked"), (ALSO, "--also")):
        ranked = store.run.inputs.get(input_key(RESULTS, role))
        if ranked is not None:
            check_ranking(ranked, option)
            asked = store.read(QUERIES, role=role).select("image_id")
            check_answered(usable.join(asked, "image_id", "left_anti").count(), ranked, option)


def renew_lists(
    store: TableStore, conf: GraphConfig, layout: VectorFiles, regions: DataFrame | None
) -> DataFrame | None:
    """Search only for the nodes whose lists changed since the last run; None where that does not pay."""
    from resight.knn.growth.spark import update_lists

    previous, vectors = store.previous(NEIGHBORS), list_vectors(store, conf, regions)
    if previous is None or vectors is None:
        return None
    now, then = (
        rows.select("image_id", sf.xxhash64("vector").alias(name))
        for rows, name in zip(vectors, ("now", "then"), strict=True)
    )
    joined = now.join(then, "image_id", "full").where("not (now <=> then)")
    moved = store.persist("moved", joined)
    n_fresh, n_gone = (moved.where(f"{name} is not null").count() for name in ("now", "then"))
    plan = choose_growth(n_fresh, n_gone, layout.n, k=conf.n_neighbors)
    log.info("build-graph: %s, because %s", plan.method, plan.reason)
    store.note(lists=plan.method, new=n_fresh, gone=n_gone)
    if plan.method != "renew":
        return None
    k, rows = conf.n_neighbors, conf.block_rows
    return update_lists(previous, moved.select("image_id"), layout, k=k, block_rows=rows, hold=store.hold)


def list_vectors(
    store: TableStore, conf: GraphConfig, regions: DataFrame | None
) -> tuple[DataFrame, DataFrame] | None:
    """Give the usable vectors of the nodes (image_id: the node) of today and of the last run, if any."""
    tables = [GLOBAL_DESCRIPTORS, IMAGES] + ([] if regions is None else [REGION_DESCRIPTORS])
    before, images = store.input_before(GLOBAL_DESCRIPTORS), store.input_before(IMAGES)
    if before is None or images is None or any(store.source_before(table) is None for table in tables):
        return None
    ok = "status = 'ok'"
    if regions is None:
        now, then = store.read(GLOBAL_DESCRIPTORS), before
        return unify_copies(now.where(ok), store.read(IMAGES)), unify_copies(then.where(ok), images)
    nodes = (regions.where(ok), list_regions(store, conf, before=True).where(ok))
    now, then = (rows.select(sf.col("node_id").alias("image_id"), "vector") for rows in nodes)
    return now, then


def join_edges(store: TableStore, conf: GraphConfig, copies: DataFrame, *, grown: bool) -> DataFrame:
    """Join mutual neighbours: where the lists have ``grown``, only those whose lists are not as they were."""
    from resight.graph.growth.spark import repair_edges, save_changed

    lists = store.written(NEIGHBORS)
    before, previous = store.previous(NEIGHBORS), store.previous(EDGES)
    if not grown or before is None or previous is None:
        return build_edges(lists, copies, gamma=conf.exponent)
    changed = save_changed(lists, before, store.staging(files.join(store.run.run_id, "grown")))
    store.note(lists_changed=changed.n)
    return repair_edges(lists, previous, copies, changed, gamma=conf.exponent)


def fuse_lists(store: TableStore, conf: GraphConfig, near: DataFrame, layout: VectorFiles) -> DataFrame:
    """Cut the lists of all images by fused similarity, from `NEIGHBORS` rows by one descriptor."""
    from resight.rerank.fuse import Weighting
    from resight.search.fused.spark import fuse_neighbors, number_lists, pack_rankings

    descriptors = join_descriptors(store, layout, conf.colour_weight)
    ranked, further = pack_rankings(store.read(RESULTS)), None
    if input_key(RESULTS, ALSO) in store.run.inputs:
        further = pack_rankings(store.read(RESULTS, role=ALSO))
    weighting = Weighting(conf.fused_weight, conf.also_weight)
    fused = fuse_neighbors(
        near, ranked, descriptors, k=conf.n_neighbors, further=further, weighting=weighting
    )
    return expand_lists(number_lists(fused, descriptors), layout, max_copies=conf.max_copies)


def join_descriptors(store: TableStore, layout: VectorFiles, weight: float) -> DescriptorFiles:
    """Give the files of the descriptors, and of further ones that the run reads, with their weights."""
    if input_key(GLOBAL_DESCRIPTORS, COLOUR) not in store.run.inputs:
        return DescriptorFiles(((layout, 1.0),))
    return DescriptorFiles(((layout, 1.0), (open_vectors(store, role=COLOUR), weight)))


def note_recall(
    store: TableStore, conf: GraphConfig, near: DataFrame, layout: VectorFiles, method: str
) -> None:
    """Note how many neighbours by one descriptor were found, of those that an exact search finds."""
    (measured,) = measure_recall(near, layout, k=conf.n_similar, seed=conf.seed).collect()
    figures = {name: round(measured[name], 4) for name in ("recall", "low", "high")}
    store.note(method=method, **figures)


def note_drift(store: TableStore, conf: GraphConfig, layout: VectorFiles) -> None:
    """Note how far lists that grew, and their edges, are from those of a graph built from nothing."""
    from resight.knn.growth.spark import measure_drift

    lists = store.written(NEIGHBORS)
    drift = measure_drift(lists, layout, k=conf.n_neighbors, recall=conf.recall, seed=conf.seed)
    log.info("build-graph: %.2g of the edges differ from a graph built from nothing", drift.edges_differ)
    store.note(grown=drift._asdict())


def open_vectors(store: TableStore, *, role: str = "") -> VectorFiles:
    """Give the descriptors of the run as memory-mapped files, written at the first use of this version."""
    folder = store.shard_folder(GLOBAL_DESCRIPTORS, role=role)
    layout = write_vector_files(
        unify_copies(store.read(GLOBAL_DESCRIPTORS, role=role).where("status = 'ok'"), store.read(IMAGES)),
        folder,
        source_dtype=store.properties(GLOBAL_DESCRIPTORS, role=role)["dtype"],
    )
    store.drop_old_shards(GLOBAL_DESCRIPTORS, role=role)
    return layout


def keep_regions(store: TableStore, conf: GraphConfig) -> DataFrame:
    """Compute `list_regions` once, and see that no two of them have one id."""
    regions = store.persist("regions", list_regions(store, conf))
    check_node_ids(regions)
    return regions


def list_regions(store: TableStore, conf: GraphConfig, *, before: bool = False) -> DataFrame:
    """Make the nodes of a graph of regions, with their vectors, from the descriptors of this run or the last.

    Raises
    ------
    ValueError
        Those of the last run are gone.
    """
    find = store.source_before if before else store.source
    described, listed, seen = (find(table) for table in (GLOBAL_DESCRIPTORS, REGION_DESCRIPTORS, IMAGES))
    if described is None or listed is None or seen is None:
        raise ValueError("the descriptors of the last run are gone")
    hashes = store.open(GLOBAL_DESCRIPTORS, *described).select("image_id", "content_hash")
    regions = store.open(REGION_DESCRIPTORS, *listed).join(hashes, "image_id")
    return list_region_nodes(
        unify_copies(regions, store.open(IMAGES, *seen), "region_ix"),
        dtype=listed[1].properties["dtype"],
        n_groups=max(1, -(-listed[1].n_rows // GROUP_ROWS)),
        compress=conf.compress,
        lam=conf.gmp_lambda,
        seed=conf.seed,
    )


def open_regions(store: TableStore, conf: GraphConfig, regions: DataFrame) -> VectorFiles:
    """Give the vectors of ``regions``, see `list_regions`, as memory-mapped files by node_id."""
    kept = digest_of([conf.compress, conf.seed])
    folder = files.join(store.shard_folder(REGION_DESCRIPTORS), kept)
    vectors = regions.select(sf.col("node_id").alias("image_id"), "vector")
    layout = write_vector_files(vectors, folder, source_dtype="float32")
    store.drop_old_shards(REGION_DESCRIPTORS)
    return layout


def open_graph(store: TableStore) -> GraphFiles:
    """Give the graph of the run's inputs as memory-mapped files, written at the first use of this version."""
    nodes, edges, components = (store.read(table) for table in (NODES, EDGES, COMPONENTS))
    layout = write_graph_files(nodes, edges, components, store.shard_folder(EDGES))
    store.drop_old_shards(EDGES)
    return layout


def unify_copies(vectors: DataFrame, images: DataFrame, *part: str) -> DataFrame:
    """Give images of equal pixels the very vector of the first: in other batches its last bits may differ.

    Pixels are those of ``images`` (`IMAGES`), bytes stand for them where nobody decoded these. ``part`` are
    further columns of the key, where an image has several vectors.
    """
    pixels = images.select("image_id", "content_hash", "pixel_hash")
    vectors = vectors.join(pixels, ["image_id", "content_hash"], "left")
    vectors = vectors.withColumn("looks", sf.coalesce("pixel_hash", "content_hash"))
    keys = ["looks", *part]
    seen = vectors.groupBy(*keys).agg(sf.count("*").alias("n"), sf.min("image_id").alias("image_id"))
    firsts = vectors.join(seen.where("n > 1").select("image_id", *part), ["image_id", *part])
    canonical = firsts.select(*keys, sf.col("vector").alias("canonical"))
    joined = vectors.join(canonical, keys, "left")
    return joined.select("image_id", *part, sf.coalesce("canonical", "vector").alias("vector"))


def note_isolated(store: TableStore, edges: DataFrame) -> None:
    """Note how many nodes that stand for themselves have no edge: diffusion reaches none from there."""
    standing = store.written(NODES).where("status = 'ok' and dup_of is null").select("node_id")
    linked = edges.select(sf.col("src").alias("node_id"))
    store.note(isolated=standing.join(linked, "node_id", "left_anti").count())


def label_components(store: TableStore, conf: GraphConfig, edges: DataFrame, copies: DataFrame) -> DataFrame:
    """Label every node: copies belong to the component of their vector, a node without edges to its own."""
    links = copies.select(sf.col("node_id").alias("src"), sf.col("dup_of").alias("dst"))
    links = links.unionByName(edges.where("src < dst").select("src", "dst"))
    folder = store.staging("components")
    labels = find_components(links, folder=folder, max_task_edges=conf.max_task_edges)
    nodes = store.written(NODES).select("node_id").join(labels, "node_id", "left")
    return nodes.select("node_id", sf.coalesce("component_id", "node_id").alias("component_id"))


if __name__ == "__main__":
    run(main)
