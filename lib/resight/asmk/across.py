"""Aggregation across images, i-ASMK* (Tolias, Avrithis, Jégou, IJCV 2015, section 5).

Inside a visual word, entries of two images with ``u >= tau`` match. Two images that share too few matches
over all words lose them all. What remains joins entries of one word into components, whose code is the sign
of the sum of their codes; every image of a component then answers a query by that common code.
"""

import numpy as np

from resight.asmk.binarize import binarize, count_differences, unpack_codes
from resight.asmk.kernel import max_distance
from resight.graph.components import find_roots

__all__ = ["find_matches", "keep_matches", "merge_codes", "merge_entries", "merge_word"]

TILE = 2048  # codes of a list that are compared at once


def find_matches(
    A: np.ndarray,
    B: np.ndarray | None,
    max_bits: int,
    crowded: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of codes that differ in at most ``max_bits`` bits.

    Parameters
    ----------
    A, B : ndarray, (n, w) and (m, w) uint8
        Packed codes; without ``B``, pairs i < j inside ``A``.
    crowded : ndarray (n,) and ndarray (m,) bool, optional
        Codes that are left without the pairs of two equal ones among them.

    Returns
    -------
    rows, columns : ndarray, (p,) int64
        Positions in ``A`` and in ``B`` (in ``A`` again without it).
    """
    other, found = A if B is None else B, []
    for i in range(0, len(A), TILE):
        for j in range(i if B is None else 0, len(other), TILE):
            distances = count_differences(A[i : i + TILE], other[j : j + TILE])
            near = distances <= max_bits
            if crowded is not None:
                both = crowded[0][i : i + TILE, None] & crowded[1][None, j : j + TILE]
                near &= ~(both & (distances == 0))
            if B is None and i == j:
                near = np.triu(near, 1)
            rows, columns = np.nonzero(near)
            found.append(np.stack([rows + i, columns + j]))
    joined = np.concatenate([np.zeros((2, 0), np.int64), *found], axis=1)
    return joined[0], joined[1]


def merge_codes(
    codes: np.ndarray, groups: np.ndarray, n_bits: int, counts: np.ndarray | None = None
) -> np.ndarray:
    """Give every code the majority of its group, bit by bit; a tie is a one.

    Parameters
    ----------
    codes : ndarray, (n, w) uint8
    groups : ndarray, (n,) int
        Codes of one number share a group.
    counts : ndarray, (n,) int, optional
        How often each code counts; once.

    Returns
    -------
    ndarray, (n, w) uint8
        ``b(sum of the codes of the group)``.
    """
    _, at = np.unique(groups, return_inverse=True)
    sums = np.zeros((at.max(initial=-1) + 1, n_bits), np.int64)
    weight = 1 if counts is None else counts[:, None].astype(np.int64)
    np.add.at(sums, at, unpack_codes(codes, n_bits) * weight)
    return binarize(sums)[at] if len(codes) else codes


def merge_word(
    images: np.ndarray,
    codes: np.ndarray,
    matches: tuple[np.ndarray, np.ndarray],
    n_bits: int,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """Merge the codes of one visual word along its matches.

    Parameters
    ----------
    images : ndarray, (n,) int64
        Image of each entry, each once.
    codes : ndarray, (n, w) uint8
    matches : image_a, image_b, each (p,) int64
        That survived the filter.
    counts : ndarray, (n,) int, optional
        Images that each entry stands for; one.

    Returns
    -------
    ndarray, (n, w) uint8
        Own codes where an entry has no match.
    """
    nodes, roots = find_roots(*matches)
    order = np.argsort(images)
    at = order[np.searchsorted(images, nodes, sorter=order)]
    merged = codes.copy()
    merged[at] = merge_codes(codes[at], roots, n_bits, None if counts is None else counts[at])
    return merged


def merge_entries(
    words: np.ndarray, images: np.ndarray, codes: np.ndarray, *, n_bits: int, tau: float, min_matches: int
) -> np.ndarray:
    """Aggregate a whole collection across images in memory: what the operator does over tasks.

    Parameters
    ----------
    words, images : ndarray, (e,) int
        Each pair once.
    codes : ndarray, (e, w) uint8
    tau : float
        Similarity of a match, reached or exceeded.
    min_matches : int
        Matches that two images must share over all words.

    Returns
    -------
    ndarray, (e, w) uint8
        The code by which each entry answers.
    """
    word, a, b = keep_matches(words, images, codes, n_bits=n_bits, tau=tau, min_matches=min_matches)
    merged = codes.copy()
    for one in np.unique(word):
        own, here = np.flatnonzero(words == one), word == one
        merged[own] = merge_word(images[own], codes[own], (a[here], b[here]), n_bits)
    return merged


def keep_matches(
    words: np.ndarray, images: np.ndarray, codes: np.ndarray, *, n_bits: int, tau: float, min_matches: int
) -> np.ndarray:
    """Find the matches inside words that survive the filter by pairs of images, see `merge_entries`.

    Returns
    -------
    ndarray, (3, p) int64
        The word and the two images, the smaller id first, of each.
    """
    limit, found = max_distance(n_bits, tau), [np.zeros((3, 0), np.int64)]
    for word in np.unique(words):
        own = np.flatnonzero(words == word)
        rows, columns = find_matches(codes[own], None, limit)
        ends = np.sort(np.stack([images[own[rows]], images[own[columns]]]), axis=0)
        found.append(np.concatenate([np.full((1, len(rows)), word), ends]))
    matches = np.concatenate(found, axis=1)
    _, pair, counts = np.unique(matches[1:], axis=1, return_inverse=True, return_counts=True)
    return matches[:, counts[pair.ravel()] >= min_matches]
