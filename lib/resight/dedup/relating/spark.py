"""Relate pairs of images over the executors: every image is read once, every pair compared once."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.dedup.relating.settings import RelateSettings
from resight.store import spark_schema
from resight.tables import DUPLICATE_CANDIDATES
from resight.verification.spark import blame_images, list_images, write_feature_files

__all__ = ["relate_pairs"]

IMAGES_PER_CHUNK = 64
NOTHING_KNOWN = ("image_a", "image_b", "contents", "found_by")
LABEL = "find-duplicates"


def relate_pairs(
    pairs: DataFrame,
    images: DataFrame,
    settings: RelateSettings,
    *,
    folder: str,
    chunk_size: int = 2000,
) -> DataFrame:
    """Relate pairs in chunks that survive kills: `DUPLICATE_CANDIDATES` rows.

    Parameters
    ----------
    pairs : DataFrame
        ``image_a, image_b, contents, found_by`` and the ``status`` and ``error`` of those that cannot be
        compared, else null; each pair once.
    images : DataFrame
        ``image_id, content_hash, root, uri, byte_offset, n_bytes`` of what can be read.
    settings : RelateSettings
        When photos are copies of each other.
    folder : str
        Staging folder of these very pairs.
    chunk_size : int
        Pairs that are compared together.
    """
    from resight.dedup.relating.work import (
        DTYPE,
        RELATED,
        VIEWED,
        RelateWork,
        ViewWork,
        rescue_related,
        rescue_views,
    )

    sound = pairs.where("status is null")
    asked = images.join(list_images(sound), "image_id", "left_semi")
    views = Chunks(
        files.join(folder, "views"),
        ViewWork(settings),
        rescue_views,
        IMAGES_PER_CHUNK,
        label=f"{LABEL}, photos",
    )
    run_chunks(asked, "image_id", views)
    viewed = read_chunks(pairs.sparkSession, views, from_arrow_schema(VIEWED))
    ready = viewed.where("status = 'ok'").drop("status", "error")
    layout = write_feature_files(ready, files.join(folder, "files"), dtype=DTYPE)
    failed = fill_evidence(blame_images(pairs, viewed))
    whole = sound.join(failed, ["image_a", "image_b"], "left_anti").select(*NOTHING_KNOWN)
    chunks = Chunks(
        files.join(folder, "related"), RelateWork(layout, settings), rescue_related, chunk_size, label=LABEL
    )
    run_chunks(whole, "image_a", chunks)
    related = read_chunks(pairs.sparkSession, chunks, from_arrow_schema(RELATED))
    names = spark_schema(DUPLICATE_CANDIDATES).fieldNames()
    return related.select(names).unionByName(failed.select(names))


def fill_evidence(pairs: DataFrame) -> DataFrame:
    """Add the columns of `DUPLICATE_CANDIDATES` that are not there, as nulls."""
    there = set(pairs.columns)
    return pairs.select(
        *(
            (sf.col(f.name) if f.name in there else sf.lit(None)).cast(f.dataType).alias(f.name)
            for f in spark_schema(DUPLICATE_CANDIDATES).fields
        )
    )
