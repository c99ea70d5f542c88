"""Packed codes compared by Hamming distance: all pairs within a radius, and the nearest of each code.

One compiled loop serves a scan, multi-index hashing and the buckets of the distributed join: it compares the
runs of two sorted lists of codes, in blocks that stay in the cache, and gives a pair only from the first part
of the plan (`resight.hashing.plan`) in which its codes meet, so that no pair comes twice.
"""

from typing import NamedTuple

import numba
import numpy as np

from resight.asmk.score import count_ones
from resight.hashing.plan import Plan, choose_plan, flip_masks

__all__ = ["Matches", "collapse_codes", "match_codes", "match_runs", "nearest_codes", "part_keys", "to_words"]

BLOCK = 2048  # codes that stay in the cache while others pass
START = 4096  # pairs for which room is made at first


class Matches(NamedTuple):
    """Pairs of rows within the radius, ascending by (asked, held)."""

    asked: np.ndarray  # (p,) int64
    held: np.ndarray  # (p,) int64
    distance: np.ndarray  # (p,) int32
    n_left_out: int = 0  # pairs of rows in buckets beyond the limit, which were not compared there


def to_words(codes: np.ndarray) -> np.ndarray:
    """View packed codes (n, b) uint8 as (n, w) uint64, zeros behind; bit i stays bit i of the words."""
    if codes.ndim != 2 or codes.dtype != np.uint8 or not codes.shape[1]:
        raise ValueError(f"codes {codes.shape} {codes.dtype}, expected (n, b) uint8")
    n, n_bytes = codes.shape
    padded = np.zeros((n, -(-n_bytes // 8) * 8), np.uint8)
    padded[:, :n_bytes] = codes
    return padded.view("<u8")


def collapse_codes(codes: np.ndarray) -> np.ndarray:
    """Give every code (n, b) uint8 the first row (n,) int64 that has the same."""
    rows = np.ascontiguousarray(codes).view(f"V{codes.shape[1]}").ravel()
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    return first[which.ravel()].astype(np.int64)


def match_codes(
    asked: np.ndarray,
    held: np.ndarray | None = None,
    *,
    radius: int,
    plan: Plan | None = None,
    max_bucket: int | None = None,
) -> Matches:
    """Find all pairs of codes within ``radius``.

    Parameters
    ----------
    asked : ndarray, (n, b) uint8
        Packed codes.
    held : ndarray, (m, b) uint8, optional
        What they are compared with; without it pairs (i, j), i < j, of ``asked`` itself. Collapse equal codes
        first (`collapse_codes`): k of them are k (k - 1) / 2 pairs.
    radius : int
        Greatest distance.
    plan : Plan, optional
        Of these codes and this radius; default: the cheapest.
    max_bucket : int, optional
        Leave out buckets with more codes than this on one side, and count what is left out. Without it
        nothing is missed: a large bucket is scanned.

    Raises
    ------
    ValueError
        Codes of different widths, or that are no packed bits.
    """
    a, b = to_words(asked), to_words(asked if held is None else held)
    if held is not None and asked.shape[1] != held.shape[1]:
        raise ValueError(f"codes of {asked.shape[1]} and {held.shape[1]} bytes cannot be compared")
    n_bits = 8 * asked.shape[1]
    plan = choose_plan(len(b), n_bits, min(radius, n_bits)) if plan is None else plan
    if plan.is_scan:
        runs = np.array([[0, len(a), 0, len(b), 0]], np.int64)
        return sort_matches([match_runs(a, b, runs, radius, plan, same=held is None)], 0)
    parts = [match_part(a, b, i, plan, radius, held is None, max_bucket) for i in range(len(plan.bounds))]
    return sort_matches([found for found, _ in parts], sum(n for _, n in parts))


def match_part(
    a: np.ndarray, b: np.ndarray, part: int, plan: Plan, radius: int, same: bool, max_bucket: int | None
) -> tuple[np.ndarray, int]:
    """Compare the codes that meet in one part: rows and distance (p, 3), and how many pairs were left out."""
    (start, stop), flips = plan.bounds[part], plan.limits[part]
    keys = [part_keys(words, start, stop) for words in (a, b)]
    orders = [np.argsort(key, kind="stable") for key in keys]
    first, second = (np.unique(k[o], return_index=True) for k, o in zip(keys, orders, strict=True))
    ends = [np.append(found[1], len(key)) for found, key in zip((first, second), keys, strict=True)]
    runs = []
    for mask in flip_masks(stop - start, flips):
        sought = first[0] ^ mask
        at = np.minimum(np.searchsorted(second[0], sought), max(len(second[0]) - 1, 0))
        hit = np.flatnonzero(second[0][at] == sought) if len(second[0]) else np.zeros(0, np.int64)
        i, j = hit, at[hit]
        hit = np.flatnonzero(j >= i) if same else np.arange(len(i))
        i, j = i[hit], j[hit]
        spans = [ends[0][i], ends[0][i + 1], ends[1][j], ends[1][j + 1]]
        runs.append(np.stack([*spans, np.full(len(i), part)], axis=1))
    table, n_left_out = limit_runs(np.concatenate(runs), max_bucket, same)
    found = match_runs(a[orders[0]], b[orders[1]], table, radius, plan, same=same)
    rows = np.stack([orders[0][found[:, 0]], orders[1][found[:, 1]], found[:, 2]], axis=1)
    if same:
        rows[:, :2] = np.sort(rows[:, :2], axis=1)
    return rows, n_left_out


def limit_runs(runs: np.ndarray, max_bucket: int | None, same: bool) -> tuple[np.ndarray, int]:
    """Drop pairs of runs (r, 5) of which one is longer than ``max_bucket``; count their pairs of rows."""
    if max_bucket is None:
        return runs, 0
    n_a, n_b = runs[:, 1] - runs[:, 0], runs[:, 3] - runs[:, 2]
    own = same & (runs[:, 0] == runs[:, 2])
    n_pairs = np.where(own, n_a * (n_a - 1) // 2, n_a * n_b)
    large = np.maximum(n_a, n_b) > max_bucket
    return runs[~large], int(n_pairs[large].sum())


def sort_matches(parts: list[np.ndarray], n_left_out: int) -> Matches:
    """Put the pairs of all parts in order."""
    rows = np.concatenate(parts)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return Matches(rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].astype(np.int32), n_left_out)


def part_keys(words: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Cut bits ``start`` to ``stop`` (at most 64) out of codes (n, w) uint64, as numbers (n,) uint64."""
    at, shift = divmod(start, 64)
    keys = words[:, at] >> np.uint64(shift)
    if shift and at + 1 < words.shape[1]:
        keys = keys | (words[:, at + 1] << np.uint64(64 - shift))
    return keys & np.uint64((1 << (stop - start)) - 1)


def part_masks(plan: Plan, n_words: int) -> np.ndarray:
    """Give the bits of each part of a plan as words (parts, w) uint64."""
    bits = np.zeros((len(plan.bounds), 64 * n_words), np.uint8)
    for row, (start, stop) in zip(bits, plan.bounds, strict=True):
        row[start:stop] = 1
    return np.packbits(bits, axis=1, bitorder="little").view("<u8")


def match_runs(
    a: np.ndarray, b: np.ndarray, runs: np.ndarray, radius: int, plan: Plan, *, same: bool = False
) -> np.ndarray:
    """Compare runs of codes ``a`` (n, w) and ``b`` (m, w) uint64: positions and distance (p, 3) int64.

    ``runs`` (r, 5) int64 holds first and end in ``a``, first and end in ``b``, and the part of ``plan`` in
    which they meet. With ``same``, ``a`` is ``b`` and only pairs i < j are given.
    """
    limits, masks = np.array(plan.limits, np.int64), part_masks(plan, a.shape[1])
    unroll, n_room = (0,) * a.shape[1], START  # the length of a tuple is known when the loop is compiled
    while True:
        room = np.empty((n_room, 3), np.int64)
        n_found = match(a, b, runs, masks, limits, radius, same, unroll, room)
        if n_found <= n_room:
            return room[:n_found]
        n_room = n_found


def match_loop(  # noqa: PLR0913 (what a compiled loop reads)
    a: np.ndarray,
    b: np.ndarray,
    runs: np.ndarray,
    masks: np.ndarray,
    limits: np.ndarray,
    radius: int,
    same: bool,
    unroll: tuple[int, ...],
    room: np.ndarray,
) -> int:
    """Write the pairs as far as there is room, and count them all."""
    n_found = 0
    for r in range(len(runs)):
        for block in range(runs[r, 2], runs[r, 3], BLOCK):
            end = min(block + BLOCK, runs[r, 3])
            for i in range(runs[r, 0], runs[r, 1]):
                for j in range(max(block, i + 1) if same else block, end):
                    distance = 0
                    for w in range(len(unroll)):
                        distance += count_ones(a[i, w] ^ b[j, w])  # type: ignore[call-arg]
                    if distance <= radius and meets_first(a[i], b[j], masks, limits, runs[r, 4]):
                        if n_found < len(room):
                            room[n_found, 0], room[n_found, 1], room[n_found, 2] = i, j, distance
                        n_found += 1
    return n_found


@numba.njit(cache=True, nogil=True)
def meets_first(a: np.ndarray, b: np.ndarray, masks: np.ndarray, limits: np.ndarray, part: int) -> bool:
    """Whether two codes (w,) meet in none of the parts before ``part``."""
    for i in range(part):
        distance = 0
        for w in range(len(a)):
            distance += count_ones((a[w] ^ b[w]) & masks[i, w])  # type: ignore[call-arg]
        if distance <= limits[i]:
            return False
    return True


match = numba.njit(cache=True, nogil=True)(match_loop)


def distance_loop(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (n, m) int32 with the distances of codes (n, w) and (m, w)."""
    for i in range(len(a)):
        for j in range(len(b)):
            distance = 0
            for w in range(a.shape[1]):
                distance += count_ones(a[i, w] ^ b[j, w])  # type: ignore[call-arg]
            out[i, j] = distance


fill_distances = numba.njit(cache=True, nogil=True)(distance_loop)


def nearest_codes(
    asked: np.ndarray, held: np.ndarray, ids: np.ndarray, *, k: int, block: int = 65536
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``k`` nearest of ``held`` (m, b) uint8 for each of ``asked`` (n, b): by (distance, id).

    ``ids`` (m,) int64 are unique. Gives distances (n, k) int32 and ids (n, k) int64; less columns where there
    are less codes. Neither the order of rows nor ``block`` changes the answer.
    """
    a, b = to_words(asked), to_words(held)
    best = np.zeros((len(a), 0), np.int32), np.zeros((len(a), 0), np.int64)
    for start in range(0, len(b), block):
        part = b[start : start + block]
        distance = np.empty((len(a), len(part)), np.int32)
        fill_distances(a, part, distance)
        listed = np.broadcast_to(ids[start : start + block].astype(np.int64), distance.shape)
        distances, names = np.hstack([best[0], distance]), np.hstack([best[1], listed])
        order = np.lexsort((names, distances), axis=1)[:, :k]
        best = np.take_along_axis(distances, order, 1), np.take_along_axis(names, order, 1)
    return best
