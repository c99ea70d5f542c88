"""Which images a model is fitted on."""

import pytest

from resight.features.fitting.sample import parse_conditions


def test_values_of_one_column_are_alternatives():
    found = parse_conditions(["split=train", " source_id = a ", "split=held = out"])
    assert found == {"split": ["train", "held = out"], "source_id": ["a"]}
    assert parse_conditions([]) == {}


@pytest.mark.parametrize("condition", ["split", "=train", " = x"])
def test_a_condition_without_column_or_value_is_refused(condition):
    with pytest.raises(ValueError, match=r"only: .* is not of the form column=value"):
        parse_conditions([condition])
