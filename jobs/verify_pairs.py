"""Verify pairs of images by their keypoints: the transform between them, and how much speaks for it."""

from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.asmk.work import describe_like
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.codebook.model import Codebook, CodebookFiles, save_codebook
from resight.config import Meta, SettingError, digest_of, execution, require_local
from resight.context import LossError
from resight.features.local.work import LocalWork
from resight.graph.builds import of_images
from resight.job import Input, job
from resight.jobs.build_index import is_codebook
from resight.jobs.extract_features import forget_transient
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.store import TableStore, spark_schema
from resight.tables import (
    IMAGES,
    LOCAL_DESCRIPTORS,
    MODELS,
    NEIGHBORS,
    PREVIEWS,
    QUERIES,
    RESULTS,
    SOURCES,
    VERIFIED_PAIRS,
)
from resight.verification.settings import VerifySettings
from resight.verification.spark import (
    attach_contents,
    list_images,
    order_pairs,
    pair_neighbors,
    pair_results,
    unverified,
    verify_pairs,
    write_feature_files,
)

IMAGES_PER_CHUNK = 64  # that are described again together
TRANSIENT = ("missing", "unreadable", "changed")  # tried again by the next run


class VerifyConfig(VerifySettings, frozen=True):
    """Settings of ``verify-pairs``."""

    local: Annotated[
        str, Meta(description="build of extract-local-features; images that it lacks are described like it")
    ] = ""
    candidates: Annotated[
        Literal["neighbors", "results", "file"],
        Meta(description="pairs of a graph's lists, of a search by the collection, or of a file"),
    ] = "neighbors"
    graph: Annotated[str, Meta(description="build of the graph; default: the newest")] = ""
    results: Annotated[
        str, Meta(description="build of search --queries-from collection; default: the newest")
    ] = ""
    pairs: Annotated[
        str, Meta(description="CSV file of pairs, columns image_a and image_b (ids) or uri_a and uri_b")
    ] = ""
    words: Annotated[
        str,
        Meta(
            description="build of fit-model --kind codebook: only keypoints of one visual word match, and "
            "the ratio is that of their distances; default: all keypoints"
        ),
    ] = ""
    top: Annotated[int, Meta(ge=1, description="pairs per image, the best first: bounds the cost")] = 10
    agreement: Annotated[
        bool, Meta(description="compare the aligned previews of pairs with 8 inliers or more")
    ] = False
    chunk_size: Annotated[int, execution("pairs per chunk of work", ge=1)] = 2000

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if (self.candidates == "file") != bool(self.pairs):
            raise ValueError("pairs: a file belongs to --candidates file, and to nothing else")

    def check(self) -> None:
        """Look for the file of pairs."""
        if self.pairs:
            require_local(self.pairs, "--pairs")

    def settings(self) -> VerifySettings:
        """Give the part that the kernels know."""
        return VerifySettings(**{name: getattr(self, name) for name in VerifySettings.__struct_fields__})


def from_results(conf: VerifyConfig) -> bool:
    """Whether the pairs are those of a search."""
    return conf.candidates == "results"


def from_neighbors(conf: VerifyConfig) -> bool:
    """Whether the pairs are those of a graph."""
    return conf.candidates == "neighbors"


def file_version(conf: VerifyConfig) -> str:
    """Give the version of the file of pairs; "" is always new."""
    if not conf.pairs:
        return conf.candidates
    path = files.local_path(files.absolute(conf.pairs))
    return digest_of([path.stat().st_size, path.stat().st_mtime_ns]) if path and path.exists() else ""


