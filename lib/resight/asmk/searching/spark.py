"""Operators of an ASMK search: the files of an index, queries to codes, and queries x shards to rankings.

A *cell* is a block of queries and a group of shards. One task has one cell, opens one shard at a time for all
its queries and keeps their best images; a second stage merges the groups of every query. Rankings do not
depend on the cells.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_lists, lists_to_arrow
from resight.asmk.search import encode_query, merge_ranked, query_norm, search_shards
from resight.asmk.searching.index import IndexFiles, load_index_files
from resight.asmk.searching.pack import (
    COLLECTED,
    ENCODED,
    RANKED,
    pack_asked,
    pack_entries,
    pack_ranked,
    read_asked,
    read_entries,
    read_ranked,
)
from resight.asmk.searching.recipe import Recipe
from resight.asmk.shard import ShardFiles
from resight.codebook.model import Codebook, save_codebook
from resight.knn.matrix import save_array, save_part
from resight.knn.storage.spark import PART_ROWS, list_parts
from resight.rerank.hqe import collect_entries, expand_query, join_entries
from resight.search.spark import PACKED

BLOCK_QUERIES = 64
HELD_RESULTS = 8_000_000  # results of the queries that are ranked together

Batches = Iterator[pa.RecordBatch]


class Grid(NamedTuple):
    """Into how many blocks queries and into how many groups shards are cut."""

    n_blocks: int
    n_groups: int


def plan_grid(n_queries: int, n_shards: int, n_slots: int | None) -> Grid:
    """Cut as finely as keeps all tasks busy twice over; shards are grouped only where queries do not suffice.

    >>> plan_grid(2000, 16, 4), plan_grid(1, 16, 4), plan_grid(5, 1, 4)
    (Grid(n_blocks=32, n_groups=1), Grid(n_blocks=1, n_groups=8), Grid(n_blocks=5, n_groups=1))
    """
    wanted = 2 * (n_slots or 32)
    n_blocks = max(1, -(-n_queries // BLOCK_QUERIES), min(n_queries, wanted))
    if n_shards > 1 and n_queries < wanted:
        n_blocks = max(1, -(-n_queries // BLOCK_QUERIES))
    return Grid(n_blocks, max(1, min(n_shards, -(-wanted // n_blocks))) if n_blocks < wanted else 1)


def write_index_files(
    tables: tuple[DataFrame, DataFrame, DataFrame], codebook: Codebook, folder: str, root: str
) -> IndexFiles:
    """Write the norms of ``image_stats`` and the weights of ``word_stats`` beside the shards of an index.

    Parameters
    ----------
    tables : (shards, image_stats, word_stats)
        Rows of the committed tables; images whose status is not ok are not searched.
    folder : str
        Belongs to one version of the three: where it is complete and sound already, it is taken as it is.
    root : str
        Folder of the workspace, to which the paths of shards are relative.
    """
    if files.exists(files.join(folder, "index.json")):
        there = load_index_files(folder, root)
        if there.is_sound():
            return there
        files.delete(folder)
    shards, image_stats, word_stats = tables
    listed = shards.select("path", "sha256", "n_images", "n_entries", "shard").orderBy("shard").toArrow()
    held = tuple(
        ShardFiles(files.join(root, row["path"]), row["sha256"], row["n_images"], row["n_entries"])
        for row in listed.to_pylist()
    )
    words = word_stats.select("word_id", "idf").toArrow()
    weights = np.zeros(codebook.k, np.float32)
    weights[words["word_id"].to_numpy()] = words["idf"].to_numpy()
    place = files.join(folder, "images")
    usable = image_stats.where("status = 'ok'").select("image_id", "norm")
    n_parts = max(1, -(-usable.count() // PART_ROWS))
    parts = usable.repartitionByRange(n_parts, "image_id").sortWithinPartitions("image_id")
    written = parts.mapInArrow(
        norm_writer(place), "first long, name string, n long, d int, zero long, nan long"
    )
    layout = list_parts(place, "float32", written.orderBy("first").toArrow())
    layout = replace(layout, d=1)
    layout.save()
    name = save_array(folder, "weights", weights)
    index = IndexFiles(folder, held, layout, name, save_codebook(codebook, folder))
    index.save(root)
    return index


def norm_writer(folder: str) -> Callable[[Batches], Batches]:
    """Make the function that writes one partition of (image_id, norm), sorted, as a part."""

    def write_part(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if full:
            ids, norms = (np.concatenate([b[c].to_numpy() for b in full]) for c in ("image_id", "norm"))
            context = TaskContext.get()
            number = context.partitionId() if context else 0
            name = save_part(folder, number, ids, norms.astype(np.float32)[:, None])
            row = {"first": ids[:1], "name": [name], "n": [len(ids)], "d": pa.array([1], pa.int32())}
            yield pa.record_batch(row | {"zero": [0], "nan": [0]})

    return write_part


def encode_queries(
    described: DataFrame, index: IndexFiles, recipe: Recipe, *, dtype: str, n_blocks: int
) -> DataFrame:
    """Assign and aggregate the descriptors of queries: (query_id, own, vectors) rows to `ENCODED` rows.

    ``vectors`` are packed as ``dtype``. A query without descriptors has no words.
    """

    def encode(batches: Batches) -> Batches:
        codebook = index.open_codebook()
        for batch in batches:
            offsets, values = arrow_to_lists(batch["vectors"], dtype)
            V = values.reshape(-1, codebook.d)
            asked = [
                encode_query(V[a:b], codebook, recipe.m, aggregate=recipe.aggregate, real=recipe.real)
                for a, b in pairwise(offsets // codebook.d)
            ]
            yield pack_asked(batch["query_id"], batch["own"], asked)

    block = sf.pmod(sf.xxhash64("query_id"), sf.lit(n_blocks)).cast("int")
    columns = described.select("query_id", sf.col("own").cast("long"), "vectors")
    return columns.repartitionById(n_blocks, block).mapInArrow(encode, ENCODED)


def search_queries(encoded: DataFrame, index: IndexFiles, recipe: Recipe, grid: Grid) -> DataFrame:
    """Rank the images of an index for every query of `ENCODED` rows: one row each, see `PACKED`.

    ``no_support`` says that no image that may be returned shares anything with the query: all scores are 0.
    """
    if recipe.expansion:
        encoded = expand_queries(encoded, index, recipe, grid)
    ranked = rank_queries(encoded, index, recipe, grid, depth=recipe.limit(index.images.n))
    return ranked.mapInArrow(finish, PACKED)


def rank_queries(
    encoded: DataFrame, index: IndexFiles, recipe: Recipe, grid: Grid, *, depth: int
) -> DataFrame:
    """Rank queries x shards and merge: `ENCODED` rows to `RANKED` rows, scores without the query's factor."""
    n_shards, n_groups = len(index.shards), grid.n_groups

    def rank(batches: Batches) -> Batches:
        opened = index.open()
        table = recipe.table()
        for batch in batches:
            for some in cut(batch, max(1, HELD_RESULTS // max(depth, 1))):
                numbers = range(some["group"][0].as_py(), n_shards, n_groups)
                asked, own = read_asked(some, recipe.dtype), some["own"].to_numpy()
                found = search_shards(asked, own, opened, table, depth=depth, numbers=numbers)
                factors = [query_norm(query, opened.weights, table) for query in asked]
                yield pack_ranked(some["query_id"], found, factors)

    def merge(rows: pa.Table) -> pa.Table:
        best = merge_ranked([*read_ranked(rows)], depth)
        query = rows["query_id"].combine_chunks()[:1]
        return pa.Table.from_batches([pack_ranked(query, [best], [rows["factor"][0].as_py()])])

    partial = place(encoded, grid).mapInArrow(rank, RANKED)
    return partial if n_groups == 1 else partial.groupBy("query_id").applyInArrow(merge, RANKED)


def place(rows: DataFrame, grid: Grid) -> DataFrame:
    """Repeat every query for each ``group`` of shards and bring those of a cell together."""
    n_blocks, n_groups = grid
    block = sf.pmod(sf.xxhash64("query_id"), sf.lit(n_blocks)).cast("int")
    groups = sf.explode(sf.sequence(sf.lit(0), sf.lit(n_groups - 1)))
    repeated = rows.withColumn("block", block).withColumn("group", groups)
    return repeated.repartitionById(n_blocks * n_groups, sf.col("block") * n_groups + sf.col("group"))


def expand_queries(encoded: DataFrame, index: IndexFiles, recipe: Recipe, grid: Grid) -> DataFrame:
    """Merge every query with the entries of its reliable images: `ENCODED` rows to `ENCODED` rows."""
    expansion, n_shards, n_groups = recipe.expansion, len(index.shards), grid.n_groups
    if expansion is None:
        raise ValueError("the recipe has no expansion")

    def collect(batches: Batches) -> Batches:
        opened = index.open()
        for batch in batches:
            numbers = range(batch["group"][0].as_py() if batch.num_rows else 0, n_shards, n_groups)
            found = [collect_entries(one.image_ids, opened, numbers) for one in read_ranked(batch)]
            yield pack_entries(batch["query_id"], found)

    def expand(rows: pa.Table) -> pa.Table:
        is_query = rows["owners"].is_null()
        query = rows.filter(is_query).combine_chunks().to_batches()[0]
        held = read_entries(rows.filter(rows["owners"].is_valid()))
        expanded = expand_query(read_asked(query)[0], join_entries(held), expansion)
        return pa.Table.from_batches([pack_asked(query["query_id"], query["own"], [expanded])])

    first = rank_queries(encoded, index, recipe, grid, depth=expansion.shortlist)
    collected = place(first, grid).mapInArrow(collect, COLLECTED)
    both = encoded.unionByName(collected, allowMissingColumns=True)
    return both.groupBy("query_id").applyInArrow(expand, ENCODED)


def finish(batches: Batches) -> Batches:
    """Multiply scores by the query's factor and lay rankings out as answers of any method."""
    for batch in batches:
        offsets, scores = arrow_to_lists(batch["scores"], "float64")
        scaled = scores * np.repeat(batch["factor"].to_numpy(), np.diff(offsets))
        best = np.append(scaled, 0.0)[np.minimum(offsets[:-1], len(scaled))]
        n = batch.num_rows
        yield pa.record_batch(
            {
                "query_id": batch["query_id"],
                "image_ids": batch["image_ids"],
                "scores": lists_to_arrow(offsets, scaled.astype(np.float32)),
                "regions": pa.nulls(n, pa.binary()),
                "no_support": pa.array(~(best > 0) | (np.diff(offsets) == 0)),
                "iterations": pa.nulls(n, pa.int32()),
                "residual": pa.nulls(n, pa.float64()),
            }
        )


def cut(batch: pa.RecordBatch, n_rows: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch into pieces of at most ``n_rows``."""
    for start in range(0, batch.num_rows, n_rows):
        yield batch.slice(start, n_rows)
