"""Distributed evaluation against the kernels, row by row."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from resight.evaluation.pair_metrics import score_pairs
from resight.evaluation.protocols import PROTOCOLS, build_query_truth, find_protocols
from resight.evaluation.ranking_metrics import evaluate_ranking
from resight.evaluation.spark import (
    evaluate_answers,
    evaluate_pairs,
    evaluate_queries,
    resolve_truth,
    summarise_queries,
)
from resight.evaluation.summary import summarise

TRUTH = "query_id bigint, image_id bigint, label string, family string"
RESULTS = "method string, query_id bigint, rank int, image_id bigint, score float"
KS = (1, 5)


@pytest.fixture(scope="module")
def rows():
    """Results of two methods and labels of eight queries over 40 images; query 7 is never answered."""
    rng = np.random.default_rng(5)
    truth = [
        (q, int(i), str(rng.choice(["positive", "easy", "hard", "junk"])), "ab"[q % 2])
        for q in range(8)
        for i in rng.choice(40, 9, replace=False)
    ]
    results = [
        ("asmk" if m else "global", q, rank, int(image_id), float(score))
        for m in range(2)
        for q in range(7)
        for rank, (image_id, score) in enumerate(
            zip(rng.permutation(40)[: 40 - 12 * m], -np.sort(rng.integers(0, 9, 40)), strict=False)
        )
    ]
    return results, truth


def expected_rows(results, truth, own=None):
    """The same figures by one kernel call per method and query."""
    chosen, expected = find_protocols(PROTOCOLS), {}
    for method in {row[0] for row in results}:
        for q in {row[0] for row in truth}:
            ranked = sorted(row[2:] for row in results if row[:2] == (method, q))
            labelled = [row[1:3] for row in truth if row[0] == q]
            known = build_query_truth(
                np.array([i for i, _ in labelled]), [label for _, label in labelled], own=own
            )
            ids, scores = np.array([r[1] for r in ranked], int), np.array([r[2] for r in ranked])
            found = evaluate_ranking(ids, scores, known, protocols=chosen, ks=KS, n_images=40)
            for protocol, figures in found.items():
                expected |= {(protocol, method, q, m): v for m, v in figures.items()}
    return expected


def collect_figures(frame):
    rows = frame.toPandas()
    assert not rows.duplicated(["protocol", "method", "query_id", "metric"]).any()
    return rows.set_index(["protocol", "method", "query_id", "metric"])["value"].to_dict()


@pytest.mark.parametrize("n_blocks", [1, 3, 50])
def test_distributed_figures_equal_the_kernel_on_shuffled_rows(spark, rows, rng, n_blocks):
    results, truth = ([r[i] for i in rng.permutation(len(r))] for r in rows)
    found = evaluate_queries(
        spark.createDataFrame(results, RESULTS).repartition(5),
        spark.createDataFrame(truth, TRUTH),
        protocols=list(PROTOCOLS),
        ks=KS,
        own=spark.createDataFrame([(q, 3) for q in range(99)], "query_id bigint, image_id bigint"),
        n_images=40,
        n_blocks=n_blocks,
    )
    expected = expected_rows(results, truth, own=3)
    figures = collect_figures(found)
    assert figures.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_equal(figures[key], value, err_msg=str(key))


def test_a_query_without_results_scores_zero_and_one_without_truth_is_excluded(spark):
    answers = [("global", 1, 0, 10, 0.5), ("global", 9, 0, 10, 0.5), ("asmk", 9, 0, 10, 0.5)]
    results = spark.createDataFrame(answers, RESULTS)
    truth = spark.createDataFrame(
        [(1, 10, "positive", "a"), (2, 11, "positive", "a"), (3, 12, "junk", "a")], TRUTH
    )
    found = evaluate_queries(results, truth, ks=KS).toPandas()
    ap = found[found["metric"] == "ap_step"].set_index(["method", "query_id"])["value"]
    assert ap.loc["global"].to_dict() == pytest.approx({1: 1, 2: 0, 3: np.nan, 9: np.nan}, nan_ok=True)
    assert ap.loc["asmk"].to_dict() == pytest.approx({1: 0, 2: 0, 3: np.nan, 9: np.nan}, nan_ok=True)
    mean = summarise(found).to_pandas().query("metric == 'map_step' and family.isna()")
    assert mean.set_index("method")["value"].to_dict() == {"asmk": 0, "global": 0.5}
    assert mean["n_queries"].tolist() == [2, 2]


def test_a_positive_that_the_collection_does_not_hold_still_counts(spark):
    results = spark.createDataFrame([("global", 1, 0, 10, 0.5)], RESULTS)
    truth = [(1, 10, "positive", None), (1, None, "positive", None), (1, None, "positive", None)]
    found = collect_figures(evaluate_queries(results, spark.createDataFrame(truth, TRUTH), ks=KS))
    assert found["old", "global", 1, "ap_step"] == pytest.approx(1 / 3)


def test_a_corrupt_answer_names_its_method_and_query(spark):
    results = [("global", 4, 0, 10, 0.5), ("global", 4, 1, 10, 0.4)]
    frame = evaluate_queries(
        spark.createDataFrame(results, RESULTS),
        spark.createDataFrame([(4, 10, "positive", None)], TRUTH),
    )
    with pytest.raises(Exception, match="method global, query 4: image 10 is ranked twice"):
        frame.collect()


def test_aggregates_of_many_queries_are_those_of_the_bootstrap(spark, rng):
    n = 3000
    frame = pd.DataFrame({"query_id": np.arange(n), "family": np.array(["a", "b", "b"])[np.arange(n) % 3]})
    parts = []
    for metric, value in (
        ("ap_step", rng.random(n)),
        ("recall@5", rng.random(n) ** 2),
        ("depth", np.full(n, 7.0)),
    ):
        value[::10] = np.nan
        parts.append(frame.assign(protocol="old", method="global", metric=metric, value=value))
    rows = pd.concat(parts)[["protocol", "method", "query_id", "family", "metric", "value"]]
    names = ["family", "metric"]
    expected = summarise(rows).to_pandas().set_index(names).sort_index()
    found = summarise_queries(spark.createDataFrame(rows)).toPandas().set_index(names).sort_index()
    assert found.index.equals(expected.index)
    np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-12)
    np.testing.assert_array_equal(found["n_queries"], expected["n_queries"])
    for end in ("ci_low", "ci_high"):
        np.testing.assert_allclose(found[end], expected[end], atol=2e-3)


def test_answers_in_one_list_leave_out_junk_and_the_query_itself(spark):
    answers = [(1, 10, 0.9), (1, 11, 0.8), (1, 1, 1.0), (1, 12, 0.7), (2, 10, 0.75), (9, 10, 1.0)]
    results = spark.createDataFrame(answers, "query_id bigint, image_id bigint, score float")
    labels = [(1, 10, "easy"), (1, 11, "junk"), (1, 12, "hard"), (2, -5, "positive")]
    truth = spark.createDataFrame(labels, "query_id bigint, image_id bigint, label string")
    own = spark.createDataFrame([(1, 1)], "query_id bigint, image_id bigint")
    figures = {row.metric: row.value for row in evaluate_answers(results, truth, own).collect()}
    pairs, scores = np.array([(1, 10), (1, 12), (2, 10)]), np.array([0.9, 0.7, 0.75])
    expected = score_pairs(pairs, scores, np.array([(1, 10), (1, 12), (2, -5)]))
    assert figures == pytest.approx(expected | {"n_truth": 3})


PAIRS = "query_id bigint, image_id bigint, score float"
TRUE_PAIRS = "query_id bigint, image_id bigint"


@pytest.mark.parametrize("n_partitions", [1, 3, 50])
def test_distributed_pair_figures_equal_the_kernel(spark, rng, n_partitions):
    pairs = np.array(np.unravel_index(rng.choice(900, 60, replace=False), (30, 30))).T
    scores = rng.integers(0, 7, 60).astype(np.float32)
    truth = np.concatenate([pairs[::3], [[40, 1], [2, 41]]])
    columns = {"query_id": pairs[:, 0], "image_id": pairs[:, 1], "score": scores}
    found = evaluate_pairs(
        spark.createDataFrame(pd.DataFrame(columns)).repartition(n_partitions),
        spark.createDataFrame(truth.tolist(), TRUE_PAIRS),
    ).toPandas()
    figures = dict(zip(found["metric"], found["value"], strict=True))
    assert figures == pytest.approx(score_pairs(pairs, scores, truth) | {"n_truth": 22}, abs=1e-12)


def test_without_predicted_pairs_nothing_is_found(spark):
    none, truth = spark.createDataFrame([], PAIRS), spark.createDataFrame([(1, 2)], TRUE_PAIRS)
    figures = {row.metric: row.value for row in evaluate_pairs(none, truth).collect()}
    assert figures["micro_ap"] == figures["recall"] == 0


@pytest.mark.parametrize(
    ("pairs", "truth", "message"),
    [
        ([(1, 2, 0.5), (1, 2, 0.4)], [(1, 2)], "1 pairs appear twice"),
        ([(1, 2, 0.5)], [(3, 4), (3, 4)], "1 pairs appear twice"),
        ([(1, 2, None), (1, 3, float("nan"))], [(1, 2)], "2 pairs have no score"),
    ],
)
def test_repeated_or_unordered_pairs_fail(spark, pairs, truth, message):
    frame = evaluate_pairs(spark.createDataFrame(pairs, PAIRS), spark.createDataFrame(truth, TRUE_PAIRS))
    with pytest.raises(Exception, match=message):
        frame.collect()


def test_uris_become_ids_and_what_cannot_be_resolved_says_why(spark):
    rows = [("q", "a"), ("q", "lost"), ("q", "double"), ("nobody", "a")]
    truth = pa.table({"query_uri": [q for q, _ in rows], "image_uri": [i for _, i in rows]})
    truth = truth.append_column("label", [["easy"] * 4]).append_column("family", [["x"] * 4])
    images = [(10, "a"), (11, "double"), (12, "double")]
    resolved = resolve_truth(
        spark.createDataFrame(truth.to_pandas()),
        spark.createDataFrame([(1, "q")], "query_id bigint, uri string"),
        spark.createDataFrame(images, "image_id bigint, uri string"),
    )
    found = {(r.query_uri, r.image_uri): (r.query_id, r.image_id, r.problem) for r in resolved.collect()}
    assert found == {
        ("q", "a"): (1, 10, None),
        ("q", "lost"): (1, None, "unknown image"),
        ("q", "double"): (1, None, "ambiguous image"),
        ("nobody", "a"): (None, 10, "unknown query"),
    }
