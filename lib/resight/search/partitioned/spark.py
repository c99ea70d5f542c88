"""Operator of a search over a partitioned graph: the same `ANSWERS` as `resight.search.spark.search`."""

import os
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_lists, arrow_to_vectors, lists_to_arrow, vectors_to_arrow
from resight.config import SettingError
from resight.diffusion.explain import explain_result
from resight.diffusion.observe import QueryLists, observe_queries
from resight.diffusion.partitioned.parts import PartitionedFiles
from resight.diffusion.partitioned.rank import LANES, RankWork
from resight.diffusion.partitioned.rows import PartedRows
from resight.diffusion.partitioned.spark import solve_ranks
from resight.diffusion.rank import rank_images
from resight.diffusion.solve import bound_iterations
from resight.knn.matrix import OpenVectors, normalize_rows, save_array
from resight.knn.spark import number_tasks, task_numbers
from resight.search.answer import Answer
from resight.search.collection import Collection, SearchFiles
from resight.search.diffused import finish_path, list_images, reach_images, search_distinct
from resight.search.settings import SearchSettings
from resight.search.spark import ANSWERS, pack_answers

OBSERVED = (
    "query_id long, own long, vector binary, ordinals binary, similarity binary, nodes binary, "
    "weights binary, no_support boolean"
)
Batches = Iterator[pa.RecordBatch]


def search_partitioned(
    queries: DataFrame,
    searched: tuple[SearchFiles, PartitionedFiles],
    settings: SearchSettings,
    folder: str,
    *,
    source_dtype: str = "float16",
    every: int = 25,
    lanes: int = LANES,
) -> DataFrame:
    """Rank the collection for every query by diffusion over a graph in parts: one row per query, `ANSWERS`.

    Parameters
    ----------
    queries : DataFrame
        (query_id, vector[, image_id]), as for `resight.search.spark.search`.
    searched : SearchFiles, PartitionedFiles
        The vectors, and which of them may be returned; the graph.
    folder : str
        Of this search alone: what the queries observe, iterates, scores. It must outlive the answers; a
        search that starts again with it goes on from the last iterate.
    every : int
        Iterations from one written iterate to the next.
    lanes : int
        Queries that are solved together, a power of two: they bound the memory of a rank beside its part.

    Raises
    ------
    SettingError
        The method or an option is for another path, or no barrier stage can run.
    """
    if settings.method != "diffusion" or settings.shortlist:
        raise SettingError("path: partitioned is for the method diffusion without shortlist")
    (collection, graph), spark = searched, queries.sparkSession
    n = collection.vectors.n
    depth = n if settings.depth == "all" else min(int(settings.depth), n)
    seen = files.join(folder, "observed")
    if not files.exists(files.join(seen, "_SUCCESS")):
        rows = observe(queries, collection, settings, depth, source_dtype)
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
        precision=settings.precision,
        allowed=save_allowed(spark, collection, folder) if collection.allowed else None,
        lanes=lanes,
    )
    found = solve_ranks(spark, len(graph.parts), work, files.join(folder, "found"))
    observed = spark.read.schema(OBSERVED).parquet(files.spark_uri(seen, pattern=True))
    return rank_found(observed, found, searched, settings, depth)


def save_allowed(spark: SparkSession, searched: SearchFiles, folder: str) -> tuple[str, str]:
    """Write the ids of the nodes that stand for an image that may be returned; give folder and name."""

    def save(batches: Batches) -> Batches:
        for _ in task_numbers(batches):
            collection = searched.open()
            first = collection.X.representatives(0, collection.X.n)
            ids = collection.X.id_of(first[collection.standing_for_allowed(first)])
            yield pa.record_batch([[save_array(folder, "allowed", ids)]], names=["name"])

    written = number_tasks(spark, 1).mapInArrow(save, "name string").first()
    if written is None:
        raise RuntimeError("the list of allowed nodes was not written")
    return folder, written["name"]


