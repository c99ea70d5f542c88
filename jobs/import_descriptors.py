"""Bring in vectors that were made elsewhere; every later job works on them."""

import glob
from typing import Annotated, Literal

from pyspark.sql import functions as sf

from resight import files
from resight.cli import run
from resight.config import Config, Meta, digest_of
from resight.features.spark import VectorFormat, match_vectors, read_vectors, unmatched_vectors
from resight.job import job
from resight.store import TableStore
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES


class ImportConfig(Config):
    """Settings of ``conf/import-descriptors.toml``."""

    source: Annotated[
        str, Meta(min_length=1, description="Parquet, Delta table, or .npy with its ids beside it")
    ]
    id_column: Annotated[
        Literal["uri", "image_id"], Meta(description="what the ids are: uris of images, or their image_id")
    ] = "uri"
    vector_column: Annotated[str, Meta(description="column of the vectors (numbers, or packed binaries)")] = (
        "vector"
    )
    binary_dtype: Annotated[str, Meta(description="numpy dtype of packed binaries")] = "<f4"
    dimension: Annotated[int, Meta(ge=0, description="length of a vector; 0: the most frequent one")] = 0
    dtype: Annotated[Literal["float16", "float32"], Meta(description="of the stored vectors")] = "float16"
    unit: Annotated[bool, Meta(description="divide vectors by their length")] = True
    source_id: Annotated[str, Meta(description="only images of this source; default: of all")] = ""

    def build_name(self) -> str:
        """Name the build by its file."""
        return files.absolute(self.source).rsplit("/", 1)[-1].split(".")[0]


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
    form = VectorFormat(
        conf.id_column, conf.vector_column, conf.binary_dtype, conf.dimension, conf.dtype, conf.unit
    )
    images = store.read(IMAGES).where("removed_at is null and status = 'ok'")
    if conf.source_id:
        images = images.where(sf.col("source_id") == conf.source_id)
    vectors = store.persist("vectors", read_vectors(store.spark, conf.source, form=form))
    matched = store.persist("matched", match_vectors(vectors, images, id_column=conf.id_column))
    unmatched = unmatched_vectors(vectors, images, id_column=conf.id_column)
    store.note(unmatched=unmatched.agg(sf.coalesce(sf.sum("n_rows"), sf.lit(0))).first()[0])
    previous = store.previous(GLOBAL_DESCRIPTORS)
    if previous is not None:
        before = previous.where("status = 'ok'")
        lost = before.join(matched.where("status = 'ok'"), "image_id", "left_anti").count()
        store.check_loss(lost, before.count(), "imported vectors")
    length = matched.where("vector is not null").select(sf.length("vector").alias("n")).first()
    dim = {"dim": str(length["n"] // (2 if conf.dtype == "float16" else 4))} if length else {}
    store.write(GLOBAL_DESCRIPTORS, matched, properties={"dtype": conf.dtype} | dim)


if __name__ == "__main__":
    run(main)
