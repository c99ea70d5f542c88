"""Operator that writes `MANIFOLD_NEIGHBORS` as files."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from resight import files
from resight.arrow import arrow_to_lists
from resight.knn.matrix import VectorFiles, save_array
from resight.search.manifold import ARRAYS, ManifoldFiles, load_manifold_files

PART_ROWS = 65_536
Batches = Iterator[pa.RecordBatch]


def write_manifold_files(manifold: DataFrame, vectors: VectorFiles, folder: str) -> ManifoldFiles:
    """Write rows (src, dst, score), packed, as parts over the ordinals of ``vectors``.

    ``folder`` belongs to one version of both: where it is complete already, it is taken as it is.
    """
    if files.exists(files.join(folder, "manifold.json")):
        return load_manifold_files(folder)

    def write(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if full:
            arrays = read_rows(pa.Table.from_batches(full), vectors)
            names = [save_array(folder, f"manifold-{a}", v) for a, v in zip(ARRAYS, arrays, strict=True)]
            first = pa.array(arrays[0][:1], pa.int64())
            yield pa.record_batch([first, pa.array([names])], names=["first", "names"])

    n_parts = max(1, -(-manifold.count() // PART_ROWS))
    rows = (
        manifold.select("src", "dst", "score").repartitionByRange(n_parts, "src").sortWithinPartitions("src")
    )
    written = rows.mapInArrow(write, "first long, names array<string>").orderBy("first").collect()
    layout = ManifoldFiles(folder, tuple((row["first"], tuple(row["names"])) for row in written))
    layout.save()
    return layout


def read_rows(rows: pa.Table, vectors: VectorFiles) -> tuple[np.ndarray, ...]:
    """Translate ids to ordinals; entries whose image is gone are left out."""
    X = vectors.open()
    sources = X.ordinal_of(rows["src"].to_numpy())
    offsets, dst = arrow_to_lists(rows["dst"], "int64")
    scores = arrow_to_lists(rows["score"], "float32")[1]
    ordinals = X.ordinal_of(dst)
    row = np.repeat(np.arange(len(sources)), np.diff(offsets))
    kept = (ordinals >= 0) & (sources[row] >= 0)
    counts = np.bincount(row[kept], minlength=len(sources))[sources >= 0]
    new = np.concatenate([[0], np.cumsum(counts)])
    return sources[sources >= 0], new, ordinals[kept].astype(np.int32), scores[kept]
