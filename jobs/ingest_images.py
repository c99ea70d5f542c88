"""List a source of images, read what is new or changed, keep what is known."""

import logging
from dataclasses import asdict
from typing import Annotated, Literal, NamedTuple

import pyarrow as pa
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
from resight.images.sources import Source, match_source, name_source, parse_source, require_listed
from resight.images.spark import assign_image_ids, compare_listing, list_source
from resight.job import job
from resight.store import TableStore, spark_schema
from resight.tables import IMAGES, PREVIEWS, SOURCES
from resight.workspace import now

log = logging.getLogger("resight")
AGAIN = ("changed", "checked", "retried", "returned")  # files of known images that are read


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
        Literal["changed", "full"],
        Meta(
            description="changed: read what differs in size or time; full: all, and count whose bytes altered"
        ),
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
            require_vectors(self.source, id_column=self.id_column, vector_column=self.vector_column)
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
    require_listed(store.count("listing"), source)
    require_inside(listing, source)
    changes = compare_files(store, listing, known, source, verify=conf.verify)
    if n_removed := changes.n("removed"):
        n_present = known.where("removed_at is null").count()
        store.check_loss(n_removed, n_present, f"images of source {source.source_id}")
    store.note(**changes.counts)
    quiet = store.run.previous is not None and not changes.n_relabelled
    if quiet and set(changes.counts) <= {"same", "hidden"}:
        return
    inspected = inspect_files(store, conf, source, changes)
    if quiet and set(changes.counts) <= {"same", "hidden", "retried"} and inspected.isEmpty():
        return
    try:
        write_images(store, source, changes, inspected)
    except LossError:
        files.delete(store.staging("chunks"))  # what could not be read is tried again, not remembered
        raise


class Changes(NamedTuple):
    """Files compared with the images that are known; where none changed in some way, no join looks for it."""

    compared: DataFrame
    known: DataFrame
    counts: dict[str, int]  # files by what became of them
    n_relabelled: int  # of those that are the same, but the manifest says something else

    def n(self, *changes: str) -> int:
        """Count the files of some changes."""
        return sum(self.counts.get(change, 0) for change in changes)


def compare_files(
    store: TableStore, listing: DataFrame, known: DataFrame, source: Source, *, verify: str
) -> Changes:
    """Compare a listing with the images of its source and count what changed."""
    compared = compare_listing(listing, known, source.source_id, verify=verify)
    if source.kind == "tar":
        compared = mark_hidden(compared)
    if store.run.previous is not None:  # else it is no more than a projection of the listing
        compared = store.persist("compared", mark_unseen(store, compared, known))
    differs = sf.count_if((sf.col("change") == "same") & sf.col("extra_differs"))
    counted = compared.groupBy("change").agg(sf.count("*").alias("n"), differs.alias("n_differ"))
    rows = sorted(counted.collect())
    counts = {row["change"]: row["n"] for row in rows}
    return Changes(compared, known, counts, sum(row["n_differ"] for row in rows))


def mark_hidden(compared: DataFrame) -> DataFrame:
    """Let members of a damaged shard be ``hidden``, not removed: they may lie behind the damage.

    Such is a shard that is still being copied. What was known of its members stays as it is.
    """
    shard = sf.regexp_extract("uri", r"(?is)^(.*?\.tar)(/|$)", 1)
    damaged = compared.where("status = 'unreadable'").select(shard.alias("shard")).distinct()
    marked = compared.withColumn("shard", shard)
    joined = marked.join(damaged.withColumn("is_damaged", sf.lit(True)), "shard", "left")
    hidden = (sf.col("change") == "removed") & sf.col("is_damaged")
    change = sf.when(hidden, "hidden").otherwise(sf.col("change"))
    return joined.withColumn("change", change).drop("shard", "is_damaged")


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
    if conf.source_id:
        return source
    source, overlaps = match_source(source, read_sources(store))
    if overlaps:
        log.warning("ingest-images: files can be there twice, also from %s", ", ".join(overlaps))
        store.note(overlaps=overlaps)
    return source


def read_sources(store: TableStore) -> list[Source]:
    """Read the sources of the collection."""
    previous = store.run.previous
    output = previous.outputs.get(SOURCES.name) if previous else None
    if previous is None or output is None:
        return []
    rows = store.workspace.dataset(SOURCES, previous.build_id, output).to_table().to_pylist()
    return [Source(**row) for row in rows]


def write_source(store: TableStore, source: Source) -> None:
    """Put a source into its table unless it is there."""
    if source not in read_sources(store):
        row = pa.Table.from_pylist([asdict(source)], SOURCES.schema)
        store.update(SOURCES, store.spark.createDataFrame(row))


def drop_repeated(inspected: DataFrame, changes: Changes) -> DataFrame:
    """Leave out the files that were tried again and cannot be read as before."""
    retried = changes.compared.where("change = 'retried' and not extra_differs").select("image_id")
    before = changes.known.join(retried, "image_id", "left_semi").select("image_id", "status", "error")
    equal = [inspected[name].eqNullSafe(before[name]) for name in before.columns]
    return inspected.join(before, equal, "left_anti")


def read_known(store: TableStore) -> DataFrame:
    """Read the images of the collection, none on the first run."""
    known = store.previous(IMAGES)
    none = store.spark.createDataFrame([], spark_schema(IMAGES)).where(sf.lit(False))  # joins fall away
    return none if known is None else known


