"""Find copies and near copies, group them under a guard, choose the one to keep."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.cli import run
from resight.config import SettingError
from resight.dedup.background.spark import is_background
from resight.dedup.comparing.spark import compare_candidates
from resight.dedup.export import EXPORTED, write_list
from resight.dedup.grouping.spark import count_groups, group_pairs, link_pairs
from resight.dedup.naming.spark import attach_splits, complete_pairs, mark_splits
from resight.dedup.pairs import COPIES
from resight.dedup.scope.spark import name_sources, scope_images
from resight.dedup.settings import DuplicatesConfig, compares, may_read, must_read
from resight.dedup.spark import find_pairs, find_saturated, list_removable, represent_copies
from resight.dedup.tracking.spark import rename_groups, track_groups
from resight.graph.builds import of_images
from resight.graph.spark import find_components
from resight.job import Input, job
from resight.store import TableStore
from resight.tables import (
    CODES,
    DUPLICATE_CANDIDATES,
    DUPLICATE_GROUPS,
    DUPLICATE_LIMITS,
    DUPLICATE_PAIRS,
    GLOBAL_DESCRIPTORS,
    GROUP_CHANGES,
    IMAGES,
    NEIGHBORS,
    QUERIES,
    RESULTS,
    SOURCES,
    VERIFIED_PAIRS,
)
from resight.workspace import Run

__all__ = ["DuplicatesConfig", "locate_images", "main"]

RANKING = "--method asmk --queries-from collection"


def is_ranking(run: Run) -> bool:
    """Whether a build of search ranks the collection for its own images, by their keypoints."""
    by_keypoints = run.settings.get("method") in ("asmk", "hqe", "fused")
    return by_keypoints and run.settings.get("queries_from") == "collection"


def has_vectors(conf: DuplicatesConfig) -> bool:
    """Whether vectors decide, or are compared with those of a background."""
    return not compares(conf) or bool(conf.background)


by_descriptors, by_codes, by_keypoints = (
    partial(must_read, kind=kind) for kind in ("descriptors", "codes", "keypoints")
)


@job(
    "find-duplicates",
    DuplicatesConfig,
    reads=(
        Input(NEIGHBORS, "graph", kind=of_images, when=by_descriptors),
        Input(NEIGHBORS, "graph", kind=of_images, optional=True, when=partial(may_read, kind="descriptors")),
        Input(GLOBAL_DESCRIPTORS, when=has_vectors),
        Input(CODES, "codes", when=by_codes),
        Input(CODES, "codes", optional=True, when=partial(may_read, kind="codes")),
        Input(RESULTS, "results", when=by_keypoints, kind=is_ranking, how=RANKING),
        Input(QUERIES, "results", when=by_keypoints, kind=is_ranking, how=RANKING),
        Input(VERIFIED_PAIRS, "verified", optional=True, newest=False, when=compares),
        IMAGES,
        SOURCES,
    ),
    writes=(DUPLICATE_CANDIDATES, DUPLICATE_LIMITS, DUPLICATE_PAIRS, DUPLICATE_GROUPS, GROUP_CHANGES),
    finish=lambda store, conf: export_list(store, conf),
)
def main(store: TableStore, conf: DuplicatesConfig) -> None:
    """Pair equal bytes, equal pixels and copies; group them so that no group chains strangers.

    Descriptors of a graph, codes of hash-images and keypoints give candidates, whose aligned pixels are
    compared; with the effort quick the similarity of descriptors says what a near copy is. Every member of a
    group is a copy of the one kept; what was cut is recorded on the pairs. Files are never touched:
    ``--export`` writes a list for other tools.
    """
    check_candidates(store)
    rule = conf.rule(store.properties(GLOBAL_DESCRIPTORS)["dtype"]) if has_vectors(conf) else conf.rule()
    names = name_sources(store.read(SOURCES)) if conf.new or conf.background else {}
    scope = {"filter": conf.filter, "new": conf.new, "against": conf.against}
    images = store.read(IMAGES)
    if conf.background:
        images = images.where(~is_background(names, conf.background))
    images = attach_splits(scope_images(images, names, **scope), conf.splits)
    copies = store.persist("copies", represent_copies(images, rule.policy))
    vectors = None
    if compares(conf):
        pairs = compare_candidates(store, conf, copies)
    else:
        pairs = store.persist("pairs", find_near(store, conf, copies, conf.threshold))
        vectors = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'").select("image_id", "vector")
        saturated = find_saturated(store.read(NEIGHBORS), threshold=conf.threshold)
        store.note(short_lists=saturated.count())
    compare_thresholds(store, conf, copies, pairs, vectors)
    components = find_components(link_pairs(pairs), folder=store.staging("components"))
    pairs, groups = group_pairs(pairs, copies, components, vectors, rule=rule, hold=store.hold)
    pairs = complete_pairs(mark_splits(pairs, images))
    write_groups(store, conf, store.persist("marked", pairs), store.persist("groups", groups))


def check_candidates(store: TableStore) -> None:
    """Raise `SettingError` where nothing gives candidates."""
    if not {NEIGHBORS.name, CODES.name, RESULTS.name, VERIFIED_PAIRS.name} & set(store.run.inputs):
        raise SettingError(
            "find-duplicates: tables 'neighbors' and 'codes' are missing: one of them at least gives the "
            "pairs to compare (resight build-graph and resight hash-images write them)"
        )


def find_near(store: TableStore, conf: DuplicatesConfig, copies: DataFrame, threshold: float) -> DataFrame:
    """Find equal images, and those of near descriptors."""
    return find_pairs(copies, store.read(NEIGHBORS), threshold=threshold, is_partial=bool(conf.new))


def compare_thresholds(
    store: TableStore,
    conf: DuplicatesConfig,
    copies: DataFrame,
    pairs: DataFrame,
    vectors: DataFrame | None,
) -> None:
    """Note what the groups would be at further thresholds: of similarity, or of the pixels' agreement."""
    counted = {}
    for threshold in conf.also_thresholds:
        name, rule = f"{threshold:g}", conf.rule()
        if vectors is None:
            reached = sf.col("similarity") >= sf.lit(threshold).cast("float")
            found = pairs.where(sf.col("relation").isin(list(COPIES)) | reached)
        else:
            dtype = store.properties(GLOBAL_DESCRIPTORS)["dtype"]
            rule = replace(conf.rule(dtype), min_similarity=threshold)
            found = find_near(store, conf, copies, threshold)
        found = store.persist(f"pairs-{name}", found)
        components = find_components(link_pairs(found), folder=store.staging(f"components-{name}"))
        _, groups = group_pairs(found, copies, components, vectors, rule=rule, hold=store.hold)
        counted[name] = {"pairs": found.count(), **count_groups(groups)}
    if counted:
        store.note(thresholds=counted)


