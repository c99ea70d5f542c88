"""Compiled scoring of the words of a query against a shard: popcount, a table, a sum per image.

A score is the sum over the query's words, in their order, of ``w_c sigma(u)``, in float32: an image's score
does not depend on which other images its shard holds. The selectivity function is a table over the Hamming
distance, ``table[h] = sigma(1 - 2 h / B)``, with the threshold in it: a branch would cost more than the
addition of a zero. The first lines of the lists of later words are requested from memory ahead of their use.
All loops stand in one file since numba's cache watches the file of a loop and no other.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from resight.asmk.kernel import Rule, Selectivity
from resight.asmk.shard import Shard

AHEAD = 12  # words between the request for a list and its use
LINES = 4  # cache lines of a list that are requested; the processor sees the rest coming
UNITS = ((8, np.uint64), (4, np.uint32), (2, np.uint16), (1, np.uint8))


def score_shard(
    shard: Shard, words: np.ndarray, codes: np.ndarray, weights: np.ndarray, table: Rule
) -> np.ndarray:
    """Score every image of a shard for one query, by packed codes.

    Parameters
    ----------
    words : ndarray, (q,) int32
        Visual words of the query, ascending; one may occur several times (no aggregation).
    codes : ndarray, (q, w) uint8
        Packed bits of each.
    weights : ndarray, (k,) float32
        Weight of every word of the codebook.
    table : ndarray, (B + 1,) float32
        Value of a pair by its Hamming distance; the selectivity where entries are unit vectors.

    Returns
    -------
    scores : ndarray, (n,) float32
        Before any norm; 0 where no word is shared.

    Raises
    ------
    ValueError
        Codes of another width than the shard's, or of fewer bits than the table's.
    """
    if isinstance(table, Selectivity):
        return score_vectors(shard, words, codes, weights, alpha=table.alpha, tau=table.tau)
    scores, n_bytes = np.zeros(shard.n_images, np.float32), shard.codes.shape[1]
    if not len(words):
        return scores
    if shard.codes.dtype != np.uint8 or codes.shape != (len(words), n_bytes) or codes.dtype != np.uint8:
        expected = f"({len(words)}, {n_bytes}) uint8"
        raise ValueError(f"codes {codes.shape} {codes.dtype}, expected {expected} like {shard.codes.dtype}")
    if not n_bytes * 8 - 8 < len(table) - 1 <= n_bytes * 8:
        raise ValueError(f"a table of {len(table) - 1} bits for codes of {n_bytes} bytes")
    if len(shard.ordinals):
        unit = next(kind for size, kind in UNITS if n_bytes % size == 0)
        padded = np.zeros(n_bytes * 8 + 1, np.float32)  # spare bits are 0 in every code: never reached
        padded[: len(table)] = table
        asked, held = np.ascontiguousarray(codes).view(unit), shard.codes.view(unit)
        chosen = weights[words].astype(np.float32)
        add = add_pairs if asked.shape[1] == 2 else add_any
        add(shard.offsets, shard.ordinals, held, words.astype(np.int64), asked, chosen, padded, scores)
    return scores


def score_vectors(
    shard: Shard,
    words: np.ndarray,
    vectors: np.ndarray,
    weights: np.ndarray,
    *,
    alpha: float,
    tau: float,
) -> np.ndarray:
    """Score every image of a shard of unit vectors (E, d) for one query (q, d), see `score_shard`."""
    if vectors.shape != (len(words), shard.codes.shape[1]):
        raise ValueError(f"vectors {vectors.shape}, expected ({len(words)}, {shard.codes.shape[1]})")
    scores = np.zeros(shard.n_images, np.float32)
    chosen = weights[words].astype(np.float32)
    for word, vector, weight in zip(words, vectors.astype(np.float32), chosen, strict=True):
        start, stop = int(shard.offsets[word]), int(shard.offsets[word + 1])
        if start < stop:
            u = shard.codes[start:stop].astype(np.float32) @ vector
            value = np.where(u > tau, np.sign(u) * np.abs(u) ** np.float32(alpha), np.float32(0))
            add_values(scores, shard.ordinals[start:stop], weight * value.astype(np.float32))
    return scores


@intrinsic
def count_ones(typing, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count the bits that are set, with one instruction of the processor."""
    signature = types.uint64(value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ones = builder.ctpop(args[0])
        long = ir.IntType(64)
        return builder.zext(ones, long) if ones.type.width < long.width else ones

    return signature, generate


@intrinsic
def request(typing, array, row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Ask memory for the lines that begin at a row of an array, without waiting for them."""
    signature = types.void(array, row)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        opened = context.make_array(signature.args[0])(context, builder, args[0])
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        stride = builder.extract_value(opened.strides, 0)
        at = builder.gep(builder.bitcast(opened.data, byte), [builder.mul(args[1], stride)])
        for line in range(LINES):
            place = builder.gep(at, [ir.IntType(64)(64 * line)])
            builder.call(prefetch, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return signature, generate


@numba.njit(cache=True, nogil=True)
def add_pairs(offsets, ordinals, codes, words, asked, weights, table, scores):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Add what every word of a query gives to its list's images, for codes of two machine words.

    Indices are unsigned: a signed one would be tested each time, since it might count from the end.
    """
    for i in range(words.size):
        if i + AHEAD < words.size:
            later = np.int64(offsets[words[i + AHEAD]])
            request(codes, later)  # type: ignore[call-arg]
            request(ordinals, later)
        low, high, weight = asked[i, 0], asked[i, 1], weights[i]
        j, stop = np.uint64(offsets[words[i]]), np.uint64(offsets[words[i] + 1])
        while j < stop:
            h: Any = count_ones(low ^ codes[j, np.uint64(0)])  # type: ignore[call-arg]
            h += count_ones(high ^ codes[j, np.uint64(1)])
            scores[ordinals[j]] += weight * table[h]
            j += np.uint64(1)


@numba.njit(cache=True, nogil=True)
def add_any(offsets, ordinals, codes, words, asked, weights, table, scores):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Do the same for codes of any width."""
    for i in range(words.size):
        if i + AHEAD < words.size:
            later = np.int64(offsets[words[i + AHEAD]])
            request(codes, later)  # type: ignore[call-arg]
            request(ordinals, later)
        j, stop = np.uint64(offsets[words[i]]), np.uint64(offsets[words[i] + 1])
        while j < stop:
            h = np.uint64(0)
            for b in range(asked.shape[1]):
                h += count_ones(asked[i, b] ^ codes[j, np.uint64(b)])  # type: ignore[call-arg]
            scores[ordinals[j]] += weights[i] * table[h]
            j += np.uint64(1)


@numba.njit(cache=True, nogil=True)
def add_values(scores, ordinals, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add one value per entry to the scores of its image; an image may have several."""
    for j in range(ordinals.size):
        scores[ordinals[j]] += values[j]
