"""Compiled loops of the small systems around single nodes: collect, solve, sort.

Four seeds that follow each other share one small matrix, the rows of all their shortlists; a mask keeps each
of the four within its own list, so that each solves its own system. Neighbours' lists overlap, and a vector
instruction works on all four. Nodes are numbered in ascending order and every sum is taken in that order;
what the others' lists add to it is zero. So a row has the same bits whichever seeds it was solved with.

The small matrix is symmetric, already multiplied by alpha, and kept as its upper triangle ``starts, columns,
values`` (CSR). Indices are unsigned, which spares the compiled code a test for negative ones.
"""

import numba
import numpy as np

from resight.diffusion.lanes import LANES, add_scaled, mask_rows, subtract_row, turn

INDEX_MASK = 0xFFFF
UNSEEN, LISTED, REACHED = -1, -2, 0  # marks of a node; 0 and above: its place in the small system


# ruff: noqa: ANN001, ANN201
def mark_loop(position, nodes, mark):  # type: ignore[no-untyped-def]
    """Set the mark of ``nodes``."""
    for node in nodes:
        position[node] = mark


mark_nodes = numba.njit(cache=True, nogil=True)(mark_loop)


def reach_loop(graph, seeds, allowed, position, order):  # type: ignore[no-untyped-def]
    """Find what ``seeds`` reach over nodes marked ``allowed``, ascending; gives the number of nodes."""
    indptr, indices, _ = graph
    n, head = 0, 0
    for seed in seeds:
        if position[seed] != REACHED:
            position[seed], order[n] = REACHED, seed
            n += 1
    while head < n:
        for e in range(indptr[order[head]], indptr[order[head] + 1]):
            if position[indices[e]] == allowed:
                position[indices[e]], order[n] = REACHED, indices[e]
                n += 1
        head += 1
    order[:n].sort()
    return n


reach = numba.njit(cache=True, nogil=True)(reach_loop)


def copy_loop(graph, order, alpha, position, matrix):  # type: ignore[no-untyped-def]
    """Copy the rows of ``order`` (n,) ascending, times alpha, to the upper triangle of a small matrix."""
    indptr, indices, data = graph
    starts, columns, values = matrix
    m = 0
    for i in range(order.size):
        position[order[i]] = i
    for i in range(order.size):
        starts[i] = m
        for e in range(indptr[order[i]], indptr[order[i] + 1]):
            place = position[indices[e]]
            columns[m], values[m] = (
                place,
                alpha * data[e],
            )  # overwritten unless m grows: nothing to mispredict
            m += place > i
    starts[order.size] = m


copy_rows = numba.njit(cache=True, nogil=True)(copy_loop)


def subtract_product_loop(matrix, x, q, mask, dots):  # type: ignore[no-untyped-def]
    """Set ``q`` (n, 4) to ``mask (I - matrix) x`` and ``dots`` to ``x . q`` of each lane."""
    starts, columns, values = matrix
    q[:] = x
    for i in range(x.shape[0]):
        subtract_row(columns, values, (starts[i], starts[i + 1]), x, q, i)  # type: ignore[call-arg]
    mask_rows(q, x, mask, dots)


subtract_product = numba.njit(cache=True, nogil=True)(subtract_product_loop)


def conjugate_gradient_loop(matrix, mask, load, limits, work):  # type: ignore[no-untyped-def]
    """Solve ``(I - matrix) x = b`` in each lane from zero; every b has the norm ``load``, or is zero.

    ``work`` (5, n, 4): b, the solution, residual, direction and its image. ``limits``: (tol, max_iter). Gives
    iterations and true relative residuals (4,).
    """
    b, x, r, p, q = work[0], work[1], work[2], work[3], work[4]
    x[:], r[:], p[:] = 0.0, b, b
    tol, max_iter = limits
    goal = (tol * load) ** 2
    iterations, step, dots, rho = np.zeros(LANES, np.int64), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    add_scaled(r, r, step, rho)
    for _ in range(max_iter):
        active = rho > goal  # a lane that has converged takes no further step
        if not active.any():
            break
        subtract_product(matrix, p, q, mask, dots)
        step[:] = np.where(active, rho / np.where(active, dots, 1.0), 0.0)
        iterations += active
        before = rho.copy()
        add_scaled(x, p, step, dots)
        add_scaled(r, q, -step, rho)
        turn(p, r, np.where(active, rho / np.where(active, before, 1.0), 0.0), dots)
    subtract_product(matrix, x, q, mask, dots)
    add_scaled(q, b, np.full(LANES, -1.0), dots)
    return iterations, np.sqrt(dots) / load


conjugate_gradient = numba.njit(cache=True, nogil=True)(conjugate_gradient_loop)


def precedes_loop(a, b, scores, nodes):  # type: ignore[no-untyped-def]
    """Tell whether entry ``a`` ranks before entry ``b``."""
    return scores[a] > scores[b] or (scores[a] == scores[b] and nodes[a] < nodes[b])


