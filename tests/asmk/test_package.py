"""The kernels against the package ``asmk`` 0.1.1, where its rules are ours.

They differ, so the comparison stays clear of it: a component that is exactly 0 is a zero bit there and a one
here; a similarity exactly at the threshold counts there; codes whose length is no multiple of 32 are divided
by the padded length there; a real sum is divided by its length + 1e-6 there; an image without features breaks
a batch, or is dropped from a list of queries, there, and scores 0 here; a word that no image has weighs 1 in
the norm of a query there, so that scores are compared up to the query's norm; words and images added in
several batches keep weights of different ages there.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from resight.asmk.kernel import raw_scores, self_scores
from resight.asmk.statistics import inverse_roots, word_weights
from resight.codebook.model import Codebook
from resight.codebook.quantize import assign
from tests.asmk.sets import entries_of

K, D, N = 8, 64, 9


@pytest.fixture
def collection(rng):
    C = rng.normal(size=(K, D)).astype(np.float32)
    sets = [
        (C[rng.integers(K - 1, size=size)] + 0.9 * rng.normal(size=(size, D))).astype(np.float32)
        for size in rng.integers(2, 15, N)
    ]
    return C, sets


def their_scores(C, sets, query, m, *, binary, use_idf):
    """What the package gives for one query, all images, by number of the image."""
    kernel_module = pytest.importorskip("asmk.kernel")
    kernel = kernel_module.ASMKKernel(SimpleNamespace(centroids=C), binary=binary)
    file = pytest.importorskip("asmk.inverted_file").IVF.initialize_empty(codebook_size=K, use_idf=use_idf)
    owners = np.repeat(np.arange(len(sets)), [len(X) for X in sets])
    everything = np.concatenate(sets)
    file.add(*kernel.aggregate(everything, assign(everything, Codebook(C)), owners))
    asked = kernel.aggregate_image(query, assign(query, Codebook(C), m))
    options = {"alpha": 3.0, "similarity_threshold": 0.0}
    ranks, scores = file.search(
        *asked, similarity_func=lambda *x: kernel.similarity(*x, **options), topk=None
    )
    return scores[np.argsort(ranks)]


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("variant", ["asmk", "asmk*"])
@pytest.mark.parametrize("use_idf", [False, True])
def test_scores_are_those_of_the_package(collection, variant, use_idf, m):
    C, sets = collection
    base = entries_of(sets, Codebook(C), variant)
    counts = np.bincount(base.words, minlength=K)
    weights = word_weights(counts, N, use_idf=use_idf)
    norms = inverse_roots(self_scores(base, weights, n_images=N))
    for query in sets[:3]:
        asked = entries_of([query], Codebook(C), variant, m=m)
        found = norms * raw_scores(asked, base, weights, n_images=N)
        theirs = their_scores(C, sets, query, m, binary=variant == "asmk*", use_idf=use_idf)
        np.testing.assert_allclose(found / found.max(), theirs / theirs.max(), atol=1e-5)
