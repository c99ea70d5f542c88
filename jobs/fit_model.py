"""Fit a model on a sample of descriptors: whitening with fewer dimensions, or a codebook of visual words."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from resight.cli import run
from resight.codebook.kmeans import fit_centroids
from resight.codebook.model import Codebook
from resight.codebook.plan import choose_fit
from resight.codebook.quantize import Quantizer, tune_probes
from resight.codebook.spark import fit_thresholds, step_over_tasks, write_sample
from resight.config import Config, Meta, SettingError, execution
from resight.evaluation.copies.spark import resolve_pairs
from resight.evaluation.copies.truth import read_pairs
from resight.features.fitting.sample import parse_conditions
from resight.features.fitting.spark import (
    sample_rows,
    select_images,
    sum_covariance,
    sum_differences,
)
from resight.features.local.spark import sample_keypoints, sum_local_covariance
from resight.features.whitening import (
    CovarianceSums,
    Whitening,
    fit_learned_whitening,
    fit_pca_whitening,
    parse_whitening,
)
from resight.job import Input, job
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.store import TableStore, spark_schema
from resight.tables import (
    DUPLICATE_PAIRS,
    GLOBAL_DESCRIPTORS,
    IMAGES,
    LOCAL_DESCRIPTORS,
    MODELS,
    REGION_DESCRIPTORS,
    Table,
)
from resight.workspace import Run

log = logging.getLogger("resight")
PAIR = ["image_a", "image_b"]
REGION = ["image_id", "region_ix"]
TUNED_ON = 20_000  # descriptors that say how many groups an assignment visits
OF_CODEBOOKS = ("local", "words", "points_per_word", "iterations", "binarization", "bits")


class FitConfig(Config, frozen=True):
    """Settings of ``fit-model``."""

    kind: Annotated[
        Literal["pca", "learned", "file", "codebook"],
        Meta(
            description="pca: principal components; learned: from matching pairs; file: fitted elsewhere; "
            "codebook: visual words of local descriptors"
        ),
    ] = "pca"
    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    on: Annotated[
        Literal["images", "regions", "keypoints"],
        Meta(
            description="pca: what is fitted on; regions, for extract-features --whiten-regions; keypoints, "
            "for extract-local-features --whitening"
        ),
    ] = "images"
    dims: Annotated[int, Meta(ge=1, description="dimensions that are kept")] = 512
    power: Annotated[
        float,
        Meta(ge=0, le=1, description="pca: 0 rotates only, 1 whitens fully (hurts on small collections)"),
    ] = 0.3
    pairs: Annotated[
        str, execution("learned: CSV of matching images: uri_a, uri_b; uri, group; or a ground truth")
    ] = ""
    duplicates: Annotated[
        str, Meta(description="learned: build of find-duplicates whose near pairs match, instead of --pairs")
    ] = ""
    file: Annotated[str, execution("file: npz with mean (d,) and projection (d, D), y = (x - mean) P")] = ""
    only: Annotated[
        tuple[str, ...],
        Meta(description="fit on images with column=value, a column of images or of their manifest"),
    ] = ()
    sample: Annotated[int, Meta(ge=2, description="descriptors, and pairs, drawn by hash")] = 100_000
    seed: Annotated[int, Meta(description="of the sample")] = 0
    local: Annotated[
        str, Meta(description="codebook, keypoints: build of local descriptors; default: the newest")
    ] = ""
    words: Annotated[
        int, Meta(ge=1, le=1 << 24, description="codebook: visual words; a small collection wants few")
    ] = 4096
    points_per_word: Annotated[
        int, Meta(ge=1, description="codebook: descriptors per word, drawn by hash")
    ] = 256
    iterations: Annotated[int, Meta(ge=1, le=1000, description="codebook: of k-means")] = 10
    binarization: Annotated[
        Literal["centroids", "medians"],
        Meta(
            description="codebook: bits are signs of the residual to the centroid, or of a random projection "
            "less the word's median (Hamming embedding)"
        ),
    ] = "centroids"
    bits: Annotated[
        int, Meta(ge=0, description="codebook, medians: bits of a code; 0: as many as dimensions")
    ] = 0
    fit_memory: Annotated[
        float, execution("codebook: GiB of sampled descriptors up to which k-means runs on the driver", gt=0)
    ] = 4.0

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if self.bits and self.binarization != "medians":
            raise ValueError("bits: only with --binarization medians; else a code has a bit per dimension")
        if self.only and of_keypoints(self):
            raise ValueError("only: for keypoints, extract-local-features --only chooses the images")
        parse_conditions(self.only)
        if bool(self.pairs) + bool(self.duplicates) != (self.kind == "learned"):
            raise ValueError("pairs: --kind learned, and only it, takes --pairs or --duplicates, one of them")
        if bool(self.file) != (self.kind == "file"):
            raise ValueError("file: --kind file, and only it, takes --file")
        if self.on != "images" and self.kind != "pca":
            raise ValueError(f"on: {self.on} only with --kind pca")

    def weights_digest(self) -> str:
        """Hash the file that the model is made from: another content is another build."""
        for option, file in (("--pairs", self.pairs), ("--file", self.file)):
            try:
                if file:
                    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
            except OSError as error:
                raise SettingError(f"{option}: {error}") from None
        return ""

    def check(self) -> None:
        """Read the files: a fault is found before anything is computed."""
        super().check()
        if self.pairs:
            read_matching(self.pairs)
        if self.file:
            read_whitening(self.file)

    def build_name(self) -> str:
        """Name the build by what it does, such as ``pca512``."""
        if is_codebook(self):
            return f"codebook{self.words}" + ("-medians" if self.binarization == "medians" else "")
        fitted = f"{self.kind}{self.dims}"
        return Path(self.file).stem if self.file else fitted if self.on == "images" else f"{fitted}-{self.on}"

    def content(self) -> dict[str, Any]:
        """Give what decides the model: settings of other kinds do not."""
        shared = ("kind", "seed")
        own = super().content().items()
        return {k: v for k, v in own if k in shared or (k in OF_CODEBOOKS) == is_codebook(self)}


def of_regions(conf: FitConfig) -> bool:
    """Whether the model is fitted on regions."""
    return conf.on == "regions"


def is_codebook(conf: FitConfig) -> bool:
    """Whether the model is a codebook of visual words."""
    return conf.kind == "codebook"


def of_keypoints(conf: FitConfig) -> bool:
    """Whether the model is fitted on local descriptors."""
    return is_codebook(conf) or conf.on == "keypoints"


def of_vectors(conf: FitConfig) -> bool:
    """Whether the model is fitted on what describes images, or their regions."""
    return not of_keypoints(conf)


def is_extracted(described: Run) -> bool:
    """Whether a build of local descriptors says how they were made; an index keeps some of them."""
    return described.job == "extract-local-features"


@job(
    "fit-model",
    FitConfig,
    reads=(
        Input(REGION_DESCRIPTORS, "descriptors", when=of_regions, how="--regions"),
        Input(GLOBAL_DESCRIPTORS, "descriptors", when=of_vectors),
        Input(LOCAL_DESCRIPTORS, "local", when=of_keypoints, kind=is_extracted),
        Input(DUPLICATE_PAIRS, "duplicates", optional=True, newest=False),
        IMAGES,
    ),
    writes=(MODELS,),
)
def main(store: TableStore, conf: FitConfig) -> None:
    """Fit once, on the collection as it is: growth of the collection never changes the model."""
    if store.run.previous is not None:
        return
    if is_codebook(conf):
        rows = [("codebook", bytearray(fit_codebook(store, conf).to_bytes()))]
        store.write(MODELS, store.spark.createDataFrame(rows, spark_schema(MODELS)))
        return
    fit = {"pca": fit_pca, "learned": fit_learned, "file": read_file}[conf.kind]
    whitening = fit(store, conf)
    n_kept = whitening.projection.shape[1]
    if n_kept < conf.dims and not conf.file:
        log.warning("fit-model: --dims %d: there are only %d, all are kept", conf.dims, n_kept)
    store.note(dims=n_kept)
    rows = [("whitening", bytearray(whitening.to_bytes()))]
    store.write(MODELS, store.spark.createDataFrame(rows, spark_schema(MODELS)))


def fit_pca(store: TableStore, conf: FitConfig) -> Whitening:
    """Whiten by principal components of a sample."""
    try:
        sums = sum_keypoints(store, conf) if of_keypoints(conf) else sum_vectors(store, conf)
        whitening, warning = fit_pca_whitening(sums, dims=min(conf.dims, len(sums.shift)), power=conf.power)
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(f"--{'local' if of_keypoints(conf) else 'descriptors'}: {error}") from None
    if warning:
        log.warning("fit-model: %s", warning)
    store.note(sample=sums.n)
    return whitening


def sum_vectors(store: TableStore, conf: FitConfig) -> CovarianceSums:
    """Sum a sample of the descriptors of images or regions."""
    table, key = (REGION_DESCRIPTORS, REGION) if of_regions(conf) else (GLOBAL_DESCRIPTORS, ["image_id"])
    sampled = sample_rows(choose_descriptors(store, conf, table), key, sample=conf.sample, seed=conf.seed)
    return sum_covariance(sampled, dtype=store.properties(table)["dtype"], key=key)


def sum_keypoints(store: TableStore, conf: FitConfig) -> CovarianceSums:
    """Sum the local descriptors of some images."""
    local, dtype = store.read(LOCAL_DESCRIPTORS), store.properties(LOCAL_DESCRIPTORS)["dtype"]
    return sum_local_covariance(sample_keypoints(local, sample=conf.sample, seed=conf.seed), dtype=dtype)


def fit_learned(store: TableStore, conf: FitConfig) -> Whitening:
    """Whiten the differences of matching pairs, and keep what spreads the sample most."""
    dtype, eligible = store.properties(GLOBAL_DESCRIPTORS)["dtype"], choose_descriptors(store, conf)
    pairs = sample_rows(
        store.persist("matching", match_images(store, conf)), PAIR, sample=conf.sample, seed=conf.seed
    )
    try:
        matching = sum_differences(pairs, eligible, dtype=dtype)
        sampled = sample_rows(eligible, ["image_id"], sample=conf.sample, seed=conf.seed)
        everything = sum_covariance(sampled, dtype=dtype)
        d = len(everything.shift)
        whitening, ridge = fit_learned_whitening(matching, everything, dims=min(conf.dims, d))
    except ValueError as error:
        raise SettingError(f"--{'pairs' if conf.pairs else 'duplicates'}: {error}") from None
    if matching.n < d:
        log.warning("fit-model: learned whitening: %d pairs are few for %d dimensions", matching.n, d)
    store.note(sample=everything.n, pairs=matching.n, ridge=ridge)
    return whitening


def match_images(store: TableStore, conf: FitConfig) -> DataFrame:
    """Give the matching images: ``image_a, image_b``."""
    if conf.duplicates:  # equal pixels have equal vectors: nothing to learn from
        return store.read(DUPLICATE_PAIRS).where("relation = 'near' and cut is null").select(*PAIR)
    images = store.read(IMAGES).where("removed_at is null")
    return resolve_pairs(store.spark.createDataFrame(read_matching(conf.pairs)), images)


def read_matching(file: str) -> pa.Table:
    """Read the pairs of images that match."""
    try:
        return read_pairs(file)
    except SettingError as error:
        raise SettingError(f"--pairs: {error}") from None


def choose_descriptors(store: TableStore, conf: FitConfig, table: Table = GLOBAL_DESCRIPTORS) -> DataFrame:
    """Give the usable rows of ``table`` of the images that ``--only`` allows: its key, ``vector``."""
    usable = store.read(GLOBAL_DESCRIPTORS).where("status = 'ok'").select("image_id", "vector")
    if table is REGION_DESCRIPTORS:
        regions = store.read(table).select(*REGION, "vector")
        usable = regions.join(usable.select("image_id"), "image_id", "left_semi")
    if not conf.only:
        return usable
    chosen = select_images(store.read(IMAGES), parse_conditions(conf.only)).select("image_id")
    usable = usable.join(chosen, "image_id", "left_semi")
    if usable.isEmpty():
        raise SettingError(f"--only: no image with a descriptor has {' '.join(conf.only)}")
    return usable


def fit_codebook(store: TableStore, conf: FitConfig) -> Codebook:
    """Fit visual words to a sample of local descriptors, here or by tasks, and their thresholds."""
    dtype, folder = store.properties(LOCAL_DESCRIPTORS)["dtype"], store.staging("points")
    local, limit = store.read(LOCAL_DESCRIPTORS).where("status = 'ok'"), conf.words * conf.points_per_word
    try:
        drawn = write_sample(local, folder, dtype=dtype, n_points=limit, k=conf.words, seed=conf.seed)
    except ValueError as error:
        raise SettingError(f"--local: {error}") from None
    sample, start = drawn
    if len(start) < conf.words:
        log.warning("fit-model: --words %d: there are only %d descriptors", conf.words, len(start))
    if conf.bits > sample.d:
        raise SettingError(f"--bits: {conf.bits}, the descriptors have {sample.d} dimensions")
    plan = choose_fit(sample.n, sample.d, memory_bytes=int(conf.fit_memory * 2**30))
    log.info("fit-model: %s, because %s", plan.path, plan.reason)
    step = sample.sum_here if plan.path == "local" else step_over_tasks(store.spark, sample)
    tested = next(sample.read(sample.names))[:TUNED_ON].astype(np.float32)
    fitted = fit_centroids(step, start, n_iter=conf.iterations, sample=tested)
    n_probes, agreement = tune_probes(tested, fitted.centroids)
    figures = {"path": plan.path, "words": len(start), "sample": sample.n, "nan": sample.n_bad}
    store.note(**figures, n_probes=n_probes, agreement=agreement, errors=fitted.errors)
    facts: dict[str, Any] = {"n_probes": n_probes, "dtype": dtype} | extractor_facts(store)
    if conf.binarization == "medians":
        options = {"n_bits": conf.bits, "seed": conf.seed}
        facts |= fit_thresholds(store.spark, drawn, Quantizer(fitted.centroids, n_probes), **options)
    return Codebook(fitted.centroids, **facts)


def extractor_facts(store: TableStore) -> dict[str, Any]:
    """Say how the local descriptors of the run were made, so that others can be made alike."""
    described = store.run.inputs[LOCAL_DESCRIPTORS.name]
    conf = ExtractLocalConfig.from_mapping(described.settings)
    facts = {
        "settings": json.dumps(msgspec.to_builtins(conf.local_settings())),
        "sha256": conf.weights_digest(),
    }
    if not conf.whitening:
        return facts
    rows = store.reader.read(MODELS, described.parents[MODELS.name]).to_pylist()
    params = next(row["params"] for row in rows if row["kind"] == "whitening")
    return facts | {"whitening": np.frombuffer(params, np.uint8)}


def read_file(store: TableStore, conf: FitConfig) -> Whitening:
    """Take a whitening that was fitted elsewhere, on descriptors of the same kind."""
    whitening, dim = read_whitening(conf.file), store.properties(GLOBAL_DESCRIPTORS).get("dim")
    if dim and whitening.mean.size != int(dim):
        raise SettingError(f"--file: for {whitening.mean.size} dimensions, the descriptors have {dim}")
    return Whitening(whitening.mean, whitening.projection[:, : conf.dims])


def read_whitening(file: str) -> Whitening:
    """Read a npz file of a whitening."""
    try:
        return parse_whitening(Path(file).read_bytes())
    except ValueError as error:
        raise SettingError(f"--file: {file}: {error}") from None


if __name__ == "__main__":
    run(main)
