"""Compiled loops of the solver, written as vector instructions.

A block of vectors is an array (n, lanes): ``lanes`` numbers side by side, a power of two. A loop is compiled
for each width; a row is then one value of the machine (LLVM's vector type), and the row of a product that is
being summed stays in registers, which neither `scipy.sparse` nor a plain compiled loop achieves. The row that
a later entry needs is requested from memory ``AHEAD`` entries before. Dot products are summed in float64.
All loops work on given blocks of rows and hold no lock of Python. They stand in one file since numba's cache
watches the file of a loop and no other.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

AHEAD = 64  # entries between the request for a row and its use
LINE = 64  # bytes that memory delivers together
INT, INT32, DOUBLE = ir.IntType(64), ir.IntType(32), ir.DoubleType()


class Emitter:
    """Writes vector instructions for arrays (n, lanes); the types give the width, ``builder`` the place."""

    def __init__(self, builder: Any, element: Any, lanes: int) -> None:
        self.builder, self.element, self.lanes = builder, element, lanes
        self.vector, self.wide = ir.VectorType(element, lanes), ir.VectorType(DOUBLE, lanes)
        self.n_bytes = 8 if element == DOUBLE else 4

    def load(self, array: Any, row: Any, vector: Any = None) -> Any:
        """Read one row; ``vector`` is its type where it is not that of the block."""
        at = self.builder.bitcast(self.locate(array, row), (vector or self.vector).as_pointer())
        return self.builder.load(at, align=self.n_bytes)

    def store(self, value: Any, array: Any, row: Any) -> None:
        """Write one row."""
        at = self.builder.bitcast(self.locate(array, row), value.type.as_pointer())
        self.builder.store(value, at, align=self.n_bytes)

    def locate(self, array: Any, row: Any) -> Any:
        """Give the address of a row as a pointer to bytes."""
        first = self.builder.bitcast(array.data, ir.IntType(8).as_pointer())
        stride = self.builder.extract_value(array.strides, 0)
        return self.builder.gep(first, [self.builder.mul(row, stride)])

    def load_int(self, array: Any, at: Any) -> Any:
        """Read one integer of any width."""
        value = self.builder.load(self.builder.gep(array.data, [at]))
        return self.builder.sext(value, INT) if value.type.width < INT.width else value

    def repeat(self, value: Any) -> Any:
        """Put one number in every lane."""
        empty = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(empty, value, INT32(0))
        zeros = ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, empty, zeros)

    def fused(self, x: Any, y: Any, z: Any) -> Any:
        """Compute ``x y + z`` with one rounding."""
        name = f"llvm.fma.v{self.lanes}f{64 if x.type == self.wide else 32}"
        kind = ir.FunctionType(x.type, [x.type] * 3)
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [x, y, z])

    def add_product(self, total: Any, x: Any, y: Any) -> None:
        """Add ``x y`` to a float64 variable."""
        if self.element != DOUBLE:
            x, y = self.builder.fpext(x, self.wide), self.builder.fpext(y, self.wide)
        self.builder.store(self.fused(x, y, self.builder.load(total)), total)

    def variable(self, vector: Any) -> Any:
        """Make a variable, set to zero; it becomes a register."""
        place = cgutils.alloca_once(self.builder, vector)
        self.builder.store(ir.Constant(vector, None), place)
        return place

    def request(self, array: Any, row: Any) -> None:
        """Ask memory for a row without waiting for it."""
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
        prefetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        for offset in range(0, self.lanes * self.n_bytes, LINE):
            at = self.builder.gep(self.locate(array, row), [INT(offset)])
            self.builder.call(prefetch, [at, INT32(0), INT32(3), INT32(1)])

    def loop(self, start: Any, stop: Any) -> Any:
        """Repeat what follows for every number of a range."""
        return cgutils.for_range_slice(self.builder, start, stop, INT(1), INT)


def open_arrays(context: Any, builder: Any, kinds: Any, values: Any) -> list[Any]:
    """Give access to data and strides of numba's arrays."""
    pairs = zip(kinds, values, strict=True)
    return [context.make_array(kind)(context, builder, value) for kind, value in pairs]


def emit_row(out: Emitter, graph: list[Any], P: Any, row: Any, total: Any) -> None:
    """Add one row of ``S P`` to the variable ``total``."""
    data, indices, offsets, last = graph
    start, stop = out.load_int(offsets, row), out.load_int(offsets, out.builder.add(row, INT(1)))
    with out.loop(start, stop) as (k, _):
        later = out.builder.add(k, INT(AHEAD))
        later = out.builder.select(out.builder.icmp_signed("<", later, last), later, last)
        out.request(P, out.load_int(indices, later))
        weight = out.repeat(out.builder.load(out.builder.gep(data.data, [k])))
        x = out.load(P, out.load_int(indices, k))
        out.builder.store(out.fused(weight, x, out.builder.load(total)), total)


