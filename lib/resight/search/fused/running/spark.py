"""A fused search in a job: rankings by the index, keypoints of what is verified, one ranking of all."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.asmk.searching.spark import plan_grid
from resight.search.asked.spark import Dtypes
from resight.search.collection import SearchFiles
from resight.search.fused.recipe import index_settings, read_fused_recipe
from resight.search.fused.similarity import DescriptorFiles
from resight.search.fused.spark import (
    FusedFiles,
    list_candidates,
    list_near,
    pack_rankings,
    search_fused,
)
from resight.search.local.spark import describe_collection, rank_by_index
from resight.search.settings import SearchSettings
from resight.store import TableStore
from resight.tables import IMAGES
from resight.verification.feature_files import FeatureFiles
from resight.verification.spark import attach_contents, write_feature_files

IMAGES_PER_CHUNK = 64  # whose keypoints are found again together


def rank_by_all(
    store: TableStore,
    asked: DataFrame,
    searched: SearchFiles,
    descriptors: DescriptorFiles,
    settings: SearchSettings,
    *,
    dtypes: Dtypes,
    n_slots: int | None,
) -> DataFrame:
    """Rank the collection for queries as `search_fused` takes them, still without a ranking by the index.

    Only images that are verified need keypoints: stored ones are taken, the others found again.
    """
    recipe = read_fused_recipe(settings, searched.vectors.n)
    asked = store.persist("asked-fused", asked)
    shallow = index_settings(settings)
    keypoints = asked.where("vectors is not null").select("query_id", "own", "vectors")
    ranked = rank_by_index(store, keypoints, shallow, dtype=dtypes.keypoints, chosen=None, n_slots=n_slots)
    n_blocks = plan_grid(asked.count(), 1, n_slots).n_blocks
    joined = asked.join(ranked.select("query_id", "image_ids", "scores"), "query_id", "left")
    block = sf.pmod(sf.xxhash64("query_id"), sf.lit(n_blocks)).cast("int")
    fused = FusedFiles(searched, descriptors, None, dtypes.vectors, dtypes.keypoints)
    if recipe.n_verified:  # which looks at all queries twice
        vectors = asked.select("query_id", "own", "vector").repartitionById(n_blocks, block)
        joined = joined.join(list_near(vectors, fused, depth=recipe.depth), "query_id", "left")
    queries = store.persist("fused-queries", joined).repartitionById(n_blocks, block)
    if recipe.n_verified:
        wanted = list_candidates(queries, fused, recipe)
        features = open_candidates(store, wanted, dtype=dtypes.keypoints)
        fused = FusedFiles(searched, descriptors, features, dtypes.vectors, dtypes.keypoints)
    return search_fused(queries, fused, recipe)


def join_further(queries: DataFrame, results: DataFrame) -> DataFrame:
    """Give queries their rankings by a further index: `RESULTS` rows of a search of the same queries."""
    names = {"image_ids": "image_ids_2", "scores": "scores_2"}
    return queries.join(pack_rankings(results).withColumnsRenamed(names), "query_id", "left")


def join_known(queries: DataFrame, pairs: DataFrame, images: DataFrame) -> DataFrame:
    """Give queries that are images of the collection what is known of their pairs: the column ``known``.

    ``pairs`` are `VERIFIED_PAIRS` rows, of which those count that are of the same bytes as ``images``.
    """
    ends = pairs.where("status = 'ok'").select(
        "image_a", "image_b", "n_inliers", sf.col("contents").alias("seen")
    )
    images = images.where("removed_at is null").select("image_id", "content_hash")
    fresh = attach_contents(ends, images).where("contents = seen")
    one = sf.struct(sf.col("image_b").alias("image_id"), "n_inliers")
    other = sf.struct(sf.col("image_a").alias("image_id"), "n_inliers")
    directed = fresh.select(sf.col("image_a").alias("own"), one.alias("one")).union(
        fresh.select(sf.col("image_b").alias("own"), other.alias("one"))
    )
    asked = queries.where("own >= 0").select("own").distinct()
    listed = directed.join(asked, "own", "left_semi").groupBy("own")
    known = listed.agg(sf.array_sort(sf.collect_list("one")).alias("known"))
    return queries.join(known, "own", "left")


def open_candidates(store: TableStore, wanted: DataFrame, *, dtype: str) -> FeatureFiles:
    """Write the keypoints of the images that are verified as files that every task maps."""
    wanted = store.persist("candidates", wanted)
    found = describe_collection(store, chunk_size=IMAGES_PER_CHUNK, chosen=wanted, label="candidates")
    sizes = store.read(IMAGES).select("image_id", "width", "height")
    rows = found.where("status = 'ok'").join(sizes, "image_id")
    rows = rows.withColumn("preview", sf.lit(None).cast("binary"))
    columns = rows.select("image_id", "width", "height", "points", "vectors", "preview")
    folder = store.staging(files.join(store.run.run_id, "features"))
    return write_feature_files(columns, folder, dtype=dtype)
