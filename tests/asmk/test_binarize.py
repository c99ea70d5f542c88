"""Packed signs, against signs kept one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resight.asmk.binarize import binarize, count_differences, unpack_codes


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int8, st.tuples(st.integers(0, 5), st.integers(1, 70)), elements=st.integers(-2, 2)))
def test_unpacking_gives_the_signs_that_were_packed(Z):
    codes = binarize(Z)
    assert codes.shape == (len(Z), -(-Z.shape[1] // 8))
    np.testing.assert_array_equal(unpack_codes(codes, Z.shape[1]), np.where(Z >= 0, 1, -1))


def test_bit_zero_is_the_lowest_bit_of_the_first_byte():
    assert binarize(np.array([[1, -1, 1, -1, -1, -1, -1, -1, 1]])).tolist() == [[5, 1]]


def test_zero_is_a_one():
    assert unpack_codes(binarize(np.array([[0.0, -0.0, -1e-300]])), 3).tolist() == [[1, 1, -1]]


@pytest.mark.parametrize("n_bits", [1, 8, 9, 63, 64, 65, 100, 128])
def test_distances_are_those_of_the_signs(rng, n_bits):
    A, B = (rng.integers(0, 2, (size, n_bits)) * 2 - 1 for size in (5, 7))
    expected = (A[:, None] != B[None]).sum(-1)
    np.testing.assert_array_equal(count_differences(binarize(A), binarize(B)), expected)


def test_distances_do_not_depend_on_the_block(rng, monkeypatch):
    codes = rng.integers(0, 256, (40, 16), np.uint8)
    whole = count_differences(codes, codes)
    monkeypatch.setattr("resight.asmk.binarize.BLOCK_BYTES", 3 * codes.nbytes)
    np.testing.assert_array_equal(count_differences(codes, codes), whole)


def test_codes_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"codes have shape \(1, 2\), expected \(n, 3\) for 17 bits"):
        unpack_codes(np.zeros((1, 2), np.uint8), 17)