@intrinsic
def multiply_rows(typing, graph, P, out, dots, alpha, rows, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """``out = S P`` where alpha is None, else ``out = P - alpha S P`` and ``dots = [P.out]``."""
    signature = types.void(graph, P, out, dots, alpha, rows, lanes)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        kinds = signature.args
        emit = Emitter(builder, context.get_data_type(kinds[1].dtype), kinds[6].count)
        opened = open_arrays(context, builder, kinds[0].types, cgutils.unpack_tuple(builder, args[0], 3))
        x, y = open_arrays(context, builder, kinds[1:3], args[1:3])
        size = builder.extract_value(opened[1].shape, 0)
        first, end = cgutils.unpack_tuple(builder, args[5], 2)
        graph = [*opened, builder.sub(size, INT(1))]
        is_plain = isinstance(kinds[4], types.NoneType)
        total = emit.variable(emit.wide)
        with emit.loop(first, end) as (row, _):
            product = emit.variable(emit.vector)
            emit_row(emit, graph, x, row, product)
            value = builder.load(product)
            if not is_plain:
                own = emit.load(x, row)
                value = emit.fused(emit.repeat(builder.fneg(args[4])), value, own)
                emit.add_product(total, own, value)
            emit.store(value, y, row)
        emit.store(builder.load(total), open_arrays(context, builder, kinds[3:4], args[3:4])[0], INT(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def descend_rows(typing, vectors, steps, dots, rows, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """``R -= t Q`` and ``dots = [R.R]`` for vectors R, Q; steps holds t."""
    signature = types.void(vectors, steps, dots, rows, lanes)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        emit, (R, Q), steps, out, rows = open_update(context, builder, signature.args, args)
        move, total = builder.fneg(emit.load(steps, INT(0))), emit.variable(emit.wide)
        with emit.loop(*rows) as (row, _):
            r = emit.fused(move, emit.load(Q, row), emit.load(R, row))
            emit.store(r, R, row)
            emit.add_product(total, r, r)
        emit.store(builder.load(total), out, INT(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def advance_rows(typing, vectors, steps, dots, rows, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """``F += t P`` and ``P = R + beta P`` for vectors F, P, R; steps holds t and beta."""
    signature = types.void(vectors, steps, dots, rows, lanes)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        emit, (F, P, R), steps, _, rows = open_update(context, builder, signature.args, args)
        t, beta = emit.load(steps, INT(0)), emit.load(steps, INT(1))
        with emit.loop(*rows) as (row, _):
            p = emit.load(P, row)
            emit.store(emit.fused(t, p, emit.load(F, row)), F, row)
            emit.store(emit.fused(beta, p, emit.load(R, row)), P, row)
        return context.get_dummy_value()

    return signature, generate


def open_update(context: Any, builder: Any, kinds: Any, args: Any) -> tuple[Any, ...]:
    """Give the emitter, the vectors, steps, dots and the range of rows of an update."""
    emit = Emitter(builder, context.get_data_type(kinds[1].dtype), kinds[4].count)
    members = cgutils.unpack_tuple(builder, args[0], kinds[0].count)
    vectors = open_arrays(context, builder, [kinds[0].dtype] * kinds[0].count, members)
    steps, dots = open_arrays(context, builder, kinds[1:3], args[1:3])
    return emit, vectors, steps, dots, cgutils.unpack_tuple(builder, args[3], 2)


def multiply_loop(graph, P, out, dots, alpha, bounds, blocks, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Multiply the blocks ``blocks[0]`` to ``blocks[1]`` of rows."""
    for i in range(blocks[0], blocks[1]):
        multiply_rows(graph, P, out, dots[i], alpha, (bounds[i], bounds[i + 1]), lanes)  # type: ignore[call-arg]


def descend_loop(vectors, steps, dots, bounds, blocks, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Reduce the residual in the blocks ``blocks[0]`` to ``blocks[1]`` of rows."""
    for i in range(blocks[0], blocks[1]):
        descend_rows(vectors, steps, dots[i], (bounds[i], bounds[i + 1]), lanes)  # type: ignore[call-arg]


def advance_loop(vectors, steps, dots, bounds, blocks, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Move scores and directions in the blocks ``blocks[0]`` to ``blocks[1]`` of rows."""
    for i in range(blocks[0], blocks[1]):
        advance_rows(vectors, steps, dots[i], (bounds[i], bounds[i + 1]), lanes)  # type: ignore[call-arg]


def pick_columns_loop(X, columns, scale, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Copy some columns, each times its factor, to the first of ``out``."""
    for i in range(X.shape[0]):
        for j in range(columns.size):
            out[i, j] = X[i, columns[j]] * scale[j]


def narrow_rows_loop(flat, old, columns, lanes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Keep ascending columns of rows of ``old`` numbers, then zeros up to ``lanes``, in the same memory."""
    for i in range(flat.size // old):
        for j in range(columns.size):
            flat[i * lanes + j] = flat[i * old + columns[j]]
        for j in range(columns.size, lanes):
            flat[i * lanes + j] = 0


def add_columns_loop(F, targets, X, columns, scale):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add some columns of X, each times its factor, to columns of F."""
    for i in range(F.shape[0]):
        for j in range(columns.size):
            F[i, targets[j]] += X[i, columns[j]] * scale[j]


pick_columns = numba.njit(cache=True, nogil=True)(pick_columns_loop)
narrow_rows = numba.njit(cache=True, nogil=True)(narrow_rows_loop)
add_columns = numba.njit(cache=True, nogil=True)(add_columns_loop)
multiply_blocks = numba.njit(cache=True, nogil=True)(multiply_loop)
descend_blocks = numba.njit(cache=True, nogil=True)(descend_loop)
advance_blocks = numba.njit(cache=True, nogil=True)(advance_loop)
