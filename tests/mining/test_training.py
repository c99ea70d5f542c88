import numpy as np
import pytest

from resight.config import SettingError
from resight.mining import training
from resight.mining.training import list_ids, locate_images, read_tuples
from tests.mining.exported import PAIRS, commit_photos


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    return commit_photos(tmp_path_factory.mktemp("tuples"))


def test_negatives_of_a_pair_are_together_and_in_order(committed):
    tuples = read_tuples(committed.reader)
    lists = np.split(tuples.negatives, tuples.offsets[1:-1])
    found = zip(*(tuples.rows[name].to_pylist() for name in ("anchor", "positive")), lists, strict=True)
    assert [(a, p, n.tolist()) for a, p, n in found] == [pair[:3] for pair in PAIRS]
    validating = read_tuples(committed.reader, split="validation")
    assert list_ids(validating).tolist() == [16, 17, 18, 19]
    assert len(read_tuples(committed.reader, split="none").rows) == 0


def test_images_are_located(committed):
    places = locate_images(committed.reader, [12, 99])
    assert set(places) == {12}
    assert places[12].path.endswith("photos/p 12.png")
    assert locate_images(committed.reader, []) == {}


def test_a_table_that_does_not_fit_is_refused(committed, monkeypatch):
    monkeypatch.setattr(training, "MAX_ROWS", 3)
    with pytest.raises(SettingError, match="6 tuples are more than 3"):
        read_tuples(committed.reader)