@job(
    "verify-pairs",
    VerifyConfig,
    reads=(
        Input(RESULTS, "results", when=from_results),
        Input(QUERIES, "results", when=from_results),
        Input(NEIGHBORS, "graph", when=from_neighbors, kind=of_images),
        Input(LOCAL_DESCRIPTORS, "local"),
        Input(MODELS, "words", optional=True, newest=False, kind=is_codebook, how="--kind codebook"),
        IMAGES,
        SOURCES,
        Input(PREVIEWS, when=lambda conf: conf.agreement),
    ),
    writes=(VERIFIED_PAIRS,),
    external=file_version,
)
def main(store: TableStore, conf: VerifyConfig) -> None:
    """Match the keypoints of candidate pairs and find the transform that explains most matches.

    A pair is verified again only when one of its files changed. Images whose keypoints are not stored are
    described again, each once. A pair with an image that is gone or cannot be described has a status.
    """
    if conf.mirrored and work_like(store).settings.extractor != "rootsift":
        raise SettingError("mirrored: only keypoints of --extractor rootsift can be mirrored")
    images = store.read(IMAGES).where("removed_at is null and status = 'ok' and pixel_hash is not null")
    pairs = store.persist("pairs", attach_contents(list_candidates(store, conf), images))
    stale, gone = compare_pairs(store, pairs)
    guard_lost(store, images, gone)
    stale = store.persist("stale", stale)
    asked = list_images(stale.where("status is null"))
    described = describe_images(store, conf, images.join(asked, "image_id", "left_semi"))
    failed = store.persist("failed", unverified(stale, described))
    sound = stale.join(failed, ["image_a", "image_b"], "left_anti")
    verified = verify_described(store, conf, sound, described)
    names = spark_schema(VERIFIED_PAIRS).fieldNames()
    fresh = store.persist("fresh", verified.select(names).unionByName(failed.select(names)))
    store.note(verified=verified.count(), kept=pairs.count() - stale.count())
    if not (store.run.previous and fresh.isEmpty() and gone.isEmpty()):
        store.update(VERIFIED_PAIRS, fresh, gone=gone)


def guard_lost(store: TableStore, images: DataFrame, gone: DataFrame) -> None:
    """Refuse to delete many pairs because images are gone; others only are no candidates any more."""
    ids = images.select("image_id")
    live = gone.join(ids.withColumnRenamed("image_id", "image_a"), "image_a", "left_semi")
    live = live.join(ids.withColumnRenamed("image_id", "image_b"), "image_b", "left_semi")
    previous = store.previous(VERIFIED_PAIRS)
    n_before = previous.count() if previous is not None else 0
    store.check_loss(gone.count() - live.count(), n_before, "verified pairs of images that are gone")


def list_candidates(store: TableStore, conf: VerifyConfig) -> DataFrame:
    """Give the pairs that the settings name, each once, image_a < image_b."""
    if conf.candidates == "neighbors":
        return pair_neighbors(store.read(NEIGHBORS), top=conf.top)
    if conf.candidates == "results":
        return pair_results(store.read(RESULTS), store.read(QUERIES), top=conf.top)
    return read_pairs(store, conf.pairs)


def read_pairs(store: TableStore, path: str) -> DataFrame:
    """Read a CSV file of pairs; a uri that names no image of the collection is an error."""
    rows = store.spark.read.option("header", True).csv(files.spark_uri(path, pattern=True))
    if {"image_a", "image_b"} <= set(rows.columns):
        ends = [sf.col(f"image_{end}").try_cast("long") for end in ("a", "b")]
        named = rows.select(ends[0].alias("src"), ends[1].alias("dst"))
    elif {"uri_a", "uri_b"} <= set(rows.columns):
        live = store.read(IMAGES).where("removed_at is null").groupBy("uri")
        ids = live.agg(sf.min("image_id").alias("id"), sf.count("*").alias("n"))
        ids = ids.select("uri", sf.when(sf.col("n") == 1, sf.col("id")).alias("id"))
        for end, name in (("a", "src"), ("b", "dst")):
            known = ids.select(sf.col("uri").alias(f"uri_{end}"), sf.col("id").alias(name))
            rows = rows.join(known, f"uri_{end}", "left")
        named = rows.select("src", "dst")
    else:
        raise SettingError(f"--pairs: columns {rows.columns}; want image_a and image_b, or uri_a and uri_b")
    n_unknown = named.where("src is null or dst is null").count()
    if n_unknown:
        raise SettingError(f"--pairs: {n_unknown} rows name no image, or a uri of several sources")
    return order_pairs(named)


