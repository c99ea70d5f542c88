"""Labels spread and cleaned by jobs that need no Spark, over small committed workspaces."""

import numpy as np
import pytest

from resight.cli import main as resight
from resight.tables import (
    EDGES,
    GLOBAL_DESCRIPTORS,
    IMAGE_LABELS,
    IMAGES,
    LABEL_RELEVANCES,
    NODES,
)
from resight.workspace import Output
from tests.labels.test_clean import planted_class
from tests.report.committed import Committed

N = 12  # two chains of five, a copy, and one alone


@pytest.fixture
def committed(tmp_path):
    committed = Committed(tmp_path / "w")
    ids = list(range(10, 10 + N))
    committed.commit("ingest-images", (IMAGES, {"image_id": ids, "uri": [f"{i}.jpg" for i in ids]}))
    pairs = [(a, a + 1) for chain in (10, 15) for a in range(chain, chain + 4)]
    edges = np.array(pairs + [pair[::-1] for pair in pairs])
    columns = {"src": edges[:, 0].tolist(), "dst": edges[:, 1].tolist(), "affinity": [0.5] * len(edges)}
    nodes = {"node_id": ids, "image_id": ids, "dup_of": [None] * 10 + [14, None], "status": ["ok"] * N}
    committed.commit("build-graph", (EDGES, columns), (NODES, nodes), name="graph")
    return committed


def write_labels(folder, *rows, header="uri,label"):
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder / "labels.csv")


def run(job, committed, labels, *words):
    return resight([job, "--workspace", committed.workspace.root, "--labels", labels, *words])


def test_labels_reach_their_components_and_copies_share_them(committed, tmp_path):
    labels = write_labels(tmp_path, "10.jpg,cat", "19.jpg,dog", "nowhere.jpg,cat")
    assert run("propagate-labels", committed, labels) == 0
    rows = committed.reader.read(IMAGE_LABELS).sort_by("image_id").to_pylist()
    assert [row["label"] for row in rows] == ["cat"] * 5 + ["dog"] * 5 + ["cat", None]
    assert [row["image_id"] for row in rows if row["is_given"]] == [10, 19]
    assert rows[10]["certainty"] == rows[4]["certainty"] > 0
    assert rows[11]["certainty"] == rows[11]["weight"] == 0
    notes = committed.reader.find(IMAGE_LABELS).notes
    assert (notes["given"], notes["unknown_uris"], notes["reached"]) == (2, 1, 11)
    assert run("propagate-labels", committed, labels) == 0
    assert committed.reader.find(IMAGE_LABELS).sequence == 1


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["10.jpg,cat"], "two labels at least"),
        (["10.jpg,cat", "10.jpg,dog"], "10.jpg has the labels 'cat' and 'dog'"),
        (["a.jpg,cat", "b.jpg,dog"], "no image of the graph has a uri"),
        (["10.jpg,", "11.jpg,dog"], "line 2: a row needs a uri and a label"),
    ],
)
def test_labels_that_cannot_be_spread_are_named(committed, tmp_path, caplog, rows, text):
    assert run("propagate-labels", committed, write_labels(tmp_path, *rows)) == 2
    assert text in caplog.text


def test_noisy_labels_are_cleaned_class_by_class(tmp_path):
    committed, (X, right) = Committed(tmp_path / "w"), planted_class(np.random.default_rng(0))
    n = len(X)
    columns = {"image_id": list(range(n)), "vector": [x.astype(np.float32).tobytes() for x in X]}
    committed.commit(
        "ingest-images", (IMAGES, {"image_id": list(range(n)), "uri": [f"{i}" for i in range(n)]})
    )
    committed.commit("extract-features", (GLOBAL_DESCRIPTORS, columns | {"status": ["ok"] * n}))
    state_dtype(committed)
    rows = [f"{i},cat,{'yes' if i == 0 else 'no'}" for i in range(n)]
    labels = write_labels(tmp_path, *rows, "3,dog,", header="uri,label,clean")
    assert run("clean-labels", committed, labels) == 0
    found = committed.reader.read(LABEL_RELEVANCES).to_pylist()
    cat = {row["image_id"]: row["relevance"] for row in found if row["label"] == "cat"}
    r = np.array([cat[i] for i in range(n)])
    assert r[0] == 1
    assert r[1:][right].mean() > r[1:][~right].mean() + 0.3
    dog = [(row["image_id"], row["relevance"], row["status"]) for row in found if row["label"] == "dog"]
    assert dog == [(3, None, "no_clean")]


def state_dtype(committed):
    """Commit the descriptors again with the dtype of their vectors."""
    import msgspec

    run = committed.reader.find(GLOBAL_DESCRIPTORS)
    output = run.outputs["global_descriptors"]
    stated = Output(output.version, output.digest, output.n_rows, {"dtype": "float32"})
    changes = {"outputs": {"global_descriptors": stated}, "sequence": run.sequence + 1}
    committed.workspace.commit(msgspec.structs.replace(run, **changes))
