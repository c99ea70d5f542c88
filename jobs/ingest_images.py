"""List a source of images, read what is new or changed, keep what is known."""

import logging
from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.config import Config, Meta, SettingError, execution
from resight.context import LossError
from resight.features.imports import require_vectors
from resight.features.spark import VectorFormat, images_of_vectors, read_vectors
from resight.images.ingest import DECODER, INGESTED, IngestWork, load_decoder, rescue_files
from resight.images.sources import Source, match_source, name_source, parse_source
from resight.images.spark import assign_image_ids, compare_listing, list_source, require_listed
from resight.job import job
from resight.store import TableStore, spark_schema
from resight.tables import IMAGES, PREVIEWS, SOURCES

log = logging.getLogger("resight")


class IngestConfig(Config, frozen=True):
    """Settings of ``ingest-images``."""

    source: Annotated[
        str, Meta(min_length=1, description="folder, glob, manifest (CSV, Parquet) or tar shards")
    ]
    kind: Annotated[
        Literal["auto", "folder", "glob", "manifest", "tar", "vectors"],
        Meta(description="what the source is; vectors: images without pixels, the ids of a file of vectors"),
    ] = "auto"
    source_id: Annotated[str, Meta(description="name of the source; default: from its kind and path")] = ""
    root: Annotated[str, Meta(description="folder of a manifest's uris; default: the manifest's own")] = ""
    id_column: Annotated[str, Meta(description="vectors: column of the ids; default: uri")] = "uri"
    vector_column: Annotated[str, Meta(description="vectors: column of the vectors")] = "vector"
    extensions: Annotated[
        tuple[str, ...],
        Meta(description="endings of the files to list, such as jpg; * for all; default: those of images"),
    ] = ()
    verify: Annotated[
        Literal["changed", "full"], Meta(description="changed: read what differs in size or time; full: all")
    ] = "changed"
    max_pixels: Annotated[int, Meta(ge=1, description="larger images are not decoded")] = 178_956_970
    preview_side: Annotated[int, Meta(ge=16, le=2048, description="longer side of previews")] = 256
    decoder: Annotated[str, Meta(description="module:function that decodes, for formats of your own")] = (
        DECODER
    )
    chunk_size: Annotated[int, execution("files per chunk of work", ge=1)] = 256
    max_memory_mb: Annotated[int, execution("memory that a chunk may add; 0: no limit", ge=0)] = 4096

    def check(self) -> None:
        """Look for a source on a local disk, and for the decoder."""
        load_decoder(self.decoder)
        if self.kind == "vectors":
            require_vectors(self.source)
        elif files.local_path(self.source) is not None:
            parse_source(self.source, self.kind, root=self.root)


@job("ingest-images", IngestConfig, writes=(SOURCES, IMAGES, PREVIEWS), external=lambda conf: "")
def main(store: TableStore, conf: IngestConfig) -> None:
    """Bring the table of images up to date with a source.

    Size and modification time tell what changed; only new and changed files are read. A file that cannot be
    read or decoded is a row with a status; one that could not be read is tried again by the next run. Images
    that left the source get a time of removal.
    """
    load_decoder(conf.decoder)
    if conf.kind == "vectors":
        add_ids(store, conf)
        return
    source = find_source(store, conf)
    known = read_known(store)
    listing = store.persist("listing", list_source(store.spark, source, extensions=conf.extensions))
    require_listed(listing, source)
    require_inside(listing, source)
    compared = compare_listing(listing, known, source.source_id, verify=conf.verify)
    compared = store.persist("compared", mark_unseen(store, compared, known))
    counts = {row["change"]: row["count"] for row in compared.groupBy("change").count().collect()}
    n_present = known.where("removed_at is null").count()
    store.check_loss(counts.get("removed", 0), n_present, f"images of source {source.source_id}")
    store.note(**{change: counts[change] for change in sorted(counts)})
    relabelled = compared.where("change = 'same' and extra_differs")
    quiet = store.run.previous is not None and relabelled.isEmpty()
    if quiet and set(counts) <= {"same"}:
        return
    inspected = drop_repeated(inspect_files(store, conf, source, compared, known), compared, known)
    if quiet and set(counts) <= {"same", "retried"} and inspected.isEmpty():
        return
    try:
        write_images(store, source, compared, known, inspected)
    except LossError:
        files.delete(store.staging("chunks"))  # what could not be read is tried again, not remembered
        raise


def require_inside(listing: DataFrame, source: Source) -> None:
    """Raise `SettingError` where every row of a manifest names a file outside of its folder."""
    outside = sf.col("status").eqNullSafe("outside_source")
    if source.kind == "manifest" and listing.where(~outside).isEmpty():
        example = listing.agg(sf.min("uri").alias("uri")).collect()[0]["uri"]
        raise SettingError(
            f"--root: every uri of {source.path} leads out of {source.root}, such as {example!r}; uris are "
            "relative to the folder of the manifest, or to the one that --root names"
        )


def find_source(store: TableStore, conf: IngestConfig) -> Source:
    """Give the source that the settings name: the known one where another spelling names its place."""
    source = parse_source(conf.source, conf.kind, source_id=conf.source_id, root=conf.root)
    previous = store.run.previous
    output = previous.outputs.get(SOURCES.name) if previous else None
    if conf.source_id or previous is None or output is None:
        return source
    rows = store.workspace.dataset(SOURCES, previous.build_id, output).to_table().to_pylist()
    source, overlaps = match_source(source, [Source(**row) for row in rows])
    if overlaps:
        log.warning("ingest-images: files can be there twice, also from %s", ", ".join(overlaps))
        store.note(overlaps=overlaps)
    return source


