"""Build the inverted file of a codebook: every image as codes of its visual words, in shards."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.asmk.growth import choose_rewritten
from resight.asmk.kernel import Selectivity, Values
from resight.asmk.merging.spark import merge_across
from resight.asmk.spark import (
    ShardPlace,
    find_live,
    find_lost,
    list_images,
    norm_images,
    place_images,
    unpack_entries,
    write_shards,
)
from resight.asmk.statistics import word_weights
from resight.asmk.work import INDEXED, KEEP_ALL, IndexWork, describe_like, rescue_indexed
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.codebook.model import Codebook, save_codebook
from resight.config import Config, Meta, digest_of, execution
from resight.context import LossError
from resight.job import Input, job
from resight.jobs.extract_features import (
    compare_builds,
    forget_transient,
    gpu_properties,
    refuse_half,
)
from resight.store import TableStore, spark_schema
from resight.tables import (
    ENTRIES,
    IMAGE_STATS,
    IMAGES,
    LOCAL_DESCRIPTORS,
    MODELS,
    SHARDS,
    SOURCES,
    WORD_STATS,
)
from resight.workspace import KEPT_RUNS, Run

if TYPE_CHECKING:
    from resight.asmk.shard import ShardFiles

COLUMNS = ["image_id", "content_hash", "n_keypoints", "status", "error"]
SHARD_COLUMNS = ["shard", "first_ordinal", "n_images", "n_entries", "path", "n_bytes", "sha256"]


class IndexConfig(Config, frozen=True):
    """Settings of ``build-index``."""

    codebook: Annotated[str, Meta(description="build of fit-model --kind codebook; default: the newest")] = ""
    keep_local: Annotated[
        int | Literal["none", "all"],
        Meta(description="strongest keypoints of an image that are stored as well, for verification"),
    ] = "none"
    aggregate: Annotated[
        bool,
        Meta(description="one entry per image and word (ASMK, ASMK*), else one per keypoint (SMK, SMK*)"),
    ] = True
    values: Annotated[
        Literal["bits", "float32", "float16"],
        Meta(
            description="what is kept of an entry: its signs (SMK*, ASMK*), or a vector of many times their "
            "size (SMK, ASMK)"
        ),
    ] = "bits"
    idf: Annotated[bool, Meta(description="weigh words by ln(N / n)^2")] = True
    alpha: Annotated[
        float, Meta(gt=0, le=100, description="exponent of a similarity, in norms that are not aggregated")
    ] = 3.0
    tau: Annotated[
        float, Meta(ge=-1, lt=1, description="similarity to be exceeded, in norms that are not aggregated")
    ] = 0.0
    across: Annotated[
        bool, Meta(description="images that match in many words answer by common codes (i-ASMK*)")
    ] = False
    across_tau: Annotated[float, Meta(gt=0, le=1, description="across: similarity of a match")] = 0.375
    across_matches: Annotated[
        int, Meta(ge=1, description="across: matches that two images need over all words")
    ] = 10
    chunk_size: Annotated[int, execution("images per chunk of work", ge=1)] = 256
    shard_images: Annotated[int, execution("images per new shard, about", ge=1, le=50_000)] = 8192

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if isinstance(self.keep_local, int) and self.keep_local < 1:
            raise ValueError("keep_local: none, all, or a number from 1")
        if self.across and not (self.aggregate and self.values == "bits"):
            raise ValueError("across: only of aggregated codes")

    @property
    def n_kept(self) -> int:
        """Give the number of keypoints that are stored."""
        return (
            {"none": 0, "all": KEEP_ALL}[self.keep_local]
            if isinstance(self.keep_local, str)
            else self.keep_local
        )

    def build_name(self) -> str:
        """Name the build by its kind."""
        kind = "asmk-across" if self.across else "asmk" if self.aggregate else "smk"
        return kind if self.values == "bits" else f"{kind}-{self.values}"

    def kind_of(self, codebook: Codebook) -> Values:
        """Give what is kept of an entry."""
        return Values(codebook.n_bits) if self.values == "bits" else Values(0, codebook.d, self.values)

    def differs(self, store: TableStore) -> bool:
        """Whether shards were damaged since they were written: they are written again."""
        return bool(list_damaged(store))


def is_codebook(fitted: Run) -> bool:
    """Whether a build of fit-model is a codebook."""
    return fitted.settings.get("kind") == "codebook"


def finish_index(store: TableStore, conf: IndexConfig) -> None:
    """Write what a search opens beside the shards, and delete files that no kept run of the build names."""
    from resight.asmk.searching.spark import (
        write_index_files,
    )  # compiled loops, which no command line waits for
    from resight.search.local.locate import index_folder

    workspace, build = store.workspace, store.run.build_id
    tables = (store.read(SHARDS, build), store.read(IMAGE_STATS, build), store.read(WORD_STATS, build))
    folder = index_folder(workspace.root, workspace.builds()[build])
    write_index_files(tables, read_codebook(store), folder, workspace.root)
    runs = [one for one in workspace.runs() if one.build_id == build and SHARDS.name in one.outputs]
    runs, shards = runs[-KEPT_RUNS:], set[str]()
    for one in runs:
        if workspace.is_readable(SHARDS, build, one.outputs[SHARDS.name]):
            rows = workspace.dataset(SHARDS, build, one.outputs[SHARDS.name]).to_table(["path"])
            shards.update(rows["path"].to_pylist())
    delete_others(workspace.root, files.join("shards", f"{SHARDS.name}-{build}"), shards)
    opened = {index_folder(workspace.root, one).removeprefix(f"{workspace.root}/") for one in runs}
    delete_others(workspace.root, files.join("shards", f"{IMAGE_STATS.name}-{build}"), opened)


def delete_others(root: str, home: str, kept: set[str]) -> None:
    """Delete the folders with files under ``home`` that lie in none of ``kept``; all relative to ``root``."""
    found = {files.join(home, path) for path in files.list_files(files.join(root, home), recursive=True)}
    stale = {path.rpartition("/")[0] for path in found if not any(path.startswith(f"{k}/") for k in kept)}
    for folder in stale:
        files.delete(files.join(root, folder))


@job(
    "build-index",
    IndexConfig,
    reads=(
        Input(MODELS, "codebook", kind=is_codebook, how="--kind codebook"),
        Input(LOCAL_DESCRIPTORS, optional=True),
        IMAGES,
        SOURCES,
    ),
    writes=(ENTRIES, WORD_STATS, IMAGE_STATS, SHARDS, LOCAL_DESCRIPTORS),
    finish=finish_index,
)
def main(store: TableStore, conf: IndexConfig) -> None:
    """Index the images that are new or changed; weights and norms are renewed for all.

    Keypoints that were stored for the codebook are taken, others are found again as it says. Images that are
    gone keep their place in a shard until more than half of it is gone; a search leaves them out. New images
    go into new shards, and small ones are merged with these; with ``--across`` every change writes all shards
    again. So do the images of a shard whose files are damaged.
    """
    codebook = read_codebook(store)
    settings = describe_like(codebook).settings
    if settings.extractor == "how":
        refuse_half(settings.precision, gpu_properties(store))
    images = store.read(IMAGES).where("status = 'ok' and removed_at is null and pixel_hash is not null")
    damaged = list_damaged(store)
    stale, gone = compare_builds(store, images, IMAGE_STATS)
    if n_gone := gone.count():
        store.check_loss(n_gone, images.count() + n_gone, "indexed images that are gone")
    indexed = index_images(store, conf, stale, codebook)
    if store.run.previous and not (n_gone or damaged) and indexed.isEmpty():
        return
    touched = store.persist("touched", indexed.select("image_id").union(gone.select("image_id")))
    write_entries(store, indexed, touched, conf.kind_of(codebook))
    keep_keypoints(store, conf, indexed, touched, codebook)
    write_statistics(store, conf, indexed, touched, codebook)
    renew_shards(store, conf, indexed, codebook)
    note_sizes(store)


def list_damaged(store: TableStore) -> list[str]:
    """List the folders of the build's shards that are not what was written."""
    from resight.asmk.searching.damage import find_damaged  # compiled loops, which no command line waits for

    previous = store.run.previous
    if previous is None or SHARDS.name not in previous.outputs:
        return []
    damaged = find_damaged(store.workspace, store.run.build_id, previous.outputs[SHARDS.name])
    if damaged:
        store.note(damaged_shards=len(damaged))
    return damaged


