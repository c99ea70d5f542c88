"""The tables of an index and its shards: entries, weights of words, norms of images, inverted files."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as sf

from resight import files
from resight.arrow import arrow_to_lists, lists_to_arrow
from resight.asmk.kernel import CUBE, Entries, Selectivity, Values, self_scores
from resight.asmk.statistics import inverse_roots
from resight.images.spark import start_tasks, task_numbers
from resight.store import spark_schema
from resight.tables import ENTRIES

if TYPE_CHECKING:
    from resight.asmk.shard import ShardFiles

__all__ = [
    "ShardPlace",
    "find_live",
    "find_lost",
    "list_images",
    "norm_images",
    "place_images",
    "unpack_entries",
    "write_shards",
]

Batches = Iterator[pa.RecordBatch]
GROUP_IMAGES = 8192  # whose entries one task sums
log = logging.getLogger("resight")
WRITTEN = "shard int, n_images int, n_entries long, n_bytes long, sha256 string"


@dataclass(frozen=True)
class ShardPlace:
    """Where the shards of a run are written, how many words there are, and what entries hold."""

    folder: str
    n_words: int
    values: Values

    def folder_of(self, shard: int) -> str:
        """Folder of one shard."""
        return files.join(self.folder, f"{shard:06d}")


def unpack_entries(indexed: DataFrame, *, values: Values) -> DataFrame:
    """Take the packed lists of `INDEXED` rows apart: `ENTRIES` rows, one per word and image.

    Without aggregation a row holds the codes of all descriptors of the image in the word, joined.
    """
    width = values.width

    def unpack(batches: Batches) -> Batches:
        for batch in batches:
            offsets, words = arrow_to_lists(batch["words"], "<i4")
            if not len(words):
                continue
            _, codes = arrow_to_lists(batch["codes"], "u1")
            images = np.repeat(batch["image_id"].to_numpy(), np.diff(offsets))
            starts = run_starts(images, words)
            bounds = np.append(starts, len(words)) * width
            columns = [pa.array(words[starts]), pa.array(images[starts]), lists_to_arrow(bounds, codes)]
            yield pa.record_batch(columns, names=["word_id", "image_id", "code"])

    usable = indexed.where("words is not null").select("image_id", "words", "codes")
    return usable.mapInArrow(unpack, spark_schema(ENTRIES))


def run_starts(*keys: np.ndarray) -> np.ndarray:
    """Find where a new combination of ``keys``, each (n,), begins: (m,) int64."""
    is_first = np.ones(len(keys[0]), bool)
    is_first[1:] = False
    for key in keys:
        is_first[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(is_first)


def norm_images(
    entries: DataFrame, weights: np.ndarray, *, values: Values, n_images: int, selectivity: Selectivity = CUBE
) -> DataFrame:
    """Sum what the words of each image weigh: rows (image_id, n_words, norm) of images with entries.

    Parameters
    ----------
    entries : DataFrame
        `ENTRIES` rows.
    weights : ndarray, (k,) float64
        Of the words.
    n_images : int
        About how many there are: it sets the number of tasks, not the result.
    selectivity : Selectivity
        Counts only where an entry holds several codes.
    """
    n_groups = max(1, -(-n_images // GROUP_IMAGES))

    def norm_group(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([("image_id", "ascending"), ("word_id", "ascending")])
        ids, owners = np.unique(rows["image_id"].to_numpy(), return_inverse=True)
        listed = expand_codes(rows, owners, values)
        own = self_scores(listed, weights, n_images=len(ids), selectivity=selectivity)
        columns = {"n_words": np.bincount(owners).astype(np.int32), "norm": inverse_roots(own)}
        return pa.table({"image_id": ids} | columns)

    group = sf.pmod(sf.xxhash64("image_id"), sf.lit(n_groups)).cast("int")
    grouped = entries.select("word_id", "image_id", "code").groupBy(group.alias("bucket"))
    return grouped.applyInArrow(norm_group, "image_id long, n_words int, norm double")


def expand_codes(rows: pa.Table, owners: np.ndarray, values: Values) -> Entries:
    """Lay out `ENTRIES` rows with one line per code; ``owners`` (n,) numbers the image of each row."""
    bounds, flat = arrow_to_lists(rows["code"], "u1")
    counts = np.diff(bounds) // values.width
    words = np.repeat(rows["word_id"].to_numpy(), counts)
    return Entries(words, np.repeat(owners, counts), values.read(flat), values.n_bits)


def list_images(spark: SparkSession, held: Sequence[tuple[int, "ShardFiles"]]) -> DataFrame:
    """Read which images the shards (number, files) hold: rows (shard, image_id), removed ones included.

    A damaged shard is one row without an image.
    """

    def read(batches: Batches) -> Batches:
        from resight.asmk.shard import (  # compiled loops, which no command line waits for
            CorruptShardError,
            verify_shard,
        )

        for number in task_numbers(batches):
            shard, place = held[number]
            try:
                verify_shard(place.folder, place.sha256)  # an open one is not looked at again
                ids = pa.array(np.asarray(place.open().image_ids))
            except CorruptShardError as error:
                log.warning("%s; its images are written again", error)
                ids = pa.nulls(1, pa.int64())
            columns = [pa.array(np.full(len(ids), shard, np.int32)), ids]
            yield pa.record_batch(columns, names=["shard", "image_id"])

    return start_tasks(spark, len(held)).mapInArrow(read, "shard int, image_id long")


def find_lost(located: DataFrame, image_stats: DataFrame, indexed: DataFrame) -> DataFrame:
    """Give the images (image_id) of an index that are in no sound shard of `list_images` rows.

    ``image_stats`` and ``indexed`` are those of `find_live`.
    """
    usable = image_stats.where("status = 'ok'").select("image_id")
    lost = usable.join(located.select("image_id"), "image_id", "left_anti")
    return lost.join(indexed.select("image_id"), "image_id", "left_anti")


def find_live(located: DataFrame, image_stats: DataFrame, indexed: DataFrame) -> DataFrame:
    """Keep the rows of `list_images` whose entries an index of now still takes from there.

    ``image_stats`` are those of now, which an image that went is not in, whichever run noticed it;
    ``indexed`` are the images (image_id) that were described anew, whose entries there are outdated.
    """
    usable = image_stats.where("status = 'ok'").select("image_id")
    return located.join(usable, "image_id", "left_semi").join(
        indexed.select("image_id"), "image_id", "left_anti"
    )


def place_images(images: DataFrame, *, first_shard: int, n_shards: int) -> DataFrame:
    """Spread ``images`` (image_id) over new shards by hash: rows (shard, image_id, place).

    ``place`` is the rank of the id in its shard.
    """
    shard = sf.pmod(sf.xxhash64("image_id"), sf.lit(n_shards)).cast("int") + sf.lit(first_shard)
    order = Window.partitionBy("shard").orderBy("image_id")
    placed = images.select(shard.alias("shard"), "image_id")
    return placed.withColumn("place", (sf.row_number().over(order) - 1).cast("int"))


def write_shards(placed: DataFrame, entries: DataFrame, target: ShardPlace) -> DataFrame:
    """Write each shard in one task: rows (shard, n_images, n_entries, n_bytes, sha256).

    ``placed`` are rows of `place_images`, ``entries`` `ENTRIES` rows; other images' entries are left out.
    """
    rows = placed.join(entries.select("word_id", "image_id", "code"), "image_id", "left")
    write_one = shard_writer(target)
    return rows.groupBy("shard").applyInArrow(write_one, WRITTEN)


def shard_writer(target: ShardPlace) -> Callable[[pa.Table], pa.Table]:
    """Make the function that writes the rows (shard, image_id, place, word_id, code) of one shard."""

    def write_one(rows: pa.Table) -> pa.Table:
        from resight.asmk.shard import write_shard  # compiled loops, which no command line waits for

        shard = rows["shard"][0].as_py()
        rows = rows.select(["image_id", "place", "word_id", "code"])
        ids, first = np.unique(rows["image_id"].to_numpy(), return_index=True)
        places = rows["place"].to_numpy()[first]
        if (places != np.arange(len(ids))).any():
            raise ValueError(f"shard {shard}: the places of its images are not their ranks")
        rows = rows.filter(rows["word_id"].is_valid()).sort_by(
            [("place", "ascending"), ("word_id", "ascending")]
        )
        check_split(rows)
        found = expand_codes(rows, rows["place"].to_numpy(), target.values)
        listed = (found.words, found.owners, found.values)
        info = write_shard(target.folder_of(shard), *listed, ids, n_words=target.n_words)
        columns = {"shard": pa.array([shard], pa.int32()), "n_images": pa.array([info.n_images], pa.int32())}
        columns |= {name: [getattr(info, name)] for name in ("n_entries", "n_bytes", "sha256")}
        return pa.table(columns)

    return write_one


def check_split(rows: pa.Table) -> None:
    """Raise ValueError where an image has a word in two of the sorted rows, each with a part of its sum."""
    words, ids = rows["word_id"].to_numpy(), rows["image_id"].to_numpy()
    firsts = np.zeros(len(words), bool)
    firsts[run_starts(ids, words)] = True
    if not firsts.all():
        again = int(np.flatnonzero(~firsts)[0])
        raise ValueError(f"image {ids[again]} was split: it has word {words[again]} in two rows")
