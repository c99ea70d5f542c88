"""Hamming query expansion without geometry: a query is enriched by the images that certainly match it.

Tolias and Jegou, "Visual query expansion with or without geometry", Pattern Recognition 2014: among the first
images those are reliable that share many very close codes with the query; their codes on the words that most
of them have are pooled with the query's, and each word becomes one code again by a majority of every bit.
Here over aggregated codes: an image, and the query, has one vote per word, and both searches score as ASMK
does. The paper's Hamming embedding (Gaussian weights of distances, a factor against bursts, the norm of the
bag of words, one vote per pair of keypoints) and its variant with geometry are not built. The query's own
image is left out of its short list, where it is known.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resight.asmk.kernel import Rule
from resight.asmk.search import Asked, Ranked, search_index
from resight.asmk.searching.index import Index

GOLDEN = 0x9E3779B97F4A7C15  # steps and mixing of splitmix64


class Entries(NamedTuple):
    """Entries of some images: image_ids (e,) int64, words (e,) int32, codes (e, w) uint8."""

    image_ids: np.ndarray
    words: np.ndarray
    codes: np.ndarray


class Expansion(NamedTuple):
    """Settings: see `SearchSettings`; ``n_bits`` are those of a code."""

    n_bits: int
    shortlist: int = 100
    similarity: float = 0.5
    n_matches: int = 5
    share: float = 0.5
    seed: int = 0


def search_expanded(
    queries: Sequence[Asked],
    own: np.ndarray,
    index: Index,
    table: Rule,
    expansion: Expansion,
    *,
    depth: int,
) -> list[Ranked]:
    """Search, expand every query by its reliable images, and search again; see `search_index`."""
    first = search_index(queries, own, index, table, depth=expansion.shortlist)
    numbers = range(len(index.shards))
    expanded = [
        expand_query(query, collect_entries(one.image_ids, index, numbers), expansion)
        for query, one in zip(queries, first, strict=True)
    ]
    return search_index(expanded, own, index, table, depth=depth)


def collect_entries(image_ids: np.ndarray, index: Index, numbers: Sequence[int]) -> Entries:
    """Read the entries of some images (m,) out of the shards ``numbers``, ordered by image, then by word."""
    wanted, found = np.sort(image_ids), []
    for number in numbers:
        shard = index.open(number)[0]
        at = np.searchsorted(shard.image_ids, wanted)
        there = at < shard.n_images
        there[there] = shard.image_ids[at[there]] == wanted[there]
        if there.any():
            rows = shard.entries_of(at[there])
            owners = shard.image_ids[shard.ordinals[rows]]
            found.append(Entries(owners, shard.words_of(rows), shard.codes[rows]))
    return join_entries(found)


def join_entries(parts: Sequence[Entries]) -> Entries:
    """Join entries of different images, ordered by image, then by word."""
    nothing = Entries(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros((0, 0), np.uint8))
    if not parts:
        return nothing
    joined = Entries(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    order = np.lexsort((joined.words, joined.image_ids))
    return Entries(*(column[order] for column in joined))


def expand_query(query: Asked, entries: Entries, expansion: Expansion) -> Asked:
    """Merge a query with the reliable ones among some images, a code per word.

    Words of the query that no reliable image has keep their code. Ties of a bit are broken by a hash of the
    query, the word, the bit and the seed. Without a reliable image the query comes back as it is.
    """
    key = query_key(query)
    query = Asked(*majority(query.words, query.codes, expansion, key=key))
    reliable = find_reliable(query, entries, expansion)
    kept = np.isin(entries.image_ids, reliable)
    kept[kept] = np.isin(entries.words[kept], choose_words(query.words, entries.words[kept], expansion.share))
    if not kept.any():
        return query
    pooled_words = np.concatenate([query.words, entries.words[kept]])
    pooled_codes = np.concatenate([query.codes, entries.codes[kept]])
    order = np.argsort(pooled_words, kind="stable")
    return Asked(*majority(pooled_words[order], pooled_codes[order], expansion, key=key))


def find_reliable(query: Asked, entries: Entries, expansion: Expansion) -> np.ndarray:
    """List the images, ids ascending, that share enough close codes with a query of one code per word."""
    at = np.searchsorted(query.words, entries.words)
    common = at < len(query.words)
    common[common] = query.words[at[common]] == entries.words[common]
    if not common.any():
        return np.zeros(0, np.int64)
    distance = np.bitwise_count(query.codes[at[common]] ^ entries.codes[common]).sum(1, dtype=np.int64)
    close = 1 - 2 * distance / expansion.n_bits > expansion.similarity
    images, n_close = np.unique(entries.image_ids[common][close], return_counts=True)
    return images[n_close >= expansion.n_matches]


def choose_words(own: np.ndarray, found: np.ndarray, share: float) -> np.ndarray:
    """Choose the words that are pooled: those of the query, and others that most images have.

    Parameters
    ----------
    own : ndarray, (q,) int
        Words of the query, each once.
    found : ndarray, (e,) int
        A word per entry of the reliable images, so that its count is that of its images.
    share : float
        At most ``share * q`` words that the query lacks, the most frequent first, then by word.
    """
    words, counts = np.unique(found, return_counts=True)
    is_own = np.isin(words, own)
    others, frequency = words[~is_own], counts[~is_own]
    order = np.lexsort((others, -frequency))[: int(share * len(own))]
    return np.concatenate([words[is_own], others[order]])


def majority(
    words: np.ndarray, codes: np.ndarray, expansion: Expansion, *, key: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give every word of ascending ``words`` (m,) one code: the majority of each bit of its ``codes``."""
    if not len(words):
        return words, codes
    bits = np.unpackbits(codes, axis=1, bitorder="little", count=expansion.n_bits)
    found, starts = np.unique(words, return_index=True)
    votes = np.add.reduceat(2 * bits.astype(np.int32) - 1, starts, axis=0)
    chosen = np.where(votes == 0, toss_coins(found, expansion, key), votes > 0)
    return found.astype(np.int32), np.packbits(chosen, axis=1, bitorder="little")


def toss_coins(words: np.ndarray, expansion: Expansion, key: int) -> np.ndarray:
    """Toss a fair coin (m, B) bool for every bit of every word: it follows from key, seed, word and bit."""
    start = (key + (expansion.seed + 1) * GOLDEN) % 2**64
    place = words.astype(np.uint64)[:, None] * np.uint64(expansion.n_bits)
    z: np.ndarray = place + np.arange(expansion.n_bits, dtype=np.uint64) + np.full(1, start, np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) & np.uint64(1)).astype(bool)


def query_key(query: Asked) -> int:
    """Hash what a query holds: equal queries toss equal coins, whatever they are called."""
    data = query.words.astype("<i4").tobytes() + query.codes.tobytes()
    return int.from_bytes(hashlib.blake2b(data, digest_size=7).digest(), "little")
