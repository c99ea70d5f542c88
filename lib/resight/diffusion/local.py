"""Compiled loops of the small systems around single nodes: collect, solve, sort.

Eight seeds that follow each other share one small matrix, the rows of all their shortlists; a mask keeps each
of the eight within its own list, so that each solves its own system. Neighbours' lists overlap, and a vector
instruction works on all eight. Nodes are numbered in ascending order and every sum is taken in that order;
what the others' lists add to it is zero. So a row has the same bits whichever seeds it was solved with.

The small matrix, already multiplied by alpha, lies in slices of four rows, see `resight.diffusion.lanes`; its
values are there in float64 and in the precision of the iterations. As in `resight.diffusion.solve`, what
counts is the residual of the scores in float64; float32 starts again from them where that is too large.
"""

import numba
import numpy as np

from resight.diffusion.lanes import LANES, ROWS, advance_rows, descend_rows, subtract_product
from resight.diffusion.sort import choose_best, sort_nodes

UNSEEN, REACHED = -1, 0  # marks of a node; 0 and above: its place in the small system
FLOAT32_FLOOR = 1e-6  # no use in a smaller residual by float32 before it is computed afresh
STALLED = 0.5  # a refinement that leaves more than this of a residual was the last


# ruff: noqa: ANN001, ANN201
def mark_loop(position, nodes, mark):  # type: ignore[no-untyped-def]
    """Set the mark of ``nodes``."""
    for node in nodes:
        position[node] = mark


mark_nodes = numba.njit(cache=True, nogil=True)(mark_loop)


def add_nodes_loop(nodes, n, position, order):  # type: ignore[no-untyped-def]
    """Append to ``order``, which holds ``n``, those of ``nodes`` that it lacks; gives the new number."""
    for node in nodes:
        if position[node] == UNSEEN:
            position[node], order[n] = REACHED, node
            n += 1
    return n


add_nodes = numba.njit(cache=True, nogil=True)(add_nodes_loop)


def collect_loop(graph, seeds, listed, everything, position, order):  # type: ignore[no-untyped-def]
    """Find the nodes of a small system, ascending: ``listed`` and ``seeds``, or all that these reach."""
    indptr, indices, _ = graph
    n = add_nodes(seeds, add_nodes(listed, 0, position, order[0]), position, order[0])
    head = 0
    while everything and head < n:
        node = order[0][head]
        n = add_nodes(indices[indptr[node] : indptr[node + 1]], n, position, order[0])
        head += 1
    sort_nodes(order[0][:n], order[1])
    return n


collect = numba.njit(cache=True, nogil=True)(collect_loop)


def copy_loop(graph, order, alpha, position, matrix):  # type: ignore[no-untyped-def]
    """Copy the rows of ``order`` (n,) ascending, times alpha, to slices of four; gives the entries."""
    indptr, indices, data = graph
    starts, columns, values = matrix
    for i in range(order.size):
        position[order[i]] = i
    n_slices = (order.size + ROWS - 1) // ROWS
    used, lengths = np.int64(0), np.zeros(ROWS, np.int64)
    for g in range(n_slices):
        starts[g] = used
        lengths[:] = 0
        for r in range(min(ROWS, order.size - g * ROWS)):
            node, m = order[g * ROWS + r], ROWS * used + r
            for e in range(indptr[node], indptr[node + 1]):
                place = position[indices[e]]
                columns[m], values[m] = (place, alpha * data[e])  # overwritten unless m grows: no branch
                m += ROWS * (place >= 0)
            lengths[r] = m // ROWS - used
        longest = lengths.max()
        for r in range(ROWS):
            for k in range(used + lengths[r], used + longest):
                columns[ROWS * k + r], values[ROWS * k + r] = 0, 0.0
        used += longest
    starts[n_slices] = used
    return ROWS * used


copy_rows = numba.njit(cache=True, nogil=True)(copy_loop)


