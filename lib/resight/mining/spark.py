"""Operators that mine a graph: its tables to `TRAINING_POOLS` and `TRAINING_TUPLES` rows."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from resight.arrow import arrow_to_lists
from resight.diffusion.block import DiffuseWork
from resight.knn.matrix import VectorFiles, map_array
from resight.mining.placing import PLACED, PlaceWork
from resight.mining.pools import DUPLICATE, LISTED, NEAR, POOLED, REACHED, VERIFIED, PoolWork
from resight.mining.sampling import Draw
from resight.store import spark_schema
from resight.tables import TRAINING_POOLS, TRAINING_TUPLES

Batches = Iterator[pa.RecordBatch]
POOL_COLUMNS = spark_schema(TRAINING_POOLS).names


class Links(NamedTuple):
    """What is known of images besides the graph.

    ``represented`` (image_id, kept): of every image with a vector the one that stands for it; copies are out.
    ``pairs`` (a, b, kind, value): pairs of these that are duplicates or verified, each once.
    """

    represented: DataFrame
    pairs: DataFrame


def represent_images(nodes: DataFrame, groups: DataFrame | None) -> DataFrame:
    """Choose the image that stands for each: rows (image_id, kept).

    Of equal vectors that is the node that stands in the graph, of a group of copies the one that it keeps, or
    what stands for that.
    """
    standing = nodes.where("status = 'ok'").selectExpr("image_id", "coalesce(dup_of, node_id) as kept")
    if groups is None:
        return standing
    members = groups.select("image_id", "group_id", "keep").join(standing, "image_id")
    first = members.groupBy("group_id").agg(
        sf.min_by("kept", sf.struct(~sf.col("keep"), "kept")).alias("best")
    )
    itself = sf.struct(sf.col("best") != sf.col("kept"), "best")  # first, or what stands might not stand
    better = members.join(first, "group_id").groupBy("kept").agg(sf.min_by("best", itself).alias("best"))
    return standing.join(better, "kept", "left").selectExpr("image_id", "coalesce(best, kept) as kept")


def link_images(
    represented: DataFrame,
    duplicates: DataFrame | None,
    verified: DataFrame | None,
    *,
    min_inliers: int,
) -> DataFrame:
    """List pairs of images that stand for themselves: rows (a < b, kind, value).

    ``duplicates`` are `DUPLICATE_PAIRS` rows; those of the relation same_scene count as verified, as do
    `VERIFIED_PAIRS` rows of at least ``min_inliers``. A pair of copies is one of what stands for them.
    """
    columns, parts = ["image_a", "image_b", "kind", "value"], []
    inliers = sf.coalesce("n_inliers", sf.lit(0)).cast("float").alias("value")
    if duplicates is not None:
        kind = sf.when(sf.col("relation") == "same_scene", VERIFIED).otherwise(DUPLICATE).alias("kind")
        parts.append(duplicates.select("image_a", "image_b", kind, inliers))
    if verified is not None:
        sound = verified.where((sf.col("status") == "ok") & (sf.col("n_inliers") >= min_inliers))
        parts.append(sound.select("image_a", "image_b", sf.lit(VERIFIED).alias("kind"), inliers))
    nothing = ("image_id as image_a", "kept as image_b", "'' as kind", "cast(0 as float) as value")
    rows = represented.limit(0).selectExpr(*nothing)
    for part in parts:
        rows = rows.unionByName(part.select(columns))
    for end in ("a", "b"):
        known = represented.selectExpr(f"image_id as image_{end}", f"kept as {end}")
        rows = rows.join(known, f"image_{end}")
    ends = [sf.least("a", "b").alias("a"), sf.greatest("a", "b").alias("b")]
    return rows.where("a != b").groupBy(*ends, "kind").agg(sf.max("value").alias("value"))


def place_nodes(work: PlaceWork, links: Links) -> DataFrame:
    """Find the stationary probability, the modes, the clusters and the split of all nodes: `PLACED` rows.

    One task maps the files of the graph; copies are left out of the walk.
    """
    out = links.represented.where("image_id != kept").selectExpr(
        "image_id as a", "kept as b", "true as dropped"
    )
    bound = links.pairs.selectExpr("a", "b", "false as dropped")
    one = out.limit(0).sparkSession.range(1).selectExpr("-1L as a", "-1L as b", "false as dropped")

    def place(batches: Batches) -> Batches:
        rows = pa.Table.from_batches(list(batches))
        yield from work(rows).to_batches(max_chunksize=100_000)

    return out.unionByName(bound).unionByName(one).repartition(1).mapInArrow(place, from_arrow_schema(PLACED))


def list_anchors(placed: DataFrame, *, n: int = 0) -> DataFrame:
    """Choose the modes of highest probability: rows (anchor, anchor_weight, component_id, split); 0: all."""
    modes = placed.where("is_mode")
    best = modes.orderBy(sf.desc("pi"), "node_id").limit(n) if n else modes
    return best.selectExpr("node_id as anchor", "pi as anchor_weight", "component_id", "split")


def list_near(anchors: DataFrame, neighbors: DataFrame) -> DataFrame:
    """Take the most similar images of anchors from `NEIGHBORS` rows: `LISTED` rows."""
    wanted = anchors.select(sf.col("anchor").alias("src"))
    return unpack_lists(neighbors.join(wanted, "src", "left_semi"), NEAR, "similarity")


def list_reached(anchors: DataFrame, manifold: DataFrame) -> DataFrame:
    """Take what a walk from anchors reaches from `MANIFOLD_NEIGHBORS` rows: `LISTED` rows."""
    wanted = anchors.select(sf.col("anchor").alias("src"))
    return unpack_lists(manifold.join(wanted, "src", "left_semi"), REACHED, "score")


def unpack_lists(rows: DataFrame, kind: str, value: str) -> DataFrame:
    """Unpack rows (src, dst, ``value``) of packed lists."""

    def unpack(batches: Batches) -> Batches:
        for batch in batches:
            offsets, items = arrow_to_lists(batch["dst"], "int64")
            values = arrow_to_lists(batch[value], "float32")[1]
            yield list_rows(batch["src"].to_numpy(), offsets, items, values, kind)

    return rows.select("src", "dst", value).mapInArrow(unpack, from_arrow_schema(LISTED))


def list_rows(
    anchors: np.ndarray, offsets: np.ndarray, items: np.ndarray, values: np.ndarray, kind: str
) -> pa.RecordBatch:
    """Lay out CSR lists of ``anchors`` (s,) as `LISTED` rows."""
    counts = np.diff(offsets)
    place = (np.arange(len(items)) - np.repeat(offsets[:-1], counts)).astype(np.int32)
    columns = [np.repeat(anchors, counts), items, pa.repeat(kind, len(items)), place, values]
    return pa.record_batch(columns, schema=LISTED)


def search_near(
    anchors: DataFrame, vectors: VectorFiles, *, k: int, allowed: tuple[str, str] | None = None
) -> DataFrame:
    """Search the ``k`` most similar images of anchors, exactly: `LISTED` rows.

    ``allowed`` are folder and name of a file (n,) bool, by ordinal: which images may be listed.
    """
    from resight.knn.search import search_collection

    def search(batches: Batches) -> Batches:
        X = vectors.open()
        mask = map_array(*allowed) if allowed else None
        for batch in batches:
            ids = batch["anchor"].to_numpy()
            own = X.ordinal_of(ids)
            ids, own = ids[own >= 0], own[own >= 0]
            for some, (offsets, columns, values) in search_collection(
                X.gather(own), own, X, depth=k, allowed=mask
            ):
                yield list_rows(ids[some], offsets, X.id_of(columns), values.astype(np.float32), NEAR)

    return anchors.select("anchor").mapInArrow(search, from_arrow_schema(LISTED))


def solve_reached(anchors: DataFrame, work: DiffuseWork) -> DataFrame:
    """Solve the diffusion from every anchor: `LISTED` rows, as many per anchor as its shortlist has."""

    def solve(batches: Batches) -> Batches:
        graph = work.graph.open()
        for batch in batches:
            places = graph.place_of(batch["anchor"].to_numpy())
            rows = work.diffuse(places[places >= 0])
            offsets, items = arrow_to_lists(rows["dst"], "int64")
            values = arrow_to_lists(rows["score"], "float32")[1]
            yield list_rows(rows["src"].to_numpy(), offsets, items, values, REACHED)

    return anchors.select("anchor").mapInArrow(solve, from_arrow_schema(LISTED))


def mine_anchors(
    anchors: DataFrame, lists: tuple[DataFrame, DataFrame], links: Links, work: PoolWork, *, n_blocks: int
) -> DataFrame:
    """Mine the pools of anchors: `POOLED` rows.

    ``lists`` are what is near and what is reached, `LISTED` rows. A block of anchors is one task; the result
    does not depend on their number.
    """
    out = links.represented.where("image_id != kept").select(sf.col("image_id").alias("item"))
    ways = [
        links.pairs.selectExpr(f"{a} as anchor", f"{b} as item", "kind", "value") for a, b in ("ab", "ba")
    ]
    linked = ways[0].unionByName(ways[1]).join(anchors.select("anchor"), "anchor", "left_semi")
    linked = linked.withColumn("place", (-sf.col("value")).cast("int"))
    rows = lists[0].unionByName(lists[1]).unionByName(linked).join(out, "item", "left_anti")
    return by_block(rows.select(LISTED.names), "anchor", n_blocks, work, from_arrow_schema(POOLED))


def split_pools(pools: DataFrame, anchors: DataFrame, placed: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Give the rows whose item lies on the side of its anchor, `TRAINING_POOLS`, and those that cross."""
    sides = placed.selectExpr("node_id as item", "split as item_split")
    rows = pools.join(anchors, "anchor").join(sides, "item", "left")
    unknown = [name for name in POOL_COLUMNS if name not in rows.columns]
    rows = rows.withColumns({name: sf.lit(None).cast("float") for name in unknown})
    stays = sf.coalesce(sf.col("split") == sf.col("item_split"), sf.lit(False))
    return rows.where(stays).select(POOL_COLUMNS), rows.where(~stays).select(POOL_COLUMNS)


