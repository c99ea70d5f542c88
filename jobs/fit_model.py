"""Fit a model on a sample of descriptors, of images or of regions: whitening with fewer dimensions."""

import hashlib
import logging
from pathlib import Path
from typing import Annotated, Literal

from pyspark.sql import DataFrame

from resight.cli import run
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
from resight.features.whitening import (
    Whitening,
    fit_learned_whitening,
    fit_pca_whitening,
    parse_whitening,
)
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import DUPLICATE_PAIRS, GLOBAL_DESCRIPTORS, IMAGES, MODELS, REGION_DESCRIPTORS, Table

log = logging.getLogger("resight")
PAIR = ["image_a", "image_b"]
REGION = ["image_id", "region_ix"]


class FitConfig(Config, frozen=True):
    """Settings of ``fit-model``."""

    kind: Annotated[
        Literal["pca", "learned", "file"],
        Meta(description="pca: principal components; learned: from matching pairs; file: fitted elsewhere"),
    ] = "pca"
    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    on: Annotated[
        Literal["images", "regions"],
        Meta(description="pca: what is fitted on; regions, for extract-features --whiten-regions"),
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

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        parse_conditions(self.only)
        if bool(self.pairs) + bool(self.duplicates) != (self.kind == "learned"):
            raise ValueError("pairs: --kind learned, and only it, takes --pairs or --duplicates, one of them")
        if bool(self.file) != (self.kind == "file"):
            raise ValueError("file: --kind file, and only it, takes --file")
        if self.on == "regions" and self.kind != "pca":
            raise ValueError("on: regions only with --kind pca")

    def weights_digest(self) -> str:
        """Hash the file that the model is made from: another content is another build."""
        for option, file in (("--pairs", self.pairs), ("--file", self.file)):
            try:
                if file:
                    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
            except OSError as error:
                raise SettingError(f"{option}: {error}") from None
        return ""

    def build_name(self) -> str:
        """Name the build by what it does, such as ``pca512``."""
        fitted = f"{self.kind}{self.dims}"
        return Path(self.file).stem if self.file else f"{fitted}-regions" if of_regions(self) else fitted


def of_regions(conf: FitConfig) -> bool:
    """Whether the model is fitted on regions."""
    return conf.on == "regions"


@job(
    "fit-model",
    FitConfig,
    reads=(
        Input(REGION_DESCRIPTORS, "descriptors", when=of_regions, how="--regions"),
        Input(GLOBAL_DESCRIPTORS, "descriptors"),
        Input(DUPLICATE_PAIRS, "duplicates", optional=True, newest=False),
        IMAGES,
    ),
    writes=(MODELS,),
)
def main(store: TableStore, conf: FitConfig) -> None:
    """Fit once, on the collection as it is: growth of the collection never changes the model."""
    if store.run.previous is not None:
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
    table, key = (REGION_DESCRIPTORS, REGION) if of_regions(conf) else (GLOBAL_DESCRIPTORS, ["image_id"])
    sampled = sample_rows(choose_descriptors(store, conf, table), key, sample=conf.sample, seed=conf.seed)
    sums = sum_covariance(sampled, dtype=store.properties(table)["dtype"], key=key)
    whitening, warning = fit_pca_whitening(sums, dims=min(conf.dims, len(sums.shift)), power=conf.power)
    if warning:
        log.warning("fit-model: %s", warning)
    store.note(sample=sums.n)
    return whitening


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
    return resolve_pairs(store.spark.createDataFrame(read_pairs(conf.pairs)), images)


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


def read_file(store: TableStore, conf: FitConfig) -> Whitening:
    """Take a whitening that was fitted elsewhere, on descriptors of the same kind."""
    content, dim = Path(conf.file).read_bytes(), store.properties(GLOBAL_DESCRIPTORS).get("dim")
    try:
        whitening = parse_whitening(content)
    except ValueError as error:
        raise SettingError(f"--file: {conf.file}: {error}") from None
    if dim and whitening.mean.size != int(dim):
        raise SettingError(f"--file: for {whitening.mean.size} dimensions, the descriptors have {dim}")
    return Whitening(whitening.mean, whitening.projection[:, : conf.dims])


if __name__ == "__main__":
    run(main)
