"""Operators of a search: query vectors to packed answers, answers to `RESULTS`.

Queries are sharded over tasks, each of which maps the files of the collection into memory; the answer of a
query depends on the query alone.
"""

import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_lists, arrow_to_vectors, lists_to_arrow
from resight.knn.copies import to_offsets
from resight.knn.matrix import OpenVectors, normalize_rows
from resight.search.collection import SearchFiles
from resight.search.rank import Answer, QueryRegions, answer_queries
from resight.search.settings import SearchSettings
from resight.store import spark_schema
from resight.tables import EXPLANATIONS, RESULTS

PACKED = (
    "query_id long, image_ids binary, scores binary, regions binary, no_support boolean, iterations int, "
    "residual double"
)
HOP = "image_id long, hop int, src long, dst long, affinity double, product double"
ANSWERS = f"{PACKED}, hops array<struct<{', '.join(f.replace(' ', ':') for f in HOP.split(', '))}>>"
HELD = 64  # answers that leave a task together

Batches = Iterator[pa.RecordBatch]


def search(
    queries: DataFrame, searched: SearchFiles, settings: SearchSettings, *, source_dtype: str = "float16"
) -> DataFrame:
    """Rank the collection for every query: one row per query, see `ANSWERS`.

    ``queries`` has (query_id, vector[, image_id][, region_vectors]): an image of the collection is left out
    of its own answer; the vectors of a query's regions are packed. A query whose vector is null, zero or NaN
    has no row.
    """

    def rank_batches(batches: Batches) -> Batches:
        collection, threads = searched.open(), int(os.environ.get("OMP_NUM_THREADS") or 1)
        for batch in batches:
            if not batch.num_rows:
                continue
            Q, status = normalize_rows(arrow_to_vectors(batch["vector"], source_dtype))
            usable = np.flatnonzero(status == "ok")
            ids = batch["query_id"].to_numpy()[usable]
            own = collection.X.ordinal_of(batch["own"].to_numpy()[usable])
            regions = None
            if "region_vectors" in batch.schema.names:
                packed = batch["region_vectors"].take(pa.array(usable))
                regions = read_regions(packed, collection.region_nodes.X.d, source_dtype)
            answers = answer_queries(Q[usable], own, collection, settings, threads=threads, regions=regions)
            yield from pack_answers(ids, answers, collection.X)

    own = sf.coalesce("image_id", sf.lit(-1)) if "image_id" in queries.columns else sf.lit(-1)
    usable = queries.where(sf.col("vector").isNotNull())
    more = [name for name in ("region_vectors",) if name in queries.columns]
    columns = usable.select("query_id", "vector", own.cast("long").alias("own"), *more)
    return columns.mapInArrow(rank_batches, ANSWERS)


def read_regions(packed: pa.Array, d: int, dtype: str) -> QueryRegions:
    """Unpack the vectors of some queries' regions; what is zero or not finite is left out."""
    ends, values = arrow_to_lists(packed, dtype)
    X, status = normalize_rows(values.reshape(-1, d))
    ok = status == "ok"
    offsets = np.append(0, np.cumsum(ok))[ends // d]
    return QueryRegions(offsets, X[ok])


def pack_answers(ids: np.ndarray, answers: Iterator[Answer], X: OpenVectors) -> Batches:
    """Lay out answers as rows, some at a time."""
    held: list[Answer] = []
    done = 0
    for answer in answers:
        held.append(answer)
        if len(held) == HELD:
            yield pack(ids[done : done + HELD], held, X)
            done, held = done + HELD, []
    if held:
        yield pack(ids[done:], held, X)


def pack(ids: np.ndarray, answers: list[Answer], X: OpenVectors) -> pa.RecordBatch:
    """Lay out a few answers as `ANSWERS` rows."""
    offsets = to_offsets(np.array([len(answer.ordinals) for answer in answers]))
    images = X.id_of(np.concatenate([answer.ordinals for answer in answers]))
    scores = np.concatenate([answer.scores for answer in answers]).astype(np.float32)
    columns = {
        "query_id": pa.array(ids),
        "image_ids": lists_to_arrow(offsets, images),
        "scores": lists_to_arrow(offsets, scores),
        "regions": pack_regions(answers, offsets),
        "no_support": pa.array([answer.no_support for answer in answers]),
        "iterations": pa.array([answer.iterations for answer in answers], pa.int32()),
        "residual": pa.array([answer.residual for answer in answers], pa.float64()),
        "hops": pa.array([list_hops(answer, X) for answer in answers], hop_type()),
    }
    return pa.record_batch(columns)


def pack_regions(answers: list[Answer], offsets: np.ndarray) -> pa.Array:
    """Pack the best regions of the results, where regions were searched."""
    found = [answer.regions for answer in answers if answer.regions is not None]
    if len(found) < len(answers):
        return pa.nulls(len(answers), pa.binary())
    return lists_to_arrow(offsets, np.concatenate(found))


def hop_type() -> pa.DataType:
    """Arrow type of the hops of one answer."""
    kinds = {"long": pa.int64(), "int": pa.int32(), "double": pa.float64()}
    pairs = (field.split(" ") for field in HOP.split(", "))
    return pa.list_(pa.struct([pa.field(name, kinds[kind]) for name, kind in pairs]))


def list_hops(answer: Answer, X: OpenVectors) -> list[dict[str, float | int | None]]:
    """List the hops of the paths to the first results; the query itself is null."""
    rows: list[dict[str, float | int | None]] = []
    for ordinal, path in zip(answer.ordinals, answer.paths, strict=False):
        target = int(X.id_of(np.array([ordinal]))[0])
        for hop in range(len(path.src)):
            ends = X.id_of(np.maximum([path.src[hop], path.dst[hop]], 0))
            src = None if path.src[hop] < 0 else int(ends[0])
            strength = {"affinity": float(path.affinity[hop]), "product": float(path.product[hop])}
            rows.append({"image_id": target, "hop": hop, "src": src, "dst": int(ends[1])} | strength)
    return rows


def unpack_results(answers: DataFrame, method: str) -> DataFrame:
    """Give every result of packed answers a row of `RESULTS`."""

    def unpack(batches: Batches) -> Batches:
        for batch in batches:
            offsets, images = arrow_to_lists(batch["image_ids"], "int64")
            scores = arrow_to_lists(batch["scores"], "float32")[1]
            regions = arrow_to_lists(batch["regions"], "int32")[1]
            best = pa.array(regions, mask=regions < 0) if len(regions) else pa.nulls(len(images), pa.int32())
            counts = np.diff(offsets)
            query = np.repeat(batch["query_id"].to_numpy(), counts)
            rank = (np.arange(len(images)) - np.repeat(offsets[:-1], counts)).astype(np.int32)
            rows = [pa.repeat(method, len(images)), query, rank, images, scores, best]
            yield pa.record_batch(rows, names=spark_schema(RESULTS).fieldNames())

    packed = answers.select("query_id", "image_ids", "scores", "regions")
    return packed.mapInArrow(unpack, spark_schema(RESULTS))


def unpack_explanations(answers: DataFrame) -> DataFrame:
    """Give every hop of every explained result a row of `EXPLANATIONS`."""
    hops = answers.select("query_id", sf.explode("hops").alias("h")).select("query_id", "h.*")
    return hops.select(spark_schema(EXPLANATIONS).fieldNames())