def read_codebook(store: TableStore) -> Codebook:
    """Give the codebook of the run."""
    run_of = store.run.inputs[MODELS.name]
    rows = store.reader.read(MODELS, run_of.build_id).to_pylist()
    return Codebook.from_bytes(next(row["params"] for row in rows if row["kind"] == "codebook"))


def index_images(store: TableStore, conf: IndexConfig, stale: DataFrame, codebook: Codebook) -> DataFrame:
    """Turn images into entries, in chunks that resume; more bad ones than allowed are refused.

    The summary says how many groups of words an assignment visits (0: all words are compared), and of how
    many descriptors, one per image, which share got the true word.
    """
    layout = save_codebook(codebook, store.staging("codebook"))
    rows = stale.join(store.read(SOURCES).select("source_id", "root"), "source_id")
    rows = rows.select("image_id", "content_hash", "root", "uri", "byte_offset", "n_bytes")
    inputs: list[Any] = [store.source(IMAGES)[1].version, store.run.previous and store.run.previous.run_id]
    if LOCAL_DESCRIPTORS.name in store.run.inputs:
        inputs.append(store.source(LOCAL_DESCRIPTORS)[1].version)
        known = store.read(LOCAL_DESCRIPTORS).where("status = 'ok'")
        stored = known.select("image_id", "content_hash", "n_keypoints", "points", "vectors")
        rows = rows.join(stored, ["image_id", "content_hash"], "left")
    work = IndexWork(layout, conf.aggregate, conf.n_kept, conf.values)
    folder = store.staging(digest_of([*inputs, conf.chunk_size]))
    chunks = Chunks(folder, work, rescue_indexed, conf.chunk_size, label=main.name)
    store.note(chunks=run_chunks(rows, "image_id", chunks))
    indexed = read_chunks(store.spark, chunks, from_arrow_schema(INDEXED))
    names = ("count(1)", "count_if(status <> 'ok')", "count(agrees)", "count_if(agrees)")
    n_rows, n_bad, n_checked, n_agree = indexed.agg(*(sf.expr(name) for name in names)).first() or [0] * 4
    if n_checked or not codebook.n_probes:
        share = round(n_agree / n_checked, 4) if n_checked else 1.0
        store.note(n_probes=codebook.n_probes, agreement=share, checked=n_checked)
    try:
        store.check_loss(n_bad, n_rows, "images to index", kind="bad")
    except LossError:
        forget_transient(store, indexed)
        raise
    return indexed


