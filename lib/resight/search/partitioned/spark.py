"""Operator of a search over a partitioned graph: the same `ANSWERS` as `resight.search.spark.search`."""

import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_lists, arrow_to_vectors, lists_to_arrow, vectors_to_arrow
from resight.config import SettingError
from resight.diffusion.observe import QueryLists, observe_queries
from resight.diffusion.partitioned.parts import PartitionedFiles
from resight.diffusion.partitioned.rank import RankWork
from resight.diffusion.partitioned.spark import solve_ranks
from resight.diffusion.rank import rank_images
from resight.diffusion.solve import bound_iterations
from resight.knn.copies import Rows, list_copies, to_offsets
from resight.knn.matrix import OpenVectors, VectorFiles, normalize_rows
from resight.search.answer import Answer
from resight.search.diffused import search_distinct, spread_to_copies
from resight.search.settings import SearchSettings
from resight.search.spark import ANSWERS, pack_answers

OBSERVED = (
    "query_id long, own long, vector binary, ordinals binary, similarity binary, nodes binary, "
    "weights binary, no_support boolean"
)
Batches = Iterator[pa.RecordBatch]


def search_partitioned(
    queries: DataFrame,
    searched: tuple[VectorFiles, PartitionedFiles],
    settings: SearchSettings,
    folder: str,
    *,
    source_dtype: str = "float16",
    every: int = 25,
) -> DataFrame:
    """Rank the collection for every query by diffusion over a graph in parts: one row per query, `ANSWERS`.

    Parameters
    ----------
    queries : DataFrame
        (query_id, vector[, image_id]), as for `resight.search.spark.search`.
    folder : str
        Of this search alone: what the queries observe, iterates, scores. It must outlive the answers; a
        search that starts again with it goes on from the last iterate.
    every : int
        Iterations from one written iterate to the next.

    Raises
    ------
    SettingError
        The method or an option is for another path, or no barrier stage can run.
    """
    if settings.method != "diffusion" or settings.shortlist or settings.explain:
        raise SettingError("path: partitioned is for the method diffusion without shortlist and explain")
    vectors, graph = searched
    depth = vectors.n if settings.depth == "all" else min(int(settings.depth), vectors.n)
    seen = files.join(folder, "observed")
    if not files.exists(files.join(seen, "_SUCCESS")):
        rows = observe(queries, vectors, settings, depth, source_dtype)
        rows.write.mode("overwrite").parquet(files.spark_uri(seen))
    work = RankWork(
        graph,
        seen,
        files.join(folder, "iterates"),
        settings.alpha,
        settings.tol,
        limit=2 * bound_iterations(settings.alpha, settings.tol) + 10,
        depth=depth + 1,
        every=every,
        threads=int(os.environ.get("OMP_NUM_THREADS") or 1),
    )
    spark = queries.sparkSession
    found = solve_ranks(spark, len(graph.parts), work, files.join(folder, "found"))
    observed = spark.read.schema(OBSERVED).parquet(files.spark_uri(seen, pattern=True))
    return rank_found(observed, found, vectors, depth)


def observe(
    queries: DataFrame, vectors: VectorFiles, settings: SearchSettings, depth: int, source_dtype: str
) -> DataFrame:
    """List what every usable query observes, and its nearest images: rows `OBSERVED`."""
    n_listed = max(depth + 1, settings.k_q)

    def observe_batches(batches: Batches) -> Batches:
        X = vectors.open()
        for batch in batches:
            if not batch.num_rows:
                continue
            Q, status = normalize_rows(arrow_to_vectors(batch["vector"], source_dtype))
            usable = np.flatnonzero(status == "ok")
            if not len(usable):
                continue
            Q, ids = Q[usable], batch["query_id"].to_numpy()[usable]
            offsets, ordinals, similarity = search_distinct(Q, X, k=n_listed)
            lists = QueryLists(offsets, ordinals, similarity)
            seen = observe_queries(lists, k_q=settings.k_q, gamma=settings.gamma, n_queries=len(Q))
            columns = {
                "query_id": pa.array(ids),
                "own": pa.array(X.ordinal_of(batch["own"].to_numpy()[usable])),
                "vector": vectors_to_arrow(Q),
                "ordinals": lists_to_arrow(offsets, ordinals.astype(np.int64)),
                "similarity": lists_to_arrow(offsets, similarity.astype(np.float32)),
                "nodes": lists_to_arrow(seen.offsets, X.id_of(seen.ordinals)),
                "weights": lists_to_arrow(seen.offsets, seen.weights),
                "no_support": pa.array(seen.no_support),
            }
            yield pa.record_batch(columns)

    own = sf.coalesce("image_id", sf.lit(-1)) if "image_id" in queries.columns else sf.lit(-1)
    usable = queries.where(sf.col("vector").isNotNull())
    asked = usable.select("query_id", "vector", own.cast("long").alias("own"))
    return asked.mapInArrow(observe_batches, OBSERVED)


def rank_found(observed: DataFrame, found: DataFrame, vectors: VectorFiles, depth: int) -> DataFrame:
    """Join what the ranks found for each query and rank it, the rest by similarity: rows `ANSWERS`."""

    def rank_batches(batches: Batches) -> Batches:
        X = vectors.open()
        for batch in batches:
            answers = (rank_row(row, X, depth) for row in iterate_rows(batch))
            yield from pack_answers(batch["query_id"].to_numpy(), answers, X)

    pairs = sf.collect_list(sf.struct("rank", "nodes", "scores"))
    joined = (
        found.where("query_id is not null")
        .groupBy("query_id")
        .agg(
            sf.array_sort(pairs).alias("parts"),
            sf.max("iterations").alias("iterations"),
            sf.max("residual").alias("residual"),
        )
    )
    return observed.join(joined, "query_id").mapInArrow(rank_batches, ANSWERS)


def iterate_rows(batch: pa.RecordBatch) -> Iterator[dict]:
    """Give the rows of a batch, one at a time, packed lists as arrays."""
    offsets, ordinals = arrow_to_lists(batch["ordinals"], "int64")
    similarity = arrow_to_lists(batch["similarity"], "float32")[1]
    Q = arrow_to_vectors(batch["vector"], "float32")
    for i in range(batch.num_rows):
        some, parts = slice(offsets[i], offsets[i + 1]), batch["parts"][i].as_py()
        yield {
            "q": Q[i],
            "own": batch["own"][i].as_py(),
            "listed": (ordinals[some], similarity[some]),
            "nodes": np.concatenate([np.frombuffer(part["nodes"], np.int64) for part in parts]),
            "scores": np.concatenate([np.frombuffer(part["scores"], np.float64) for part in parts]),
            "flags": [batch[name][i].as_py() for name in ("no_support", "iterations", "residual")],
        }


def rank_row(row: dict, X: OpenVectors, depth: int) -> Answer:
    """Rank one query by the scores of its nodes; ties by similarity, then by id."""
    ordinals = X.ordinal_of(row["nodes"])
    known = np.flatnonzero(ordinals >= 0)
    known = known[np.argsort(ordinals[known])]
    reached = spread_to_copies(ordinals[known], row["scores"][known], X, row["q"], depth + 1)
    listed = Rows(np.zeros(1, np.int64), to_offsets(np.array([len(row["listed"][0])])), *row["listed"])
    filled = list_copies(listed, X.grouped_copies, np.iinfo(np.int32).max)
    ranking = rank_images(reached, filled.dst, filled.similarity, depth=depth + 1)
    others = ranking.ordinals != row["own"]
    return Answer(ranking.ordinals[others][:depth], ranking.scores[others][:depth], *row["flags"])
