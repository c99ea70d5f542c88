"""Discovery written out slowly: loops over cells, regions and pairs, and dense solves."""

import math

import numpy as np


def slow_saliency(A):
    h, w, c = A.shape
    share = [sum(A[y, x, j] > 0 for y in range(h) for x in range(w)) / (h * w) + 1e-6 for j in range(c)]
    b = [math.log(sum(share) / s) for s in share]
    F = [[sum(b[j] * float(A[y, x, j]) for j in range(c)) for x in range(w)] for y in range(h)]
    norm = math.sqrt(sum(v * v for row in F for v in row))
    return np.array([[math.sqrt(v / norm) if norm else 0.0 for v in row] for row in F]), np.array(b)


def slow_pool(A, box, p):
    y0, x0, y1, x1 = box
    cells = [
        A[y, x].astype(float)
        for y in range(max(y0, 0), min(y1, A.shape[0]))
        for x in range(max(x0, 0), min(x1, A.shape[1]))
    ]
    if p == 0:
        return np.max(cells, axis=0)
    return (sum(cell**p for cell in cells) / len(cells)) ** (1 / p)


def slow_patches(A, side, p):
    r = side // 2
    h, w, _ = A.shape
    boxes = [(y - r, x - r, y + r + 1, x + r + 1) for y in range(h) for x in range(w)]
    return np.array([slow_pool(A, box, p) for box in boxes]).reshape(A.shape)


def normal(p, mean, variances):
    z = sum((a - m) ** 2 / v for a, m, v in zip(p, mean, variances, strict=True))
    return math.exp(-z / 2) / (2 * math.pi * math.sqrt(variances[0] * variances[1]))


def slow_mixture(S, *, sigma, eta, mstep, max_iter=30):
    """Components as lists of (pi, mu, variances); steps as the sheet writes them."""
    cells = [(y, x) for y in range(S.shape[0]) for x in range(S.shape[1]) if S[y, x] > 0]
    s = [S[cell] for cell in cells]
    model = [(v / sum(s), cell, (sigma**2, sigma**2)) for v, cell in zip(s, cells, strict=True)]
    for _ in range(max_iter):
        moved = slow_step(cells, s, model, sigma, mstep)
        kept = slow_purge(moved, eta)
        steps = [
            max(abs(a - b) for a, b in zip(new[1], old[1], strict=True))
            for new, old in zip(moved, model, strict=True)
        ]
        done = len(kept) == len(model) and max(steps) < 1e-3
        total = sum(moved[i][0] for i in kept)
        model = [(moved[i][0] / total, *moved[i][1:]) for i in kept]
        if done:
            break
    return sorted(model, key=lambda q: -q[0])


def slow_step(cells, s, model, sigma, mstep):
    G = []
    for p, v in zip(cells, s, strict=True):
        row = [v * pi * normal(p, mu, [x + sigma**2 for x in var]) for pi, mu, var in model]
        G.append([g / sum(row) * (v if mstep == "weighted" else 1) for g in row])
    whole, moved = sum(map(sum, G)), []
    for k in range(len(model)):
        g = [row[k] for row in G]
        mu = [sum(a * p[axis] for a, p in zip(g, cells, strict=True)) / sum(g) for axis in (0, 1)]
        var = [
            sum(a * (p[axis] - mu[axis]) ** 2 for a, p in zip(g, cells, strict=True)) / sum(g)
            for axis in (0, 1)
        ]
        moved.append((sum(g) / whole, mu, [max(v, 1 / 12) for v in var]))
    return moved


def slow_purge(model, eta):
    kept = []
    for i in sorted(range(len(model)), key=lambda i: -model[i][0]):
        pi, mu, var = model[i]
        own = pi**2 / (4 * math.pi * math.sqrt(var[0] * var[1]))
        shared = sum(
            pi * model[j][0] * normal(mu, model[j][1], [a + b for a, b in zip(var, model[j][2], strict=True)])
            for j in kept
        )
        if not kept or own / (own + shared) >= eta:
            kept.append(i)
    return sorted(kept)


def dense_normalised(A):
    d = A.sum(1)
    scale = np.array([1 / math.sqrt(x) if x > 0 else 0.0 for x in d])
    return scale[:, None] * A * scale


def dense_katz(A, alpha):
    n = len(A)
    return np.linalg.solve(np.eye(n) - alpha * dense_normalised(A), (1 - alpha) * np.ones(n))


def slow_climb(A, ids, floor):
    d = A.sum(1)
    parents = []
    for i in range(len(A)):
        ways = [j for j in np.flatnonzero(A[i]) if A[i, j] >= floor and (d[j], -ids[j]) > (d[i], -ids[i])]
        parents.append(max(ways, key=lambda j: (A[i, j], d[j], -ids[j])) if ways else i)
    return parents
