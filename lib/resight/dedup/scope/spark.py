"""Choose the images to look at, and which of them are new: the Spark operators."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.config import SettingError
from resight.features.fitting.spark import allow_values, select_images
from resight.search.filter import parse_filter

__all__ = ["Names", "keep_new", "mark_new", "name_sources", "scope_images", "select_members"]

Names = Mapping[str, Sequence[str]]


def name_sources(sources: DataFrame) -> Names:
    """List what every source may be called by, its id first: `SOURCES` rows, of which there are few."""
    listed = sources.select("source_id", "root", "path").distinct().orderBy("source_id").collect()
    return {row["source_id"]: [word for word in row if word] for row in listed}


def scope_images(
    images: DataFrame, names: Names, *, filter: Sequence[str], new: Sequence[str], against: Sequence[str]
) -> DataFrame:
    """Keep the `IMAGES` rows to look at, with ``is_new``.

    Parameters
    ----------
    images : DataFrame
        `IMAGES` rows.
    names : mapping
        Of `name_sources`.
    filter : sequence of str
        ``column=value``, as `resight.search.filter` reads them, that every image must meet.
    new : sequence of str
        The delivery: sources by id or place, and conditions as those of ``filter``. Empty: all are new.
    against : sequence of str
        The archive, alike. Empty: all that is not new.

    Raises
    ------
    SettingError
        A word is no source and no condition, or nothing is new.
    """
    images = select_images(images, parse_filter(filter))
    if not new:
        return images.withColumn("is_new", sf.lit(True))
    marked = mark_new(images, select_members(names, new, "new"))
    if against:
        kept = sf.col("is_new") | select_members(names, against, "against")
        marked = marked.where(kept)
    if marked.where("is_new and removed_at is null").isEmpty():
        raise SettingError(f"--new: no image of the collection is one of {' '.join(new)}")
    return marked


def mark_new(images: DataFrame, condition: Column) -> DataFrame:
    """Add ``is_new``: whether the condition holds; null is no."""
    return images.withColumn("is_new", sf.coalesce(condition, sf.lit(False)))


def select_members(names: Names, words: Sequence[str], option: str) -> Column:
    """Give the condition of being in one of the sources, and of meeting all conditions, of ``words``."""
    chosen, conditions = [], []
    for word in words:
        places = {word, word.rstrip("/"), files.absolute(word)}
        found = [source_id for source_id, called in names.items() if places & set(called)]
        if not found and "=" not in word:
            known = ", ".join(f"{called[0]} ({called[-1]})" for called in names.values())
            raise SettingError(f"--{option}: {word} is no source and no column=value; sources: {known}")
        chosen += found
        conditions += [] if found else [word]
    in_sources = sf.col("source_id").isin(*chosen) if chosen else sf.lit(True)
    return in_sources & allow_values(parse_filter(conditions))


def keep_new(pairs: DataFrame, copies: DataFrame) -> DataFrame:
    """Keep the pairs (image_a, image_b) of which one stands for, or is represented by, a new image.

    ``copies`` are rows of `represent_copies`. A pair of two such images comes twice.
    """
    fresh = copies.where("facts.is_new")
    parts = [
        pairs.join(fresh.select(sf.col("image_id").alias(end)), end, "left_semi")
        for end in ("image_a", "image_b")
    ]
    return parts[0].unionByName(parts[1])
