"""Compiled sorts of the small systems: nodes ascending, scores by the tie rule."""

import numba
import numpy as np

INDEX_MASK = 0xFFFF
DIGIT = 11  # bits of a digit of a radix sort
FEW = 4  # so much more than is wanted must there be to look for a threshold first


# ruff: noqa: ANN001, ANN201
def sort_nodes_loop(nodes, spare):  # type: ignore[no-untyped-def]
    """Sort ``nodes`` (n,) uint32 in place, digit by digit; ``spare`` has room for n."""
    largest = np.uint32(0)
    for node in nodes:
        largest = max(largest, node)
    shift = 0
    while shift == 0 or largest >> shift:
        counts = np.zeros((1 << DIGIT) + 1, np.int64)
        for node in nodes:
            counts[((node >> shift) & ((1 << DIGIT) - 1)) + 1] += 1
        for i in range(1 << DIGIT):
            counts[i + 1] += counts[i]
        for node in nodes:
            digit = (node >> shift) & ((1 << DIGIT) - 1)
            spare[counts[digit]] = node
            counts[digit] += 1
        nodes[:] = spare[: nodes.size]
        shift += DIGIT


sort_nodes = numba.njit(cache=True, nogil=True)(sort_nodes_loop)


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


def choose_best_loop(scores, nodes, k):  # type: ignore[no-untyped-def]
    """Choose the ``k`` best of n by score descending, then node ascending; their places, in that order.

    Where k is small the scores are counted by their leading bits first, and only those in the buckets down
    to that of the k-th are sorted.
    """
    if scores.size < FEW * k:
        return sort_best(scores, nodes)[:k]
    bits = (scores + 0.0).view(np.int64)
    keys = (bits ^ ((bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))) >> (63 - DIGIT)  # ascend with the scores
    counts = np.zeros(2 << DIGIT, np.int64)
    for key in keys:
        counts[key + (1 << DIGIT)] += 1
    lowest, n = 2 << DIGIT, 0
    while n < k:
        lowest -= 1
        n += counts[lowest]
    kept = np.empty(n + 1, np.int64)
    m = 0
    for i in range(keys.size):
        kept[m] = i  # overwritten unless m grows
        m += keys[i] + (1 << DIGIT) >= lowest
    kept = kept[:n]
    return kept[sort_best(scores[kept], nodes[kept])[:k]]


choose_best = numba.njit(cache=True, nogil=True)(choose_best_loop)
