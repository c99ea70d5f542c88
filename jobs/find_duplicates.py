"""Find copies and near copies, group them under a guard, choose the one to keep."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.cli import run
from resight.config import Meta, SettingError, digest_of, execution
from resight.dedup.candidates.spark import (
    collect_candidates,
    drop_collapsed,
    pair_codes,
    pair_descriptors,
    pair_members,
)
from resight.dedup.export import EXPORTED, write_list, writer_kind
from resight.dedup.grouping.spark import count_groups, group_pairs, link_pairs
from resight.dedup.groups import GroupRule
from resight.dedup.keep import KEEP_CRITERIA, parse_policy
from resight.dedup.naming.spark import attach_splits, complete_pairs, mark_splits, name_pairs
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.spark import relate_pairs
from resight.dedup.spark import find_copies, find_pairs, find_saturated, list_removable, represent_copies
from resight.dedup.tracking.spark import rename_groups, track_groups
from resight.graph.builds import of_images
from resight.graph.spark import find_components
from resight.job import Input, job
from resight.store import TableStore
from resight.tables import (
    CODES,
    DUPLICATE_CANDIDATES,
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    GLOBAL_DESCRIPTORS,
    GROUP_CHANGES,
    IMAGES,
    NEIGHBORS,
    QUERIES,
    RESULTS,
    SOURCES,
)
from resight.verification.spark import attach_contents, pair_results
from resight.workspace import Run

KEYPOINTS = {"quick": 0, "standard": 400, "thorough": 1000}  # by effort, of a photo
THRESHOLD = 0.95
log = logging.getLogger("resight")
RANKING = "--method asmk --queries-from collection"
TRANSIENT = ("missing", "unreadable", "changed")  # tried again by the next run
MAX_COMPLETED = 10_000  # linked images, above which none are compared with the best of them besides


class DuplicatesConfig(RelateSettings, frozen=True):
    """Settings of ``find-duplicates``."""

    effort: Annotated[
        Literal["quick", "standard", "thorough"],
        Meta(
            description="quick: the graph's similarity decides; standard: near descriptors and codes are "
            "candidates, whose aligned pixels decide; thorough: also what a search by keypoints found"
        ),
    ] = "standard"
    max_keypoints: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="strongest keypoints of a photo that are compared; 0: 400, for thorough 1000",
        ),
    ] = 0
    graph: Annotated[str, Meta(description="build of the graph; default: the newest")] = ""
    threshold: Annotated[
        float, Meta(gt=0, le=1, description="quick: similarity from which a pair is a near copy")
    ] = THRESHOLD
    also_thresholds: Annotated[
        tuple[float, ...], Meta(description="quick: count the groups at these thresholds too, to compare")
    ] = ()
    min_similarity: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="what every member must reach to the kept image; 0: threshold, or, where pixels "
            "decide, that they do",
        ),
    ] = 0.0
    max_group: Annotated[
        int, Meta(ge=0, description="members of a group, equal pixels counted once; 0: any number")
    ] = 0
    codes: Annotated[
        str, Meta(description="standard, thorough: build of hash-images; default: the newest, if any")
    ] = ""
    results: Annotated[
        str, Meta(description="thorough: build of search --method asmk --queries-from collection")
    ] = ""
    candidate_similarity: Annotated[
        float, Meta(ge=-1, le=1, description="of descriptors, from which a pair is compared")
    ] = 0.6
    candidate_bits: Annotated[
        float, Meta(ge=0, lt=0.5, description="share of the bits in which codes of a candidate may differ")
    ] = 0.125
    top: Annotated[
        int, Meta(ge=1, description="candidates per image of each kind, the best first: bounds the cost")
    ] = 20
    same_scene: Annotated[
        bool, Meta(description="also list pairs of photos of one thing; they join no group")
    ] = False
    splits: Annotated[
        str, Meta(description="column of the manifest: list which pairs lie in two of its values")
    ] = ""
    keep: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="criteria for the image to keep, the first that differs decides; sharpness differs "
            "by a factor of two or so, as noise and brightening sharpen; also NAME:reverse, under:FOLDER/, "
            "split:VALUE",
        ),
    ] = KEEP_CRITERIA
    export: Annotated[
        tuple[str, ...], execution("CSV or JSON lines files to list what could go; nothing is deleted")
    ] = ()
    chunk_size: Annotated[int, execution("pairs per chunk of work", ge=1)] = 2000

    def __post_init__(self) -> None:
        """Check the policy, the names of the lists and what belongs together."""
        policy = parse_policy(self.keep)
        for path in self.export:
            if files.local_path(path) is None:
                raise ValueError(f"export: {path} lies on a remote store; give a path on this machine")
            writer_kind(Path(path))
        for fits, text in (
            (
                self.splits or all(c.kind != "split" for c in policy),
                "keep: split:VALUE needs --splits",
            ),
            (all(0 < t <= 1 for t in self.also_thresholds), "also_thresholds: similarities from 0 to 1"),
            (compares(self) or not self.strict, "strict: only with --effort standard or thorough"),
            (
                not compares(self) or self.threshold == THRESHOLD,
                "threshold: only with --effort quick; else aligned pixels decide, see --min-agreement",
            ),
            (not compares(self) or not self.also_thresholds, "also_thresholds: only with --effort quick"),
        ):
            if not fits:
                raise ValueError(text)

    def rule(self, dtype: str) -> GroupRule:
        """Give the guard of the groups."""
        least = self.min_similarity or (-1.0 if compares(self) else self.threshold)
        return GroupRule(least, parse_policy(self.keep), dtype=dtype, max_size=self.max_group)

    def relating(self) -> RelateSettings:
        """Give the part that says when pixels are those of a copy."""
        fields = {name: getattr(self, name) for name in RelateSettings.__struct_fields__}
        return RelateSettings(**fields | {"max_keypoints": self.max_keypoints or KEYPOINTS[self.effort]})


def compares(conf: DuplicatesConfig) -> bool:
    """Whether the pixels of candidates are compared."""
    return conf.effort != "quick"


def is_thorough(conf: DuplicatesConfig) -> bool:
    """Whether the pairs of a search by keypoints are candidates too."""
    return conf.effort == "thorough"


def is_ranking(run: Run) -> bool:
    """Whether a build of search ranks the collection for its own images, by their keypoints."""
    by_keypoints = run.settings.get("method") in ("asmk", "hqe", "fused")
    return by_keypoints and run.settings.get("queries_from") == "collection"


@job(
    "find-duplicates",
    DuplicatesConfig,
    reads=(
        Input(NEIGHBORS, "graph", kind=of_images),
        GLOBAL_DESCRIPTORS,
        IMAGES,
        SOURCES,
        Input(CODES, "codes", optional=True, when=compares),
        Input(RESULTS, "results", when=is_thorough, kind=is_ranking, how=RANKING),
        Input(QUERIES, "results", when=is_thorough, kind=is_ranking, how=RANKING),
    ),
    writes=(DUPLICATE_CANDIDATES, DUPLICATE_PAIRS, DUPLICATE_GROUPS, GROUP_CHANGES),
    finish=lambda store, conf: export_list(store, conf),
)
def main(store: TableStore, conf: DuplicatesConfig) -> None:
    """Pair equal bytes, equal pixels and copies; group them so that no group chains strangers.

    Descriptors, codes where hash-images made some, and keypoints give candidates, whose aligned pixels are
    compared; with the effort quick the similarity of descriptors says what a near copy is. Every member of a
    group is a copy of the one kept; what was cut is recorded on the pairs. Files are never touched:
    ``--export`` writes a list for other tools.
    """
    rule = conf.rule(store.properties(GLOBAL_DESCRIPTORS)["dtype"])
    images = attach_splits(store.read(IMAGES), conf.splits)
    copies = store.persist("copies", represent_copies(images, rule.policy))
    if compares(conf):
        check_pixels(copies)
        pairs, vectors = compare_candidates(store, conf, copies), None
    else:
        pairs = find_pairs(copies, store.read(NEIGHBORS), threshold=conf.threshold)
        pairs = store.persist("pairs", pairs)
        vectors = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'").select("image_id", "vector")
        saturated = find_saturated(store.read(NEIGHBORS), threshold=conf.threshold)
        store.note(short_lists=saturated.count())
        compare_thresholds(store, conf, copies, vectors)
    components = find_components(link_pairs(pairs), folder=store.staging("components"))
    pairs, groups = group_pairs(pairs, copies, components, vectors, rule=rule, hold=store.hold)
    pairs = complete_pairs(mark_splits(pairs, images))
    write_groups(store, conf, store.persist("marked", pairs), store.persist("groups", groups))


def check_pixels(copies: DataFrame) -> None:
    """Raise `SettingError` where there are images, but not one with pixels to compare."""
    n_images, n_seen = copies.agg(sf.count("*"), sf.count("facts.pixel_hash")).collect()[0]
    if n_images and not n_seen:
        raise SettingError(
            "effort: the images of this collection have vectors and no pixels to compare: --effort quick"
        )


def compare_thresholds(
    store: TableStore, conf: DuplicatesConfig, copies: DataFrame, vectors: DataFrame
) -> None:
    """Note what the groups would be at further thresholds."""
    counted = {}
    for threshold in conf.also_thresholds:
        name = f"{threshold:g}"
        rule = replace(conf.rule(store.properties(GLOBAL_DESCRIPTORS)["dtype"]), min_similarity=threshold)
        found = find_pairs(copies, store.read(NEIGHBORS), threshold=threshold)
        found = store.persist(f"pairs-{name}", found)
        components = find_components(link_pairs(found), folder=store.staging(f"components-{name}"))
        _, groups = group_pairs(found, copies, components, vectors, rule=rule, hold=store.hold)
        counted[name] = {"pairs": found.count(), **count_groups(groups)}
    if counted:
        store.note(thresholds=counted)


def compare_candidates(store: TableStore, conf: DuplicatesConfig, copies: DataFrame) -> DataFrame:
    """Compare the pixels of candidates, then those of every linked image with the best one linked to it."""
    candidates = list_candidates(store, conf, copies)
    first = relate_stale(store, conf, candidates, "first")
    linked = link_pairs(name_pairs(first, copies, same_scene=False))
    components = find_components(linked, folder=store.staging("linked"))
    policy, limit = parse_policy(conf.keep), conf.max_group or MAX_COMPLETED
    further = pair_members(components, copies, first, policy, limit=limit)
    second = relate_stale(store, conf, further.withColumn("found_by", sf.lit("group")), "second")
    related = store.persist("related", first.unionByName(second))
    store.write(DUPLICATE_CANDIDATES, related)
    failed = related.where("status != 'ok'").count()
    store.note(candidates=related.count(), **({"not_compared": failed} if failed else {}))
    named = name_pairs(related, copies, same_scene=conf.same_scene)
    return store.persist("pairs", named.unionByName(find_copies(copies), allowMissingColumns=True))


def list_candidates(store: TableStore, conf: DuplicatesConfig, copies: DataFrame) -> DataFrame:
    """List the pairs of representatives that may be copies, by everything that was computed for it."""
    inputs = store.run.inputs
    near = pair_descriptors(store.read(NEIGHBORS), threshold=conf.candidate_similarity, top=conf.top)
    parts = {"descriptors": near}
    if is_thorough(conf):
        parts["results"] = pair_results(store.read(RESULTS), store.read(QUERIES), top=conf.top)
    if CODES.name in inputs:  # an image that left, or changed since it was hashed, must stand for no other
        own = copies.select("image_id", "content_hash")
        codes = store.read(CODES).join(own, ["image_id", "content_hash"], "left_semi")
        parts = {name: drop_collapsed(pairs, codes) for name, pairs in parts.items()}
        parts["codes"] = pair_codes(codes, share=conf.candidate_bits)
    else:
        log.warning("there are no codes: more copies are found after resight hash-images")
    return collect_candidates(parts, copies)


def relate_stale(store: TableStore, conf: DuplicatesConfig, pairs: DataFrame, stage: str) -> DataFrame:
    """Relate the pairs that were not related by an earlier run, or whose files changed since."""
    images = store.read(IMAGES).where("removed_at is null and status = 'ok'")
    pairs = store.persist(f"{stage}-pairs", attach_contents(pairs, images))
    previous, keys = store.previous(DUPLICATE_CANDIDATES), ["image_a", "image_b", "contents"]
    kept = None
    if previous is not None:
        final = previous.where(~sf.col("status").isin(*TRANSIENT)).drop("build_id", "found_by")
        kept = final.join(pairs.select(*keys, "found_by"), keys)
        pairs = store.persist(f"{stage}-stale", pairs.join(kept.select(keys), keys, "left_anti"))
    store.note(compared=store.run.notes.get("compared", 0) + pairs.count())
    roots = store.read(SOURCES).select("source_id", "root")
    listed = images.join(roots, "source_id").select(
        "image_id", "content_hash", "root", "uri", "byte_offset", "n_bytes"
    )
    folder = store.staging(files.join(resume_key(store, conf), stage))
    related = relate_pairs(pairs, listed, conf.relating(), folder=folder, chunk_size=conf.chunk_size)
    related = related if kept is None else related.unionByName(kept.select(related.columns))
    return store.persist(f"{stage}-related", related)


def resume_key(store: TableStore, conf: DuplicatesConfig) -> str:
    """Name what the unfinished work of this run is made from: a run that is started again finds it."""
    versions = {name: run.outputs[name].version for name, run in store.run.inputs.items()}
    return digest_of([versions, store.run.previous and store.run.previous.run_id, conf.chunk_size])


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
