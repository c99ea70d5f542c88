import doctest

import pytest

from resight.diffusion import plan
from resight.diffusion.plan import choose_path, count_bytes, fit_lanes

GRAPH = {"n": 10_000_000, "nnz": 130_000_000, "n_queries": 256}


def test_the_examples_hold():
    assert doctest.testmod(plan).failed == 0


@pytest.mark.parametrize("path", plan.PATHS)
def test_a_named_path_is_taken_whatever_the_sizes(path):
    chosen = choose_path(**GRAPH, memory_bytes=1, n_slots=0, path=path)
    assert chosen.path == path
    assert chosen.reason.startswith("as the settings say")


def test_less_memory_leads_from_one_machine_to_ranks_to_shortlists():
    needed = sum(count_bytes(**GRAPH))
    shares = (1, 0.99, 0.2, 0.1, 0.02)
    paths = [choose_path(**GRAPH, memory_bytes=int(needed * f), n_slots=8) for f in shares]
    assert [p.path for p in paths] == ["replicated", *["partitioned"] * 3, "truncated"]
    assert [p.n_parts for p in paths] == [1, 2, 8, 8, 1]
    sizes = GRAPH["n"], GRAPH["nnz"]
    lanes = [fit_lanes(*sizes, 8, memory_bytes=int(needed * f)) for f in shares]
    assert lanes == [16, 16, 16, 4, 1]


def test_regions_are_never_spread_over_ranks():
    needed = sum(count_bytes(**GRAPH))
    plans = [
        choose_path(**GRAPH, memory_bytes=int(needed * f), n_slots=8, of_regions=True) for f in (1, 0.99)
    ]
    assert [plan.path for plan in plans] == ["replicated", "truncated"]
    assert "regions are not spread over ranks" in plans[1].reason


def test_an_unknown_path_is_refused():
    with pytest.raises(ValueError, match="expected auto, replicated, partitioned, truncated"):
        choose_path(**GRAPH, memory_bytes=1, n_slots=0, path="magic")
