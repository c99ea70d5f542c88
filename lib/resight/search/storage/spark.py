"""Operators that write `MANIFOLD_NEIGHBORS`, the regions among `NODES`, and filters, as files."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from resight import files
from resight.arrow import arrow_to_lists
from resight.graph.matrix import GraphFiles
from resight.knn.matrix import VectorFiles, save_array
from resight.search.manifold import ARRAYS, ManifoldFiles, load_manifold_files
from resight.search.regions import RegionFiles, load_region_files, save_regions

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
    chosen = manifold.select("src", "dst", "score")
    parts = chosen.repartitionByRange(n_parts, "src") if n_parts > 1 else chosen.coalesce(1)
    rows = parts.sortWithinPartitions("src").mapInArrow(write, "first long, names array<string>")
    written = sorted(rows.collect())  # to sort in Spark would write every part twice: once to see the range
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


def write_region_files(
    nodes: DataFrame, regions: VectorFiles, graph: GraphFiles, images: VectorFiles, folder: str
) -> RegionFiles:
    """Write which ``nodes`` of a graph of regions each of ``images`` has; one task holds a row per node.

    ``regions`` are the vectors of the nodes. ``folder`` belongs to one version of the graph and of the
    images: where it is complete already, it is taken as it is.
    """
    if files.exists(files.join(folder, "regions.json")):
        return load_region_files(folder, regions, graph)

    def write(batches: Batches) -> Batches:
        full = [batch for batch in batches if batch.num_rows]
        if full:
            rows = pa.Table.from_batches(full)
            columns = {name: rows[name].to_numpy() for name in rows.column_names}
            owners = images.open().ordinal_of(columns["image_id"])
            places = graph.open().place_of(columns["node_id"])
            names = save_regions(folder, owners, places, columns["region_ix"], columns["weight"])
            yield pa.record_batch([pa.array([a for a, _ in names]), [f for _, f in names]], names=["a", "f"])

    standing = nodes.where("status = 'ok'").selectExpr(
        "coalesce(dup_of, node_id) as node_id", "image_id", "region_ix", "weight"
    )
    written = standing.repartition(1).mapInArrow(write, "a string, f string").collect()
    layout = RegionFiles(regions, graph, folder, tuple((row["a"], row["f"]) for row in written))
    layout.save()
    return layout


def write_mask(images: DataFrame, vectors: VectorFiles, folder: str) -> tuple[str, str]:
    """Write which of ``vectors`` are of the rows (image_id) of ``images``: (n,) bool by ordinal.

    Returns
    -------
    Folder and name of the file. One task holds a byte per vector.

    Raises
    ------
    ValueError
        There is none.
    """

    def write(batches: Batches) -> Batches:
        X = vectors.open()
        allowed = np.zeros(X.n, bool)
        for batch in batches:
            ordinals = X.ordinal_of(batch["image_id"].to_numpy())
            allowed[ordinals[ordinals >= 0]] = True
        if allowed.any():
            yield pa.record_batch([[save_array(folder, "allowed", allowed)]], names=["name"])

    written = images.select("image_id").repartition(1).mapInArrow(write, "name string").collect()
    if not written:
        raise ValueError("no image with a descriptor meets the filter")
    return folder, written[0]["name"]
