import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.discovery.modes import climb
from tests.discovery.oracles import slow_climb


def ascend(A, ids, block=1000, floor=0.0):
    N = normalize_affinity(sp.csr_array(A))
    spans = [(i, min(i + block, len(A))) for i in range(0, len(A), block)]
    return np.concatenate([climb(N.S, N.degrees, ids, a, b, floor=floor) for a, b in spans])


@pytest.mark.parametrize("floor", [0.0, 0.5])
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_every_region_climbs_as_the_rule_says(rng, block, floor):
    A = np.triu(rng.uniform(0.1, 1, size=(40, 40)) * (rng.uniform(size=(40, 40)) < 0.2), 1)
    A = A + A.T
    ids = rng.permutation(40)
    np.testing.assert_array_equal(ascend(A, ids, block, floor), slow_climb(A, ids, floor))


def test_climbs_end_and_never_leave_their_component(rng):
    A = np.zeros((9, 9))
    for part in (slice(0, 4), slice(4, 8)):
        A[part, part] = 0.9 * (1 - np.eye(4))
    tops = ascend(A, np.arange(9)[::-1])
    for _ in range(9):
        tops = tops[tops]
    assert tops.tolist() == [3] * 4 + [7] * 4 + [8]  # equal densities: the smallest id
