"""An ASMK search as a job runs it: the index of its inputs, queries of the collection, rankings."""

from dataclasses import replace

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.asmk.searching.index import IndexFiles
from resight.asmk.searching.recipe import read_recipe
from resight.asmk.searching.spark import encode_queries, plan_grid, search_queries, write_index_files
from resight.asmk.work import describe_like
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.chunks.work import Rescue, Work
from resight.codebook.model import Codebook
from resight.config import SettingError
from resight.features.local.work import LOCAL_DESCRIBED, LocalWork, rescue_local
from resight.search.local.locate import index_folder
from resight.search.local.work import ENCODED_IMAGES, EncodeWork, rescue_encoded
from resight.search.settings import SearchSettings
from resight.search.storage.spark import write_mask
from resight.store import TableStore
from resight.tables import IMAGE_STATS, IMAGES, LOCAL_DESCRIPTORS, MODELS, SHARDS, SOURCES, WORD_STATS
from resight.verification.keep import KEPT, KeepWork, rescue_kept


def read_codebook(store: TableStore) -> Codebook:
    """Give the codebook among the inputs of the run."""
    rows = store.reader.read(MODELS).to_pylist()
    return Codebook.from_bytes(next(row["params"] for row in rows if row["kind"] == "codebook"))


def open_index(store: TableStore) -> IndexFiles:
    """Give the files of the index that the run reads, written at the first use of its version."""
    tables = (store.read(SHARDS), store.read(IMAGE_STATS), store.read(WORD_STATS))
    root, indexed = store.workspace.root, store.run.inputs[SHARDS.name]
    files_of = write_index_files(tables, read_codebook(store), index_folder(root, indexed), root)
    store.drop_old_shards(IMAGE_STATS)
    return files_of


def query_work(store: TableStore) -> LocalWork:
    """Give the work that describes query images as the indexed ones."""
    return describe_like(read_codebook(store))


def describe_collection(store: TableStore, *, chunk_size: int) -> DataFrame:
    """Give the keypoints of all indexed images: (image_id, vectors, status, error).

    Stored ones are taken where they are of the same bytes and complete; others are found again.
    """
    label = "keypoints"
    stored, lacking, failed = split_indexed(store, None, label)
    found = run_lacking(store, lacking, (query_work(store), rescue_local, LOCAL_DESCRIBED), chunk_size, label)
    return stored.unionByName(found).unionByName(failed, allowMissingColumns=True)


def describe_candidates(store: TableStore, chosen: DataFrame, folder: str, *, chunk_size: int) -> DataFrame:
    """Give the keypoints of indexed images that are verified, as `write_feature_files` takes them.

    The strongest suffice: those that ``build-index --keep-local`` kept. Others are found again and written
    into ``folder``, that of the files.
    """
    label, work = "candidates", KeepWork(query_work(store), folder)
    stored, lacking, _ = split_indexed(store, chosen, label)
    found = run_lacking(store, lacking, (work, rescue_kept, KEPT), chunk_size, label)
    return stored.unionByName(found, allowMissingColumns=True).where("status = 'ok'")


def encode_collection(store: TableStore, settings: SearchSettings, *, chunk_size: int) -> DataFrame:
    """Give the words and codes of all indexed images: (image_id, words, codes, status, error).

    Stored keypoints are encoded. Others are found again and encoded by the same task: none is written.
    """
    index, label = open_index(store), "words"
    recipe = read_recipe(settings, index.codebook.open().n_bits, store.run.inputs[SHARDS.name])
    stored, lacking, failed = split_indexed(store, None, label)
    work = query_work(store)
    encoding = EncodeWork(work, index.codebook, recipe.m, recipe.aggregate, recipe.real)
    found = run_lacking(store, lacking, (encoding, rescue_encoded, ENCODED_IMAGES), chunk_size, label)
    if has_stored(store):
        asked = own_columns(stored, None)
        n_blocks = plan_grid(stored.count(), 1, None).n_blocks
        encoded = encode_queries(asked, index, recipe, dtype=work.dtype, n_blocks=n_blocks)
        known = encoded.select(sf.col("query_id").alias("image_id"), "words", "codes")
        known = known.withColumn("status", sf.lit("ok"))
        found = found.unionByName(store.persist("stored-words", known), allowMissingColumns=True)
    return found.unionByName(failed.drop("content_hash"), allowMissingColumns=True)