def write_entries(store: TableStore, indexed: DataFrame, touched: DataFrame, values: Values) -> None:
    """Replace the entries of the images that were indexed, drop those of images that are gone."""
    fresh = store.persist("entries", unpack_entries(indexed, values=values))
    previous, dropped = store.previous(ENTRIES), None
    if previous is not None:
        keys = previous.join(touched, "image_id", "left_semi").select("word_id", "image_id")
        dropped = keys.join(fresh, ["word_id", "image_id"], "left_anti")
    properties = {"dtype": values.dtype, "dim": str(values.d)} if values.d else {"n_bits": str(values.n_bits)}
    store.update(ENTRIES, fresh, gone=dropped, properties=properties)


def keep_keypoints(
    store: TableStore, conf: IndexConfig, indexed: DataFrame, touched: DataFrame, codebook: Codebook
) -> None:
    """Store the keypoints that the settings keep."""
    if not conf.n_kept:
        return
    n_kept = (sf.octet_length("points") / 20).cast("int")  # five numbers of four bytes each
    kept = indexed.drop("words", "codes").withColumn("n_keypoints", n_kept)
    gone = touched.join(indexed, "image_id", "left_anti")
    properties = {"dtype": codebook.dtype, "dim": str(codebook.d)}
    rows = store.persist("kept", kept.select(spark_schema(LOCAL_DESCRIPTORS).fieldNames()))
    store.update(LOCAL_DESCRIPTORS, rows, gone=gone, properties=properties)


def write_statistics(
    store: TableStore, conf: IndexConfig, indexed: DataFrame, touched: DataFrame, codebook: Codebook
) -> None:
    """Weigh the words and find the norms of all images, those that did not change included."""
    known, previous = indexed.select(COLUMNS), store.previous(IMAGE_STATS)
    if previous is not None:
        known = known.unionByName(previous.select(COLUMNS).join(touched, "image_id", "left_anti"))
    known, entries = store.persist("known", known), store.written(ENTRIES)
    n_images = known.where("status = 'ok'").count()
    counts = entries.groupBy("word_id").agg(sf.count("*").alias("n_images")).toArrow().sort_by("word_id")
    weighed = word_weights(counts["n_images"].to_numpy(), n_images, use_idf=conf.idf)
    words = pa.table({"word_id": counts["word_id"], "n_images": counts["n_images"], "idf": weighed})
    store.write(WORD_STATS, store.spark.createDataFrame(words, spark_schema(WORD_STATS)))
    weights = expand_weights(words, codebook.k)
    kernel, values = Selectivity(conf.alpha, conf.tau), conf.kind_of(codebook)
    norms = norm_images(entries, weights, values=values, n_images=n_images, selectivity=kernel)
    rows = known.join(norms, "image_id", "left").fillna({"n_words": 0, "norm": 0.0})
    store.write(IMAGE_STATS, rows.select(spark_schema(IMAGE_STATS).fieldNames()))


def expand_weights(words: pa.Table, k: int) -> np.ndarray:
    """Lay out the weights of `WORD_STATS` rows by number of the word: (k,) float64."""
    weights = np.zeros(k)
    weights[words["word_id"].to_numpy()] = words["idf"].to_numpy()
    return weights