def compare_pairs(store: TableStore, pairs: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Find the pairs that were not verified yet, or of other bytes, and the verified ones to delete."""
    keys, previous = ["image_a", "image_b"], store.previous(VERIFIED_PAIRS)
    if previous is None:
        return pairs, pairs.select(keys).limit(0)
    final = previous.where(~sf.col("status").isin(*TRANSIENT)).select(*keys, "contents")
    gone = previous.select(keys).join(pairs, keys, "left_anti")
    return pairs.join(final, [*keys, "contents"], "left_anti"), gone


def describe_images(store: TableStore, conf: VerifyConfig, images: DataFrame) -> DataFrame:
    """Give the keypoints of images: the stored ones, else where those lie that are described again alike."""
    from resight.verification.keep import KEPT, KeepWork, rescue_kept

    keys, stored = ["image_id", "content_hash"], store.read(LOCAL_DESCRIPTORS).where("status = 'ok'")
    known = stored.join(images.select(keys), keys, "left_semi").drop("build_id")
    lacking = images.join(known.select(keys), keys, "left_anti")
    rows = lacking.join(store.read(SOURCES).select("source_id", "root"), "source_id")
    rows = store.persist("lacking", rows.select(*keys, "root", "uri", "byte_offset", "n_bytes"))
    n_described = rows.count()
    store.note(described=n_described)
    if not n_described:
        return known
    folder = store.staging(files.join(resume_key(store, conf), "described"))
    work = KeepWork(work_like(store), feature_folder(store, conf))
    chunks = Chunks(folder, work, rescue_kept, IMAGES_PER_CHUNK, label="verify-pairs, keypoints")
    run_chunks(rows, "image_id", chunks)
    found = read_chunks(store.spark, chunks, from_arrow_schema(KEPT))
    try:
        n_bad = found.where("status <> 'ok'").count()
        store.check_loss(n_bad, n_described + known.count(), "images to verify", kind="bad")
    except LossError:
        forget_transient(store, found)
        raise
    return known.unionByName(found, allowMissingColumns=True)


def feature_folder(store: TableStore, conf: VerifyConfig) -> str:
    """Folder of the keypoints that are matched, those that were found again and the stored ones."""
    return store.staging(files.join(resume_key(store, conf), "features"))


def work_like(store: TableStore) -> LocalWork:
    """Give the work that describes images as the build of keypoints did, or the codebook of an index."""
    described = store.run.inputs[LOCAL_DESCRIPTORS.name]
    build = described.parents.get(MODELS.name)
    models = store.reader.read(MODELS, build).to_pylist() if build else []
    params = {row["kind"]: row["params"] for row in models}
    if "codebook" in params:
        return describe_like(Codebook.from_bytes(params["codebook"]))
    conf, dtype = (
        ExtractLocalConfig.from_mapping(described.settings),
        store.properties(LOCAL_DESCRIPTORS)["dtype"],
    )
    return LocalWork(conf.local_settings(), dtype, conf.weights_digest(), params.get("whitening", b""))


def resume_key(store: TableStore, conf: VerifyConfig) -> str:
    """Name what the unfinished work of this run is made from: a run that is started again finds it."""
    versions = {name: run.outputs[name].version for name, run in store.run.inputs.items()}
    before = store.run.previous and store.run.previous.run_id
    return digest_of([versions, file_version(conf) or store.run.run_id, before, conf.chunk_size])


def verify_described(
    store: TableStore, conf: VerifyConfig, pairs: DataFrame, described: DataFrame
) -> DataFrame:
    """Verify pairs of images that all have keypoints."""
    from resight.verification.work import VerifyWork, rescue_pairs

    sizes = store.read(IMAGES).select("image_id", "width", "height")
    rows = described.where("status = 'ok'").join(sizes, "image_id")
    if conf.agreement:
        previews = store.read(PREVIEWS).select("image_id", sf.col("jpeg").alias("preview"))
        rows = rows.join(previews, "image_id", "left")
    else:
        rows = rows.withColumn("preview", sf.lit(None).cast("binary"))
    folder, key = feature_folder(store, conf), resume_key(store, conf)
    features = write_feature_files(rows, folder, dtype=store.properties(LOCAL_DESCRIPTORS)["dtype"])
    work = VerifyWork(features, conf.settings(), conf.agreement, read_words(store, conf))
    folder = store.staging(files.join(key, "verified"))
    chunks = Chunks(folder, work, rescue_pairs, conf.chunk_size, label="verify-pairs")
    return verify_pairs(pairs.select("image_a", "image_b", "contents"), chunks)


def read_words(store: TableStore, conf: VerifyConfig) -> CodebookFiles | None:
    """Give the codebook that ``--words`` names; None without."""
    if not conf.words:
        return None
    rows = store.reader.read(MODELS, store.run.inputs[MODELS.name].build_id).to_pylist()
    codebook = Codebook.from_bytes(next(row["params"] for row in rows if row["kind"] == "codebook"))
    dim = store.properties(LOCAL_DESCRIPTORS).get("dim", str(codebook.d))
    if int(dim) != codebook.d:
        raise SettingError(f"words: the codebook {conf.words!r} is of {codebook.d} dimensions, not {dim}")
    return save_codebook(codebook, store.staging(files.join(resume_key(store, conf), "words")))


if __name__ == "__main__":
    run(main)
