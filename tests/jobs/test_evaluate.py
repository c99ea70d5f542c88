"""Every measure, reached by the command's settings, on imported vectors with known answers."""

import math
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.config import SettingError
from resight.job import Options
from resight.jobs import evaluate as evaluate_job
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.evaluate import EvaluateConfig
from resight.jobs.evaluate import main as evaluate
from resight.jobs.find_duplicates import DuplicatesConfig
from resight.jobs.find_duplicates import main as find_duplicates
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.store import TableStore
from resight.tables import DUPLICATE_GROUPS, IMAGES, METRICS
from resight.workspace import Workspace

ANGLES = [0.0, 0.05, 0.25, 0.4, 1.5, 1.58, 1.67, 1.77]  # two clusters of four on the unit circle


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    X = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
    pq.write_table(pa.table({"uri": [f"{i}" for i in range(8)], "vector": X.tolist()}), folder / "v.parquet")
    ingest(store, IngestConfig(source=str(folder / "v.parquet"), kind="vectors"))
    import_descriptors(store, ImportConfig(source=str(folder / "v.parquet"), dtype="float32"))
    search(store, SearchConfig(queries_from="collection", depth="all"))
    return store


def figures(store, build, family=None):
    rows = store.reader.read(METRICS, build).to_pylist()
    return {
        (r["protocol"], r["metric"]): r["value"]
        for r in rows
        if r["query_id"] is None and r["family"] == family
    }