def renew_shards(store: TableStore, conf: IndexConfig, indexed: DataFrame, codebook: Codebook) -> None:
    """Put new images into new shards, with those of shards that are small, mostly gone or outdated."""
    previous = store.previous(SHARDS)
    known = [] if previous is None else previous.select(SHARD_COLUMNS).toArrow().sort_by("shard").to_pylist()
    moved = indexed.where("status = 'ok'").select("image_id")
    rewritten: set[int] = set()
    if known:
        located = store.persist("located", list_images(store.spark, open_places(store, known)))
        stats = store.written(IMAGE_STATS)
        live = find_live(located, stats, indexed)
        rewritten = find_outdated(conf, known, located, live, indexed)
        damaged = {row["shard"] for row in located.where("image_id is null").collect()}
        if damaged:
            moved, rewritten = moved.union(find_lost(located, stats, indexed)), rewritten | damaged
        moved = moved.union(live.where(sf.col("shard").isin(*rewritten)).select("image_id"))
    moved = store.persist("moved", moved)
    made = write_moved(store, conf, moved, known, codebook) if not moved.isEmpty() else []
    rows = [row for row in known if row["shard"] not in rewritten] + made
    schema = pa.schema([field for field in SHARDS.schema if field.name != "build_id"])
    listed = pa.Table.from_pylist(rows, schema=schema)
    store.write(SHARDS, store.spark.createDataFrame(listed, spark_schema(SHARDS)))
    store.note(shards=len(rows), new_shards=len(made), dropped_shards=len(rewritten))


def open_places(store: TableStore, known: list[dict]) -> "list[tuple[int, ShardFiles]]":
    """Give the numbers and the files of shards, by their rows of `SHARDS`."""
    from resight.asmk.shard import ShardFiles  # compiled loops, which no command line waits for

    root = store.workspace.root
    return [(row["shard"], ShardFiles(files.join(root, row["path"]), row["sha256"])) for row in known]


def find_outdated(
    conf: IndexConfig, known: list[dict], located: DataFrame, live: DataFrame, indexed: DataFrame
) -> set[int]:
    """Name the shards that are written again: mostly gone, with an older state of a fresh image, or small.

    Merged codes change with every image: then it is all of them.
    """
    if conf.across:
        return {row["shard"] for row in known}
    counts = {row["shard"]: row["count"] for row in live.groupBy("shard").count().collect()}
    stale = located.join(indexed.select("image_id"), "image_id", "left_semi").select("shard").distinct()
    outdated = frozenset(row["shard"] for row in stale.collect())
    held, n_new = {row["shard"]: row["n_images"] for row in known}, indexed.where("status = 'ok'").count()
    return choose_rewritten(counts, held, n_new, limit=conf.shard_images, outdated=outdated)


def write_moved(
    store: TableStore, conf: IndexConfig, moved: DataFrame, known: list[dict], codebook: Codebook
) -> list[dict]:
    """Write the images of ``moved`` as new shards: their rows of `SHARDS`."""
    first_shard = 1 + max((row["shard"] for row in known), default=-1)
    ordinal = max((row["first_ordinal"] + row["n_images"] for row in known), default=0)
    n_shards = -(-moved.count() // conf.shard_images)
    placed = store.persist("placed", place_images(moved, first_shard=first_shard, n_shards=n_shards))
    entries = store.written(ENTRIES).drop("build_id")
    if conf.across:
        tau, least, n_bits = conf.across_tau, conf.across_matches, codebook.n_bits
        merged = merge_across(entries, n_bits=n_bits, tau=tau, min_matches=least, hold=store.hold)
        entries = store.persist("merged", merged)
    home = files.join("shards", f"{SHARDS.name}-{store.run.build_id}", store.run.run_id)
    place = ShardPlace(files.join(store.workspace.root, home), codebook.k, conf.kind_of(codebook))
    made = write_shards(placed, entries, place).toArrow().sort_by("shard").to_pylist()
    for row in made:
        row |= {"first_ordinal": ordinal, "path": f"{home}/{row['shard']:06d}"}
        ordinal += row["n_images"]
    return made


def note_sizes(store: TableStore) -> None:
    """Report what an image and an entry take in the shards."""
    total = store.written(SHARDS).agg(*(sf.sum(c).alias(c) for c in ("n_images", "n_entries", "n_bytes")))
    row = total.first()
    n_images, n_entries, n_bytes = ((row and row[i]) or 0 for i in range(3))
    per_image, per_entry = round(n_bytes / max(n_images, 1), 1), round(n_bytes / max(n_entries, 1), 2)
    store.note(entries=n_entries, bytes_per_image=per_image, bytes_per_entry=per_entry)


if __name__ == "__main__":
    run(main)
