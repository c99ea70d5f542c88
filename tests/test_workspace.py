"""Runs are files that never change: read once, listed every time, shown as a table."""

import json
from datetime import UTC, datetime

from resight.reader import Reader
from resight.tables import GLOBAL_DESCRIPTORS, RUNS
from resight.workspace import Output, Run, Workspace
from tests.report.committed import Committed

MOMENT = datetime(2026, 5, 1, tzinfo=UTC)


class Counting(Workspace):
    """A workspace that notes which files it reads."""

    reads = ()

    def read_run(self, name):
        object.__setattr__(self, "reads", (*self.reads, name))
        return super().read_run(name)


def commit(workspace, sequence, **facts):
    times = {"started_at": MOMENT, "committed_at": MOMENT.replace(day=sequence)}
    workspace.commit(Run(run_id=f"r{sequence}", job="toy", build_id="b", sequence=sequence, **times, **facts))


def test_a_run_is_read_once_and_what_others_commit_is_seen(tmp_path):
    other = Workspace.open(str(tmp_path), create=True)
    workspace = Counting(other.root, other.format)
    for sequence in (1, 2):
        commit(other, sequence, name=f"n{sequence}")
    assert workspace.builds()["b"].name == "n2"
    assert [run.sequence for run in workspace.runs()] == [1, 2]
    commit(other, 3)
    assert workspace.last_sequence("b") == 3
    assert workspace.reads == ("b-000001.json", "b-000002.json", "b-000003.json")
    (tmp_path / "runs/b-000001.json").unlink()
    assert [run.sequence for run in workspace.runs()] == [2, 3]


def test_runs_are_rows_of_a_table(tmp_path):
    workspace = Workspace.open(str(tmp_path), create=True)
    facts = {"settings": {"k": 3}, "parents": {"edges": "a"}, "outputs": {"nodes": Output("7", "d", 5)}}
    commit(workspace, 2, **facts, written=("nodes",), notes={"n": [1]}, seconds=1.5)
    commit(workspace, 1)
    table = Reader(workspace).runs_table()
    assert table.schema == RUNS
    first, second = table.to_pylist()
    assert (first["run_id"], second["run_id"]) == ("r1", "r2")
    assert second["committed_at"] == MOMENT.replace(day=2)
    assert (second["parents"], second["written"], second["seconds"]) == ([("edges", "a")], ["nodes"], 1.5)
    assert json.loads(second["settings"]) == {"k": 3}
    assert json.loads(second["outputs"])["nodes"]["n_rows"] == 5
    assert json.loads(second["notes"]) == {"n": [1]}
    assert set(RUNS.names) == set(Run.__struct_fields__)


def test_a_workspace_without_runs_has_an_empty_table_of_them(tmp_path):
    assert Reader(Workspace.open(str(tmp_path), create=True)).runs_table().num_rows == 0


def test_descriptors_that_a_job_wrote_by_the_way_are_read_only_by_name(tmp_path):
    committed = Committed(tmp_path)
    described = {"image_id": [1], "vector": [b"\0\0"], "status": ["ok"]}
    alone = committed.commit("discover-objects", (GLOBAL_DESCRIPTORS, described), name="objects")
    assert committed.workspace.find_build(GLOBAL_DESCRIPTORS).build_id == alone
    first = committed.commit("extract-features", (GLOBAL_DESCRIPTORS, described), name="lite0-gem")
    later = committed.commit("discover-objects", (GLOBAL_DESCRIPTORS, described), name="later")
    assert committed.workspace.find_build(GLOBAL_DESCRIPTORS).build_id == first
    assert committed.workspace.find_build(GLOBAL_DESCRIPTORS, "later").build_id == later
