import numpy as np
import pyarrow as pa
import pytest

from resight.arrow import arrow_to_lists, arrow_to_vectors, lists_to_arrow, vectors_to_arrow


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_vectors_survive_packing_slicing_and_chunking(dtype, rng):
    X = rng.normal(size=(9, 5)).astype(dtype)
    column = vectors_to_arrow(X)
    np.testing.assert_array_equal(arrow_to_vectors(column, dtype), X)
    np.testing.assert_array_equal(arrow_to_vectors(column[3:7], dtype), X[3:7])
    chunked = pa.chunked_array([column[:2], column[2:2], column[2:]])
    np.testing.assert_array_equal(arrow_to_vectors(chunked, dtype), X)


def test_rows_that_are_not_valid_become_null(rng):
    X = rng.normal(size=(12, 3)).astype("float32")
    valid = np.arange(12) % 3 > 0
    column = vectors_to_arrow(X, valid)
    assert column.is_valid().to_pylist() == valid.tolist()
    np.testing.assert_array_equal(arrow_to_vectors(column.drop_null(), "float32"), X[valid])


def test_vectors_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match="one length"):
        arrow_to_vectors(pa.array([b"1234", b"12"], pa.binary()), "float16")


def test_lists_survive_packing_and_slicing():
    offsets, values = np.array([0, 2, 2, 5]), np.arange(5, dtype=np.int64)
    column = lists_to_arrow(offsets, values)
    got = arrow_to_lists(column[1:], "int64")
    np.testing.assert_array_equal(got[0], [0, 0, 3])
    np.testing.assert_array_equal(got[1], [2, 3, 4])
    empty = arrow_to_lists(pa.chunked_array([], pa.binary()), "int64")
    assert (empty[0].tolist(), len(empty[1])) == ([0], 0)
