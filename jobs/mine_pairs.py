"""Mine pairs of images to train a network with: by a walk over a graph, verified pairs, labels or models."""

import logging
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.cli import run
from resight.config import SettingError, digest_of
from resight.diffusion.block import DiffuseWork
from resight.graph.builds import of_images, of_regions
from resight.job import Input, job
from resight.jobs.build_graph import GraphConfig, open_graph, open_vectors
from resight.knn.matrix import VectorFiles
from resight.mining.export import export_pairs
from resight.mining.groups.spark import (
    key_copies,
    list_others,
    name_components,
    name_labels,
    pair_labels,
    pair_verified,
    select_sound,
    weigh_pairs,
)
from resight.mining.placing import VALIDATION, PlaceWork
from resight.mining.pools import PoolWork
from resight.mining.reconstruction.colmap import list_models
from resight.mining.reconstruction.spark import (
    Epoch,
    count_blocks,
    find_hard,
    gather_epoch,
    name_images,
    pair_models,
    pool_negatives,
    pool_positives,
    read_models,
    split_models,
)
from resight.mining.reconstruction.work import ModelWork, SplitWork
from resight.mining.settings import MineConfig, by_labels, by_manifold, by_models, by_verified
from resight.mining.spark import (
    Links,
    by_block,
    draw_tuples,
    link_images,
    list_anchors,
    list_near,
    list_reached,
    mine_anchors,
    place_nodes,
    represent_images,
    search_near,
    solve_reached,
    split_pools,
    weigh_tuples,
)
from resight.search.storage.spark import write_mask
from resight.store import TableStore
from resight.tables import (
    COMPONENTS,
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    EDGES,
    GLOBAL_DESCRIPTORS,
    IMAGE_LABELS,
    IMAGES,
    MANIFOLD_NEIGHBORS,
    NEIGHBORS,
    NODES,
    TRAINING_POOLS,
    TRAINING_TUPLES,
    VERIFIED_PAIRS,
    Table,
)
from resight.workspace import Run

AUTO_NEGATIVE = 100  # k- of the paper on 6,000 images
MAX_ITER, TOL = 200, 1e-6
log = logging.getLogger("resight")


def of_whole_images(graph: Run) -> bool:
    """Whether the nodes of a graph are images."""
    return not of_regions(graph)


def models_version(conf: MineConfig) -> str:
    """Give the version of the files of the models; "" is always new."""
    if not conf.models:
        return conf.pairs_from
    root = files.absolute(conf.models)
    path = files.local_path(root)
    if path is None or not path.exists():
        return ""
    names = files.list_files(root, recursive=True)
    return digest_of([(name, size, (path / name).stat().st_mtime_ns) for name, size in names.items()])


def export_tuples(store: TableStore, conf: MineConfig) -> None:
    """Write the committed tuples for other tools, whether or not this run computed them."""
    if conf.export:
        folder = Path(files.absolute(conf.export))
        build = store.run.build_id
        store.note(exported=export_pairs(store.reader, folder, build, shards=conf.shards))


@job(
    "mine-pairs",
    MineConfig,
    reads=(
        Input(MANIFOLD_NEIGHBORS, "manifold", optional=True, when=lambda c: by_manifold(c) and not c.solve),
        *(
            Input(table, "graph", kind=of_whole_images, when=by_manifold)
            for table in (EDGES, NODES, COMPONENTS, NEIGHBORS)
        ),
        Input(GLOBAL_DESCRIPTORS, "descriptors"),
        Input(IMAGES, when=by_models),
        Input(VERIFIED_PAIRS, "verified", when=by_verified),
        Input(VERIFIED_PAIRS, "verified", optional=True, when=lambda c: not by_verified(c)),
        Input(IMAGE_LABELS, "labels", when=by_labels),
        *(Input(table, "duplicates", optional=True) for table in (DUPLICATE_GROUPS, DUPLICATE_PAIRS)),
    ),
    writes=(TRAINING_POOLS, TRAINING_TUPLES),
    external=models_version,
    finish=export_tuples,
)
def main(store: TableStore, conf: MineConfig) -> None:
    """Find hard positives and hard negatives: where similarity and a walk over the graph disagree.

    What the walk reaches though it does not look alike is a positive, what looks alike and is not reached a
    negative. Or, with ``--pairs-from reconstruction``, positives see the same points of a 3D model, negatives
    are the most similar images of other models; ``verified`` does so with components of verified pairs,
    ``labels`` with labels that were propagated. Copies are no pairs. Images are parted by clusters of the
    graph, or by models, components or labels: no image, verified pair or group of copies is in training and
    in validation; what would cross is dropped and counted.
    """
    if by_manifold(conf):
        mine_graph(store, conf)
    else:
        mine_groups(store, conf)
    note_pools(store)
    store.note(validation_tuples=share_validation(store.written(TRAINING_TUPLES)))


