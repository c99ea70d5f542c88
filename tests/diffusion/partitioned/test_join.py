from dataclasses import replace

import numpy as np
import pytest

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.partitioned.join import join_rows, save_blocks
from resight.knn.matrix import map_array, save_array
from tests.diffusion.graphs import patchy_affinity
from tests.diffusion.partitioned.ranks import save_parts


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_rows_joined_of_finer_parts_are_the_bytes_of_the_part(tmp_path, block):
    S = normalize_affinity(patchy_affinity(np.random.default_rng(0))).S
    halves, sixths = (save_parts(tmp_path / str(n), S, n) for n in (2, 6))
    for half in halves.parts:
        inside = tuple(p for p in sixths.parts if half.start <= p.start and p.stop <= half.stop)
        assert join_rows(replace(sixths, parts=inside), str(tmp_path / "joined"), block=block) == half


def test_an_array_in_blocks_is_the_file_of_the_array(tmp_path):
    values = np.arange(10.0)
    pieces = [values[:3], values[3:3], values[3:]]
    name = save_blocks(str(tmp_path), "x", 10, np.float64, lambda: iter(pieces))
    np.testing.assert_array_equal(map_array(str(tmp_path), name), values)
    assert save_array(str(tmp_path / "other"), "x", values) == name
    with pytest.raises(ValueError, match="x has 208 bytes, expected 216"):
        save_blocks(str(tmp_path), "x", 11, np.float64, lambda: iter(pieces))
