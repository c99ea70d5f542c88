"""Vector instructions on eight lanes: the inner loops of the small systems, as LLVM code.

numba leaves eight neighbouring numbers to eight instructions; said as a vector they take one or two. The
loops take arrays (n, 8), float64 or float32, in C order; dots are summed in float64, row after row. The lanes
do not touch each other, and zeros add nothing to a sum.

A sum waits for the one before it, so four rows are added up side by side (sliced ELLPACK: Monakov et al.,
"Automatically tuning sparse matrix-vector multiplication for GPU architectures", HiPEAC 2010): entry k of
row r of slice g lies at ``4 (starts[g] + k) + r``, and shorter rows of a slice end in zeros.
"""

from numba import types
from numba.extending import intrinsic

from resight.diffusion.compiled import INT, Emitter, open_arrays

LANES, ROWS = 8, 4


# ruff: noqa: ANN001, ANN201, ANN202
@intrinsic
def subtract_product(typing, matrix, x, q, mask, dots):  # type: ignore[no-untyped-def]
    """Do ``q = mask (x - M x)`` and ``dots = x . q``; the matrix is starts, columns, values in slices."""
    signature = types.void(matrix, x, q, mask, dots)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kinds = signature.args
        emit = Emitter(builder, context.get_data_type(kinds[1].dtype), LANES)
        members = [builder.extract_value(args[0], i) for i in range(3)]
        starts, columns, values = open_arrays(context, builder, kinds[0].types, members)
        source, target, own, out = open_arrays(context, builder, kinds[1:], args[1:])
        total = emit.variable(emit.wide)
        with emit.loop(INT(0), builder.sdiv(builder.extract_value(source.shape, 0), INT(ROWS))) as (g, _):
            products = [emit.variable(emit.vector) for _ in range(ROWS)]
            span = emit.load_int(starts, g), emit.load_int(starts, builder.add(g, INT(1)))
            with emit.loop(*span) as (k, _):
                first = builder.mul(k, INT(ROWS))
                for r, product in enumerate(products):
                    at = builder.add(first, INT(r))
                    weight = emit.repeat(builder.load(builder.gep(values.data, [at])))
                    entry = emit.load(source, emit.load_int(columns, at))
                    builder.store(emit.fused(weight, entry, builder.load(product)), product)
            for r, product in enumerate(products):
                row = builder.add(builder.mul(g, INT(ROWS)), INT(r))
                before = emit.load(source, row)
                value = builder.fmul(emit.load(own, row), builder.fsub(before, builder.load(product)))
                emit.store(value, target, row)
                emit.add_product(total, before, value)
        emit.store(builder.load(total), out, INT(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def descend_rows(typing, y, x, a, dots):  # type: ignore[no-untyped-def]
    """Do ``y += a x`` for a (8,), and ``dots = y . y``."""
    signature = types.void(y, x, a, dots)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        emit = Emitter(builder, context.get_data_type(signature.args[0].dtype), LANES)
        target, source, scale, out = open_arrays(context, builder, signature.args, args)
        factor, total = emit.load(scale, INT(0)), emit.variable(emit.wide)
        with emit.loop(INT(0), builder.extract_value(target.shape, 0)) as (row, _):
            moved = emit.fused(factor, emit.load(source, row), emit.load(target, row))
            emit.store(moved, target, row)
            emit.add_product(total, moved, moved)
        emit.store(builder.load(total), out, INT(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def advance_rows(typing, f, p, r, t, beta):  # type: ignore[no-untyped-def]
    """Do ``f += t p`` and ``p = r + beta p`` for t and beta (8,)."""
    signature = types.void(f, p, r, t, beta)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        emit = Emitter(builder, context.get_data_type(signature.args[0].dtype), LANES)
        F, P, R, *steps = open_arrays(context, builder, signature.args, args)
        step, turn = (emit.load(array, INT(0)) for array in steps)
        with emit.loop(INT(0), builder.extract_value(F.shape, 0)) as (row, _):
            before = emit.load(P, row)
            emit.store(emit.fused(step, before, emit.load(F, row)), F, row)
            emit.store(emit.fused(turn, before, emit.load(R, row)), P, row)
        return context.get_dummy_value()

    return signature, generate
