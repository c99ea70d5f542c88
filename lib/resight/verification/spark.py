"""Operators of verification: candidate pairs, the files of their keypoints, and rows of `VERIFIED_PAIRS`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.arrow import arrow_to_lists
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.features.local.points import LocalFeatures, unpack_features
from resight.store import spark_schema
from resight.tables import VERIFIED_PAIRS
from resight.verification.feature_files import (
    Described,
    FeatureFiles,
    Kept,
    load_feature_files,
    save_features,
)

PART_IMAGES = 256  # of one part: some 70 MB with 1,000 keypoints each
FEATURES = ("points", "vectors", "n_keypoints", "file", "first")  # of a photo, or where they lie

Batches = Iterator[pa.RecordBatch]


def pair_results(results: DataFrame, queries: DataFrame, *, top: int) -> DataFrame:
    """Pair every query that is an image of the collection with its first ``top`` results."""
    asking = queries.where("image_id is not null").select("query_id", sf.col("image_id").alias("src"))
    found = results.where(sf.col("rank") < top).select("query_id", sf.col("image_id").alias("dst"))
    return order_pairs(found.join(asking, "query_id"))


def pair_neighbors(neighbors: DataFrame, *, top: int) -> DataFrame:
    """Pair every image with the first ``top`` of its list: `NEIGHBORS` rows to pairs."""

    def unpack(batches: Batches) -> Batches:
        for batch in batches:
            offsets, dst = arrow_to_lists(batch["dst"], "int64")
            src = np.repeat(batch["src"].to_numpy(), np.diff(offsets))
            kept = np.arange(len(dst)) - np.repeat(offsets[:-1], np.diff(offsets)) < top
            yield pa.record_batch([src[kept], dst[kept]], names=["src", "dst"])

    return order_pairs(neighbors.select("src", "dst").mapInArrow(unpack, "src long, dst long"))


def order_pairs(linked: DataFrame) -> DataFrame:
    """Give each pair of different images (src, dst) once: image_a < image_b."""
    ends = linked.where("src != dst").select(
        sf.least("src", "dst").alias("image_a"), sf.greatest("src", "dst").alias("image_b")
    )
    return ends.distinct()


def attach_contents(pairs: DataFrame, images: DataFrame) -> DataFrame:
    """Add what a verification depends on, or why there can be none.

    ``images`` are those that can be verified: image_id and content_hash. Adds ``contents`` (a hash of both
    files' content, null where one is not there), ``status`` and ``error`` (null where both are there).
    """
    names = pairs.columns
    for end in ("a", "b"):
        known = images.select(
            sf.col("image_id").alias(f"image_{end}"), sf.col("content_hash").alias(f"hash_{end}")
        )
        pairs = pairs.join(known, f"image_{end}", "left")
    missing = sf.when(sf.col("hash_a").isNull(), sf.col("image_a")).when(
        sf.col("hash_b").isNull(), sf.col("image_b")
    )
    said = sf.concat(sf.lit("image "), missing, sf.lit(" is not in the collection, or cannot be read"))
    contents = sf.when(missing.isNull(), sf.xxhash64("hash_a", "hash_b"))
    named = {
        "contents": contents,
        "status": sf.when(missing.isNotNull(), sf.lit("missing")),
        "error": said,
    }
    return pairs.select(*names, *(column.alias(name) for name, column in named.items()))


def fresh_pairs(verified: DataFrame, images: DataFrame) -> DataFrame:
    """Give the `VERIFIED_PAIRS` rows that are of the same bytes as ``images``: both ids and n_inliers."""
    known = verified.where("status = 'ok'").select(
        "image_a", "image_b", "n_inliers", sf.col("contents").alias("seen")
    )
    live = images.where("removed_at is null").select("image_id", "content_hash")
    fresh = attach_contents(known, live).where("contents = seen")
    return fresh.select("image_a", "image_b", "n_inliers")


def list_images(pairs: DataFrame) -> DataFrame:
    """List the images of some pairs, each once."""
    ends = [pairs.select(sf.col(f"image_{end}").alias("image_id")) for end in ("a", "b")]
    return ends[0].union(ends[1]).distinct()


def write_feature_files(described: DataFrame, folder: str, *, dtype: str) -> FeatureFiles:
    """Write the keypoints of (image_id, width, height, points, vectors, preview) rows as files.

    ``dtype`` is that of the vectors. Rows may have ``n_keypoints, file, first`` too: where ``file`` is not
    null, keypoints lie in ``folder`` already (`KEPT`). Where it is complete, it is taken as it is. Runs two
    jobs.
    """
    if files.exists(files.join(folder, "features.json")):
        return load_feature_files(folder)
    n_parts = max(1, -(-described.count() // PART_IMAGES))
    parts = described.repartitionByRange(n_parts, "image_id") if n_parts > 1 else described.coalesce(1)
    parts = parts.sortWithinPartitions("image_id")
    written = parts.mapInArrow(part_writer(folder, dtype), "first long, names array<string>")
    rows = sorted(written.collect())  # to sort in Spark would write every part twice: once to see the range
    layout = FeatureFiles(folder, tuple((row["first"], tuple(row["names"])) for row in rows))
    layout.save()
    return layout


def part_writer(folder: str, dtype: str) -> Callable[[Batches], Batches]:
    """Make the function that writes a partition of described images as a part."""

    def write_part(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if not full:
            return
        rows = pa.Table.from_batches(full)
        told = [name for name in FEATURES if name in rows.schema.names]
        found = [read_features(row, dtype) for row in rows.select(told).to_pylist()]
        ids = rows["image_id"].to_numpy()
        described = Described(
            ids,
            np.column_stack([rows["width"].to_numpy(), rows["height"].to_numpy()]),
            found,
            rows["preview"].to_pylist(),
        )
        names = save_features(folder, described, dtype=dtype)
        yield pa.record_batch({"first": ids[:1], "names": pa.array([list(names)])})

    return write_part


def read_features(row: dict[str, Any], dtype: str) -> LocalFeatures | Kept:
    """Give the keypoints of a row, or where they lie."""
    if row.get("file") is not None:
        return Kept(row["file"], row["first"], row["n_keypoints"])
    return unpack_features(row["points"], row["vectors"], dtype)


def verify_pairs(pairs: DataFrame, chunks: Chunks) -> DataFrame:
    """Verify pairs (image_a, image_b, contents) in chunks that survive kills: `VERIFIED_PAIRS` rows.

    ``chunks.work`` is a `VerifyWork`; the pairs of an image are in one chunk, which reads the image once.
    """
    from resight.verification.work import VERIFIED

    run_chunks(pairs, "image_a", chunks)
    return read_chunks(pairs.sparkSession, chunks, from_arrow_schema(VERIFIED))


def unverified(pairs: DataFrame, described: DataFrame) -> DataFrame:
    """Give pairs that cannot be verified as `VERIFIED_PAIRS` rows, with the status of the image to blame.

    ``pairs`` are rows of `attach_contents`; ``described`` (image_id, status, error) says which images have no
    keypoints although they are there.
    """
    return fill_columns(blame_images(pairs, described))


def blame_images(pairs: DataFrame, described: DataFrame) -> DataFrame:
    """Give the pairs that cannot be compared, with the ``status`` and ``error`` of an image to blame."""
    bad = described.where("status != 'ok'")
    for end in ("a", "b"):
        said = sf.concat(sf.lit("image "), sf.col(f"image_{end}"), sf.lit(": "), sf.col("why"))
        named = bad.select(
            sf.col("image_id").alias(f"image_{end}"),
            sf.col("status").alias("word"),
            sf.coalesce("error", "status").alias("why"),
        )
        joined = pairs.join(named, f"image_{end}", "left")
        pairs = joined.withColumns(
            {"error": sf.coalesce("error", said), "status": sf.coalesce("status", "word")}
        ).drop("word", "why")
    return pairs.where("status is not null")


def fill_columns(pairs: DataFrame) -> DataFrame:
    """Add the columns of `VERIFIED_PAIRS` that are not there, as nulls, or zero where they count."""
    columns: list[Column] = []
    for field in spark_schema(VERIFIED_PAIRS).fields:
        default = sf.lit(0) if field.name in ("n_matches", "n_inliers") else sf.lit(None)
        there = sf.col(field.name) if field.name in pairs.columns else default
        columns.append(there.cast(field.dataType).alias(field.name))
    return pairs.select(columns)
