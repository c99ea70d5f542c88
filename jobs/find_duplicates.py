"""Find copies and near copies, group them under a guard, choose the one to keep."""

from pathlib import Path
from typing import Annotated

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.cli import run
from resight.config import Config, Meta, execution
from resight.dedup.export import EXPORTED, write_list, writer_kind
from resight.dedup.grouping.spark import group_pairs
from resight.dedup.groups import GroupRule
from resight.dedup.keep import KEEP_CRITERIA, parse_policy
from resight.dedup.spark import find_pairs, find_saturated, list_removable, represent_copies
from resight.dedup.tracking.spark import rename_groups, track_groups
from resight.graph.builds import of_images
from resight.graph.spark import find_components
from resight.job import Input, job
from resight.store import TableStore
from resight.tables import (
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    GLOBAL_DESCRIPTORS,
    GROUP_CHANGES,
    IMAGES,
    NEIGHBORS,
    SOURCES,
)


class DuplicatesConfig(Config, frozen=True):
    """Settings of ``find-duplicates``."""

    graph: Annotated[str, Meta(description="build of the graph; default: the newest")] = ""
    threshold: Annotated[
        float, Meta(gt=0, le=1, description="similarity from which a pair is a near copy")
    ] = 0.95
    min_similarity: Annotated[
        float, Meta(ge=0, le=1, description="what every member must reach to the kept image; 0: threshold")
    ] = 0.0
    keep: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="criteria for the image to keep, the first that differs decides; sharpness differs "
            "by a factor of two or so, as noise and brightening sharpen; also NAME:reverse, under:FOLDER/",
        ),
    ] = KEEP_CRITERIA
    export: Annotated[
        tuple[str, ...], execution("CSV or JSON lines files to list what could go; nothing is deleted")
    ] = ()

    def __post_init__(self) -> None:
        """Check the policy and the names of the lists."""
        parse_policy(self.keep)
        for path in self.export:
            if files.local_path(path) is None:
                raise ValueError(f"export: {path} lies on a remote store; give a path on this machine")
            writer_kind(Path(path))

    def rule(self, dtype: str) -> GroupRule:
        """Give the guard of the groups."""
        return GroupRule(self.min_similarity or self.threshold, parse_policy(self.keep), dtype=dtype)


@job(
    "find-duplicates",
    DuplicatesConfig,
    reads=(Input(NEIGHBORS, "graph", kind=of_images), GLOBAL_DESCRIPTORS, IMAGES, SOURCES),
    writes=(DUPLICATE_PAIRS, DUPLICATE_GROUPS, GROUP_CHANGES),
    finish=lambda store, conf: export_list(store, conf),
)
def main(store: TableStore, conf: DuplicatesConfig) -> None:
    """Pair equal bytes, equal pixels and near descriptors; group them so that no group chains strangers.

    Every member of a group is a copy of the one kept; what was cut is recorded on the pairs. Files are never
    touched: ``--export`` writes a list for other tools.
    """
    descriptors = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'").select("image_id", "vector")
    rule = conf.rule(store.properties(GLOBAL_DESCRIPTORS)["dtype"])
    copies = store.persist("copies", represent_copies(store.read(IMAGES), rule.policy))
    pairs = find_pairs(copies, store.read(NEIGHBORS), threshold=conf.threshold)
    pairs = store.persist("pairs", pairs)
    linked = pairs.select(sf.col("image_a").alias("src"), sf.col("image_b").alias("dst"))
    components = find_components(linked, folder=store.staging("components"))
    pairs, groups = group_pairs(pairs, copies, components, descriptors, rule=rule, hold=store.hold)
    saturated = find_saturated(store.read(NEIGHBORS), threshold=conf.threshold)
    store.note(short_lists=saturated.count())
    write_groups(store, conf, store.persist("marked", pairs), store.persist("groups", groups))


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
