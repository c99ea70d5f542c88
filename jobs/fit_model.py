"""Fit a model on a sample of descriptors: whitening with fewer dimensions."""

import logging
from typing import Annotated, Literal

from resight.cli import run
from resight.config import Config, Meta
from resight.features.fitting.spark import sample_descriptors, sum_covariance
from resight.features.whitening import fit_pca_whitening
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import GLOBAL_DESCRIPTORS, MODELS

log = logging.getLogger("resight")


class FitConfig(Config):
    """Settings of ``conf/fit-model.toml``."""

    kind: Annotated[Literal["pca"], Meta(description="pca: whitening by principal components")] = "pca"
    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    dims: Annotated[int, Meta(ge=1, description="dimensions that are kept")] = 512
    power: Annotated[
        float,
        Meta(ge=0, le=1, description="0: rotation only, 1: full whitening (hurts on small collections)"),
    ] = 0.3
    sample: Annotated[int, Meta(ge=2, description="descriptors drawn by hash")] = 100_000
    seed: Annotated[int, Meta(description="of the sample")] = 0

    def build_name(self) -> str:
        """Name the build by what it does, such as ``pca512``."""
        return f"{self.kind}{self.dims}"


@job("fit-model", FitConfig, reads=(Input(GLOBAL_DESCRIPTORS, "descriptors"),), writes=(MODELS,))
def main(store: TableStore, conf: FitConfig) -> None:
    """Fit once, on the collection as it is: growth of the collection never changes the model."""
    if store.run.previous is not None:
        return
    sampled = sample_descriptors(store.read(GLOBAL_DESCRIPTORS), sample=conf.sample, seed=conf.seed)
    sums = sum_covariance(sampled, dtype=store.properties(GLOBAL_DESCRIPTORS)["dtype"])
    whitening, warning = fit_pca_whitening(sums, dims=min(conf.dims, len(sums.shift)), power=conf.power)
    if warning:
        log.warning("fit-model: %s", warning)
    store.note(sample=sums.n, dims=whitening.projection.shape[1])
    rows = [("whitening", bytearray(whitening.to_bytes()))]
    store.write(MODELS, store.spark.createDataFrame(rows, spark_schema(MODELS)))


if __name__ == "__main__":
    run(main)
