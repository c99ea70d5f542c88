"""Compiled search of groups of words: each descriptor is compared with the words of its nearest groups only.

Words lie in tiles of 16, dimension by dimension, so that one instruction multiplies a number of a descriptor
with that of 16 words, and four descriptors share what is read of a tile. A score is a sum over the dimensions
in their order: it has the same bits whichever descriptors are searched together, which a matrix product would
not promise.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # words of a tile; groups are filled up to a multiple
ROWS = 4  # descriptors that are multiplied together
FLOAT, LONG = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
NUMBER_BYTES, VECTOR_BYTES = LONG(4), LONG(4 * LANES)


@intrinsic
def score_tile(typing, X, rows, tiles, tile, half_norms, least, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Score the words of a tile for `ROWS` ``rows`` of X: ``x c - |c|^2 / 2`` into ``out`` (rows, lanes).

    Returns `LANES` bits per row, one after the other: whether each score is larger than ``least`` of the row.
    """
    signature = types.uint64(X, rows, tiles, tile, half_norms, least, out)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        opened = [
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        ]
        queries, chosen, words, number, norms, limits, scores = opened
        d, stride = builder.extract_value(queries.shape, 1), builder.extract_value(queries.strides, 0)
        norm = load_vector(builder, move(builder, norms.data, builder.mul(number, VECTOR_BYTES)))
        places = [builder.load(builder.gep(chosen.data, [LONG(r)])) for r in range(ROWS)]
        starts = [move(builder, queries.data, builder.mul(place, stride)) for place in places]
        first = move(builder, words.data, builder.mul(number, builder.mul(d, VECTOR_BYTES)))
        sums = multiply_rows(builder, starts, first, d, builder.fneg(norm))
        mask = LONG(0)
        for r, total in enumerate(sums):
            place = move(builder, scores.data, builder.mul(LONG(r), VECTOR_BYTES))
            builder.store(total, builder.bitcast(place, VECTOR.as_pointer()), align=4)
            limit = spread(builder, builder.load(builder.gep(limits.data, [LONG(r)])))
            bits = builder.bitcast(builder.fcmp_ordered(">", total, limit), ir.IntType(LANES))
            mask = builder.or_(mask, builder.shl(builder.zext(bits, LONG), LONG(LANES * r)))
        return mask

    return signature, generate


def multiply_rows(builder: Any, starts: list[Any], first: Any, d: Any, initial: Any) -> list[Any]:
    """Emit the sums over ``d`` dimensions of rows that begin at ``starts``, with the tile at ``first``."""
    kind = ir.FunctionType(VECTOR, [VECTOR, VECTOR, VECTOR])
    multiply = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    sums = [cgutils.alloca_once_value(builder, initial) for _ in starts]
    with cgutils.for_range(builder, d) as loop:
        words = load_vector(builder, move(builder, first, builder.mul(loop.index, VECTOR_BYTES)))
        for start, total in zip(starts, sums, strict=True):
            place = move(builder, start, builder.mul(loop.index, NUMBER_BYTES))
            value = spread(builder, builder.load(builder.bitcast(place, FLOAT.as_pointer())))
            builder.store(builder.call(multiply, [value, words, builder.load(total)]), total)
    return [builder.load(total) for total in sums]


def move(builder: Any, pointer: Any, n_bytes: Any) -> Any:
    """Emit a pointer to what lies ``n_bytes`` behind another."""
    return builder.gep(builder.bitcast(pointer, ir.IntType(8).as_pointer()), [n_bytes])


def load_vector(builder: Any, pointer: Any) -> Any:
    """Emit the reading of `LANES` numbers that lie one after the other."""
    return builder.load(builder.bitcast(pointer, VECTOR.as_pointer()), align=4)