def drop_repeated(inspected: DataFrame, compared: DataFrame, known: DataFrame) -> DataFrame:
    """Leave out the files that were tried again and cannot be read as before."""
    retried = compared.where("change = 'retried' and not extra_differs").select("image_id")
    before = known.join(retried, "image_id", "left_semi").select("image_id", "status", "error")
    equal = [inspected[name].eqNullSafe(before[name]) for name in before.columns]
    return inspected.join(before, equal, "left_anti")


def read_known(store: TableStore) -> DataFrame:
    """Read the images of the collection, none on the first run."""
    known = store.previous(IMAGES)
    return store.spark.createDataFrame([], spark_schema(IMAGES)) if known is None else known


def add_ids(store: TableStore, conf: IngestConfig) -> None:
    """Make images without pixels of the ids in a file of vectors."""
    path = files.absolute(conf.source)
    source = Source(conf.source_id or name_source("vectors", path), path, "vectors", path)
    form = VectorFormat(conf.id_column, conf.vector_column)
    vectors = store.persist("vectors", read_vectors(store.spark, path, form=form))
    rows = images_of_vectors(vectors, read_known(store), source_id=source.source_id)
    rows = store.persist("images", rows)
    n_new = rows.count()
    store.note(new=n_new)
    if n_new:
        store.update(IMAGES, rows)
        row = [(source.source_id, source.root, source.kind, source.path)]
        store.update(SOURCES, store.spark.createDataFrame(row, spark_schema(SOURCES)))


def mark_unseen(store: TableStore, compared: DataFrame, known: DataFrame) -> DataFrame:
    """Let an image count as changed whose preview is lost, so that it is read again."""
    previews = store.previous(PREVIEWS)
    readable = known.where("status = 'ok' and removed_at is null and pixel_hash is not null")
    bare = readable.select("image_id", sf.lit(True).alias("bare"))
    if previews is not None:
        bare = bare.join(previews.select("image_id"), "image_id", "left_anti")
    change = sf.when(sf.col("bare") & (sf.col("change") == "same"), "changed").otherwise(sf.col("change"))
    return compared.join(bare, "image_id", "left").withColumn("change", change).drop("bare")


def inspect_files(
    store: TableStore, conf: IngestConfig, source: Source, compared: DataFrame, known: DataFrame
) -> DataFrame:
    """Read and decode the new and changed files, in chunks that survive kills."""
    read = sf.col("change").isin("new", "changed", "retried", "returned")
    fresh = compared.where(read).drop("change", "extra_differs")
    fresh = fresh.withColumns({"source_id": sf.lit(source.source_id), "root": sf.lit(source.root)})
    unnamed = fresh.where("image_id is null").drop("image_id")
    named = assign_image_ids(store.persist("unnamed", unnamed), known.select("image_id"))
    found = fresh.where("image_id is not null").unionByName(named)
    rows = found.join(known.select("image_id", "first_seen"), "image_id", "left")
    rows = rows.withColumn("first_seen", sf.coalesce("first_seen", sf.current_timestamp()))
    rows = store.persist("pending", rows)
    work = IngestWork(conf.max_pixels, conf.preview_side, conf.decoder)
    (identity,) = rows.select(sf.bit_xor(sf.xxhash64("image_id", "n_bytes", "modified_at"))).collect()
    key = f"{source.source_id}-{identity[0]}-{conf.digest}-{conf.chunk_size}"
    folder, max_bytes = store.staging(f"chunks/{key}"), conf.max_memory_mb << 20
    chunks = Chunks(folder, work, rescue_files, conf.chunk_size, max_bytes, "ingest-images")
    store.note(chunks=run_chunks(rows, "image_id", chunks))
    return read_chunks(store.spark, chunks, from_arrow_schema(INGESTED))


def write_images(
    store: TableStore, source: Source, compared: DataFrame, known: DataFrame, inspected: DataFrame
) -> None:
    """Put what was found into the tables; images that left keep their row, with the time of removal."""
    gone = compared.where("change = 'removed'").select("image_id")
    lost = known.where("status = 'ok'").join(inspected.where("status != 'ok'"), "image_id", "left_semi")
    n_readable = known.where("status = 'ok'").count()
    store.check_loss(lost.count(), n_readable, "readable images", kind="bad")
    removed = known.join(gone, "image_id", "left_semi").withColumn("removed_at", sf.current_timestamp())
    labels = compared.where("change = 'same' and extra_differs").select("image_id", "extra")
    relabelled = known.drop("extra").join(labels, "image_id")
    fresh = inspected.drop("jpeg").withColumn("removed_at", sf.lit(None).cast("timestamp"))
    rows = fresh.unionByName(removed).unionByName(relabelled)
    store.update(IMAGES, store.persist("images", rows))
    shown = inspected.where("jpeg is not null").select("image_id", "content_hash", "jpeg")
    store.update(PREVIEWS, shown, gone=inspected.where("jpeg is null").select("image_id").union(gone))
    row = [(source.source_id, source.root, source.kind, source.path)]
    store.update(SOURCES, store.spark.createDataFrame(row, spark_schema(SOURCES)))


if __name__ == "__main__":
    run(main)