def observe(
    queries: DataFrame, searched: SearchFiles, settings: SearchSettings, depth: int, source_dtype: str
) -> DataFrame:
    """List what every usable query observes, and its nearest images: rows `OBSERVED`."""
    n_listed = max(depth + 1, settings.k_q)

    def observe_batches(batches: Batches) -> Batches:
        collection = searched.open()
        X = collection.X
        for batch in batches:
            if not batch.num_rows:
                continue
            Q, status = normalize_rows(arrow_to_vectors(batch["vector"], source_dtype))
            usable = np.flatnonzero(status == "ok")
            if not len(usable):
                continue
            Q, ids = Q[usable], batch["query_id"].to_numpy()[usable]
            lists = search_distinct(Q, X, k=n_listed)
            seen = observe_queries(
                QueryLists(*lists), k_q=settings.k_q, gamma=settings.gamma, n_queries=len(Q)
            )
            near = list_images(Q, lists, collection, depth + 1)
            columns = {
                "query_id": pa.array(ids),
                "own": pa.array(X.ordinal_of(batch["own"].to_numpy()[usable])),
                "vector": vectors_to_arrow(Q),
                "ordinals": lists_to_arrow(near.offsets, near.dst.astype(np.int64)),
                "similarity": lists_to_arrow(near.offsets, near.similarity.astype(np.float32)),
                "nodes": lists_to_arrow(seen.offsets, X.id_of(seen.ordinals)),
                "weights": lists_to_arrow(seen.offsets, seen.weights),
                "no_support": pa.array(seen.no_support),
            }
            yield pa.record_batch(columns)

    own = sf.coalesce("image_id", sf.lit(-1)) if "image_id" in queries.columns else sf.lit(-1)
    usable = queries.where(sf.col("vector").isNotNull())
    asked = usable.select("query_id", "vector", own.cast("long").alias("own"))
    return asked.mapInArrow(observe_batches, OBSERVED)


def rank_found(
    observed: DataFrame,
    found: DataFrame,
    searched: tuple[SearchFiles, PartitionedFiles],
    settings: SearchSettings,
    depth: int,
) -> DataFrame:
    """Join what the ranks found for each query and rank it, the rest by similarity: rows `ANSWERS`.

    Explanations read rows of all parts, a few for each query, where the search for a chain comes by.
    """

    def rank_batches(batches: Batches) -> Batches:
        collection, graph = searched[0].open(), PartedRows(searched[1]) if settings.explain else None
        for batch in batches:
            answers = (rank_row(row, collection, depth) for row in iterate_rows(batch))
            if graph:
                pairs = zip(iterate_rows(batch), answers, strict=True)
                answers = (explain_row(*pair, collection.X, graph, settings) for pair in pairs)
            yield from pack_answers(batch["query_id"].to_numpy(), answers, collection.X)

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
    ends, support = arrow_to_lists(batch["nodes"], "int64")
    weights = arrow_to_lists(batch["weights"], "float64")[1]
    for i in range(batch.num_rows):
        some, parts = slice(offsets[i], offsets[i + 1]), batch["parts"][i].as_py()
        yield {
            "q": Q[i],
            "own": batch["own"][i].as_py(),
            "listed": (ordinals[some], similarity[some]),
            "observed": (support[ends[i] : ends[i + 1]], weights[ends[i] : ends[i + 1]]),
            "nodes": np.concatenate([np.frombuffer(part["nodes"], np.int64) for part in parts]),
            "scores": np.concatenate([np.frombuffer(part["scores"], np.float64) for part in parts]),
            "flags": [batch[name][i].as_py() for name in ("no_support", "iterations", "residual")],
        }


def rank_row(row: dict, collection: Collection, depth: int) -> Answer:
    """Rank one query by the scores of its nodes; ties by similarity, then by id."""
    ordinals = collection.X.ordinal_of(row["nodes"])
    known = np.flatnonzero(ordinals >= 0)
    known = known[np.argsort(ordinals[known])]
    reached = reach_images(ordinals[known], row["scores"][known], collection, row["q"], depth + 1)
    ranking = rank_images(reached, *row["listed"], depth=depth + 1)
    others = ranking.ordinals != row["own"]
    return Answer(ranking.ordinals[others][:depth], ranking.scores[others][:depth], *row["flags"])


def explain_row(
    row: dict, answer: Answer, X: OpenVectors, graph: PartedRows, settings: SearchSettings
) -> Answer:
    """Find the chains of images that lead to the first results of an answer."""
    n = settings.explain
    targets = X.id_of(X.representative_of(answer.ordinals[:n]))
    nodes, weights = row["observed"]
    places = graph.find(np.concatenate([nodes, targets]))
    support, ends = places[: len(nodes)], places[len(nodes) :]
    known = support >= 0

    def there(place: int) -> tuple[np.ndarray, np.ndarray]:
        neighbors, affinities = graph.row(place)
        kept = X.ordinal_of(graph.ids_of(neighbors)) >= 0  # an image may be gone since
        return neighbors[kept], affinities[kept]

    seen = support[known], np.minimum(weights[known], 1.0)
    explain = partial(explain_result, max_hops=settings.explain_hops, max_nodes=settings.explain_nodes)
    found = [explain(there, *seen, int(end)) for end in ends]

    def name(ordinals: np.ndarray) -> np.ndarray:
        own = X.ordinal_of(graph.ids_of(np.maximum(ordinals, 0)))
        return np.where(ordinals >= 0, own, -1)

    named = (p._replace(src=name(p.src), dst=name(p.dst)) for p in found)
    pairs = zip(named, answer.ordinals[:n], strict=True)
    return answer._replace(paths=tuple(finish_path(*pair, row["own"], X) for pair in pairs))