def add_ids(store: TableStore, conf: IngestConfig) -> None:
    """Make images without pixels of the ids in a file of vectors."""
    path = files.absolute(conf.source)
    source = Source(conf.source_id or name_source("vectors", path), path, "vectors", path)
    form = VectorFormat(conf.id_column, conf.vector_column)
    vectors = store.persist("vectors", read_vectors(store.spark, path, form=form))
    rows = images_of_vectors(vectors, read_known(store), source_id=source.source_id)
    rows = store.persist("images", rows)
    n_new = store.count("images")
    store.note(new=n_new)
    if n_new:
        store.update(IMAGES, rows)
        write_source(store, source)


def mark_unseen(store: TableStore, compared: DataFrame, known: DataFrame) -> DataFrame:
    """Let an image count as changed whose preview is lost, so that it is read again."""
    previews = store.previous(PREVIEWS)
    readable = known.where("status = 'ok' and removed_at is null and pixel_hash is not null")
    bare = readable.select("image_id", sf.lit(True).alias("bare"))
    if previews is not None:
        bare = bare.join(previews.select("image_id"), "image_id", "left_anti")
    change = sf.when(sf.col("bare") & (sf.col("change") == "same"), "changed").otherwise(sf.col("change"))
    return compared.join(bare, "image_id", "left").withColumn("change", change).drop("bare")


def inspect_files(store: TableStore, conf: IngestConfig, source: Source, changes: Changes) -> DataFrame:
    """Read and decode the new and changed files, in chunks that survive kills."""
    rows = list_pending(store, source, changes)
    work = IngestWork(conf.max_pixels, conf.preview_side, conf.decoder)
    identity = sf.bit_xor(sf.xxhash64("image_id", "n_bytes", "modified_at"))
    (facts,) = rows.select(identity.alias("identity"), sf.count("*").alias("n")).collect()
    key = f"{source.source_id}-{facts['identity']}-{conf.digest}-{conf.chunk_size}"
    folder, max_bytes = store.staging(f"chunks/{key}"), conf.max_memory_mb << 20
    chunks = Chunks(folder, work, rescue_files, conf.chunk_size, max_bytes, "ingest-images")
    store.note(chunks=run_chunks(rows, "image_id", chunks, n_rows=facts["n"]))
    inspected = read_chunks(store.spark, chunks, from_arrow_schema(INGESTED))
    return drop_repeated(inspected, changes) if changes.n("retried") else inspected


def list_pending(store: TableStore, source: Source, changes: Changes) -> DataFrame:
    """List the files to read, with their ids and the time when they were first seen."""
    rows = changes.compared.where(sf.col("change").isin("new", *AGAIN)).drop("extra_differs")
    rows = rows.withColumns({"source_id": sf.lit(source.source_id), "root": sf.lit(source.root)})
    new, again = rows.where("change = 'new'").drop("change", "image_id"), rows.where("change <> 'new'")
    again = again.drop("change").join(changes.known.select("image_id", "first_seen"), "image_id")
    if not changes.n("new"):
        return store.persist("pending", again)
    named = assign_image_ids(new, changes.known.select("image_id"), hold=store.hold)
    named = named.withColumn("first_seen", sf.lit(now()))
    return store.persist("pending", again.unionByName(named)) if changes.n(*AGAIN) else named


def write_images(store: TableStore, source: Source, changes: Changes, inspected: DataFrame) -> None:
    """Put what was found into the tables; images that left keep their row, with the time of removal."""
    compared, known = changes.compared, changes.known
    if changes.n(*AGAIN):
        ok = known.where("status = 'ok'")
        lost = ok.join(inspected.where("status != 'ok'"), "image_id", "left_semi")
        store.check_loss(lost.count(), ok.count(), "readable images", kind="bad")
    if changes.n("checked"):
        store.note(altered=count_altered(changes, inspected))
    rows = inspected.drop("jpeg").withColumn("removed_at", sf.lit(None).cast("timestamp"))
    gone = compared.where("change = 'removed'").select("image_id")
    if changes.n("removed"):
        left = known.join(gone, "image_id", "left_semi").withColumn("removed_at", sf.current_timestamp())
        rows = rows.unionByName(left)
    if changes.n_relabelled:
        labels = compared.where("change = 'same' and extra_differs").select("image_id", "extra")
        rows = rows.unionByName(known.drop("extra").join(labels, "image_id"))
    store.update(IMAGES, rows if store.run.previous is None else store.persist("images", rows))
    shown = inspected.where("jpeg is not null").select("image_id", "content_hash", "jpeg")
    store.update(PREVIEWS, shown, gone=inspected.where("jpeg is null").select("image_id").union(gone))
    write_source(store, source)


def count_altered(changes: Changes, inspected: DataFrame) -> int:
    """Count the files whose bytes are others though their size and time are as before."""
    checked = changes.compared.where("change = 'checked'").select("image_id")
    was = changes.known.join(checked, "image_id", "left_semi").select("image_id", "content_hash")
    now_there = inspected.select("image_id", sf.col("content_hash").alias("found"))
    return was.join(now_there, "image_id").where("content_hash <> found").count()


if __name__ == "__main__":
    run(main)
