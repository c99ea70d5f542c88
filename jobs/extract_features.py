"""Describe every image by one vector: a network with pooling, or colour."""

from typing import Annotated, Any, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.config import Meta, digest_of, execution
from resight.features.fitting.spark import project_descriptors
from resight.features.settings import ExtractSettings
from resight.features.work import ExtractWork, rescue_images
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES, MODELS, SOURCES

TRANSIENT = ("missing", "unreadable", "changed")  # tried again by the next run


class ExtractConfig(ExtractSettings):
    """Settings of ``conf/extract-features.toml``."""

    whitening: Annotated[str, Meta(description="build of fit-model that whitens the vectors")] = ""
    descriptors: Annotated[
        str, Meta(description="build whose stored vectors are whitened, instead of describing images again")
    ] = ""
    dtype: Annotated[Literal["float16", "float32"], Meta(description="of the stored vectors")] = "float16"
    chunk_size: Annotated[int, execution("images per chunk of work", ge=1)] = 256

    def extractor_settings(self) -> ExtractSettings:
        """Give the part that the kernels know."""
        names = ExtractSettings.__struct_fields__
        return ExtractSettings(**{name: getattr(self, name) for name in names})

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        super().__post_init__()
        if self.descriptors and not self.whitening:
            raise ValueError("descriptors: name the whitening that is applied to them")

    def weights_digest(self) -> str:
        """Hash the weights of the network."""
        from resight.features.backbones import weights_sha256

        return "" if self.is_colour or self.descriptors else weights_sha256(self.extractor_settings())

    def build_name(self) -> str:
        """Name the build by what describes it, such as ``lite0-gem``."""
        if self.descriptors:
            return f"{self.descriptors}-{self.whitening}"
        kind = "colour" if self.is_colour else f"{self.backbone.split(':')[-1].split('/')[-1]}-{self.pooling}"
        return f"{kind}-{self.whitening}" if self.whitening else kind


@job(
    "extract-features",
    ExtractConfig,
    reads=(
        IMAGES,
        SOURCES,
        Input(MODELS, "whitening", optional=True, newest=False),
        Input(GLOBAL_DESCRIPTORS, "descriptors", optional=True, newest=False),
    ),
    writes=(GLOBAL_DESCRIPTORS,),
)
def main(store: TableStore, conf: ExtractConfig) -> None:
    """Describe the images that are new or changed since this build was last extracted."""
    params = store.read(MODELS).where("kind = 'whitening'").first()["params"] if conf.whitening else None
    whitening = bytes(params) if params else None
    if whitening and conf.descriptors:
        whiten_stored(store, conf, whitening)
        return
    images = store.read(IMAGES).where("status = 'ok' and removed_at is null and pixel_hash is not null")
    stale, gone = compare_builds(store, images)
    store.check_loss(gone.count(), images.count() + gone.count(), "descriptors of images that are gone")
    fresh = describe_images(store, conf, stale, whitening)
    if not (store.run.previous and fresh.isEmpty() and gone.isEmpty()):
        store.update(GLOBAL_DESCRIPTORS, fresh, gone=gone, properties=vector_properties(fresh, conf.dtype))


def whiten_stored(store: TableStore, conf: ExtractConfig, whitening: bytes) -> None:
    """Project all vectors of another build: cheaper than finding out which of them changed."""
    dtype = store.properties(GLOBAL_DESCRIPTORS)["dtype"]
    projected = project_descriptors(store.read(GLOBAL_DESCRIPTORS), whitening, dtype=dtype, stored=conf.dtype)
    fresh, previous = store.persist("fresh", projected), store.previous(GLOBAL_DESCRIPTORS)
    if previous is not None:
        gone = previous.join(fresh, "image_id", "left_anti").count()
        store.check_loss(gone, previous.count(), "descriptors of images that are gone")
    store.write(GLOBAL_DESCRIPTORS, fresh, properties=vector_properties(fresh, conf.dtype))


def describe_images(
    store: TableStore, conf: ExtractConfig, stale: DataFrame, whitening: bytes | None
) -> DataFrame:
    """Run the extractor over images, in chunks that survive kills."""
    rows = stale.join(store.read(SOURCES).select("source_id", "root"), "source_id")
    rows = rows.select("image_id", "content_hash", "root", "uri", "byte_offset", "n_bytes")
    work = ExtractWork(conf.extractor_settings(), conf.dtype, whitening)
    inputs: list[Any] = [store.source(IMAGES)[1].version, store.run.previous and store.run.previous.run_id]
    chunks = Chunks(
        store.staging(digest_of([*inputs, conf.chunk_size])), work, rescue_images, conf.chunk_size
    )
    store.note(chunks=run_chunks(rows, "image_id", chunks), **arithmetic(store, conf))
    described = read_chunks(store.spark, chunks, spark_schema(GLOBAL_DESCRIPTORS))
    n_bad = described.where("status not in ('ok', 'zero')").count()
    store.check_loss(n_bad, described.count(), "images that could not be described")
    return described


def arithmetic(store: TableStore, conf: ExtractConfig) -> dict[str, str]:
    """Say what the network ran on."""
    on_gpu = float(store.spark.conf.get("spark.task.resource.gpu.amount", "0") or 0) > 0
    exact = conf.precision == "float32" or (conf.precision == "auto" and not on_gpu)
    return {"device": "cuda" if on_gpu else "cpu", "precision": "float32" if exact else "float16"}


def compare_builds(store: TableStore, images: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Find the images that this build lacks or describes by other bytes, and the descriptors to delete."""
    previous = store.previous(GLOBAL_DESCRIPTORS)
    if previous is None:
        return images, images.select("image_id").limit(0)
    known = previous.select("image_id", "content_hash")
    final = previous.where(~sf.col("status").isin(*TRANSIENT)).select("image_id", "content_hash")
    stale = images.join(final, ["image_id", "content_hash"], "left_anti")
    return stale, known.join(images, "image_id", "left_anti").select("image_id")


def vector_properties(descriptors: DataFrame, dtype: str) -> dict[str, str]:
    """State what the binaries hold."""
    length = sf.length("vector").alias("n")
    first = descriptors.where("vector is not null").select(length).first()
    return {"dtype": dtype} | ({"dim": str(first["n"] // (2 if dtype == "float16" else 4))} if first else {})


if __name__ == "__main__":
    run(main)