def descend_loop(matrix, mask, goals, limits, work):  # type: ignore[no-untyped-def]
    """Run conjugate gradient from zero on ``(I - matrix) f = r`` in each lane; gives the iterations (8,).

    ``work`` (4, n, 8): f, r, p, q; r is given. ``goals`` (8,): residuals to reach; ``limits`` (8,): most
    iterations.
    """
    f, r, p, q = work[0], work[1], work[2], work[3]
    f[:], p[:] = 0, r
    iterations, step, dots, rho = np.zeros(LANES, np.int64), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    descend_rows(r, p, step.astype(f.dtype), rho)  # type: ignore[call-arg]
    while True:
        active = (rho > goals * goals) & (iterations < limits)  # the others take no further step
        if not active.any():
            return iterations
        subtract_product(matrix, p, q, mask, dots)
        step[:] = np.where(active & (dots > 0), rho / np.where(dots > 0, dots, 1.0), 0.0)
        iterations += active
        before = rho.copy()
        descend_rows(r, q, (-step).astype(f.dtype), rho)
        turn = np.where(active, rho / np.where(active, before, 1.0), 0.0)
        advance_rows(f, p, r, step.astype(f.dtype), turn.astype(f.dtype))


descend = numba.njit(cache=True, nogil=True)(descend_loop)


def measure_loop(matrix, mask, sides, r):  # type: ignore[no-untyped-def]
    """Set ``r`` (n, 8) to ``b - (I - matrix) x``, all float64, for sides (b, x); gives its lengths (8,)."""
    b, x = sides
    dots = np.zeros(LANES)
    subtract_product(matrix, x, r, mask, dots)  # type: ignore[call-arg]
    descend_rows(r, b, np.full(LANES, -1.0), dots)
    return np.sqrt(dots)


measure = numba.njit(cache=True, nogil=True)(measure_loop)


def solve_lanes_loop(matrices, masks, loads, limits, work):  # type: ignore[no-untyped-def]
    """Solve ``(I - matrix) x = b`` in each lane from zero; ``loads`` (8,) are the norms of b, 0 without any.

    ``matrices`` and ``masks`` are in float64 and in the precision of the iterations, which is that of the
    second part of ``work``: b, x, r (n, 8) float64 and room (4, n, 8). ``limits``: tol, max_iter. Gives
    iterations and true relative residuals (8,).
    """
    (b, x, r), room = work[0], work[1]
    tol, max_iter = limits
    floor = FLOAT32_FLOOR if room.itemsize == 4 else 0.0
    x[:], r[:] = 0.0, -b  # the residual, its sign turned
    iterations, last, lengths = np.zeros(LANES, np.int64), np.full(LANES, np.inf), loads.copy()
    while True:
        is_open = (lengths > tol * loads) & (lengths <= STALLED * last) & (iterations < max_iter)
        if not is_open.any():
            return iterations, lengths / np.where(loads > 0, loads, 1.0)
        last[:] = lengths
        scale = np.where(is_open, lengths, 1.0)
        shrink, grow = np.where(is_open, -1 / scale, 0.0), np.where(is_open, scale, 0.0)
        for i in range(r.shape[0]):
            for j in range(LANES):
                room[1, i, j] = r[i, j] * shrink[j]
        goals = np.maximum(tol * loads / scale, floor)
        iterations += descend(matrices[1], masks[1], goals, max_iter - iterations, room)
        for i in range(r.shape[0]):
            for j in range(LANES):
                x[i, j] += room[0, i, j] * grow[j]
        lengths = measure(matrices[0], masks[0], (b, x), r)


solve_lanes = numba.njit(cache=True, nogil=True)(solve_lanes_loop)


def count_entries_loop(indptr, nodes):  # type: ignore[no-untyped-def]
    """Bound the entries of the rows of ``nodes``, in slices of four."""
    total = np.int64(0)
    for g in range(0, nodes.size, ROWS):
        longest = np.int64(0)
        for node in nodes[g : g + ROWS]:
            longest = max(longest, np.int64(indptr[node + 1] - indptr[node]))
        total += ROWS * longest
    return total + ROWS  # an entry is written before it is known to count


count_entries = numba.njit(cache=True, nogil=True)(count_entries_loop)


def fill_lanes_loop(lists, position, load, b, mask):  # type: ignore[no-untyped-def]
    """Set the mask and the right-hand side of each seed, (n, 8); gives the norms of the latter (8,)."""
    seeds, offsets, listed, everything = lists
    b[:], mask[:] = 0.0, 1.0 if everything else 0.0
    for j in range(seeds.size):
        for node in listed[offsets[j] : offsets[j + 1]]:
            mask[position[node], j] = 1.0
        mask[position[seeds[j]], j] = 1.0
        b[position[seeds[j]], j] = load
    return np.where(np.arange(LANES) < seeds.size, load, 0.0)


fill_lanes = numba.njit(cache=True, nogil=True)(fill_lanes_loop)


