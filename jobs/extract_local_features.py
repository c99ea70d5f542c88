"""Find and describe the keypoints of every image, or of a sample of them."""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.cli import run
from resight.config import Meta, execution
from resight.features.fitting.sample import parse_conditions
from resight.features.fitting.spark import sample_rows, select_images
from resight.features.local.settings import LocalSettings
from resight.features.local.work import LOCAL_DESCRIBED, LocalWork, rescue_local
from resight.images.ingest import load_decoder
from resight.job import Input, job
from resight.jobs.extract_features import (
    compare_builds,
    gpu_properties,
    on_gpu,
    refuse_half,
    run_extraction,
)
from resight.store import TableStore
from resight.tables import IMAGES, LOCAL_DESCRIPTORS, MODELS, SOURCES


class ExtractLocalConfig(LocalSettings, frozen=True):
    """Settings of ``extract-local-features``."""

    whitening: Annotated[str, Meta(description="how: build of fit-model that projects the activations")] = ""
    sample: Annotated[
        int, Meta(ge=0, description="describe about so many images, chosen by hash; 0: all")
    ] = 0
    seed: Annotated[int, Meta(description="of the sample")] = 0
    only: Annotated[
        tuple[str, ...],
        Meta(description="describe images with column=value, a column of images or of their manifest"),
    ] = ()
    dtype: Annotated[Literal["float16", "float32"], Meta(description="of the stored vectors")] = "float16"
    chunk_size: Annotated[int, execution("images per chunk of work", ge=1)] = 256

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        super().__post_init__()
        parse_conditions(self.only)
        if self.whitening and (self.extractor != "how" or self.is_checkpoint):
            raise ValueError(
                "whitening: only for activations (extractor how) of a network without its own projection"
            )

    def local_settings(self) -> LocalSettings:
        """Give the part that the kernels know."""
        return LocalSettings(**{name: getattr(self, name) for name in LocalSettings.__struct_fields__})

    def weights_digest(self) -> str:
        """Hash the weights of the network."""
        from resight.features.local.weights import local_weights_sha256

        return local_weights_sha256(self.local_settings())

    def check(self) -> None:
        """Look for the packages and weight files, and whether a network of the user's can be loaded."""
        from resight.features.local.check import check_activations

        super().check()
        load_decoder(self.decoder)
        if self.extractor == "how":
            check_activations(self.local_settings())

    def check_spark(self, properties: Mapping[str, str]) -> None:
        """Refuse half precision where the tasks have no GPU."""
        if self.extractor == "how":
            refuse_half(self.precision, properties)

    def build_name(self) -> str:
        """Name the build by what finds the keypoints, such as ``xfeat``."""
        words = [self.extractor, self.whitening, f"sample{self.sample}" if self.sample else ""]
        return "-".join(word for word in words if word)


@job(
    "extract-local-features",
    ExtractLocalConfig,
    reads=(IMAGES, SOURCES, Input(MODELS, "whitening", optional=True, newest=False)),
    writes=(LOCAL_DESCRIPTORS,),
)
def main(store: TableStore, conf: ExtractLocalConfig) -> None:
    """Describe the keypoints of images that are new or changed since the last run of this build."""
    conf.check_spark(gpu_properties(store))
    images = store.read(IMAGES).where("status = 'ok' and removed_at is null and pixel_hash is not null")
    chosen = choose_images(images, conf)
    stale, gone = compare_builds(store, chosen, LOCAL_DESCRIPTORS)
    if n_gone := gone.join(images, "image_id", "left_anti").count():  # others only left the sample
        store.check_loss(n_gone, images.count() + n_gone, "keypoints of images that are gone")
    fresh = describe_images(store, conf, stale)
    if not (store.run.previous and fresh.isEmpty() and gone.isEmpty()):
        properties = keypoint_properties(fresh, conf.dtype)
        store.update(LOCAL_DESCRIPTORS, fresh, gone=gone, properties=properties)


def choose_images(images: DataFrame, conf: ExtractLocalConfig) -> DataFrame:
    """Keep the images that the conditions allow, and of these a sample by hash of (id, seed)."""
    allowed = select_images(images, parse_conditions(conf.only))
    if not conf.sample:
        return allowed
    return sample_rows(allowed, ["image_id"], sample=conf.sample, seed=conf.seed)


def describe_images(store: TableStore, conf: ExtractLocalConfig, stale: DataFrame) -> DataFrame:
    """Run the extractor over images, in chunks that survive kills."""
    from resight.features.local.check import check_whitening
    from resight.features.whitening import Whitening

    params = store.read(MODELS).where("kind = 'whitening'").collect() if conf.whitening else []
    whitening = bytes(params[0]["params"]) if params else b""
    if whitening:
        check_whitening(conf.local_settings(), Whitening.from_bytes(whitening).mean.size)
    work = LocalWork(conf.local_settings(), conf.dtype, conf.weights_digest(), whitening)
    has_gpu = conf.uses_network and on_gpu(gpu_properties(store))
    half = conf.extractor == "how" and has_gpu and conf.precision != "float32"
    store.note(device="cuda" if has_gpu else "cpu", precision="float16" if half else "float32")
    return run_extraction(
        store,
        stale,
        work,
        rescue_local,
        schema=LOCAL_DESCRIBED,
        chunk_size=conf.chunk_size,
        label=main.name,
    )


def keypoint_properties(fresh: DataFrame, dtype: str) -> dict[str, str]:
    """State what the binaries hold: ``dtype``, and ``dim`` once an image with keypoints was seen."""
    lengths = fresh.where("n_keypoints > 0").select("n_keypoints", sf.octet_length("vectors").alias("n"))
    first = lengths.first()
    if first is None:
        return {"dtype": dtype}
    return {"dtype": dtype, "dim": str(first["n"] // first["n_keypoints"] // np.dtype(dtype).itemsize)}


if __name__ == "__main__":
    run(main)
