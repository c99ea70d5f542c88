"""Offline diffusion that follows its graph: what it keeps, what it computes again, what it says about it."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from msgspec.structs import replace

from resight.arrow import arrow_to_lists
from resight.diffusion.block import DiffuseWork
from resight.diffusion.growth.judge import CHANGED, SAME, STALE, compare_rows
from resight.graph.matrix import load_graph_files
from resight.jobs.diffuse import DiffuseConfig, choose_states
from resight.jobs.diffuse import main as diffuse
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES, MANIFOLD_NEIGHBORS, NODES
from resight.workspace import Workspace
from tests.diffusion.growth.grown import draw_growth, label_nodes, list_edges
from tests.search.committed import commit

SHORT = {"shortlist": 15, "depth": 15, "max_iter": 200, "tol": 1e-10, "block_nodes": 200}
WAYS = {
    "keep": DiffuseConfig(**SHORT, max_stale_error=10),
    "limit": DiffuseConfig(**SHORT, max_stale_error=1e-3),
}


class Row(NamedTuple):
    """A row of `MANIFOLD_NEIGHBORS`: the version of its graph, the error it names, (ids, scores)."""

    version: str
    error: float | None
    row: tuple[np.ndarray, np.ndarray]


def commit_graph(workspace, number, ids, A):
    """Commit a graph of images as build-graph would."""
    src, dst, affinity = list_edges(ids, A)
    nodes = {"node_id": ids, "image_id": ids, "status": ["ok"] * len(ids)}
    tables = {
        NODES: nodes,
        EDGES: {"src": src, "dst": dst, "affinity": affinity},
        COMPONENTS: {"node_id": ids, "component_id": label_nodes(ids, A)},
    }
    run = commit(workspace, number, "build-graph", tables)
    found = {table: workspace.list_files(table, run.build_id, f"v{number}") for table in tables}
    outputs = {
        table.name: replace(run.outputs[table.name], digest=workspace.digest_files(listed))
        for table, listed in found.items()
    }
    committed = {"run_id": f"{run.run_id}-whole", "sequence": number + 1, "outputs": outputs}
    workspace.commit(replace(run, **committed))


def read_rows(table):
    """Rows by source."""
    offsets, dst = arrow_to_lists(table["dst"], "int64")
    scores = arrow_to_lists(table["score"], "float32")[1].astype(float)
    lists = [(dst[a:b], scores[a:b]) for a, b in pairwise(offsets)]
    names = ("src", "graph_version", "stale_error")
    columns = zip(*(table[name].to_pylist() for name in names), lists, strict=True)
    return {src: Row(version, error, row) for src, version, error, row in columns}


@pytest.fixture(scope="module")
def runs(spark, tmp_path_factory):
    """Rows and notes of every way after the graph grew, and the rows of the grown graph from nothing."""
    store = TableStore(
        Workspace.open(str(tmp_path_factory.mktemp("w")), "parquet", create=True), lambda: spark
    )
    before, after = draw_growth()
    commit_graph(store.workspace, 1, *before)
    for conf in WAYS.values():
        diffuse(store, conf)
    commit_graph(store.workspace, 9, *after)
    found = {}
    for name, conf in WAYS.items():
        run = diffuse(store, conf).run
        found[name] = read_rows(store.reader.read(MANIFOLD_NEIGHBORS, run.build_id)), run.notes
    version = store.source(EDGES)[1].digest
    layout = load_graph_files(f"{store.workspace.root}/shards/edges-build-graph/{version}")
    work = DiffuseWork(layout, version, WAYS["keep"].alpha, 15, 15, 200, 1e-10)
    return found, read_rows(work.diffuse(np.arange(layout.n)))


def expected_version(runs):
    return next(iter(runs[1].values())).version


def test_with_nothing_stale_the_table_equals_one_from_nothing(runs):
    found, expected = runs
    rows, notes = found["limit"]
    assert rows.keys() == expected.keys()
    assert {row[:2] for row in rows.values()} == {(expected_version(runs), None)}
    assert max(compare_rows(rows[src].row, expected[src].row) for src in rows) < 1e-6
    assert notes["rows_stale"] == 0
    assert notes["rows_same"] > 100
    assert notes["rows_same"] + notes["rows_computed"] == len(rows)


def test_stale_rows_carry_the_version_of_their_graph_and_a_measured_error(runs):
    found, expected = runs
    rows, notes = found["keep"]
    errors = {src: compare_rows(rows[src].row, expected[src].row) for src in expected}
    stale = [src for src, row in rows.items() if row.version != expected_version(runs)]
    assert len(stale) == notes["rows_stale"] > 5
    assert rows.keys() == expected.keys()
    assert max(error for src, error in errors.items() if src not in stale) < 1e-6
    assert notes["stale_error"]["n"] == len(stale)
    assert notes["stale_error"]["largest"] == pytest.approx(max(errors[src] for src in stale), rel=1e-4)
    assert {rows[src].error for src in stale} == {notes["stale_error"]["largest"]}
    assert {row.error for src, row in rows.items() if src not in stale} == {None}
    assert notes["rows_computed"] == found["limit"][1]["rows_computed"] - len(stale)


def test_the_settings_and_the_measured_error_decide_what_stays():
    keep, limit = WAYS["keep"], WAYS["limit"]
    assert choose_states(keep, 0.9) == ((SAME, STALE), (CHANGED,))
    assert choose_states(limit, 1e-3) == ((SAME, STALE), (CHANGED,))
    assert choose_states(limit, 2e-3) == ((SAME,), (CHANGED, STALE))
    assert choose_states(DiffuseConfig(stale="recompute"), 0.0) == ((SAME,), (CHANGED, STALE))
