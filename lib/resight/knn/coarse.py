"""Bytes for floats in the first stage of a search: products of int8 rows are four times as fast.

Unit vectors are turned by a fixed orthogonal map (a shuffle, signs and Hadamard matrices), after which the
components of any vector look like those of a random one, and rounded to multiples of one step. By Cauchy's
inequality the norms of two rounding errors bound what rounding does to a dot product. Rows whose error is
larger than that of nearly all (spiky in the turned basis too) are *rough* and never judged by their bytes. So
a search that compares again all pairs within the bound of the others is exact.
"""

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

TURN = 64  # side of the Hadamard matrices
SIGMAS = 4.5  # of a component, that the largest byte stands for
LARGEST = 127
EXCESS = 1.1  # error of a row over the expected one, above which it is rough
ROUNDING = 1e-4  # more than float32 adds to a dot product of two unit vectors in the turned basis
OFTEN = 6.0  # standard deviations of the error of a product: what hardly ever is exceeded


class Coarse(NamedTuple):
    """Rounded rows.

    Parameters
    ----------
    codes : ndarray, (n, D) int8
        D is the dimension rounded up to a multiple of 64.
    errors : ndarray, (n,) float32
        Norm of the rounding error of the row.
    """

    codes: np.ndarray
    errors: np.ndarray


def padded(d: int) -> int:
    """Round a dimension up to whole Hadamard matrices."""
    return -(-d // TURN) * TURN


def step_of(d: int) -> float:
    """Give the step of the codes of ``d``-dimensional unit vectors."""
    return float(SIGMAS / (LARGEST * np.sqrt(padded(d))))


def row_error(d: int) -> float:
    """Bound the norm of the rounding error of a row that is not rough."""
    return float(EXCESS * step_of(d) * np.sqrt(padded(d) / 12))


def product_errors(errors: np.ndarray, d: int, *, always: bool) -> np.ndarray:
    """Bound the error of the products of some rows with rows that are not rough.

    Parameters
    ----------
    errors : ndarray, (n,) float32
        Norms of the rounding errors of the rows.
    always : bool
        For every pair (Cauchy); else for all but some in a thousand million, as if the rounding errors were
        independent of the vectors.

    Returns
    -------
    ndarray, (n,) float32
    """
    other = row_error(d)
    bounds = errors + other * (1 + errors)
    return ((bounds if always else bounds * OFTEN / np.sqrt(2 * padded(d))) + ROUNDING).astype(np.float32)


@lru_cache(maxsize=8)
def turning(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the shuffle (d,) and signs (d,) of the fixed orthogonal map, and the Hadamard matrix (64, 64)."""
    rng = np.random.default_rng(d)
    matrix = np.ones((1, 1))
    while len(matrix) < TURN:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    signs = rng.choice(np.array([-1, 1], np.float32), d)
    return rng.permutation(d), signs, (matrix / np.sqrt(TURN)).astype(np.float32)


def turn_rows(X: np.ndarray) -> np.ndarray:
    """Apply the orthogonal map to rows (n, d) float32: (n, D) float32."""
    n, d = X.shape
    order, signs, matrix = turning(d)
    spread = np.zeros((n, padded(d)), np.float32)
    np.multiply(X[:, order], signs, out=spread[:, :d])
    return (spread.reshape(-1, TURN) @ matrix).reshape(n, -1)


def round_rows(X: np.ndarray) -> Coarse:
    """Round unit rows (n, d) float32."""
    step = step_of(X.shape[1])
    codes, errors = round_turned(turn_rows(X), np.float32(1 / step))
    return Coarse(codes, np.sqrt(errors) * np.float32(step))


def round_loop(turned, scale):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Round (n, D) float32 times ``scale`` to int8; the squared norm of every row's error, in steps."""
    n, d = turned.shape
    codes, errors = np.empty((n, d), np.int8), np.empty(n, np.float32)
    for i in range(n):
        error = np.float32(0)
        for j in range(d):
            exact = turned[i, j] * scale
            rounded = min(max(np.rint(exact), np.float32(-LARGEST)), np.float32(LARGEST))
            codes[i, j] = np.int8(rounded)
            error += (exact - rounded) * (exact - rounded)
        errors[i] = error
    return codes, errors


round_turned = numba.njit(cache=True, nogil=True, fastmath=True)(round_loop)