def mine_graph(store: TableStore, conf: MineConfig) -> None:
    """Write what a walk over the graph says."""
    check_graph(store)
    links = keep_links(store, conf)
    limits = conf.max_cluster, conf.validation, conf.seed, conf.all_anchors
    placed = store.persist("placed", place_nodes(PlaceWork(open_graph(store), *limits), links))
    anchors = store.persist("anchors", list_anchors(placed, n=conf.anchors))
    n_anchors = anchors.count()
    n_blocks = max(1, -(-n_anchors // conf.block_anchors))
    k, vectors = choose_k(store, conf), open_vectors(store)
    lists = list_items(store, conf, links, anchors.repartition(n_blocks), (k, vectors))
    work = PoolWork(vectors, conf.k_positive, k, conf.max_negatives)
    pools = store.persist("mined", mine_anchors(anchors, lists, links, work, n_blocks=n_blocks))
    kept, crossing = split_pools(pools, anchors, placed)
    store.write(TRAINING_POOLS, kept)
    write_tuples(store, conf, n_blocks)
    note_crossing(store, pools, crossing)
    store.note(anchors=n_anchors, k_negative=k)
    store.note(validation_images=share_validation(placed.where("is_linked")))


def mine_groups(store: TableStore, conf: MineConfig) -> None:
    """Write what 3D models, verified pairs or labels say."""
    gather = gather_models if by_models(conf) else gather_verified if by_verified(conf) else gather_labels
    named, paired = gather(store, conf)
    split = SplitWork(conf.validation, conf.seed)
    sides = store.persist("sides", split_models(named, list_bound(store, conf), split))
    per_model = conf.negative_rule == "models" and not by_labels(conf)
    if per_model:
        check_sides(sides, conf)
    paired, vectors = store.persist("paired", paired), open_vectors(store)
    source = conf.pairs_from
    positives = pool_positives(paired, vectors, sides, rule=conf.positive_rule, source=source)
    positives = weigh_pairs(positives, named) if by_labels(conf) else positives
    positives = store.persist("positives", drop_duplicates(store, positives))
    n_blocks = max(1, -(-positives.count() // (conf.block_anchors * conf.cameras)))
    drawn = by_block(positives, "anchor", n_blocks, conf.draw().draw_positives, positives.schema)
    epoch = gather_epoch(positives, drawn, paired, named.join(sides, "model"))
    epoch = Epoch(*(store.persist(f"epoch-{i}", rows) for i, rows in enumerate(epoch)))
    n_asked, n_all = (rows.count() for rows in epoch)
    blocks = count_blocks(n_asked, n_all)
    hard = find_hard(epoch, vectors, n=conf.max_negatives, per_model=per_model, n_blocks=blocks)
    negatives = pool_negatives(hard, named, sides, per_model=per_model, source=source)
    store.write(TRAINING_POOLS, positives.unionByName(drop_duplicates(store, negatives)))
    write_tuples(store, conf, n_blocks)
    n_drawn = paired.where("kind = 'query'").count()
    store.note(anchors=n_drawn, anchors_without_positive=n_drawn - n_asked)
    store.note(validation_images=share_validation(named.join(sides, "model")))


def gather_models(store: TableStore, conf: MineConfig) -> tuple[DataFrame, DataFrame]:
    """Name the model of every image, and pair images that see the same points."""
    named = name_models(store, conf)
    limits = conf.cameras, conf.positive_rule, conf.min_overlap, conf.max_scale
    work = ModelWork(*limits, conf.query_share, conf.max_queries, conf.extra_images, conf.seed)
    return named, pair_models(named, work)


def gather_verified(store: TableStore, conf: MineConfig) -> tuple[DataFrame, DataFrame]:
    """Name the component of every image, and pair images that were verified."""
    described = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'")
    sound = select_sound(store.read(VERIFIED_PAIRS), min_inliers=conf.min_inliers)
    folder = files.join(store.staging(store.run.run_id), "verified")
    components = name_components(sound, described, folder=folder)
    groups = read_optional(store, DUPLICATE_GROUPS)
    named = store.persist("named", key_copies(components, groups))
    loose = conf.positive_rule != "scale"
    limits = (0.0, float("inf")) if loose else (conf.min_overlap, conf.max_scale)
    pairs = store.hold(pair_verified(sound, named, min_overlap=limits[0], max_scale=limits[1]))
    others = list_others(named, pairs, n=conf.extra_images, seed=conf.seed)
    store.note(components=pairs.select("model").distinct().count())
    return named, pairs.unionByName(others)


def gather_labels(store: TableStore, conf: MineConfig) -> tuple[DataFrame, DataFrame]:
    """Name the label of every image that has one, and pair images of one label."""
    described = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'")
    labelled = name_labels(store.read(IMAGE_LABELS), described)
    named = store.persist("named", key_copies(labelled, read_optional(store, DUPLICATE_GROUPS)))
    n = conf.draw().n_positives or conf.cameras
    pairs = store.hold(pair_labels(named, n=n, seed=conf.seed))
    store.note(labels=named.select("model").distinct().count())
    return named, pairs.unionByName(list_others(named, pairs, n=conf.extra_images, seed=conf.seed))


def list_bound(store: TableStore, conf: MineConfig) -> DataFrame:
    """List the pairs (a, b) of images that may not be on different sides: copies, and verified ones."""
    links, verified = list_duplicates(store), read_optional(store, VERIFIED_PAIRS)
    if verified is not None:
        sound = select_sound(verified, min_inliers=conf.min_inliers)
        links = links.union(sound.select("image_a", "image_b"))
    return links.toDF("a", "b")


def write_tuples(store: TableStore, conf: MineConfig, n_blocks: int) -> None:
    """Draw tuples of the pools that were written."""
    drawn = draw_tuples(store.written(TRAINING_POOLS), conf.draw(), n_blocks=n_blocks)
    store.write(TRAINING_TUPLES, weigh_tuples(store.persist("drawn", drawn)))


def check_graph(store: TableStore) -> None:
    """Refuse rows of a diffusion over another graph."""
    inputs = store.run.inputs
    diffused, graph = inputs.get(MANIFOLD_NEIGHBORS.name), inputs[EDGES.name]
    if diffused and graph.build_id not in diffused.parents.values():
        raise SettingError(
            f"manifold: {diffused.name!r} was made from another graph than {graph.name!r}: name one of that, "
            "or say --solve"
        )


def keep_links(store: TableStore, conf: MineConfig) -> Links:
    """Compute once what stands for what, and which images are known to be copies or of one thing."""
    groups, duplicates, verified = (
        read_optional(store, table) for table in (DUPLICATE_GROUPS, DUPLICATE_PAIRS, VERIFIED_PAIRS)
    )
    represented = store.persist("represented", represent_images(store.read(NODES), groups))
    pairs = link_images(represented, duplicates, verified, min_inliers=conf.min_inliers)
    return Links(represented, store.persist("links", pairs))


def read_optional(store: TableStore, table: Table) -> DataFrame | None:
    """Read an input; None where the run has none."""
    return store.read(table) if table.name in store.run.inputs else None


def choose_k(store: TableStore, conf: MineConfig) -> int:
    """Choose how many nearest on the manifold no negative is among."""
    diffused = store.run.inputs.get(MANIFOLD_NEIGHBORS.name)
    n_kept = int(diffused.settings["depth"]) - 1 if diffused else conf.shortlist - 1  # one may be itself
    if conf.k_negative == "auto":
        return max(1, min(AUTO_NEGATIVE, n_kept))
    if conf.k_negative > n_kept:
        makes = (
            f"diffuse --depth {conf.k_negative + 1} keeps more, or say --solve" if diffused else "raise it"
        )
        where = f"the rows of {diffused.name!r}" if diffused else f"--shortlist {conf.shortlist}"
        raise SettingError(f"k_negative: {conf.k_negative} is more than {n_kept}, as {where} hold: {makes}")
    return conf.k_negative


def list_items(
    store: TableStore, conf: MineConfig, links: Links, anchors: DataFrame, limits: tuple[int, VectorFiles]
) -> tuple[DataFrame, DataFrame]:
    """List what is near the anchors and what a walk reaches, from tables where they hold enough."""
    (k, vectors), inputs = limits, store.run.inputs
    graph, described = inputs[NEIGHBORS.name], inputs[GLOBAL_DESCRIPTORS.name]
    is_by_these = of_images(graph) and described.build_id in graph.parents.values()
    longest = max(k, conf.k_positive)
    if is_by_these and GraphConfig(**graph.settings).n_neighbors >= longest:
        near = list_near(anchors, store.read(NEIGHBORS))
    else:
        kept = links.represented.where("image_id = kept").select("image_id")
        allowed = write_mask(kept, vectors, store.staging(store.run.run_id))
        near = search_near(anchors, vectors, k=longest, allowed=allowed)
    if MANIFOLD_NEIGHBORS.name in inputs:
        return near, list_reached(anchors, store.read(MANIFOLD_NEIGHBORS))
    version, size = store.source(EDGES)[1].digest, conf.shortlist
    work = DiffuseWork(open_graph(store), version, conf.alpha, size, size, MAX_ITER, TOL)
    return near, solve_reached(anchors, work)


def name_models(store: TableStore, conf: MineConfig) -> DataFrame:
    """Read the models and find their images."""
    folders = list_models(files.absolute(conf.models))
    if not folders:
        raise SettingError(f"models: {conf.models} holds no COLMAP model: cameras, images and points3D")
    seen = store.persist("seen", read_models(store.spark, folders))
    groups = read_optional(store, DUPLICATE_GROUPS)
    named = store.persist("named", name_images(seen, store.read(IMAGES), groups, prefix=conf.prefix))
    damaged = [row["error"] for row in seen.where("error is not null").select("error").collect()]
    for error in damaged:
        log.warning("mine-pairs: left out: %s", error)
    seen = seen.where("error is null")
    n_seen, n_named = seen.select("name").distinct().count(), named.count()
    if not n_named:
        example = [row["name"] for row in seen.select("name").orderBy("name").limit(1).collect()]
        raise SettingError(
            f"models: none of the {n_seen} names, such as {''.join(example)!r}, is the uri of an image: say "
            "with --prefix what stands before them"
        )
    store.note(
        models=len(folders), damaged_models=len(damaged), images=n_named, unknown_names=n_seen - n_named
    )
    return named


def check_sides(sides: DataFrame, conf: MineConfig) -> None:
    """Refuse to look for more other models than a side of the split has."""
    counted = {row["split"]: row["count"] for row in sides.groupBy("split").count().collect()}
    least = min(counted.values())
    if conf.negative_rule == "models" and least <= conf.n_negatives:
        raise SettingError(
            f"n_negatives: each of {conf.n_negatives} negatives is of another model, and a side of the split "
            f"has {least} in all ({counted}): want fewer, change --validation, or say --negative-rule images"
        )


def list_duplicates(store: TableStore) -> DataFrame:
    """List the pairs of copies, (image_a, image_b), that the run reads."""
    pairs = read_optional(store, DUPLICATE_PAIRS)
    if pairs is None:
        return store.spark.createDataFrame([], "image_a long, image_b long")
    return pairs.where("relation != 'same_scene'").select("image_a", "image_b")


def drop_duplicates(store: TableStore, pools: DataFrame) -> DataFrame:
    """Leave out pairs of an anchor and a copy of it."""
    pairs = list_duplicates(store)
    both = pairs.toDF("anchor", "item").union(pairs.toDF("item", "anchor").select("anchor", "item"))
    return pools.join(both, ["anchor", "item"], "left_anti")


def note_pools(store: TableStore) -> None:
    """Note how many positives and negatives there are, of how many anchors, and how alike they look."""
    alike = sf.round(sf.avg("similarity"), 4).alias("similarity")
    figures = [sf.count("*").alias("n"), sf.countDistinct("anchor").alias("anchors"), alike]
    pools = store.written(TRAINING_POOLS).groupBy("role", "source").agg(*figures)
    for row in pools.orderBy("role", "source").collect():
        of = {name: row[name] for name in ("n", "anchors", "similarity")}
        store.note(**{f"{row['role']}_{row['source']}": of})


def note_crossing(store: TableStore, pools: DataFrame, crossing: DataFrame) -> None:
    """Note how many rows of the pools were dropped, because anchor and item validate and train."""
    everything, dropped = (
        {row["role"]: row["count"] for row in rows.groupBy("role").count().collect()}
        for rows in (pools, crossing)
    )
    shares = {role: share_of(n, everything[role] - n) for role, n in dropped.items()}
    store.note(crossing=dropped, crossing_share=shares)


def share_validation(rows: DataFrame) -> float:
    """Give the share of rows that validate."""
    counted = {row["split"]: row["count"] for row in rows.groupBy("split").count().collect()}
    n = counted.get(VALIDATION, 0)
    return share_of(n, sum(counted.values()) - n)


def share_of(n: int, others: int) -> float:
    """Give the share of ``n`` among it and the others; 0 of nothing."""
    return round(n / (n + others), 4) if n else 0.0


if __name__ == "__main__":
    run(main)
