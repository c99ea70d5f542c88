"""Labels under the protocols."""

import numpy as np
import pytest

from resight.config import SettingError
from resight.evaluation.protocols import PROTOCOLS, build_query_truth, find_protocols
from resight.evaluation.ranking_metrics import evaluate_ranking

RANKED = "HNEUENHN"  # hard, negative, easy, unclear, ...
LETTERS = {"E": "easy", "H": "hard", "U": "junk", "P": "positive"}


def evaluate_letters(letters, protocols, own=None):
    """Figures of a list spelled as letters by rank; ids count from 100."""
    ids = 100 + np.arange(len(letters))
    labelled = [(i, LETTERS[c]) for i, c in zip(ids, letters, strict=True) if c in LETTERS]
    truth = build_query_truth(
        np.array([i for i, _ in labelled], int), [label for _, label in labelled], own=own
    )
    chosen = find_protocols(protocols)
    return evaluate_ranking(ids, -ids.astype(float), truth, protocols=chosen, ks=(1, 5, 10))


@pytest.mark.parametrize(
    ("protocol", "trapezoid", "step", "precision"),
    [
        ("easy", 0.416667, 0.583333, (0, 0.666667)),
        ("medium", 0.731250, 0.770833, (1, 0.6, 0.666667)),
        ("hard", 0.708333, 0.75, (1, 0.5)),
    ],
)
def test_difficulty_protocols_equal_the_worked_example(protocol, trapezoid, step, precision):
    found = evaluate_letters(RANKED, [protocol])[protocol]
    assert found["ap_trapezoid"] == pytest.approx(trapezoid, abs=1e-6)
    assert found["ap_step"] == pytest.approx(step, abs=1e-6)
    at = [found["p@1"], found["p@5"], found["p@10"]][: len(precision)]
    assert at == pytest.approx(precision, abs=1e-6)


def test_junk_counted_as_negative_would_lower_the_figure():
    assert evaluate_letters("UPNUP", ["old"])["old"]["ap_trapezoid"] == pytest.approx(0.791667, abs=1e-6)
    assert evaluate_letters("NPNNP", ["old"])["old"]["ap_trapezoid"] == pytest.approx(0.287500, abs=1e-6)


def test_junk_may_stand_anywhere(rng):
    clean = "NPNNPNPN"
    expected = evaluate_letters(clean, ["old"])["old"]
    for _ in range(50):
        spots = rng.integers(0, len(clean) + 1, 4)
        letters = "".join(np.insert(list(clean), spots, "U"))
        found = evaluate_letters(letters, ["old"])["old"]
        assert found | {"depth": 8.0} == expected


def test_medium_positives_are_easy_plus_hard(rng):
    labels = rng.choice(["easy", "hard", "junk"], 40)
    truth = build_query_truth(np.arange(40), labels)
    n = {name: truth.count_positives(PROTOCOLS[name]) for name in ("easy", "medium", "hard")}
    assert n["medium"] == n["easy"] + n["hard"] > n["easy"] > 0


def test_a_query_without_hard_images_has_no_hard_figure():
    found = evaluate_letters("ENUE", ["easy", "hard"])
    assert np.isnan(list(found["hard"].values())).all()
    assert not np.isnan(list(found["easy"].values())).any()


def test_the_query_itself_is_removed_or_counts_as_the_protocol_says():
    found = evaluate_letters("PNP", ["old", "leave_one_out", "ukb"], own=100)
    assert found["leave_one_out"]["ap_step"] == 0.5  # ranks N P, one positive
    assert found["old"]["ap_step"] == pytest.approx((1 + 2 / 3) / 2)
    unlabelled = evaluate_letters("NNP", ["old", "leave_one_out", "ukb"], own=100)
    assert unlabelled["old"]["ap_step"] == pytest.approx(1 / 3)
    assert unlabelled["leave_one_out"]["ap_step"] == 0.5
    assert unlabelled["ukb"]["ukb"] == 2
    assert "ukb" not in unlabelled["old"]


def test_unknown_protocols_are_named_with_the_known_ones():
    with pytest.raises(SettingError, match="unknown protocol 'oxford'; the protocols are old, easy"):
        find_protocols(["old", "oxford"])
    with pytest.raises(SettingError, match="no protocol given"):
        find_protocols([])


def test_an_image_labelled_twice_is_refused():
    with pytest.raises(ValueError, match="image 7 is labelled twice"):
        build_query_truth(np.array([7, 3, 7]), ["easy", "easy", "hard"])
