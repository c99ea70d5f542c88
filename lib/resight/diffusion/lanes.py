"""Vector instructions on four lanes: the inner loops of the small systems, as LLVM code.

numba leaves four neighbouring numbers to four instructions; said as a vector of four they take one. The loops
take arrays (n, 4) float64 in C order. Nothing is reordered or contracted: the result of each lane is that of
plain numbers.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 4
DOUBLE, LONG = ir.DoubleType(), ir.IntType(64)
VECTOR = ir.VectorType(DOUBLE, LANES)


# ruff: noqa: ANN001, ANN201, ANN202
class Code:
    """Loads and stores of one function that is being compiled."""

    def __init__(self, context, builder, signature, args) -> None:  # type: ignore[no-untyped-def]
        self.context, self.builder, self.types, self.args = context, builder, signature.args, args

    def pointer(self, number, vectors=False):  # type: ignore[no-untyped-def]
        """Give the data of the array that is argument ``number``, as vectors where asked."""
        array = self.context.make_array(self.types[number])(self.context, self.builder, self.args[number])
        return self.builder.bitcast(array.data, VECTOR.as_pointer()) if vectors else array.data

    def load(self, pointer, index):  # type: ignore[no-untyped-def]
        """Load an element; no more than the alignment of a number is assumed."""
        return self.builder.load(
            self.builder.gep(pointer, [index]), align=8 if pointer.type.pointee == VECTOR else None
        )

    def store(self, value, pointer, index) -> None:  # type: ignore[no-untyped-def]
        """Store a vector."""
        self.builder.store(value, self.builder.gep(pointer, [index]), align=8)

    def splat(self, number):  # type: ignore[no-untyped-def]
        """Repeat a number in every lane."""
        vector = ir.Constant(VECTOR, ir.Undefined)
        for lane in range(LANES):
            vector = self.builder.insert_element(vector, number, ir.Constant(LONG, lane))
        return vector


@intrinsic
def subtract_row(typing, columns, values, span, x, q, i):  # type: ignore[no-untyped-def]
    """Do the entries ``span`` (start, stop) of upper row ``i``: ``q[i] -= v x[c]``, ``q[c] -= v x[i]``."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        code = Code(context, builder, signature, args)
        rows, entries = code.pointer(0), code.pointer(1)
        source, target = code.pointer(3, vectors=True), code.pointer(4, vectors=True)
        start, stop = cgutils.unpack_tuple(builder, args[2])
        own = code.load(source, args[5])
        total = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES))
        with cgutils.for_range(builder, builder.sub(stop, start)) as loop:
            e = builder.add(start, loop.index)
            c = builder.zext(code.load(rows, e), LONG)
            v = code.splat(code.load(entries, e))
            builder.store(builder.fadd(builder.load(total), builder.fmul(v, code.load(source, c))), total)
            code.store(builder.fsub(code.load(target, c), builder.fmul(v, own)), target, c)
        code.store(builder.fsub(code.load(target, args[5]), builder.load(total)), target, args[5])
        return context.get_dummy_value()

    return types.void(columns, values, span, x, q, i), generate


def compile_update(formula):  # type: ignore[no-untyped-def]
    """Compile a pass over the rows of ``y`` and ``x`` (n, 4): a new y and a term that ``dots`` (4,) sums.

    The factor ``a`` is the same for all rows, (4,), or one for each, (n, 4).
    """

    @intrinsic
    def update(typing, y, x, a, dots):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            code = Code(context, builder, signature, args)
            target, source, scale, out = (code.pointer(i, vectors=True) for i in range(4))
            zero, one_row = ir.Constant(LONG, 0), signature.args[2].ndim == 1
            total = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES))
            shape = context.make_array(signature.args[0])(context, builder, args[0]).shape
            with cgutils.for_range(builder, builder.extract_value(shape, 0)) as loop:
                i = loop.index
                factor = code.load(scale, zero if one_row else i)
                moved, term = formula(builder, code.load(target, i), code.load(source, i), factor)
                code.store(moved, target, i)
                builder.store(builder.fadd(builder.load(total), term), total)
            code.store(builder.load(total), out, zero)
            return context.get_dummy_value()

        return types.void(y, x, a, dots), generate

    return update


def add_formula(builder, y, x, a):  # type: ignore[no-untyped-def]
    """``y += a x``; terms ``y y``."""
    moved = builder.fadd(y, builder.fmul(a, x))
    return moved, builder.fmul(moved, moved)


def turn_formula(builder, y, x, a):  # type: ignore[no-untyped-def]
    """``y = x + a y``; terms ``y``."""
    moved = builder.fadd(x, builder.fmul(a, y))
    return moved, moved


def mask_formula(builder, y, x, a):  # type: ignore[no-untyped-def]
    """``y *= a``; terms ``x y``."""
    moved = builder.fmul(y, a)
    return moved, builder.fmul(x, moved)


add_scaled = compile_update(add_formula)
turn = compile_update(turn_formula)
mask_rows = compile_update(mask_formula)
