"""Relate pairs of images over the executors: every image is read once, every pair compared once."""

from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.dedup.relating.settings import RelateSettings
from resight.store import spark_schema
from resight.tables import DUPLICATE_CANDIDATES
from resight.verification.spark import blame_images, list_images, write_feature_files

if TYPE_CHECKING:
    from resight.verification.feature_files import FeatureFiles

__all__ = ["Views", "make_views", "relate_pairs"]

IMAGES_PER_CHUNK = 64
NOTHING_KNOWN = ("image_a", "image_b", "contents", "found_by")
LABEL = "find-duplicates"


class Views(NamedTuple):
    """Images made ready to be compared: ``viewed`` (image_id, status, error), and where they lie."""

    viewed: DataFrame
    layouts: tuple["FeatureFiles", ...]


def make_views(
    pairs: DataFrame, images: DataFrame, settings: RelateSettings, *, folder: str, known: Views | None = None
) -> Views:
    """Read and describe the images of pairs, in chunks that survive kills; those that are ``known`` are not.

    Parameters
    ----------
    pairs : DataFrame
        ``image_a, image_b, status``; those with a status are not compared.
    images : DataFrame
        ``image_id, content_hash, root, uri, byte_offset, n_bytes`` of what can be read.
    settings : RelateSettings
        When photos are copies of each other.
    folder : str
        Staging folder of these very pairs.
    """
    from resight.dedup.relating.work import DTYPE, VIEWED, ViewWork, rescue_views

    asked = list_images(pairs.where("status is null"))
    if known is not None:
        asked = asked.join(known.viewed, "image_id", "left_anti")
    label = f"{LABEL}, photos"
    chunks = Chunks(
        files.join(folder, "views"), ViewWork(settings), rescue_views, IMAGES_PER_CHUNK, label=label
    )
    run_chunks(images.join(asked, "image_id", "left_semi"), "image_id", chunks)
    rows = read_chunks(pairs.sparkSession, chunks, from_arrow_schema(VIEWED))
    viewed, layouts = rows.select("image_id", "status", "error"), known.layouts if known else ()
    if known is not None and not chunks.count_done():
        return known
    ready = rows.where("status = 'ok'").drop("status", "error")
    layout = write_feature_files(ready, files.join(folder, "files"), dtype=DTYPE)
    return Views(known.viewed.unionByName(viewed) if known else viewed, (*layouts, layout))


def relate_pairs(
    pairs: DataFrame, views: Views, settings: RelateSettings, *, folder: str, chunk_size: int = 500
) -> DataFrame:
    """Relate pairs in chunks that survive kills: `DUPLICATE_CANDIDATES` rows.

    Parameters
    ----------
    pairs : DataFrame
        ``image_a, image_b, contents, found_by`` and the ``status`` and ``error`` of those that cannot be
        compared, else null; each pair once.
    views : Views
        Of all images of the pairs.
    settings : RelateSettings
        When photos are copies of each other.
    folder : str
        Staging folder of these very pairs.
    chunk_size : int
        Pairs that are compared together.
    """
    from resight.dedup.relating.work import RELATED, RelateWork, rescue_related

    failed = fill_evidence(blame_images(pairs, views.viewed))
    sound = pairs.where("status is null").join(failed, ["image_a", "image_b"], "left_anti")
    work = RelateWork(views.layouts, settings)
    chunks = Chunks(files.join(folder, "related"), work, rescue_related, chunk_size, label=LABEL)
    run_chunks(sound.select(*NOTHING_KNOWN), "image_a", chunks)
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