def draw_tuples(pools: DataFrame, draw: Draw, *, n_blocks: int) -> DataFrame:
    """Draw tuples of `TRAINING_POOLS` rows, their weights not yet brought to mean 1."""
    return by_block(pools.select(POOL_COLUMNS), "anchor", n_blocks, draw, spark_schema(TRAINING_TUPLES))


def by_block(
    rows: DataFrame, key: str, n_blocks: int, work: Callable[[pa.Table], pa.Table], schema: StructType
) -> DataFrame:
    """Call ``work`` on blocks of rows that hold all rows of a key."""
    block = sf.pmod(sf.xxhash64(key), sf.lit(n_blocks))

    def call(table: pa.Table) -> pa.Table:
        return work(table)

    return rows.groupBy(block).applyInArrow(call, schema)


def weigh_tuples(tuples: DataFrame) -> DataFrame:
    """Bring the weights of pairs (anchor, positive) to mean 1; one without manifold similarity has 1."""
    mean = tuples.where("rank = 0").agg(sf.avg(sf.col("weight").cast("double")).alias("mean"))
    weight = sf.coalesce(sf.col("weight") / sf.col("mean"), sf.lit(1.0)).cast("float")
    return tuples.crossJoin(mean).withColumn("weight", weight).drop("mean")
