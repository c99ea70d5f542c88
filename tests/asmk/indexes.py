"""Small collections of entries, the files of an index over them, and the double sum of the definition."""

import numpy as np

from resight.asmk.search import Asked
from resight.asmk.searching.index import IndexFiles
from resight.asmk.shard import ShardFiles, write_shard
from resight.codebook.model import Codebook, save_codebook
from resight.knn.matrix import Part, VectorFiles, save_array, save_part


def make_table(n_bits, *, alpha=3.0, tau=0.0):
    u = 1 - 2 * np.arange(n_bits + 1) / n_bits
    return np.where(u > tau, np.sign(u) * np.abs(u) ** alpha, 0).astype(np.float32)


def draw_images(rng, *, n=12, k=9, n_bits=16, most=6):
    """Per image a dict word -> code (w,) uint8; some images have none, words are skewed."""
    share = np.arange(k, 0, -1) / np.arange(k, 0, -1).sum()
    images = []
    for _ in range(n):
        words = np.unique(rng.choice(k, rng.integers(0, most + 1), p=share))
        bits = rng.integers(0, 2, (len(words), n_bits), np.uint8)
        codes = np.packbits(bits, axis=1, bitorder="little")
        images.append(dict(zip(words.tolist(), codes, strict=True)))
    return images


def to_asked(image, n_bytes):
    words = np.array(sorted(image), np.int32)
    codes = [image[word] for word in words.tolist()]
    return Asked(words, np.array(codes, np.uint8).reshape(len(words), n_bytes))


def word_weights(images, k, *, idf):
    """(ln N / n_c)^2, or 1 for every word that is in an image."""
    counts = np.array([sum(c in image for image in images) for c in range(k)])
    if not idf:
        return (counts > 0).astype(np.float64)
    return np.where(counts > 0, np.log(len(images) / np.maximum(counts, 1)) ** 2, 0.0)


def image_norm(image, weights):
    total = sum(weights[word] for word in image)
    return total**-0.5 if total > 0 else 0.0


def double_sum(query, image, weights, n_bits, *, alpha=3.0, tau=0.0):
    """The kernel of the definition, from +1 and -1, in float64."""
    total = 0.0
    for word in sorted(set(query) & set(image)):
        a, b = (2.0 * np.unpackbits(s[word], bitorder="little")[:n_bits] - 1 for s in (query, image))
        u = a @ b / n_bits
        total += weights[word] * (np.sign(u) * abs(u) ** alpha if u > tau else 0.0)
    return image_norm(query, weights) * image_norm(image, weights) * total


def write_index(folder, images, ids, weights, *, n_bytes, per_shard, removed=()):
    """Write images, ids ascending, as shards and stats; the removed ones have no norm."""
    entries = [to_asked(image, n_bytes) for image in images]
    norms = np.array([image_norm(image, weights) for image in images])
    norms[np.isin(ids, removed)] = -1
    return save_index(folder, entries, ids, norms, weights, per_shard=per_shard, d=8 * n_bytes)


def save_index(folder, entries, ids, norms, weights, *, per_shard, d=None):
    """Write the entries of images, ids ascending, as shards and stats; norms below 0: removed images."""
    shards = []
    for number, start in enumerate(range(0, len(entries), per_shard)):
        some = entries[start : start + per_shard]
        counts = [len(one.words) for one in some]
        words, codes = (np.concatenate(column) for column in zip(*some, strict=True))
        place = f"{folder}/shards/{number}"
        info = write_shard(
            place,
            words,
            np.repeat(np.arange(len(some)), counts),
            codes,
            ids[start : start + per_shard],
            n_words=len(weights),
        )
        shards.append(ShardFiles(place, info.sha256, info.n_images, info.n_entries))
    kept = np.asarray(norms) >= 0
    rows = np.array(norms, np.float32)[kept, None]
    part = Part(save_part(f"{folder}/images", 0, ids[kept], rows), 0, int(kept.sum()))
    stats = VectorFiles(f"{folder}/images", 1, "float32", (part,))
    stats.save()
    codebook = save_codebook(Codebook(np.eye(len(weights), d, dtype=np.float32)), str(folder))
    name = save_array(str(folder), "weights", weights.astype(np.float32))
    return IndexFiles(str(folder), tuple(shards), stats, name, codebook)