def write_rows_loop(nodes, x, rooms, out):  # type: ignore[no-untyped-def]
    """Write the best scores of each lane of ``x`` (n, 8), as many as there is room for."""
    scores, names = np.empty(nodes.size + 1), np.empty(nodes.size + 1, np.uint32)
    for j in range(rooms.size - 1):
        n = 0
        for i in range(nodes.size):
            scores[n], names[n] = x[i, j], nodes[i]  # overwritten unless n grows
            n += x[i, j] != 0
        best = choose_best(scores[:n], names[:n], rooms[j + 1] - rooms[j])
        out[2][j] = best.size
        for i in range(best.size):
            out[0][rooms[j] + i], out[1][rooms[j] + i] = names[best[i]], scores[best[i]]


write_rows = numba.njit(cache=True, nogil=True)(write_rows_loop)


def make_room_loop(n, zero):  # type: ignore[no-untyped-def]
    """Make room for systems of ``n`` nodes: b, x, r and a mask; f, r, p, q and a mask (`solve_lanes`)."""
    exact = np.empty((3, n, LANES)), np.empty((1, n, LANES))
    return exact, (np.full((4, n, LANES), zero), np.full((1, n, LANES), zero))


make_room = numba.njit(cache=True, nogil=True)(make_room_loop)


def solve_seeds_loop(graph, lists, limits, rooms, out):  # type: ignore[no-untyped-def]
    """Solve the system of every seed, eight at a time, and write its best scores.

    ``lists``: seeds (b,), offsets (b + 1,), nodes, whether all nodes are listed. ``limits``: alpha, tol,
    max_iter and a zero of the iterations' precision. ``rooms`` (b + 1,): where each row of the result may
    write. ``out``: nodes, scores and, per seed, how many there are, iterations and residual.
    """
    seeds, offsets, listed, everything = lists
    alpha, tol, max_iter, zero = limits
    position, order = np.full(graph[0].size - 1, UNSEEN, np.int32), np.empty((2, 0), np.uint32)
    exact, fast = make_room(0, zero)
    columns, values = np.empty(0, np.int32), np.empty(0)
    for s in range(0, seeds.size, LANES):
        e = min(s + LANES, seeds.size)
        names = listed[offsets[s] : offsets[e]]
        size = position.size if everything else min(position.size, names.size + LANES)
        if size > order.shape[1]:
            order = np.empty((2, size), np.uint32)
        nodes = order[0, : collect(graph, seeds[s:e], names, everything, position, order)]
        n = (nodes.size + ROWS - 1) // ROWS * ROWS
        if n > exact[0].shape[1]:
            exact, fast = make_room(n, zero)
        needed = count_entries(graph[0], nodes)
        if needed > columns.size:
            columns, values = np.empty(2 * needed, np.int32), np.empty(2 * needed)
        starts = np.empty(n // ROWS + 1, np.int64)
        m = copy_rows(graph, nodes, alpha, position, (starts, columns, values))
        matrices = ((starts, columns, values), (starts, columns, values[:m].astype(fast[0].dtype)))
        here = (seeds[s:e], offsets[s : e + 1], listed, everything)
        loads = fill_lanes(here, position, 1 - alpha, exact[0][0, :n], exact[1][0, :n])
        fast[1][0, :n] = exact[1][0, :n]
        work = ((exact[0][0, :n], exact[0][1, :n], exact[0][2, :n]), fast[0][:, :n])
        masks = (exact[1][0, :n], fast[1][0, :n])
        found = solve_lanes(matrices, masks, loads, (tol, max_iter), work)
        out[3][s:e], out[4][s:e] = found[0][: e - s], found[1][: e - s]
        write_rows(nodes, exact[0][1, : nodes.size], rooms[s : e + 1], (out[0], out[1], out[2][s:e]))
        mark_nodes(position, nodes, UNSEEN)


solve_seeds = numba.njit(cache=True, nogil=True)(solve_seeds_loop)


def close_gaps_loop(rooms, counts, nodes, scores):  # type: ignore[no-untyped-def]
    """Move the rows together, each to the end of the one before; gives how many entries there are."""
    m = 0
    for s in range(counts.size):
        for i in range(rooms[s], rooms[s] + counts[s]):
            nodes[m], scores[m] = nodes[i], scores[i]
            m += 1
    return m


close_gaps = numba.njit(cache=True, nogil=True)(close_gaps_loop)
