"""Figures of found copies against the kernel on all pairs written out."""

from itertools import combinations

import numpy as np
import pytest

from resight.evaluation.copies.spark import evaluate_copies, evaluate_groups, resolve_pairs
from resight.evaluation.pair_metrics import score_pairs

PAIRS = "image_a bigint, image_b bigint, similarity float"
TRUE_PAIRS = "image_a bigint, image_b bigint"
CLASSES = {0: 0, 1: 0, 2: 0, 3: 3, 4: 3, 5: 5, 6: 6, 7: 7, 8: 8, 9: 8, 10: 8, 11: 8}
FOUND = [(0, 1, 1.0), (0, 2, 1.0), (3, 4, 1.0), (8, 9, 1.0), (9, 8 + 2, 1.0), (8, 11, 1.0)]  # stars
NEAR = [(0, 3, 0.97), (5, 6, 0.9), (3, 8, 0.9), (0, 7, 0.95)]
TRUE = [*combinations(range(5), 2), *combinations((8, 9, 10), 2), (5, 6), (5, 7), (-7, 3)]


def figures_of(frame):
    return {row["metric"]: row["value"] for row in frame.collect()}


def written_out():
    """Every pair that the classes stand for, with its similarity."""
    members = {c: [i for i, of in CLASSES.items() if of == c] for c in set(CLASSES.values())}
    inside = {pair: 1.0 for group in members.values() for pair in combinations(sorted(group), 2)}
    across = {
        (min(a, b), max(a, b)): s
        for p, q, s in NEAR
        for a in members[CLASSES[p]]
        for b in members[CLASSES[q]]
    }
    return inside | across


@pytest.mark.parametrize("n_partitions", [1, 3, 50])
def test_counted_classes_equal_the_kernel_on_all_pairs(spark, rng, n_partitions):
    found = [(*pair[:2], pair[2]) for pair in rng.permutation([*FOUND, *NEAR]).tolist()]
    frame = spark.createDataFrame([(int(a), int(b), s) for a, b, s in found], PAIRS).repartition(n_partitions)
    figures = figures_of(
        evaluate_copies(
            frame,
            spark.createDataFrame([(min(p), max(p)) for p in TRUE], TRUE_PAIRS),
            spark.createDataFrame(list(CLASSES.items()), "image_id bigint, class_id bigint"),
        )
    )
    pairs = written_out()
    scores = np.array(list(pairs.values()), np.float32)
    expected = score_pairs(np.array(list(pairs)), scores, np.array([(min(p), max(p)) for p in TRUE]))
    assert figures == pytest.approx(expected | {"n_truth": len(TRUE)}, abs=1e-12)


def test_the_figures_of_the_paper_s_example(spark):
    """Scores .9 .8 .8 .7 .4, truth 1 0 1 0 1, four true pairs: wrong before right among ties."""
    scores, right = (0.9, 0.8, 0.8, 0.7, 0.4), (1, 0, 1, 0, 1)
    pairs = [(2 * i, 2 * i + 1, s) for i, s in enumerate(scores)]
    true = [p[:2] for p, r in zip(pairs, right, strict=True) if r] + [(90, 91)]
    frame, truth = spark.createDataFrame(pairs, PAIRS), spark.createDataFrame(true, TRUE_PAIRS)
    classes = spark.createDataFrame([], "image_id bigint, class_id bigint")
    assert figures_of(evaluate_copies(frame, truth, classes))["micro_ap"] == pytest.approx(0.566667, abs=1e-6)


def test_groups_are_scored_by_the_pairs_within_them(spark):
    members = [(1, 10), (1, 11), (1, 12), (2, 20), (2, 21)]
    true = [(10, 11), (11, 12), (12, 20), (-4, 10)]
    groups = spark.createDataFrame(members, "group_id bigint, image_id bigint")
    figures = figures_of(evaluate_groups(groups, spark.createDataFrame(true, TRUE_PAIRS)))
    assert figures == {"group_precision": 2 / 4, "group_recall": 2 / 4, "n_group_pairs": 4}
    none = figures_of(evaluate_groups(groups.limit(0), spark.createDataFrame(true, TRUE_PAIRS)))
    assert none["group_recall"] == 0
    assert np.isnan(none["group_precision"])


def test_uris_groups_and_ids_become_the_same_pairs(spark):
    images = spark.createDataFrame(
        [(5, "a"), (2, "b"), (9, "c"), (1, "twice"), (3, "twice")], "image_id bigint, uri string"
    )
    by_uri = spark.createDataFrame([("a", "b"), ("c", "a"), ("b", "c")], "uri_a string, uri_b string")
    groups = spark.createDataFrame(
        [("a", "x"), ("b", "x"), ("c", "x"), ("d", "y")], "uri string, group string"
    )
    ids = spark.createDataFrame([(5, 2), (2, 5), (9, 5), (2, 9)], TRUE_PAIRS)
    for rows in (by_uri, groups, ids):
        found = sorted(tuple(row) for row in resolve_pairs(rows, images).collect())
        assert found == [(2, 5), (2, 9), (5, 9)]
    odd = spark.createDataFrame([("a", "lost"), ("a", "twice")], "uri_a string, uri_b string")
    found = resolve_pairs(odd, images).collect()
    assert len(found) == 2
    assert all(row["image_a"] < 0 and row["image_b"] == 5 for row in found)