def write_groups(store: TableStore, conf: DuplicatesConfig, pairs: DataFrame, groups: DataFrame) -> None:
    """Give groups the ids of the run before, write them, list what could go."""
    named, changes = track_groups(
        groups, store.previous(DUPLICATE_GROUPS), run_id=store.run.run_id, hold=store.hold
    )
    named = store.persist("names", named)
    pairs, groups = rename_groups(pairs, named), rename_groups(groups, named)
    store.write(DUPLICATE_PAIRS, pairs)
    store.write(DUPLICATE_GROUPS, groups)
    earlier = store.previous(GROUP_CHANGES)
    changes = changes if earlier is None else changes.unionByName(earlier.drop("build_id"))
    store.write(GROUP_CHANGES, changes)
    counted = pairs.groupBy("relation").count().collect()
    store.note(
        pairs={row["relation"]: row["count"] for row in counted}, removable=groups.where("not keep").count()
    )
    if conf.splits:
        store.note(across_splits=pairs.where("split_a != split_b").count())


def export_list(store: TableStore, conf: DuplicatesConfig) -> None:
    """Write what could go from the committed tables, whether or not this run computed them.

    An image whose very file is also the one kept (it was ingested by two sources) is never listed.
    """
    if not conf.export:
        return
    build = store.run.build_id
    groups, pairs = store.read(DUPLICATE_GROUPS, build), store.read(DUPLICATE_PAIRS, build)
    images = locate_images(store.read(IMAGES), store.read(SOURCES))
    removable = list_removable(groups, pairs, images)
    kept = groups.where("keep").join(images, "image_id").select("uri").distinct()
    places = images.select("image_id", "archive", "member")
    listed = removable.join(kept, "uri", "left_anti").join(places, "image_id")
    rows = store.stream("removable", listed.orderBy("group_id", "image_id").select(*EXPORTED.names))
    store.note(exported=write_list(rows, [Path(files.absolute(path)) for path in conf.export]))


def locate_images(images: DataFrame, sources: DataFrame) -> DataFrame:
    """Give ``uri`` as other tools know it: below the root of its source; ids of vectors stay as they are.

    A member of a tar gets ``archive``, the tar's path, and ``member``, its name in there.
    """
    roots = sources.select("source_id", "kind", sf.rtrim("root", sf.lit("/")).alias("root"))
    parts = {n: sf.regexp_extract("uri", r"(?is)^(.*?\.tar)/(.*)$", i) for i, n in ((1, "tar"), (2, "name"))}
    is_member = sf.col("byte_offset").isNotNull()
    located = images.join(roots, "source_id").withColumns(
        {
            "archive": sf.when(is_member, sf.concat_ws("/", "root", parts["tar"])),
            "member": sf.when(is_member, parts["name"]),
        }
    )
    path = sf.when(sf.col("kind") == "vectors", sf.col("uri")).otherwise(sf.concat_ws("/", "root", "uri"))
    return located.withColumn("uri", path)


if __name__ == "__main__":
    run(main)
