"""The figure of an epoch against scikit-learn, and which photos take part in it."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score

from resight.training.evaluate import evaluate_part
from resight.training.examples import list_examples
from tests.synthetic import unit

TUPLES = [  # anchor, positive, negative, component
    (0, 1, 10, 5),
    (0, 2, 11, 5),
    (20, 21, 0, 6),
]


@pytest.fixture
def given(rng):
    names = ("anchor", "positive", "negative", "component_id")
    columns = dict(zip(names, map(list, zip(*TUPLES, strict=True)), strict=True))
    n = len(TUPLES)
    tuples = pa.table(columns | {"weight": [1.0] * n, "split": ["validation"] * n})
    groups = pa.table({"group_id": [1, 1], "image_id": [0, 21]})  # 21 is a copy of the anchor 0
    examples = list_examples(tuples, groups=groups)
    return examples, unit(rng.normal(size=(len(examples.image_ids), 8))).astype(np.float32)


def test_the_figure_is_the_mean_average_precision_over_judged_photos(given):
    examples, X = given
    row = {int(image_id): i for i, image_id in enumerate(examples.image_ids)}
    judged = {0: ([1, 2], [10, 11, 20]), 20: ([21], [0, 1, 2, 10, 11])}
    expected = []
    for anchor, (positives, negatives) in judged.items():
        rows = [row[i] for i in positives + negatives]
        truth = [1] * len(positives) + [0] * len(negatives)
        expected.append(average_precision_score(truth, X[rows] @ X[row[anchor]]))
    part = examples.part(training=False)
    assert evaluate_part(X, part, examples) == pytest.approx(np.mean(expected))


def test_photos_of_the_own_component_that_nobody_judged_take_no_part(given):
    examples, X = given
    row = {int(image_id): i for i, image_id in enumerate(examples.image_ids)}
    part = examples.part(training=False)
    examples.clusters[row[10]] = examples.clusters[row[20]]  # listed for 0, of the component of 20
    X[row[10]] = X[row[20]]  # would come first for 20
    X[row[21]] = unit((X[row[20]] + 0.1 * X[row[1]])[None])[0]
    X[row[1]], X[row[2]] = X[row[0]], X[row[0]]
    assert evaluate_part(X, part, examples) == 1.0


def test_without_anchors_there_is_no_figure(given):
    examples, X = given
    assert np.isnan(evaluate_part(X, examples.part(training=True), examples))
