"""A small searchable workspace of format Parquet, committed without Spark."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resight import files
from resight.arrow import lists_to_arrow
from resight.knn.copies import to_offsets
from resight.tables import DUPLICATE_GROUPS, EDGES, GLOBAL_DESCRIPTORS, IMAGES, NEIGHBORS
from resight.workspace import COLLECTION, Output, Run, Workspace
from tests.search.collections import save_collection

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def commit(workspace, sequence, job, tables, *, properties=None, **facts):
    """Write tables, a version of each named by the number of the run, and commit it.

    ``properties`` are those of some of the tables, by their names.
    """
    has_builds = any(table.has_builds for table in tables)
    build, version, outputs = job if has_builds else COLLECTION, f"v{sequence}", {}
    for table, columns in tables.items():
        n = len(next(iter(columns.values()), ()))
        fields = [field for field in table.schema if field.name != "build_id"]
        arrays = [pa.array(columns.get(f.name, [None] * n), f.type) for f in fields]
        folder = Path(files.join(workspace.table_uri(table), build, version))
        folder.mkdir(parents=True)
        pq.write_table(pa.table(arrays, schema=pa.schema(fields)), folder / "rows.parquet")
        outputs[table.name] = Output(version, version, n, (properties or {}).get(table.name, {}))
    times = {"started_at": MOMENT, "committed_at": MOMENT.replace(minute=sequence)}
    named = {"name": job, "sequence": sequence, "written": tuple(outputs)}
    run = Run(run_id=version, job=job, build_id=build, outputs=outputs, **named, **times, **facts)
    workspace.commit(run)
    return run


def commit_collection(root, ids, X, *, first=1):
    """Commit images, descriptors and a graph with their files; even ids are png, every third is of a test.

    ``first`` numbers the runs: another call with larger numbers gives newer runs of the same builds.
    """
    workspace = Workspace.open(str(root), "parquet", create=True)
    made = save_collection(root / f"made-{first}", ids, X)
    order = np.sort(ids).tolist()
    commit(
        workspace,
        first,
        "ingest-images",
        {
            IMAGES: {
                "image_id": order,
                "uri": [f"{i}.jpg" for i in order],
                "format": ["jpeg" if i % 2 else "png" for i in order],
                "width": [639 + i % 3 if i % 3 else None for i in order],
                "extra": [[("split", "train" if i % 3 else "test")] for i in order],
            }
        },
    )
    described = commit(workspace, first + 1, "import-descriptors", {GLOBAL_DESCRIPTORS: {"image_id": order}})
    parents = {GLOBAL_DESCRIPTORS.name: described.build_id}
    near = lists_to_arrow(to_offsets(np.full(len(order), 2)), np.repeat(np.sort(ids), 2))
    ones = lists_to_arrow(to_offsets(np.full(len(order), 2)), np.ones(2 * len(order), np.float32))
    tables = {EDGES: {}, NEIGHBORS: {"src": order, "dst": near, "similarity": ones}}
    graph = commit(workspace, first + 2, "build-graph", tables, parents=parents)
    for files_of, table, run in (
        (made[0].vectors, GLOBAL_DESCRIPTORS, described),
        (made[0].graph, EDGES, graph),
    ):
        folder = Path(root) / "shards" / f"{table.name}-{run.build_id}" / run.outputs[table.name].digest
        folder.parent.mkdir(parents=True, exist_ok=True)
        Path(files_of.folder).rename(folder)
        replace(files_of, folder=str(folder)).save()
    return workspace


def commit_groups(workspace, sequence, groups):
    """Commit groups of duplicates; the first of each is kept."""
    rows = [(g, image, i == 0) for g, group in enumerate(groups) for i, image in enumerate(group)]
    names = ("group_id", "image_id", "keep")
    columns = dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
    columns["reason"] = ["kept" if keep else "smaller" for keep in columns["keep"]]
    commit(workspace, sequence, "find-duplicates", {DUPLICATE_GROUPS: columns})
