"""A fused search in a job: rankings by the index, keypoints of what is verified, one ranking of all."""

from collections.abc import Sequence
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.asmk.searching.spark import plan_grid
from resight.search.fused.recipe import index_settings, read_fused_recipe
from resight.search.fused.spark import (
    FusedFiles,
    list_candidates,
    list_near,
    pack_rankings,
    search_fused,
)
from resight.search.local.spark import describe_candidates, rank_by_index
from resight.search.settings import SearchSettings
from resight.store import TableStore
from resight.tables import IMAGES
from resight.verification.feature_files import FeatureFiles
from resight.verification.spark import fresh_pairs, write_feature_files

IMAGES_PER_CHUNK = 64  # whose keypoints are found again together


def rank_by_all(
    store: TableStore,
    asked: DataFrame,
    fused: FusedFiles,
    settings: SearchSettings,
    *,
    more: Sequence[DataFrame],
    n_slots: int | None,
) -> DataFrame:
    """Rank the collection for queries as `search_fused` takes them, still without a ranking by the index.

    ``asked`` is read more than once: it comes from files. Each of ``more`` has further columns by query_id.
    Only images that are verified need keypoints: stored ones are taken, the others found again.
    """
    recipe, dtype = read_fused_recipe(settings, fused.searched.vectors.n), fused.keypoint_dtype
    packed = [name for name in ("vectors", "words", "codes") if name in asked.columns]
    keypoints = asked.where(f"{packed[0]} is not null").select("query_id", "own", *packed)
    shallow = index_settings(settings)
    ranked = rank_by_index(store, keypoints, shallow, dtype=dtype, chosen=None, n_slots=n_slots)
    n_blocks = plan_grid(asked.count(), 1, n_slots).n_blocks
    kept = asked if recipe.n_verified else asked.drop("points", *packed)
    joined = kept.join(ranked.select("query_id", "image_ids", "scores"), "query_id", "left")
    for columns in more:
        joined = joined.join(columns, "query_id", "left")
    block = sf.pmod(sf.xxhash64("query_id"), sf.lit(n_blocks)).cast("int")
    if recipe.n_verified:  # which looks at all queries twice
        vectors = asked.select("query_id", "own", "vector").repartitionById(n_blocks, block)
        joined = joined.join(list_near(vectors, fused, depth=recipe.depth), "query_id", "left")
    queries = store.persist("fused-queries", joined).repartitionById(n_blocks, block)
    if recipe.n_verified:
        wanted = list_candidates(queries, fused, recipe)
        fused = replace(fused, features=open_candidates(store, wanted, dtype=dtype))
    return search_fused(queries, fused, recipe)


def pack_further(results: DataFrame) -> DataFrame:
    """Lay out rankings by a further index, `RESULTS` rows of a search of the same queries, as columns."""
    return pack_rankings(results).withColumnsRenamed({"image_ids": "image_ids_2", "scores": "scores_2"})


def find_known(queries: DataFrame, pairs: DataFrame, images: DataFrame) -> DataFrame:
    """Give queries that are images of the collection what is known of their pairs: (query_id, known).

    ``pairs`` are `VERIFIED_PAIRS` rows, of which those count that are of the same bytes as ``images``.
    """
    fresh = fresh_pairs(pairs, images)
    one = sf.struct(sf.col("image_b").alias("image_id"), "n_inliers")
    other = sf.struct(sf.col("image_a").alias("image_id"), "n_inliers")
    directed = fresh.select(sf.col("image_a").alias("own"), one.alias("one")).union(
        fresh.select(sf.col("image_b").alias("own"), other.alias("one"))
    )
    asked = queries.where("own >= 0").select("query_id", "own")
    listed = directed.join(asked.select("own").distinct(), "own", "left_semi").groupBy("own")
    known = listed.agg(sf.array_sort(sf.collect_list("one")).alias("known"))
    return asked.join(known, "own").select("query_id", "known")


def open_candidates(store: TableStore, wanted: DataFrame, *, dtype: str) -> FeatureFiles:
    """Write the keypoints of the images that are verified as files that every task maps."""
    folder = store.staging(files.join(store.run.run_id, "features"))
    wanted = store.persist("candidates", wanted)
    found = describe_candidates(store, wanted, folder, chunk_size=IMAGES_PER_CHUNK)
    sizes = store.read(IMAGES).select("image_id", "width", "height")
    rows = found.join(sizes, "image_id").withColumn("preview", sf.lit(None).cast("binary"))
    return write_feature_files(rows, folder, dtype=dtype)
