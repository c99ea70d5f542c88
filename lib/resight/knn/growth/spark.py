"""Operators that renew the neighbour lists of a collection after images came and went."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_lists, lists_to_arrow
from resight.knn.blocks import search_blocks
from resight.knn.growth.drift import Drift, compare_graphs, distinct_lists
from resight.knn.growth.lists import OldLists, renew_lists
from resight.knn.inverted.spark import LISTS, QUERY_ROWS, fit_and_tune
from resight.knn.matrix import VectorFiles, map_array, save_array
from resight.knn.storage.spark import number_tasks, task_numbers

Batches = Iterator[pa.RecordBatch]


def update_lists(
    previous: DataFrame,
    changed: DataFrame,
    layout: VectorFiles,
    *,
    k: int,
    block_rows: int,
    hold: Callable[[DataFrame], DataFrame],
) -> DataFrame:
    """Renew ``previous`` (`NEIGHBORS` rows) for the vectors of ``layout``: `LISTS` rows of representatives.

    ``changed`` (image_id) names the images whose vector is another one than it was. ``hold`` computes a frame
    once: what survives is needed to know what must be searched. Equal to an exact search of everything.
    """
    valid = previous.join(changed.select(sf.col("image_id").alias("src")), "src", "left_anti")
    fresh = save_fresh(valid.select("src"), layout, block_rows)
    numbered = valid.select("src", "dst", "similarity").mapInArrow(
        number_sources(layout, block_rows), f"{LISTS}, block int"
    )

    def renew(rows: pa.Table) -> pa.Table:
        X = layout.open()
        offsets, dst = arrow_to_lists(rows["dst"], "int64")
        similarity = arrow_to_lists(rows["similarity"], "float32")[1]
        old = OldLists(rows["src"].to_numpy(), offsets, X.ordinal_of(dst), similarity)
        new = renew_lists(old, map_array(layout.folder, fresh), X, k=k)
        columns = [new.src, lists_to_arrow(new.offsets, new.dst), lists_to_arrow(new.offsets, new.similarity)]
        return pa.table(columns, names=["src", "dst", "similarity"])

    survived = hold(numbered.groupBy("block").applyInArrow(renew, LISTS))
    return survived.unionByName(search_missing(survived.select("src"), layout, k=k, block_rows=block_rows))


def number_sources(layout: VectorFiles, block_rows: int) -> Callable[[Batches], Batches]:
    """Make the function that puts ordinals in place of the sources' ids; those that are gone are left out."""

    def number(batches: Batches) -> Batches:
        X = layout.open()
        for batch in batches:
            ordinals = X.ordinal_of(batch["src"].to_numpy())
            there = batch.filter(pa.array(ordinals >= 0))
            src = ordinals[ordinals >= 0]
            block = (src // block_rows).astype(np.int32)
            columns = [src, there["dst"], there["similarity"], block]
            yield pa.record_batch(columns, names=["src", "dst", "similarity", "block"])

    return number


def save_fresh(known: DataFrame, layout: VectorFiles, block_rows: int) -> str:
    """Write the ordinals of the distinct vectors whose id is not in ``known`` (src); give the file's name."""

    def save(batches: Batches) -> Batches:
        found = [batch["src"].to_numpy() for batch in batches]
        fresh = np.sort(np.concatenate([np.zeros(0, np.int64), *found]))
        yield pa.record_batch([[save_array(layout.folder, "fresh", fresh)]], names=["name"])

    here = known.mapInArrow(name_ordinals(layout), "src long")
    missing = list_representatives(known, layout, block_rows).join(here, "src", "left_anti")
    written = missing.repartition(1).mapInArrow(save, "name string").first()
    if written is None:
        raise RuntimeError("the list of new vectors was not written")
    return str(written["name"])


def name_ordinals(layout: VectorFiles) -> Callable[[Batches], Batches]:
    """Make the function that turns ids into ordinals; ids that are gone are left out."""

    def name(batches: Batches) -> Batches:
        X = layout.open()
        for batch in batches:
            ordinals = X.ordinal_of(batch["src"].to_numpy())
            yield pa.record_batch([ordinals[ordinals >= 0]], names=["src"])

    return name


def list_representatives(frame: DataFrame, layout: VectorFiles, block_rows: int) -> DataFrame:
    """Give the ordinals (src) of all distinct vectors, block by block."""

    def read(batches: Batches) -> Batches:
        X = layout.open()
        for number in task_numbers(batches):
            stop = min((number + 1) * block_rows, X.n)
            yield pa.record_batch([X.representatives(number * block_rows, stop)], names=["src"])

    return number_tasks(frame.sparkSession, -(-layout.n // block_rows)).mapInArrow(read, "src long")


def search_missing(survived: DataFrame, layout: VectorFiles, *, k: int, block_rows: int) -> DataFrame:
    """Search all vectors for the representatives that have no list in ``survived`` (src)."""

    def search(batches: Batches) -> Batches:
        X = layout.open()
        for batch in batches:
            src = np.sort(batch["src"].to_numpy())
            for some in np.array_split(src, max(1, -(-len(src) // QUERY_ROWS))):
                if len(some):
                    queries = (some, X.gather(some))
                    offsets, dst, similarity = search_blocks(
                        queries, X.blocks(block_rows), X.blocks(block_rows), X.gather, k=k
                    )
                    columns = [
                        some,
                        lists_to_arrow(offsets, dst.astype(np.int64)),
                        lists_to_arrow(offsets, similarity),
                    ]
                    yield pa.record_batch(columns, names=["src", "dst", "similarity"])

    missing = list_representatives(survived, layout, block_rows).join(survived, "src", "left_anti")
    return missing.mapInArrow(search, LISTS)


def measure_drift(
    neighbors: DataFrame, layout: VectorFiles, *, k: int, recall: float, seed: int, n_sources: int = 32
) -> Drift:
    """Compare a grown graph with one built from nothing by inverted lists, tuned for ``recall``.

    The sources are those, among distinct vectors, with the smallest hash of (id, seed); their lists and those
    of their neighbours are read. One task fits centroids and searches for them alone.
    """
    lists = neighbors.select("src", "dst")
    sources = lists.orderBy(sf.xxhash64("src", sf.lit(seed)), "src").limit(n_sources)
    ends = sources.mapInArrow(unpack_ends, "src long, is_source boolean")
    named = ends.groupBy("src").agg(sf.max("is_source").alias("is_source"))

    def compare(batches: Batches) -> Batches:
        X = layout.open()
        centroids, n_probes, _ = fit_and_tune(X, k=k, recall=recall, seed=seed)
        rows = pa.Table.from_batches(list(batches))
        offsets, dst = arrow_to_lists(rows["dst"], "int64")
        src = X.ordinal_of(rows["src"].to_numpy())
        grown = distinct_lists(X, src, offsets, X.ordinal_of(dst))
        chosen = np.unique(X.representative_of(src[rows["is_source"].to_numpy()]))
        drift = compare_graphs(X, chosen, grown, centroids, n_probes, k=k)
        yield pa.record_batch([[value] for value in drift], names=list(Drift._fields))

    wanted = lists.join(named, "src").repartition(1)
    row = wanted.mapInArrow(compare, "lists_differ double, edges_differ double, n_sources long").first()
    if row is None:
        raise RuntimeError("the grown graph was not compared")
    return Drift(*row)


def unpack_ends(batches: Batches) -> Batches:
    """Give the sources of some lists and, as no sources, what they list."""
    for batch in batches:
        dst = arrow_to_lists(batch["dst"], "int64")[1]
        ends = np.concatenate([batch["src"].to_numpy(), dst])
        is_source = np.arange(len(ends)) < batch.num_rows
        yield pa.record_batch([pa.array(ends), pa.array(is_source)], names=["src", "is_source"])