def test_every_measure_of_a_search_is_reached(store, tmp_path):
    truth = tmp_path / "truth.csv"
    labels = ["0,1,easy,a", "0,2,junk,a", "0,3,hard,a", "0,5,positive,a", "7,6,easy,b"]
    truth.write_text("\n".join(["query_uri,image_uri,label,family", *labels]) + "\n")
    names = ("old", "easy", "medium", "hard", "leave_one_out", "ukb")
    conf = EvaluateConfig(ground_truth=str(truth), protocols=names, ks=(1, 2), micro_ap=True)
    evaluate(store, conf, Options(name="every"))
    found = figures(store, "every")
    # query 0 ranks 1 2 3 4 5 6 7, junk 2 left out: positives at 0, 1 and 3
    step, trapezoid = (1 + 1 + 3 / 4) / 3, (1 + 1 + (2 / 3 + 3 / 4) / 2) / 3
    assert found["old", "map_step"] == pytest.approx((step + 1) / 2)
    assert found["old", "map_trapezoid"] == pytest.approx((trapezoid + 1) / 2)
    assert found["old", "map_step_ties"] == pytest.approx((step + 1) / 2)
    assert found["old", "macro_map_step"] == pytest.approx((step + 1) / 2)
    assert figures(store, "every", "a")["old", "map_trapezoid"] == pytest.approx(trapezoid)
    assert found["old", "recall@2"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["hard", "map_step"] == 1  # easy and positive images are ignored
    assert found["easy", "mp@2"] == 1
    assert found["medium", "cut"] == 0
    assert found["ukb", "ukb"] == pytest.approx((3 + 2) / 2)  # the query itself stands first
    # one list: 0-1 right, 7-6 right, 7-5, 7-4, 0-3 right, 7-3, 0-4, 7-2, 0-5 right, ...
    assert found["pairs", "micro_ap"] == pytest.approx((1 + 1 + 3 / 5 + 4 / 9) / 4)
    assert found["pairs", "n_truth"] == 4


def test_many_queries_are_aggregated_by_spark(store, tmp_path, monkeypatch):
    truth = tmp_path / "truth.csv"
    truth.write_text("query_uri,image_uri,label,family\n0,1,easy,a\n1,5,hard,a\n7,4,easy,b\n")
    drawn = evaluate(store, EvaluateConfig(ground_truth=str(truth)), Options(name="driver"))
    expected = figures(store, "driver")
    monkeypatch.setattr(evaluate_job, "MAX_BOOTSTRAP", 1)
    again = EvaluateConfig(ground_truth=str(truth), ks=(1, 5, 10, 11))
    outcome = evaluate(store, again, Options(name="spark"))
    found = figures(store, "spark")
    assert (drawn.notes["intervals"], outcome.notes["intervals"]) == ("bootstrap", "normal")
    assert outcome.notes["old.map_step"] == round(found["old", "map_step"], 4)
    assert found.keys() >= expected.keys()
    assert {k: found[k] for k in expected} == pytest.approx(expected)


def pairs_within_groups(store):
    """All pairs of uris that share a group."""
    uris = {row["image_id"]: row["uri"] for row in store.reader.read(IMAGES).to_pylist()}
    groups = {}
    for row in store.reader.read(DUPLICATE_GROUPS).to_pylist():
        groups.setdefault(row["group_id"], []).append(uris[row["image_id"]])
    return {pair for members in groups.values() for pair in combinations(sorted(members), 2)}


def test_found_copies_are_scored_by_pairs_and_by_groups(store, tmp_path):
    build_graph(store, GraphConfig(k=4))
    find_duplicates(store, DuplicatesConfig(effort="quick", threshold=math.cos(0.12)))  # 0-1, 4-5, 5-6, 6-7
    truth = tmp_path / "pairs.csv"
    truth.write_text("uri,group\n0,x\n1,x\n4,y\n5,y\n6,y\n2,z\nlost,z\n")
    conf = EvaluateConfig(pairs=str(truth))
    outcome = evaluate(store, conf, Options(name="copies"))
    found = {metric: value for (_, metric), value in figures(store, "copies").items()}
    # found, best first: 0-1, 4-5, 5-6 and, wrong, 6-7; true: 0-1, 4-5, 4-6, 5-6, 2-lost
    assert (found["micro_ap"], found["recall@p90"]) == (pytest.approx(3 / 5), pytest.approx(3 / 5))
    assert (found["precision"], found["recall"], found["n_truth"]) == (3 / 4, 3 / 5, 5)
    within = pairs_within_groups(store)
    right = len(within & {("0", "1"), ("4", "5"), ("4", "6"), ("5", "6")})
    assert found["n_group_pairs"] == len(within) > 0
    assert found["group_precision"] == pytest.approx(right / len(within))
    assert found["group_recall"] == pytest.approx(right / 5)
    assert (outcome.notes["true_pairs"], outcome.notes["unknown_pairs"]) == (5, 1)
    assert evaluate(store, conf).state == "unchanged"
    assert set(store.workspace.builds()[outcome.build_id].parents) == {"duplicate_pairs", "duplicate_groups"}


def test_pairs_that_the_collection_does_not_hold_are_an_error(store, tmp_path):
    truth = tmp_path / "pairs.csv"
    truth.write_text("uri_a,uri_b\nnone,nothing\n")
    with pytest.raises(SettingError, match="--pairs: the collection holds none of its pairs"):
        evaluate(store, EvaluateConfig(pairs=str(truth)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "ground_truth: give --ground-truth for a search, --pairs for duplicates"),
        ({"ground_truth": "a.csv", "ks": [0]}, "ks: each at least 1"),
        ({"ground_truth": "a.csv", "protocols": ["new"]}, "unknown protocol 'new'"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        EvaluateConfig.from_mapping(settings)


def test_a_fault_in_a_file_is_found_by_the_check_before_a_run(tmp_path):
    (tmp_path / "pairs.csv").write_text("uri_a,uri_b\na,a\n")
    with pytest.raises(SettingError, match="a is paired with itself"):
        EvaluateConfig(pairs=str(tmp_path / "pairs.csv")).check()
    with pytest.raises(SettingError, match=r"--ground-truth: no such file .*absent\.csv"):
        EvaluateConfig(ground_truth=str(tmp_path / "absent.csv")).check()


def test_a_missing_file_or_table_is_named_before_spark_starts(tmp_path):
    def no_spark():
        raise AssertionError("Spark was started")

    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), no_spark)
    (tmp_path / "pairs.csv").write_text("uri_a,uri_b\na,b\n")
    with pytest.raises(SettingError, match="'duplicate_pairs' is missing"):
        evaluate(store, EvaluateConfig(pairs=str(tmp_path / "pairs.csv")))
    with pytest.raises(SettingError, match="column 'query_uri' is missing"):
        evaluate(store, EvaluateConfig(ground_truth=str(tmp_path / "pairs.csv")))
    (tmp_path / "truth.csv").write_text("query_uri,image_uri,label\na,b,positive\n")
    with pytest.raises(SettingError, match="'results' is missing"):
        evaluate(store, EvaluateConfig(ground_truth=str(tmp_path / "truth.csv")))
