"""Mining from verified pairs and from labels, over a small collection whose things are known."""

import numpy as np
import pytest

from resight.job import Options
from resight.jobs.mine_pairs import main as mine
from resight.mining.settings import MineConfig
from resight.store import TableStore
from resight.tables import IMAGE_LABELS, IMAGES, TRAINING_POOLS, TRAINING_TUPLES, VERIFIED_PAIRS
from resight.workspace import Workspace
from tests.jobs.test_mine_pairs import import_vectors, read, thing
from tests.report.committed import Committed

THINGS, VIEWS = 8, 5


def transform_of(scale):
    return np.diag([scale, scale, 1.0]).tobytes()


def verify(ids):
    """Rows of chains within things; one pair is much larger in one photo, one has few inliers."""
    rows = []
    for t in range(THINGS):
        for v in range(VIEWS - 1):
            scale, inliers = (4.0 if (t, v) == (0, 0) else 1.2), (10 if (t, v) == (1, 0) else 40 - 5 * v)
            ends = sorted([ids[f"{t}/{v}"], ids[f"{t}/{v + 1}"]])
            rows.append((*ends, inliers, "similarity", transform_of(scale), "ok"))
    names = ("image_a", "image_b", "n_inliers", "model", "transform", "status")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    uris = [f"{t}/{v}" for t in range(THINGS) for v in range(VIEWS)]
    X = np.random.default_rng(2).standard_normal((len(uris), 6))
    import_vectors(store, folder, "things", uris, X)
    ids = {row["uri"]: row["image_id"] for row in store.reader.read(IMAGES).to_pylist()}
    names = [None if uri.endswith("4") else "ab"[int(thing(uri)) % 2] for uri in uris]
    weights = [
        0.0 if name is None else 0.5 + int(uri[-1]) / 10 for uri, name in zip(uris, names, strict=True)
    ]
    labels = {"image_id": [ids[uri] for uri in uris], "label": names, "weight": weights}
    committed = Committed(folder / "w")
    committed.commit("verify-pairs", (VERIFIED_PAIRS, verify(ids)), name="seen")
    committed.commit("propagate-labels", (IMAGE_LABELS, labels), name="spread")
    return store


def ends(rows):
    return {(row["anchor"], row["item"]) for row in rows}


def test_verified_pairs_are_positives_and_negatives_are_of_other_components(store):
    conf = MineConfig(pairs_from="verified", n_negatives=2, validation=0.3, min_overlap=0.7)
    outcome = mine(store, conf, Options(name="verified"))
    pools, tuples = (read(store, table, "verified") for table in (TRAINING_POOLS, TRAINING_TUPLES))
    positive, negative = ([r for r in pools if r["role"] == role] for role in ("positive", "negative"))
    inliers = {(t, v): 40 - 5 * v for t in range(THINGS) for v in range(VIEWS - 1)}
    del inliers[1, 0]
    expected = set()
    for (t, v), n in inliers.items():
        for a, b in ((v, v + 1), (v + 1, v)):
            most = max(inliers.get((t, e), 0) for e in (a - 1, a))
            if n / most >= 0.7 and (t, v) != (0, 0):
                expected.add((f"{t}/{a}", f"{t}/{b}"))
    assert ends(positive) == expected
    assert {r["source"] for r in pools} == {"verified"}
    assert all(thing(a) != thing(b) or "1/0" in (a, b) for a, b in ends(negative))  # 1/0 is alone
    assert outcome.run.notes["components"] == THINGS
    sides = {(uri, row["split"]) for row in pools for uri in (row["anchor"], row["item"])}
    assert len(sides) == len({uri for uri, _ in sides})
    assert {split for _, split in sides} == {"train", "validation"}
    assert {(r["anchor"], r["positive"]) for r in tuples} <= expected


def test_labels_give_weighted_positives_and_negatives_of_the_other_label(store):
    conf = MineConfig(pairs_from="labels", validation=0.0, n_positives=3)
    mine(store, conf, Options(name="labelled"))
    pools, tuples = (read(store, table, "labelled") for table in (TRAINING_POOLS, TRAINING_TUPLES))
    for row in pools:
        same = int(thing(row["anchor"])) % 2 == int(thing(row["item"])) % 2
        assert same == (row["role"] == "positive")
        assert "4" not in (row["anchor"][-1], row["item"][-1])
        if row["role"] == "positive":
            weights = [0.5 + int(uri[-1]) / 10 for uri in (row["anchor"], row["item"])]
            assert row["score"] == pytest.approx(weights[0] * weights[1])
    anchors = {row["anchor"] for row in tuples}
    assert len(anchors) == THINGS * (VIEWS - 1)
    pairs = {(row["anchor"], row["positive"]): row["weight"] for row in tuples}
    assert len(pairs) == 3 * len(anchors)
    assert np.mean(list(pairs.values())) == pytest.approx(1, rel=1e-5)
