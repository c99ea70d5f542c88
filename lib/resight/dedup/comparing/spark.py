"""Compare the candidates of a run: what gives them, what is known of them, what their pixels say."""

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.config import SettingError, digest_of
from resight.dedup.background.spark import is_background, measure_bias, pair_above
from resight.dedup.candidates.spark import (
    collect_candidates,
    drop_collapsed,
    pair_codes,
    pair_descriptors,
    pair_members,
)
from resight.dedup.grouping.spark import link_pairs
from resight.dedup.keep import parse_policy
from resight.dedup.naming.spark import name_pairs
from resight.dedup.relating.spark import Views, make_views, relate_pairs
from resight.dedup.scope.spark import keep_new, name_sources
from resight.dedup.settings import DuplicatesConfig
from resight.dedup.spark import find_copies
from resight.graph.spark import find_components
from resight.knn.spark import write_vector_files
from resight.store import TableStore, spark_schema
from resight.tables import (
    CODES,
    DUPLICATE_CANDIDATES,
    DUPLICATE_LIMITS,
    GLOBAL_DESCRIPTORS,
    IMAGES,
    NEIGHBORS,
    QUERIES,
    RESULTS,
    SOURCES,
    VERIFIED_PAIRS,
)
from resight.verification.spark import attach_contents, fresh_pairs, pair_results

__all__ = ["compare_candidates"]

TRANSIENT = ("missing", "unreadable", "changed")  # tried again by the next run
MAX_COMPLETED = 10_000  # linked images, above which none are compared with the best of them besides
LIMITED = ["reason", "kind", "part", "key", "n_images", "n_pairs"]
ENOUGH = 8  # inliers of a verified pair that is a candidate
log = logging.getLogger("resight")


def compare_candidates(store: TableStore, conf: DuplicatesConfig, copies: DataFrame) -> DataFrame:
    """Compare the pixels of candidates, then those of every linked image with the best one linked to it.

    Writes `DUPLICATE_CANDIDATES` and `DUPLICATE_LIMITS`; gives the pairs of copies, named. ``copies`` are
    rows of `represent_copies`.
    """
    check_pixels(copies)
    candidates, buckets = list_candidates(store, conf, copies)
    first, views = relate_stale(store, conf, candidates, "first")
    linked = link_pairs(name_pairs(first, copies, same_scene=False))
    components = store.persist("linked", find_components(linked, folder=store.staging("linked")))
    limit = conf.max_group or MAX_COMPLETED
    further = pair_members(components, copies, first, parse_policy(conf.keep), limit=limit)
    second, _ = relate_stale(store, conf, further.withColumn("found_by", sf.lit("group")), "second", views)
    related = store.persist("related", first.unionByName(second))
    store.write(DUPLICATE_CANDIDATES, related)
    write_limits(store, buckets, components, limit)
    written = store.run.outputs[DUPLICATE_CANDIDATES.name]
    failed = written.n_rows - written.statuses.get("ok", 0)
    store.note(candidates=written.n_rows, **({"not_compared": failed} if failed else {}))
    named = name_pairs(related, copies, same_scene=conf.same_scene)
    return store.persist("pairs", named.unionByName(find_copies(copies), allowMissingColumns=True))


def check_pixels(copies: DataFrame) -> None:
    """Raise `SettingError` where there are images, but not one with pixels to compare."""
    n_images, n_seen = copies.agg(sf.count("*"), sf.count("facts.pixel_hash")).collect()[0]
    if n_images and not n_seen:
        raise SettingError(
            "effort: the images of this collection have vectors and no pixels to compare: --effort quick"
        )


def list_candidates(
    store: TableStore, conf: DuplicatesConfig, copies: DataFrame
) -> tuple[DataFrame, DataFrame | None]:
    """List the pairs of representatives that may be copies, by everything that was computed for it.

    Gives them and, where there are codes, the buckets of codes.
    """
    inputs, parts = store.run.inputs, dict[str, DataFrame]()
    if NEIGHBORS.name in inputs:
        parts["descriptors"] = pair_near(store, conf, copies)
    if RESULTS.name in inputs:
        parts["results"] = pair_results(store.read(RESULTS), store.read(QUERIES), top=conf.top)
    if VERIFIED_PAIRS.name in inputs:
        known = fresh_pairs(store.read(VERIFIED_PAIRS), store.read(IMAGES))
        parts["verified"] = known.where(sf.col("n_inliers") >= ENOUGH)
    if conf.new:
        parts = {name: keep_new(pairs, copies) for name, pairs in parts.items()}
    buckets = None
    if CODES.name in inputs:  # an image that left, or changed since it was hashed, must stand for no other
        own = copies.select("image_id", "content_hash", "facts.is_new")
        codes = store.persist("codes", store.read(CODES).join(own, ["image_id", "content_hash"]))
        parts = {name: drop_collapsed(pairs, codes) for name, pairs in parts.items()}
        limits = {"top": conf.top, "max_bucket": conf.max_bucket}
        parts["codes"], buckets = pair_codes(codes, share=conf.candidate_bits, **limits, hold=store.hold)
    elif not conf.candidates:
        log.warning("there are no codes: more copies are found after resight hash-images")
    return collect_candidates(parts, copies), buckets


