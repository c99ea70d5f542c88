"""Slow references: the kernels of Tolias, Avrithis and Jegou (2015) as double loops, from their text."""

from collections import defaultdict

import numpy as np

VARIANTS = ("smk", "asmk", "smk*", "asmk*")


def nearest_words(x, C, m=1):
    distances = [float(((x.astype(np.float64) - c) ** 2).sum()) for c in C.astype(np.float64)]
    return sorted(range(len(C)), key=lambda c: (distances[c], c))[:m]


def power(u, alpha, tau):
    return np.sign(u) * abs(u) ** alpha if u > tau else 0.0


def signs(z):
    return np.array([1.0 if v >= 0 else -1.0 for v in z])


def direction(z, variant, scale=None):
    """phi of one residual, or Phi of a sum of them."""
    if variant.endswith("*"):
        return signs(z) / np.sqrt(len(z))
    length = np.sqrt(z @ z)
    return z / length if length > 0 else None


def describe(X, C, variant, *, m=1, Q=None, medians=None):
    """An image as a dict: word -> list of the vectors that are compared."""
    sets = defaultdict(list)
    for x in X:
        for c in nearest_words(x, C, m):
            z = x.astype(np.float64)
            sets[c].append(z - C[c] if Q is None else Q.astype(np.float64) @ z - medians[c])
    if variant.startswith("asmk"):
        sets = {c: [np.sum(residuals, axis=0)] for c, residuals in sets.items()}
    vectors = {c: [direction(z, variant) for z in residuals] for c, residuals in sets.items()}
    kept = {c: [v for v in found if v is not None] for c, found in vectors.items()}
    return {c: found for c, found in kept.items() if found}


def match(A, B, alpha, tau):
    return sum(power(float(a @ b), alpha, tau) for a in A for b in B)


def weigh(images, k, *, use_idf=True):
    weights = np.zeros(k)
    for c in range(k):
        n = sum(c in image for image in images)
        if n:
            weights[c] = np.log(len(images) / n) ** 2 if use_idf else 1.0
    return weights


def raw(X, Y, weights, alpha=3.0, tau=0.0):
    return sum(weights[c] * match(X[c], Y[c], alpha, tau) for c in sorted(set(X) & set(Y)))


def norm(X, weights, alpha=3.0, tau=0.0):
    own = sum(weights[c] * match(X[c], X[c], alpha, tau) for c in X)
    return own**-0.5 if own > 0 else 0.0


def similarity(X, Y, weights, alpha=3.0, tau=0.0):
    return norm(X, weights, alpha, tau) * norm(Y, weights, alpha, tau) * raw(X, Y, weights, alpha, tau)


def merge_across(entries, n_bits, tau, min_matches):
    """i-ASMK*: entries {(word, image): +-1 vector} -> the same with the codes of their components."""
    pairs = [
        (c, x, y)
        for c, x in entries
        for other, y in entries
        if other == c and x < y and entries[c, x] @ entries[c, y] / n_bits >= tau
    ]
    counts = defaultdict(int)
    for _, x, y in pairs:
        counts[x, y] += 1
    groups = {key: {key} for key in entries}
    for c, x, y in pairs:
        if counts[x, y] >= min_matches and groups[c, x] is not groups[c, y]:
            joined = groups[c, x] | groups[c, y]
            groups |= dict.fromkeys(joined, joined)
    return {key: signs(sum(entries[member] for member in group)) for key, group in groups.items()}
