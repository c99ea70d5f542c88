"""Bring in vectors that were made elsewhere; every later job works on them."""

import glob
from typing import Annotated, Literal

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight import files
from resight.cli import run
from resight.config import Config, Meta, SettingError, digest_of
from resight.features.imports import require_vectors
from resight.features.spark import (
    VectorFormat,
    find_id_column,
    match_vectors,
    read_vectors,
    unmatched_vectors,
)
from resight.job import job
from resight.store import TableStore
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES


class ImportConfig(Config, frozen=True):
    """Settings of ``import-descriptors``."""

    source: Annotated[
        str, Meta(min_length=1, description="Parquet, Delta table, or .npy with its ids beside it")
    ]
    id_column: Annotated[str, Meta(description="column of the ids; default: uri, else image_id")] = ""
    match: Annotated[
        Literal["auto", "uri", "image_id"],
        Meta(description="what the ids are; auto: image_id in a column of that name, else uris of images"),
    ] = "auto"
    vector_column: Annotated[str, Meta(description="column of the vectors (numbers, or packed binaries)")] = (
        "vector"
    )
    binary_dtype: Annotated[str, Meta(description="numpy dtype of packed binaries")] = "<f4"
    dimension: Annotated[int, Meta(ge=0, description="length of a vector; 0: the most frequent one")] = 0
    dtype: Annotated[Literal["float16", "float32"], Meta(description="of the stored vectors")] = "float16"
    unit: Annotated[bool, Meta(description="divide vectors by their length")] = True
    source_id: Annotated[str, Meta(description="only images of this source; default: of all")] = ""

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        try:
            is_number = np.dtype(self.binary_dtype).kind in "fiu"
        except (TypeError, ValueError, SyntaxError):
            is_number = False
        if not is_number:
            raise ValueError(f"binary_dtype: {self.binary_dtype!r} is no numpy dtype of numbers, such as <f4")

    def build_name(self) -> str:
        """Name the build by its file."""
        return files.absolute(self.source).rsplit("/", 1)[-1].split(".")[0]

    def check(self) -> None:
        """Look for vectors on a local disk."""
        require_vectors(
            self.source,
            id_column=self.id_column,
            vector_column=self.vector_column,
            dimension=self.dimension,
        )


def hash_listing(conf: ImportConfig) -> str:
    """Give the version of what is imported: names and sizes of its files; times where they are local."""
    location = files.absolute(conf.source)
    path = files.local_path(location)
    if path is None:
        listed = files.list_files(location, recursive=True) or {"": files.file_sizes([location])[0]}
        return digest_of(listed)
    found = (
        sorted(path.rglob("*")) if path.is_dir() else sorted(path.parent.glob(f"{glob.escape(path.stem)}*"))
    )
    return digest_of([[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in found])


@job("import-descriptors", ImportConfig, reads=(IMAGES,), writes=(GLOBAL_DESCRIPTORS,), external=hash_listing)
def main(store: TableStore, conf: ImportConfig) -> None:
    """Give each image the vector that has its id; an image without one gets the status ``missing``.

    A collection without pixels: ``ingest-images --kind vectors`` makes its images from the ids.
    """
    id_column = conf.id_column or find_id_column(store.spark, conf.source)
    key = conf.match if conf.match != "auto" else "image_id" if id_column == "image_id" else "uri"
    form = VectorFormat(
        id_column, conf.vector_column, conf.binary_dtype, conf.dimension, conf.dtype, conf.unit
    )
    images = store.read(IMAGES).where("removed_at is null and status = 'ok'")
    if conf.source_id:
        images = images.where(sf.col("source_id") == conf.source_id)
    vectors = store.persist("vectors", read_vectors(store.spark, conf.source, form=form))
    count_unmatched(store, vectors, unmatched_vectors(vectors, images, id_column=key), key)
    matched = store.persist("matched", match_vectors(vectors, images, id_column=key))
    check_losses(store, matched)
    length = matched.where("vector is not null").select(sf.length("vector").alias("n")).first()
    dim = {"dim": str(length["n"] // (2 if conf.dtype == "float16" else 4))} if length else {}
    store.write(GLOBAL_DESCRIPTORS, matched, properties={"dtype": conf.dtype} | dim)


def count_unmatched(store: TableStore, vectors: DataFrame, unmatched: DataFrame, key: str) -> None:
    """Report the vectors that belong to no image; `SettingError` where that is all of them."""
    total = sf.coalesce(sf.sum("n_rows"), sf.lit(0))
    (left,) = unmatched.agg(total.alias("n"), sf.min("id").alias("id")).collect()
    if left["n"] and left["n"] == vectors.agg(total).collect()[0][0]:
        raise SettingError(
            f"--match: none of the {left['n']} ids is the {key} of an image, such as {left['id']!r}; look at "
            "--match, --id-column and --source-id (a uri is relative to its source)"
        )
    store.note(unmatched=left["n"])


def check_losses(store: TableStore, matched: DataFrame) -> None:
    """Compare with the run before: images without a vector now, and vectors that cannot be used now."""
    previous = store.previous(GLOBAL_DESCRIPTORS)
    if previous is None:
        return
    before = previous.where("status = 'ok'").select("image_id")
    now = matched.select("image_id", "status")
    rows = before.join(now, "image_id", "left").groupBy("status").count().collect()
    counts = {row["status"]: row["count"] for row in rows}  # null: the image is gone
    total, gone = sum(counts.values()), counts.get(None, 0) + counts.get("missing", 0)
    store.check_loss(gone, total, "imported vectors")
    store.check_loss(total - gone - counts.get("ok", 0), total, "imported vectors", kind="bad")


if __name__ == "__main__":
    run(main)