def pair_near(store: TableStore, conf: DuplicatesConfig, copies: DataFrame) -> DataFrame:
    """Pair images by their descriptors; with a background by what they have over it."""
    lists = store.read(NEIGHBORS)
    if not conf.background:
        return pair_descriptors(lists, threshold=conf.candidate_similarity, top=conf.top)
    images, dtype = store.read(IMAGES), store.properties(GLOBAL_DESCRIPTORS)["dtype"]
    members = images.where(is_background(name_sources(store.read(SOURCES)), conf.background))
    vectors = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'").select("image_id", "vector")
    known, own = (
        vectors.join(some.select("image_id"), "image_id", "left_semi") for some in (members, copies)
    )
    folder = store.staging(files.join(resume_key(store, conf), "background"))
    layout = write_vector_files(known, folder, source_dtype=dtype)
    if not layout.n:
        raise SettingError(f"--background: no image with a vector is one of {' '.join(conf.background)}")
    store.note(background=layout.n)
    biases = measure_bias(own, layout, top=conf.background_top, source_dtype=dtype)
    biases = store.persist("background", biases)
    margin, weight = conf.background_margin, conf.background_weight
    return pair_above(lists, biases, margin=margin, weight=weight, top=conf.top)


def write_limits(
    store: TableStore, buckets: DataFrame | None, components: DataFrame, max_linked: int
) -> None:
    """Write down and note what limits left out, and how many comparisons of codes there were."""
    sizes = components.groupBy("component_id").agg(sf.count("*").alias("n_images"))
    large = sizes.where(sf.col("n_images") > max_linked)
    named = {"reason": sf.lit("completed"), "kind": sf.lit(""), "part": sf.lit(0)}
    named |= {"key": sf.col("component_id"), "n_pairs": sf.col("n_images") - 1}
    limited = large.withColumns(named).select(LIMITED)
    if buckets is not None:
        named = {"reason": sf.lit("max_bucket"), "n_images": sf.greatest("n_asked", "n_held")}
        cut = buckets.where("is_left_out").withColumns(named | {"n_pairs": sf.col("n_compared")})
        limited = limited.unionByName(cut.select(LIMITED))
        looked = buckets.where("not is_left_out").agg(sf.sum("n_compared")).collect()[0][0]
        store.note(codes_compared=looked or 0)
    typed = [sf.col(f.name).cast(f.dataType) for f in spark_schema(DUPLICATE_LIMITS).fields]
    store.write(DUPLICATE_LIMITS, limited.select(*typed))
    if store.run.outputs[DUPLICATE_LIMITS.name].n_rows:
        left = store.written(DUPLICATE_LIMITS).groupBy("reason").agg(sf.sum("n_pairs").alias("n"))
        store.note(left_out={row["reason"]: row["n"] for row in left.collect()})


def relate_stale(
    store: TableStore, conf: DuplicatesConfig, pairs: DataFrame, stage: str, views: Views | None = None
) -> tuple[DataFrame, Views | None]:
    """Relate the pairs that were not related by an earlier run, or whose files changed since.

    ``views`` are there already, and further ones come with the rows that are given back.
    """
    images = store.read(IMAGES).where("removed_at is null and status = 'ok'")
    pairs = store.persist(f"{stage}-pairs", attach_contents(pairs, images))
    previous, keys = store.previous(DUPLICATE_CANDIDATES), ["image_a", "image_b", "contents"]
    kept = None
    if previous is not None:
        final = previous.where(~sf.col("status").isin(*TRANSIENT)).drop("build_id", "found_by")
        kept = final.join(pairs.select(*keys, "found_by"), keys)
        pairs = store.persist(f"{stage}-stale", pairs.join(kept.select(keys), keys, "left_anti"))
    n_stale = pairs.count()
    store.note(compared=store.run.notes.get("compared", 0) + n_stale)
    names = spark_schema(DUPLICATE_CANDIDATES).fieldNames()
    if not n_stale:
        known = store.spark.createDataFrame([], spark_schema(DUPLICATE_CANDIDATES)) if kept is None else kept
        return store.persist(f"{stage}-related", known.select(names)), views
    roots = store.read(SOURCES).select("source_id", "root")
    listed = images.join(roots, "source_id").select(
        "image_id", "content_hash", "root", "uri", "byte_offset", "n_bytes"
    )
    folder = store.staging(files.join(resume_key(store, conf), stage))
    views = make_views(pairs, listed, conf.relating(), folder=folder, known=views)
    related = relate_pairs(pairs, views, conf.relating(), folder=folder, chunk_size=conf.chunk_size)
    related = related if kept is None else related.unionByName(kept.select(names))
    return store.persist(f"{stage}-related", related), views


def resume_key(store: TableStore, conf: DuplicatesConfig) -> str:
    """Name what the unfinished work of this run is made from: a run that is started again finds it."""
    versions = {name: run.outputs[name].version for name, run in store.run.inputs.items()}
    return digest_of([versions, store.run.previous and store.run.previous.run_id, conf.chunk_size])