def split_indexed(
    store: TableStore, chosen: DataFrame | None, label: str
) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Split the indexed images, or those ``chosen``, into three frames.

    They are `LOCAL_DESCRIBED` rows of those with stored keypoints, where the files of others lie, and the
    status of those that could not be indexed.
    """
    keys = ["image_id", "content_hash", "n_keypoints"]
    indexed = store.read(IMAGE_STATS)
    if chosen is not None:
        keys = keys[:2]
        indexed = indexed.join(chosen.select("image_id"), "image_id", "left_semi")
    usable = indexed.where("status = 'ok'").select(keys)
    stored = store.spark.createDataFrame([], from_arrow_schema(LOCAL_DESCRIBED))
    if has_stored(store):
        rows = store.read(LOCAL_DESCRIPTORS).where("status = 'ok'").join(usable, keys, "left_semi")
        stored = rows.select(*LOCAL_DESCRIBED.names)
    places = store.read(IMAGES).join(store.read(SOURCES).select("source_id", "root"), "source_id")
    places = places.select("image_id", "root", "uri", "byte_offset", "n_bytes")
    lacking = usable.join(stored.select("image_id"), "image_id", "left_anti")
    lacking = lacking.select("image_id", "content_hash")
    lacking = store.persist(f"lacking-{label}", lacking.join(places, "image_id"))
    failed = indexed.where("status <> 'ok'").select("image_id", "content_hash", "status", "error")
    return stored, lacking, failed


def run_lacking(
    store: TableStore,
    lacking: DataFrame,
    way: tuple[Work, Rescue, pa.Schema],
    chunk_size: int,
    label: str,
) -> DataFrame:
    """Work on images whose keypoints are not stored, in chunks: rows of the schema of the work."""
    work, rescue, schema = way
    folder = store.staging(files.join(store.run.run_id, label))
    chunks = Chunks(folder, work, rescue, chunk_size, label=f"search, {label}")
    run_chunks(lacking, "image_id", chunks)
    return read_chunks(store.spark, chunks, from_arrow_schema(schema))


def has_stored(store: TableStore) -> bool:
    """Whether the run reads keypoints that the index was made from, or holds."""
    indexed, stored = store.run.inputs[SHARDS.name], store.run.inputs.get(LOCAL_DESCRIPTORS.name)
    own = (indexed.build_id, indexed.parents.get(LOCAL_DESCRIPTORS.name))
    return stored is not None and stored.build_id in own


def rank_by_index(
    store: TableStore,
    described: DataFrame,
    settings: SearchSettings,
    *,
    dtype: str,
    chosen: DataFrame | None,
    n_slots: int | None,
) -> DataFrame:
    """Rank the images of an index for (query_id, own, vectors) rows: see `search_queries`.

    Instead of ``vectors`` there may be ``words`` and ``codes``, which are read more than once.
    ``chosen`` are the `IMAGES` rows that may be returned; None: all.

    Raises
    ------
    SettingError
        None of them is indexed, or the settings do not fit the index.
    """
    index = open_index(store)
    if chosen is not None:
        place = files.join(store.staging(store.run.run_id), "allowed")
        try:
            index = replace(index, allowed=write_mask(chosen, index.images, place))
        except ValueError as error:
            raise SettingError(f"--filter: {error}") from None
    recipe = read_recipe(settings, index.codebook.open().n_bits, store.run.inputs[SHARDS.name])
    grid = plan_grid(described.count(), len(index.shards), n_slots)
    if "words" in described.columns:
        encoded = described.select("query_id", "own", "words", "codes")
    else:
        encoded = encode_queries(described, index, recipe, dtype=dtype, n_blocks=grid.n_blocks)
        encoded = store.persist("asked", encoded)
    return search_queries(encoded, index, recipe, grid)


def own_columns(described: DataFrame, own: str | None, *more: str) -> DataFrame:
    """Lay out described images that are usable as queries; ``own`` names the column of their image ids.

    ``more`` are further columns.
    """
    image = sf.col(own) if own else sf.lit(-1)
    usable = described.where("status = 'ok'")
    packed = [name for name in ("vectors", "words", "codes") if name in usable.columns]
    return usable.select(
        sf.col("image_id").alias("query_id"), image.cast("long").alias("own"), *packed, *more
    )
