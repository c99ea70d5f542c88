"""Give every image its bits: hashes of its pixels in eight positions, or a learned code of its descriptor."""

from functools import partial
from typing import Annotated, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.cli import run
from resight.config import Config, Meta, SettingError
from resight.features.fitting.spark import sample_rows
from resight.hashing.spark import encode_descriptors, fit_hash, hash_images
from resight.hashing.work import MISSING
from resight.job import Input, job
from resight.store import TableStore, spark_schema
from resight.tables import CODES, DUPLICATE_PAIRS, GLOBAL_DESCRIPTORS, IMAGES, MODELS, PREVIEWS

KEYS = ["image_id", "content_hash"]
PAIR = ["image_a", "image_b"]


class HashConfig(Config, frozen=True):
    """Settings of ``hash-images``."""

    kind: Annotated[
        Literal["pixels", "lsh", "pcah", "pca_rr", "itq", "rba", "kmh", "pq", "rbmh", "deephash"],
        Meta(
            description="pixels: hashes of the preview; else a hash function fitted on descriptors: rbmh is "
            "a Boltzmann machine, deephash a stack of them that is tuned by pairs"
        ),
    ] = "pixels"
    kinds: Annotated[
        tuple[Literal["ahash", "dhash", "phash", "whash", "pdq"], ...],
        Meta(min_length=1, description="pixels: which hashes, each in eight positions"),
    ] = ("phash", "pdq")
    descriptors: Annotated[
        str, Meta(description="learned kinds: build of the descriptors; default: the newest")
    ] = ""
    bits: Annotated[int, Meta(ge=8, multiple_of=8, description="learned kinds: of a code")] = 256
    layers: Annotated[
        tuple[Annotated[int, Meta(ge=8, multiple_of=8)], ...],
        Meta(description="deephash: units of the layers below the last; default: one of twice the bits"),
    ] = ()
    duplicates: Annotated[
        str,
        Meta(
            description="deephash: build of find-duplicates whose pairs match; default: each image and one "
            "of its nearest"
        ),
    ] = ""
    sample: Annotated[int, Meta(ge=2, description="descriptors that are fitted on, drawn by hash")] = 50_000
    seed: Annotated[int, Meta(ge=0, description="of the sample and of random directions")] = 0

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError("kinds: one is named twice")
        if self.descriptors and self.kind == "pixels":
            raise ValueError("descriptors: only with a --kind that is fitted, such as itq")
        for name in ("layers", "duplicates"):
            if getattr(self, name) and self.kind != "deephash":
                raise ValueError(f"{name}: only with --kind deephash")

    def build_name(self) -> str:
        """Name the build by its codes, such as ``itq256``."""
        return "-".join(self.kinds) if of_pixels(self) else f"{self.kind}{self.bits}"


def of_pixels(conf: HashConfig) -> bool:
    """Whether the codes are those of pixels."""
    return conf.kind == "pixels"


def of_vectors(conf: HashConfig) -> bool:
    """Whether the codes are those of descriptors."""
    return not of_pixels(conf)


@job(
    "hash-images",
    HashConfig,
    reads=(
        IMAGES,
        Input(PREVIEWS, when=of_pixels),
        Input(GLOBAL_DESCRIPTORS, "descriptors", when=of_vectors),
        Input(DUPLICATE_PAIRS, "duplicates", optional=True, newest=False, when=of_vectors),
    ),
    writes=(CODES, MODELS),
)
def main(store: TableStore, conf: HashConfig) -> None:
    """Compute the codes of images that are new or changed since the last run of this build.

    The first run fits the hash function of descriptors; later runs, however the collection grows, use it.
    """
    images = store.read(IMAGES).where("status = 'ok' and removed_at is null")
    sources = images.where("pixel_hash is not null") if of_pixels(conf) else store.read(GLOBAL_DESCRIPTORS)
    sources = sources.join(images.select("image_id"), "image_id", "left_semi")
    stale, gone = compare_codes(store, sources.select(*KEYS))
    n_gone = gone.select("image_id").distinct().count()
    if n_gone:
        store.check_loss(n_gone, images.count() + n_gone, "codes of images that are gone")
    compute = hash_previews if of_pixels(conf) else encode_vectors
    fresh = store.persist("fresh", compute(store, conf, stale))
    if store.run.previous is None or n_gone or store.count("fresh"):
        store.update(CODES, fresh, gone=gone)


def compare_codes(store: TableStore, sources: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Find the images (image_id, content_hash) that lack codes of these bytes, and the codes to delete."""
    names, previous = ["image_id", "kind", "turn"], store.previous(CODES)
    if previous is None:
        empty = store.spark.createDataFrame([], spark_schema(CODES)).where(sf.lit(False))
        return sources, empty.select(names)
    final = previous.where(sf.col("status") != MISSING).select(*KEYS)
    gone = previous.select(names).join(sources.select("image_id"), "image_id", "left_anti")
    return sources.join(final, KEYS, "left_anti"), gone


def hash_previews(store: TableStore, conf: HashConfig, stale: DataFrame) -> DataFrame:
    """Hash the previews of images; one without a preview of its bytes gets a status."""
    previews = store.read(PREVIEWS).select(*KEYS, "jpeg")
    return hash_images(stale.join(previews, KEYS, "left"), conf.kinds)


def encode_vectors(store: TableStore, conf: HashConfig, stale: DataFrame) -> DataFrame:
    """Encode the descriptors of images by the model of this build, which is fitted where there is none."""
    descriptors, dtype = store.read(GLOBAL_DESCRIPTORS), store.properties(GLOBAL_DESCRIPTORS)["dtype"]
    fitted = store.previous(MODELS)
    if fitted is None:
        model = fit_model(store, conf, descriptors.where("status = 'ok'"), dtype)
        rows = [("hash", bytearray(model))]
        store.write(MODELS, store.spark.createDataFrame(rows, spark_schema(MODELS)))
    else:
        model = bytes(fitted.collect()[0]["params"])
    return encode_descriptors(descriptors.join(stale, KEYS, "left_semi"), model, dtype=dtype)


def fit_model(store: TableStore, conf: HashConfig, usable: DataFrame, dtype: str) -> bytes:
    """Fit the hash function on a sample of the descriptors, and of pairs that match where there are some."""
    usable, pairs = usable.select("image_id", "vector"), None
    sampled = sample_rows(usable, ["image_id"], sample=conf.sample, seed=conf.seed)
    if conf.duplicates:
        copies = store.read(DUPLICATE_PAIRS).where("cut is null").select(*PAIR)
        pairs = store.persist("pairs", sample_rows(copies, PAIR, sample=conf.sample, seed=conf.seed))
        ends = pairs.select(sf.explode(sf.array(*PAIR)).alias("image_id"))
        sampled = sampled.unionByName(usable.join(ends, "image_id", "left_semi")).dropDuplicates(["image_id"])
    fit = partial(fit_hash, dtype=dtype, seed=conf.seed, layers=conf.layers, pairs=pairs)
    try:
        return fit(sampled, conf.kind, conf.bits).to_bytes()
    except ValueError as error:
        raise SettingError(f"{'duplicates' if conf.duplicates else 'bits'}: {error}") from None


if __name__ == "__main__":
    run(main)