def spread(builder: Any, value: Any) -> Any:
    """Emit a vector of `LANES` equal numbers."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), lanes)


@numba.njit(cache=True, nogil=True)
def insert(score, name, values, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Put a score that is better than the last of ``values`` (l,), descending, at its place."""
    at = values.size - 1
    while at > 0 and values[at - 1] < score:
        values[at], names[at] = values[at - 1], names[at - 1]
        at -= 1
    values[at], names[at] = score, name


@numba.njit(cache=True, nogil=True)
def scan(X, rows, n, tiles, half_norms, start, stop, values, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Renew the best scores ``values`` (., l) and their slots, of ``n`` of four ``rows`` of X.

    A score is ``x c - |c|^2 / 2``: the largest one belongs to the smallest distance. The slots ``start`` to
    ``stop`` are compared, whole tiles.
    """
    least, scores = np.empty(ROWS, np.float32), np.empty((ROWS, LANES), np.float32)
    last = values.shape[1] - 1
    for r in range(ROWS):
        least[r] = values[rows[r], last]
    for tile in range(start // LANES, stop // LANES):
        mask: Any = score_tile(X, rows, tiles, tile, half_norms, least, scores)  # type: ignore[call-arg]
        if mask == 0:
            continue
        for r in range(n):
            if (mask >> np.uint64(LANES * r)) & np.uint64((1 << LANES) - 1):
                for lane in range(LANES):
                    if scores[r, lane] > values[rows[r], last]:
                        insert(scores[r, lane], tile * LANES + lane, values[rows[r]], names[rows[r]])
                least[r] = values[rows[r], last]


@numba.njit(cache=True, nogil=True)
def choose_groups(X, tiles, half_norms, n_probes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Name the ``n_probes`` nearest of the groups whose centres are in ``tiles``, of every row: (n, p) int32.

    Where products overflow float32 nothing is near: such a row names any of them, the first where there is no
    number at all.
    """
    probes, rows = np.zeros((X.shape[0], n_probes), np.int32), np.empty(ROWS, np.int64)
    values = np.full((X.shape[0], n_probes), -np.inf, np.float32)
    for first in range(0, X.shape[0], ROWS):
        n = min(ROWS, X.shape[0] - first)
        for r in range(ROWS):
            rows[r] = first + min(r, n - 1)
        scan(X, rows, n, tiles, half_norms, 0, half_norms.size, values, probes)
    return probes


@numba.njit(cache=True, nogil=True)
def list_visitors(probes, n_groups):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """List the rows that visit each group, in order: bounds (g + 1,) and rows (n p,)."""
    bounds, flat = np.zeros(n_groups + 1, np.int64), probes.ravel()
    for group in flat:
        bounds[group + 1] += 1
    for group in range(n_groups):
        bounds[group + 1] += bounds[group]
    place, rows = bounds.copy(), np.empty(flat.size, np.int32)
    for i in range(flat.size):
        rows[place[flat[i]]] = i // probes.shape[1]
        place[flat[i]] += 1
    return bounds, rows


@numba.njit(cache=True, nogil=True)
def search_groups(X, probes, tiles, half_norms, starts, n_best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find the ``n_best`` slots with the best scores: (n, l) int32, best first, -1 where there are fewer.

    ``starts`` (g + 1,) says which slots the words of a group have, and ``probes`` (n, p) which groups each
    row of X visits. Rows that visit a group are taken together while its words lie in the nearest cache.
    """
    values = np.full((X.shape[0], n_best), -np.inf, np.float32)
    names = np.full((X.shape[0], n_best), -1, np.int32)
    bounds, visitors = list_visitors(probes, starts.size - 1)
    rows = np.empty(ROWS, np.int64)
    for group in range(starts.size - 1):
        for first in range(bounds[group], bounds[group + 1], ROWS):
            n = min(ROWS, bounds[group + 1] - first)
            for r in range(ROWS):
                rows[r] = visitors[first + min(r, n - 1)]
            scan(X, rows, n, tiles, half_norms, starts[group], starts[group + 1], values, names)
    return names
