"""Operators of the fused ranking: neighbour lists of its graph, and answers to queries."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_lists, lists_to_arrow
from resight.knn.copies import to_offsets
from resight.rerank.fuse import FROZEN, MOST, Weighting
from resight.search.collection import Collection, SearchFiles
from resight.search.fused.lists import Seen, fuse_pairs, join_directions, list_finds, rank_neighbors
from resight.search.fused.pack import cut_lists, read_known, read_photos, read_rankings, unit_rows
from resight.search.fused.rank import (
    FusedQuery,
    FusedRecipe,
    choose_images,
    list_similar,
    rank_fused,
)
from resight.search.fused.similarity import DescriptorFiles
from resight.search.fused.verified import NOTHING
from resight.search.spark import ANSWERS, pack_answers
from resight.verification.feature_files import FeatureFiles

SEEN = "src long, dst long, calibrated double"
LISTS = "src long, dst binary, similarity binary"
BLOCK_IMAGES = 4096  # sources whose lists are cut to length in one task

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class FusedFiles:
    """What a fused search looks into: a collection with its graph, all descriptors, keypoints."""

    searched: SearchFiles
    descriptors: DescriptorFiles
    features: FeatureFiles | None = None
    dtypes: tuple[str, ...] = ("float16",)  # of the queries' vectors, one per descriptor
    keypoint_dtype: str = "float16"


def fuse_neighbors(
    neighbors: DataFrame,
    ranked: DataFrame,
    files: DescriptorFiles,
    *,
    k: int,
    further: DataFrame | None = None,
    weighting: Weighting = FROZEN,
    block_images: int = BLOCK_IMAGES,
) -> DataFrame:
    """Give every image the ``k`` best others by fused similarity: `LISTS` rows, distinct vectors only.

    Parameters
    ----------
    neighbors : DataFrame
        `NEIGHBORS` rows of the first descriptor; the lists should be longer than ``k``.
    ranked : DataFrame
        A search of the collection by the inverted file, see `pack_rankings`.
    further : DataFrame, optional
        A search by another inverted file.
    weighting : Weighting
        Of both beside similarities; never adapted here, as a graph has one scale.
    block_images : int
        Sources whose pairs are fused in one task: bounds its memory, changes nothing.
    """

    def list_near(batches: Batches) -> Batches:
        X = files.open().X
        for batch in batches:
            offsets, dst = arrow_to_lists(batch["dst"], "int64")
            src = np.repeat(batch["src"].to_numpy(), np.diff(offsets))
            a, b = (X.ordinal_of(ids) for ids in (src, dst))
            kept = (a >= 0) & (b >= 0)
            a, b = (X.representative_of(ordinals[kept]) for ordinals in (a, b))
            a, b = a[a != b], b[a != b]
            yield from pack_pairs(Seen(a, b, np.zeros(len(a))))

    seen = neighbors.select("src", "dst").mapInArrow(list_near, SEEN)
    for rows, weight in ((ranked, weighting.first), (further, weighting.further)):
        if rows is not None and weight:
            columns = rows.select("query_id", "image_ids", "scores")
            seen = seen.unionByName(columns.mapInArrow(find_lister(files, weight), SEEN))
    return join_lists(seen, files, k=k, block_images=block_images)


def find_lister(files: DescriptorFiles, weight: float) -> Callable[[Batches], Batches]:
    """Make the function that lists what stands out in rankings: `pack_rankings` rows to `SEEN` rows."""

    def list_found(batches: Batches) -> Batches:
        X = files.open().X
        for batch in batches:
            offsets, ids = arrow_to_lists(batch["image_ids"], "int64")
            ordinals, scores = X.ordinal_of(ids), arrow_to_lists(batch["scores"], "float32")[1]
            own = X.ordinal_of(batch["query_id"].to_numpy())
            for src, (a, b) in zip(own.tolist(), pairwise(offsets), strict=True):
                if src >= 0 and X.representative_of(np.array([src]))[0] == src:
                    yield from pack_pairs(list_finds(src, ordinals[a:b], scores[a:b], X, scale=weight))

    return list_found


def pack_pairs(seen: Seen) -> Batches:
    """Lay out pairs as `SEEN` rows, if there are any."""
    if len(seen.src):
        yield pa.record_batch(list(seen), names=list(Seen._fields))


def join_lists(seen: DataFrame, files: DescriptorFiles, *, k: int, block_images: int) -> DataFrame:
    """Fuse pairs that were seen, and cut the lists of both their ends: `SEEN` to `LISTS` rows."""

    def fuse_block(rows: pa.Table) -> pa.Table:
        pairs = join_directions(Seen(*(rows[name].to_numpy() for name in Seen._fields)))
        fused = fuse_pairs(pairs, files.open())
        ends = np.concatenate([pairs.src, pairs.dst]), np.concatenate([pairs.dst, pairs.src])
        return pa.table([*ends, np.tile(fused, 2)], names=list(Seen._fields))

    def cut_block(rows: pa.Table) -> pa.Table:
        lists = rank_neighbors(*(rows[name].to_numpy() for name in Seen._fields), k=k)
        X = files.open().X
        dst, similarity = (lists_to_arrow(lists.offsets, v) for v in (X.id_of(lists.dst), lists.similarity))
        return pa.table([X.id_of(lists.src), dst, similarity], names=["src", "dst", "similarity"])

    smaller = sf.floor(sf.least("src", "dst") / block_images)
    fused = seen.groupBy(smaller).applyInArrow(fuse_block, SEEN)
    return fused.groupBy(sf.floor(sf.col("src") / block_images)).applyInArrow(cut_block, LISTS)


def pack_rankings(results: DataFrame) -> DataFrame:
    """Pack what fusion needs of `RESULTS`: (query_id, image_ids, scores) rows, a query each."""

    def pack(batches: Batches) -> Batches:
        for batch in batches:
            listed = batch["listed"]
            rows = listed.flatten()
            ends = np.append(0, np.cumsum(listed.value_lengths().to_numpy(zero_copy_only=False)))
            columns = [lists_to_arrow(ends, rows.field(name).to_numpy()) for name in ("image_id", "score")]
            yield pa.record_batch([batch["query_id"], *columns], names=["query_id", "image_ids", "scores"])

    best = results.where(sf.col("rank") <= MOST).select("query_id", "rank", "image_id", "score")
    listed = sf.array_sort(sf.collect_list(sf.struct("rank", "image_id", "score")))
    grouped = best.groupBy("query_id").agg(listed.alias("listed"))
    return grouped.mapInArrow(pack, "query_id long, image_ids binary, scores binary")


def number_lists(lists: DataFrame, files: DescriptorFiles) -> DataFrame:
    """Turn `LISTS` by id into lists by ordinal, as those of one descriptor are."""

    def number(batches: Batches) -> Batches:
        X = files.open().X
        for batch in batches:
            offsets, ids = arrow_to_lists(batch["dst"], "int64")
            src, dst = X.ordinal_of(batch["src"].to_numpy()), lists_to_arrow(offsets, X.ordinal_of(ids))
            yield pa.record_batch([src, dst, batch["similarity"]], names=["src", "dst", "similarity"])

    return lists.mapInArrow(number, LISTS)


def list_near(queries: DataFrame, files: FusedFiles, *, depth: int) -> DataFrame:
    """List the images nearest to each of (query_id, own, vector) rows: query_id and ``near``, ordinals.

    What `list_candidates` and `search_fused` else both look for.
    """

    def list_batches(batches: Batches) -> Batches:
        collection = files.searched.open()
        for batch in batches:
            near = find_near(batch, files, collection, depth)
            flat = np.concatenate([np.zeros(0, np.int64), *near])
            packed = lists_to_arrow(to_offsets(np.array([len(one) for one in near], np.int64)), flat)
            yield pa.record_batch([batch["query_id"], packed], names=["query_id", "near"])

    columns = queries.select("query_id", "own", "vector")
    return columns.mapInArrow(list_batches, "query_id long, near binary")


def find_near(
    batch: pa.RecordBatch, files: FusedFiles, collection: Collection, depth: int
) -> list[np.ndarray]:
    """List the images nearest to each query of a batch by the first descriptor, see `list_similar`."""
    vectors, own = (
        unit_rows(batch["vector"], files.dtypes[0]),
        collection.X.ordinal_of(batch["own"].to_numpy()),
    )
    Q = [q if q is not None else np.zeros(collection.X.d, np.float32) for q in vectors]
    return list_similar(np.stack(Q), own, collection, depth) if Q else []


def list_candidates(queries: DataFrame, files: FusedFiles, recipe: FusedRecipe) -> DataFrame:
    """List the images that the queries of `search_fused` are verified with anew: image_id, each once."""
    first = recipe._replace(n_verified=0)  # keypoints are not prepared

    def choose(batches: Batches) -> Batches:
        collection, descriptors = files.searched.open(), files.descriptors.open()
        for batch in batches:
            if batch.num_rows:
                asked = read_queries(batch, files, collection, first)
                chosen = [choose_images(query, descriptors, recipe) for query in asked]
                yield pa.record_batch([collection.X.id_of(np.concatenate(chosen))], names=["image_id"])

    return queries.where("points is not null").mapInArrow(choose, "image_id long").distinct()


def search_fused(queries: DataFrame, files: FusedFiles, recipe: FusedRecipe) -> DataFrame:
    """Rank the collection for every query: one row per query, see `resight.search.spark.ANSWERS`.

    ``queries``: query_id, own (image_id, or -1), vector, vector_2 ... (one per descriptor, or null),
    image_ids and scores (packed ranking by the inverted file, or null), the same of a further ranking as
    image_ids_2 and scores_2 where there is one, points, vectors, width, height of the keypoints (or null:
    nothing is verified), and where there are such, near (see `list_near`) and known (an array of image_id,
    ascending, and n_inliers of what was verified before).
    """

    def rank_batches(batches: Batches) -> Batches:
        collection, descriptors = files.searched.open(), files.descriptors.open()
        features = files.features.open() if files.features else None
        threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
        for batch in batches:
            if not batch.num_rows:
                continue
            asked = read_queries(batch, files, collection, recipe)
            answers = rank_fused(asked, collection, descriptors, recipe, features=features, threads=threads)
            yield from pack_answers(batch["query_id"].to_numpy(), answers, collection.X)

    return queries.mapInArrow(rank_batches, ANSWERS)


def read_queries(
    batch: pa.RecordBatch, files: FusedFiles, collection: Collection, recipe: FusedRecipe
) -> list[FusedQuery]:
    """Unpack queries, and list the images nearest to each."""
    n, names = batch.num_rows, ["vector", *(f"vector_{i}" for i in range(2, len(files.dtypes) + 1))]
    vectors = [unit_rows(batch[name], dtype) for name, dtype in zip(names, files.dtypes, strict=True)]
    own = collection.X.ordinal_of(batch["own"].to_numpy())
    if "near" in batch.schema.names:
        near = cut_lists(*arrow_to_lists(batch["near"], "int64"))
    else:
        near = find_near(batch, files, collection, recipe.depth)
    known = read_known(batch) if "known" in batch.schema.names else [NOTHING] * n
    listed = [
        read_rankings(batch, end, collection) for end in ("", "_2") if f"scores{end}" in batch.schema.names
    ]
    photos = read_photos(batch, files.keypoint_dtype, recipe)
    return [
        FusedQuery(
            tuple(column[i] for column in vectors),
            int(own[i]),
            near[i],
            rankings[0].found,
            rankings[0].scores,
            photos[i],
            tuple(rankings[1:]),
            known[i],
        )
        for i, rankings in zip(range(n), zip(*listed, strict=True), strict=True)
    ]
