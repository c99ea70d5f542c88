"""The examples in docstrings, executed; modules without one are not imported."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "lib"
EXEMPLARY = sorted(path for path in (LIB / "resight").rglob("*.py") if ">>> " in path.read_text())


@pytest.mark.parametrize("path", EXEMPLARY, ids=lambda path: str(path.relative_to(LIB)))
def test_the_examples_of_a_module_hold(path):
    module = import_module(".".join(path.relative_to(LIB).with_suffix("").parts))
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
