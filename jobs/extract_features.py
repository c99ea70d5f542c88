"""Describe every image by one vector: a network with pooling, or colour."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.chunks.work import Rescue, Work
from resight.cli import run
from resight.config import Meta, SettingError, digest_of, execution
from resight.context import LossError
from resight.counting import count_small
from resight.features.fitting.spark import project_descriptors
from resight.features.regions.spark import project_regions, unpack_regions
from resight.features.settings import ExtractSettings
from resight.features.trained import ROLE, resolve_backbone
from resight.features.whitening import Whitening
from resight.features.work import DESCRIBED, ExtractWork, rescue_images
from resight.images.ingest import load_decoder
from resight.job import Input, job
from resight.spark import count_rows
from resight.store import TableStore, spark_schema
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES, MODELS, REGION_DESCRIPTORS, SOURCES, Table
from resight.workspace import Run

GPU_AMOUNT = "spark.task.resource.gpu.amount"
FINE = ("ok", "zero")  # what is not bad: nothing is wrong with a black photo
TRANSIENT = ("missing", "unreadable", "changed")  # tried again by the next run


class ExtractConfig(ExtractSettings, frozen=True):
    """Settings of ``extract-features``."""

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
        if self.whiten_regions and not self.whitening:
            raise ValueError("whiten_regions: name the whitening that is applied to them")

    @property
    def network(self) -> str:
        """Build of the trained network that the backbone names, or ""."""
        return self.backbone if self.is_named and not (self.is_colour or self.descriptors) else ""

    def weights_digest(self) -> str:
        """Hash the weights of the network; a trained one is told by the build that made it."""
        from resight.features.backbones import weights_sha256

        return "" if self.is_colour or self.descriptors else weights_sha256(self.extractor_settings())

    @property
    def preload(self) -> tuple[str, ...]:
        """What networks are built with."""
        return () if self.is_colour or self.descriptors else ("timm",)

    def check(self) -> None:
        """Look for the weight file, and whether the network can be loaded."""
        from resight.features.check import check_network

        super().check()
        load_decoder(self.decoder)
        if not self.descriptors:
            check_network(self.extractor_settings())

    def check_spark(self, properties: Mapping[str, str]) -> None:
        """Refuse half precision where the tasks have no GPU."""
        if not (self.is_colour or self.descriptors):
            refuse_half(self.precision, properties)

    def build_name(self) -> str:
        """Name the build by what describes it, such as ``lite0-gem``."""
        if self.descriptors:
            return f"{self.descriptors}-{self.whitening}"
        kind = "colour" if self.is_colour else f"{self.backbone.split(':')[-1].split('/')[-1]}-{self.pooling}"
        return f"{kind}-{self.whitening}" if self.whitening else kind


def is_network(run: Run) -> bool:
    """Whether a build of models is a trained network."""
    return run.job == "train-network"


NETWORK = Input(
    MODELS,
    "network",
    when=lambda conf: bool(conf.network),
    kind=is_network,
    how="--backbone lite0",
    role=ROLE,
    option="backbone",
)


@job(
    "extract-features",
    ExtractConfig,
    reads=(
        IMAGES,
        SOURCES,
        Input(MODELS, "whitening", optional=True, newest=False),
        NETWORK,
        Input(GLOBAL_DESCRIPTORS, "descriptors", optional=True, newest=False),
    ),
    writes=(GLOBAL_DESCRIPTORS, REGION_DESCRIPTORS),
)
def main(store: TableStore, conf: ExtractConfig) -> None:
    """Describe the images that are new or changed since this build was last extracted."""
    whitening = read_whitening(store, conf) if conf.whitening else None
    if whitening and conf.descriptors:
        whiten_stored(store, conf, whitening)
        return
    conf.check_spark(gpu_properties(store))
    images = store.read(IMAGES).where("status = 'ok' and removed_at is null and pixel_hash is not null")
    stale, gone = compare_builds(store, images)
    if n_gone := gone.count():
        store.check_loss(n_gone, images.count() + n_gone, "descriptors of images that are gone")
    fresh = describe_images(store, conf, stale, whitening)
    if not (store.run.previous and fresh.isEmpty() and gone.isEmpty()):
        properties = vector_properties(fresh, conf.dtype)
        described = fresh.select(spark_schema(GLOBAL_DESCRIPTORS).fieldNames())
        store.update(GLOBAL_DESCRIPTORS, described, gone=gone, properties=properties)
        if conf.regions:
            update_regions(store, fresh.join(images.select("image_id", "width", "height"), "image_id"), gone)


def read_whitening(store: TableStore, conf: ExtractConfig) -> bytes:
    """Give the model that the settings name; `SettingError` where it is none for what is described."""
    from resight.features.check import check_network

    rows = store.reader.read(MODELS, filter=pc.field("kind") == "whitening").to_pylist()
    if not rows:
        made = store.run.inputs[MODELS.name].job
        raise SettingError(f"--whitening: {conf.whitening!r}, made by {made}, holds no whitening")
    params = bytes(rows[0]["params"])
    n_dims = Whitening.from_bytes(params).mean.size
    if conf.descriptors:
        stated = store.properties(GLOBAL_DESCRIPTORS).get("dim")
        found = int(stated) if stated else None
    else:
        found = check_network(resolve_network(store, conf)[0])
    if found not in (n_dims, None):
        of = "the descriptors" if conf.descriptors else "the vectors to whiten"
        raise SettingError(f"--whitening: {conf.whitening!r} is for {n_dims} dimensions, {of} have {found}")
    return params


def resolve_network(store: TableStore, conf: ExtractConfig) -> tuple[ExtractSettings, str]:
    """Give the settings with the file of a trained network in the place of its name, and its SHA-256."""
    parents = {key: run.build_id for key, run in store.run.inputs.items()}
    return resolve_backbone(store.reader, conf.extractor_settings(), parents)


def update_regions(store: TableStore, fresh: DataFrame, gone: DataFrame) -> None:
    """Replace the regions of the images that were described, drop those of images that are gone."""
    properties = store.run.outputs[GLOBAL_DESCRIPTORS.name].properties
    regions = store.persist("regions", unpack_regions(fresh, dtype=properties["dtype"]))
    previous, dropped = store.previous(REGION_DESCRIPTORS), None
    if previous is not None:
        touched = previous.join(fresh.select("image_id").union(gone), "image_id", "left_semi")
        keys = touched.select("image_id", "region_ix")
        dropped = keys.join(regions, ["image_id", "region_ix"], "left_anti")
    store.update(REGION_DESCRIPTORS, regions, gone=dropped, properties=properties)


def whiten_stored(store: TableStore, conf: ExtractConfig, whitening: bytes) -> None:
    """Project all vectors of another build: cheaper than finding out which of them changed."""
    dtype = store.properties(GLOBAL_DESCRIPTORS)["dtype"]
    projected = project_descriptors(store.read(GLOBAL_DESCRIPTORS), whitening, dtype=dtype, stored=conf.dtype)
    fresh, previous = store.persist("fresh", projected), store.previous(GLOBAL_DESCRIPTORS)
    if previous is not None:
        gone = previous.join(fresh, "image_id", "left_anti").count()
        store.check_loss(gone, previous.count(), "descriptors of images that are gone")
    properties = vector_properties(fresh, conf.dtype)
    store.write(GLOBAL_DESCRIPTORS, fresh, properties=properties)
    source = store.run.inputs[GLOBAL_DESCRIPTORS.name]
    if REGION_DESCRIPTORS.name in source.outputs:
        regions = store.open(REGION_DESCRIPTORS, source.build_id, source.outputs[REGION_DESCRIPTORS.name])
        projected = project_regions(regions, whitening, dtype=dtype, stored=conf.dtype)
        store.write(REGION_DESCRIPTORS, projected, properties=properties)


def describe_images(
    store: TableStore, conf: ExtractConfig, stale: DataFrame, whitening: bytes | None
) -> DataFrame:
    """Run the extractor over images, in chunks that survive kills."""
    models = (whitening,) if whitening else ()
    settings, sha256 = resolve_network(store, conf)
    work = ExtractWork(settings, conf.dtype, models, sha256 or conf.weights_digest())
    store.note(**arithmetic(store, conf))
    return run_extraction(
        store, stale, work, rescue_images, schema=DESCRIBED, chunk_size=conf.chunk_size, label=main.name
    )


def run_extraction(
    store: TableStore,
    images: DataFrame,
    work: Work,
    rescue: Rescue,
    *,
    schema: pa.Schema,
    chunk_size: int,
    label: str,
) -> DataFrame:
    """Run ``work`` over rows of ``images`` in chunks that resume; more bad ones than allowed are refused."""
    rows = images.join(store.read(SOURCES).select("source_id", "root"), "source_id")
    rows = rows.select("image_id", "content_hash", "root", "uri", "byte_offset", "n_bytes")
    inputs: list[Any] = [store.source(IMAGES)[1].version, store.run.previous and store.run.previous.run_id]
    folder = store.staging(digest_of([*inputs, chunk_size, "tapered"]))
    chunks = Chunks(folder, work, rescue, chunk_size, label=label, tapered=True)
    store.note(chunks=run_chunks(rows, "image_id", chunks))
    described = read_chunks(store.spark, chunks, from_arrow_schema(schema))
    n_described, by_status = count_described(folder, described)
    n_bad = n_described - sum(by_status.get(word, 0) for word in FINE)
    n_before, n_retried = count_known(store)
    try:
        store.check_loss(n_bad - n_retried, max(n_described, n_before), "images to describe", kind="bad")
    except LossError:
        forget_transient(store, described)
        raise
    return described


def count_described(folder: str, described: DataFrame) -> tuple[int, dict[str, int]]:
    """Count the rows of all chunks, and the rows per status."""
    done = files.join(folder, "done")
    listed = {files.join(done, name): size for name, size in files.list_files(done).items()}
    return count_small(listed, by_status=True) or count_rows(described, by_status=True)


def count_known(store: TableStore) -> tuple[int, int]:
    """Count the images that this build knows, and those that could not be read and are tried again."""
    outputs = store.run.previous.outputs.values() if store.run.previous else ()
    judged = [output for output in outputs if output.statuses]  # regions have no status
    n_retried = sum(output.statuses.get(word, 0) for output in judged for word in TRANSIENT)
    return sum(output.n_rows for output in judged), n_retried


def forget_transient(store: TableStore, described: DataFrame) -> None:
    """Delete the chunks that hold what may be readable the next time; the others stay computed."""
    transient = described.where(sf.col("status").isin(*TRANSIENT))
    paths = transient.select(sf.col("_metadata.file_path").alias("path")).distinct().collect()
    folder = files.join(store.workspace.staging, store.run.build_id)
    for path in files.list_files(folder, recursive=True):
        if any(unquote(row["path"]).endswith(path) for row in paths):
            files.delete(files.join(folder, path))


def arithmetic(store: TableStore, conf: ExtractConfig) -> dict[str, str]:
    """Say what the network ran on."""
    has_gpu = on_gpu(gpu_properties(store))
    exact = conf.precision == "float32" or (conf.precision == "auto" and not has_gpu)
    return {"device": "cuda" if has_gpu else "cpu", "precision": "float32" if exact else "float16"}


def gpu_properties(store: TableStore) -> dict[str, str]:
    """Give the property of the session that says whether tasks have a GPU."""
    return {GPU_AMOUNT: store.spark.conf.get(GPU_AMOUNT, "0") or "0"}


def on_gpu(properties: Mapping[str, str]) -> bool:
    """Whether Spark assigns a GPU, or a share of one, to each task."""
    return float(properties.get(GPU_AMOUNT) or 0) > 0


def compare_builds(
    store: TableStore, images: DataFrame, table: Table = GLOBAL_DESCRIPTORS
) -> tuple[DataFrame, DataFrame]:
    """Find the images that this build lacks or describes by other bytes, and the descriptors to delete."""
    previous = store.previous(table)
    if previous is None:
        return images, images.select("image_id").limit(0)
    known = previous.select("image_id", "content_hash")
    final = previous.where(~sf.col("status").isin(*TRANSIENT)).select("image_id", "content_hash")
    stale = images.join(final, ["image_id", "content_hash"], "left_anti")
    return stale, known.join(images, "image_id", "left_anti").select("image_id")


def refuse_half(precision: str, properties: Mapping[str, str]) -> None:
    """Raise `SettingError` where half precision is asked for and the tasks have no GPU."""
    if precision == "float16" and not on_gpu(properties):
        raise SettingError(
            "precision: float16 needs a GPU that Spark assigns to each task "
            "(spark.task.resource.gpu.amount); use auto or float32"
        )


def vector_properties(descriptors: DataFrame, dtype: str) -> dict[str, str]:
    """State what the binaries hold."""
    length = sf.length("vector").alias("n")
    first = descriptors.where("vector is not null").select(length).first()
    return {"dtype": dtype} | ({"dim": str(first["n"] // (2 if dtype == "float16" else 4))} if first else {})


if __name__ == "__main__":
    run(main)
