"""Small collections of descriptor sets, and their entries by the kernels under test."""

import numpy as np

from resight.asmk.aggregate import aggregate_image, aggregate_vectors
from resight.asmk.kernel import Entries
from resight.codebook.medians import draw_projection, fill_medians, project, word_medians
from resight.codebook.model import Codebook
from resight.codebook.quantize import assign


def draw_sets(rng, *, n=7, d=12, k=5, most=14):
    """Centroids (k, d) and ``n`` sets of descriptors; the second is empty, the last repeats the first."""
    C = rng.normal(size=(k, d)).astype(np.float32)
    sizes = [*rng.integers(1, most, n - 2), 0]
    sets = [
        (C[rng.integers(k, size=size)] + 0.6 * rng.normal(size=(size, d))).astype(np.float32)
        for size in sizes
    ]
    sets.insert(1, sets.pop())
    return C, [*sets, sets[0].copy()]


def embed(C, sets, n_bits, seed=0):
    """A codebook of the kind that projects."""
    X = np.concatenate(sets)
    Q = draw_projection(C.shape[1], n_bits, seed=seed)
    words, medians = word_medians(project(X, Q), assign(X, Codebook(C))[:, 0])
    return Codebook(C, Q, fill_medians(C, Q, words, medians))


def entries_of(sets, codebook, variant, *, m=1):
    """Entries of images numbered from 0."""
    aggregate, binary, found = variant.startswith("asmk"), variant.endswith("*"), []
    for owner, X in enumerate(sets):
        words = assign(X, codebook, m)
        if binary:
            own, values = aggregate_image(X, words, codebook, aggregate=aggregate)
        else:
            own, values = aggregate_vectors(X, words, codebook.centroids, aggregate=aggregate)
        found.append((own, np.full(len(own), owner), values))
    return Entries(*map(np.concatenate, zip(*found, strict=True)), codebook.n_bits if binary else 0)