precedes = numba.njit(cache=True, nogil=True)(precedes_loop)


def sort_best_loop(scores, nodes):  # type: ignore[no-untyped-def]
    """Order (n,) by score descending, then node ascending."""
    if scores.size <= INDEX_MASK:  # sort the numbers themselves, each with its index for last bits
        bits = (scores + 0.0).view(np.int64)
        keys = ~(bits ^ ((bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))) & ~np.int64(INDEX_MASK)
        keys = np.sort(keys | np.arange(scores.size))
        order = keys & np.int64(INDEX_MASK)
    else:
        order = np.argsort(-scores)
    for i in range(1, order.size):  # what is equal, or was cut to be, is put in order by insertion
        moved, j = order[i], i
        while j > 0 and precedes(moved, order[j - 1], scores, nodes):
            order[j] = order[j - 1]
            j -= 1
        order[j] = moved
    return order


sort_best = numba.njit(cache=True, nogil=True)(sort_best_loop)


def count_entries_loop(indptr, nodes):  # type: ignore[no-untyped-def]
    """Count the entries of the rows of ``nodes``."""
    total = np.int64(0)
    for node in nodes:
        total += np.int64(indptr[node + 1] - indptr[node])
    return total


count_entries = numba.njit(cache=True, nogil=True)(count_entries_loop)


def fill_lanes_loop(lists, position, load, b, mask):  # type: ignore[no-untyped-def]
    """Set the mask and the right-hand side of each seed, (n, 4)."""
    seeds, offsets, listed, everything = lists
    b[:], mask[:] = 0.0, 1.0 if everything else 0.0
    for j in range(seeds.size):
        for node in listed[offsets[j] : offsets[j + 1]]:
            if position[node] >= 0:
                mask[position[node], j] = 1.0
        mask[position[seeds[j]], j] = 1.0
        b[position[seeds[j]], j] = load


fill_lanes = numba.njit(cache=True, nogil=True)(fill_lanes_loop)


def write_rows_loop(nodes, x, rooms, out):  # type: ignore[no-untyped-def]
    """Write the best scores of each lane of ``x`` (n, 4), as many as there is room for."""
    for j in range(rooms.size - 1):
        there = np.flatnonzero(x[:, j])
        scores, names = x[there, j], nodes[there]
        best = sort_best(scores, names)[: rooms[j + 1] - rooms[j]]
        out[2][j] = best.size
        for i in range(best.size):
            out[0][rooms[j] + i], out[1][rooms[j] + i] = names[best[i]], scores[best[i]]


write_rows = numba.njit(cache=True, nogil=True)(write_rows_loop)


def solve_seeds_loop(graph, lists, limits, rooms, out):  # type: ignore[no-untyped-def]
    """Solve the system of every seed, four at a time, and write its best scores.

    ``lists``: seeds (b,), offsets (b + 1,), nodes, whether all nodes are listed. ``limits``: alpha, tol,
    max_iter. ``rooms`` (b + 1,): where each row of the result may write. ``out``: nodes, scores and, per
    seed, how many there are, iterations and residual.
    """
    seeds, offsets, listed, everything = lists
    alpha, tol, max_iter = limits
    position = np.full(graph[0].size - 1, UNSEEN, np.int32)
    order, work, mask = np.empty(0, np.uint32), np.empty((5, 0, LANES)), np.empty((0, LANES))
    columns, values = np.empty(0, np.uint32), np.empty(0)
    for s in range(0, seeds.size, LANES):
        e = min(s + LANES, seeds.size)
        names = listed[offsets[s] : offsets[e]]
        size = position.size if everything else min(position.size, names.size + LANES)
        if size > order.size:
            order, work, mask = np.empty(size, np.uint32), np.empty((5, size, LANES)), np.empty((size, LANES))
        mark_nodes(position, names, LISTED)
        n = reach(graph, seeds[s:e], UNSEEN if everything else LISTED, position, order)
        needed = count_entries(graph[0], order[:n]) + 1
        if needed > columns.size:
            columns, values = np.empty(2 * needed, np.uint32), np.empty(2 * needed)
        matrix = (np.empty(n + 1, np.uint64), columns, values)
        copy_rows(graph, order[:n], alpha, position, matrix)
        here = (seeds[s:e], offsets[s : e + 1], listed, everything)
        fill_lanes(here, position, 1 - alpha, work[0, :n], mask[:n])
        found = conjugate_gradient(matrix, mask[:n], 1 - alpha, (tol, max_iter), work[:, :n])
        out[3][s:e], out[4][s:e] = found[0][: e - s], found[1][: e - s]
        write_rows(order[:n], work[1, :n], rooms[s : e + 1], (out[0], out[1], out[2][s:e]))
        mark_nodes(position, names, UNSEEN)
        mark_nodes(position, order[:n], UNSEEN)


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
