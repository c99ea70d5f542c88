"""Examples from tables, and the tuples drawn from them: no leakage, no copies, repeatable."""

import numpy as np
import pyarrow as pa
import pytest

from resight.training.draw import draw_anchors, pick_negatives
from resight.training.examples import Examples, list_examples

TUPLES = [  # anchor, positive, negative, weight, component, split
    (100, 101, 200, 0.5, 7, "train"),
    (100, 101, 201, 0.5, 7, "train"),
    (100, 102, 200, 1.5, 7, "train"),
    (200, 201, 100, 1.0, 9, "train"),
    (300, 301, 302, 1.0, None, "validation"),
]
NAMES = ("anchor", "positive", "negative", "weight", "component_id", "split")


def table(rows=TUPLES):
    return pa.table(dict(zip(NAMES, map(list, zip(*rows, strict=True)), strict=True)))


def ids_of(examples, rows):
    return examples.image_ids[rows].tolist()


def test_pairs_are_listed_once_with_the_negatives_of_all_their_rows():
    examples = list_examples(table())
    part = examples.part(training=True)
    assert ids_of(examples, part.anchors) == [100, 200]
    assert [ids_of(examples, rows) for rows in part.positives] == [[101, 102], [201]]
    assert [rows.tolist() for rows in part.weights] == [[0.5, 1.5], [1.0]]
    assert [ids_of(examples, rows) for rows in part.negatives] == [[200, 201], [100]]
    assert ids_of(examples, part.rows) == [100, 101, 102, 200, 201]
    assert ids_of(examples, examples.part(training=False).rows) == [300, 301, 302]


def test_a_photo_on_both_sides_is_refused():
    with pytest.raises(ValueError, match="image 301 is in tuples of training and of validation"):
        list_examples(table([*TUPLES, (100, 301, 200, 1.0, 7, "train")]))


def test_pools_add_negatives_but_never_one_of_the_other_side():
    pools = pa.table(
        {
            "anchor": [100, 100, 100, 300, 300, 555],
            "item": [400, 301, 103, 400, 401, 402],
            "role": ["negative", "negative", "positive", "negative", "negative", "negative"],
        }
    )
    examples = list_examples(table(), pools)
    assert ids_of(examples, examples.part(training=True).negatives[0]) == [200, 201, 400]
    assert ids_of(examples, examples.part(training=False).negatives[0]) == [302, 401]
    assert 400 in ids_of(examples, examples.part(training=True).rows)
    assert not {103, 402} & set(examples.image_ids.tolist())


def test_copies_of_the_anchor_and_its_positives_are_excluded():
    groups = pa.table({"group_id": [1, 1, 2, 2, 3], "image_id": [200, 101, 300, 302, 999]})
    examples = list_examples(table(), groups=groups)
    part = examples.part(training=True)
    excluded = [ids_of(examples, np.sort(rows)) for rows in examples.exclude(part)]
    assert excluded == [[100, 101, 102, 200], [101, 200, 201]]
    rows = dict(zip(examples.image_ids.tolist(), examples.copies, strict=True))
    assert rows[200] == rows[101] != rows[201]


def test_clusters_are_components_and_a_photo_of_none_is_alone():
    examples = list_examples(table())
    named = dict(zip(examples.image_ids.tolist(), examples.clusters.tolist(), strict=True))
    assert named[100] == named[101] == named[102]
    assert named[200] == named[201] != named[100]
    assert len({named[300], named[301], named[302], named[100], named[200]}) == 5


def test_bad_photos_take_their_pairs_and_anchors_with_them():
    examples = list_examples(table())
    bad = np.isin(examples.image_ids, [101, 201])
    part = examples.part(training=True, bad=bad)
    assert ids_of(examples, part.anchors) == [100]
    assert [ids_of(examples, rows) for rows in part.positives] == [[102]]
    assert ids_of(examples, part.rows) == [100, 102, 200]
    nobody = examples.part(training=True, bad=np.ones(len(bad), bool))
    assert nobody.anchors.size == 0
    assert nobody.positives == []


def test_examples_survive_packing():
    examples = list_examples(table())
    again = Examples.from_bytes(examples.to_bytes())
    assert again.pairs.tolist() == examples.pairs.tolist()
    assert again.in_training.tolist() == examples.in_training.tolist()


def test_an_epoch_draws_every_positive_sometime_and_the_same_ones_again():
    part = list_examples(table()).part(training=True)
    drawn = [draw_anchors(part, n=0, weighted=True, seed=3, epoch=e) for e in range(1, 30)]
    again = draw_anchors(part, n=0, weighted=True, seed=3, epoch=5)
    assert [a.tolist() for a in again] == [a.tolist() for a in drawn[4]]
    assert {int(d.positives[d.chosen == 0][0]) for d in drawn} == set(part.positives[0].tolist())
    assert all(sorted(d.chosen.tolist()) == [0, 1] for d in drawn)
    assert all(d.weights.mean() == pytest.approx(1) for d in drawn)
    assert draw_anchors(part, n=1, weighted=False, seed=0, epoch=1).weights.tolist() == [1.0]


def test_drawn_negatives_keep_their_order_and_the_absent_come_last():
    found = np.array([[5, 6, 7, 8], [9, -1, -1, -1]])
    drawn = [pick_negatives(found, n=2, seed=0, epoch=e, part=0) for e in range(40)]
    assert {tuple(d[0]) for d in drawn} == {(5, 6), (5, 7), (5, 8), (6, 7), (6, 8), (7, 8)}
    assert {tuple(d[1]) for d in drawn} == {(9, -1)}
    assert pick_negatives(found, n=4, seed=0, epoch=0, part=0) is found
