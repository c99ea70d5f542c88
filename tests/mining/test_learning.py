"""What mined pools are worth: a linear embedding trained on them, tested on classes it never saw."""

import numpy as np
import torch

from resight.mining.manifold import mine_pools
from tests.diffusion.planted_curves import unit
from tests.mining.planted import list_both

N_CLASSES, N_POINTS = 20, 40


def draw_classes(rng):
    """Class centres in eight dimensions, and two that every class sweeps along the same half circle."""
    centres = np.repeat(rng.standard_normal((N_CLASSES, 8)) / np.sqrt(8), N_POINTS, axis=0)
    t = np.tile(np.linspace(0, np.pi, N_POINTS), N_CLASSES)
    nuisance = 1.6 * np.stack([np.cos(t), np.sin(t)], axis=1)
    noise = 0.02 * rng.standard_normal((len(t), 10))
    return np.hstack([centres, nuisance]) + noise, np.repeat(np.arange(N_CLASSES), N_POINTS)


def mean_precision(X, labels):
    """Mean average precision, every row asking all others."""
    scores = unit(X) @ unit(X).T
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1)[:, :-1]
    hits = labels[order] == labels[:, None]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(1).mean() / (N_POINTS - 1)


def train_embedding(X, anchor, positive, negative, *, steps=120, margin=0.5):
    """Fit a matrix by triplets of rows (m,); a fresh draw of them at every step."""
    torch.manual_seed(0)
    data, rng = torch.from_numpy(X), np.random.default_rng(0)
    W = torch.eye(X.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([W], lr=0.05)
    for _ in range(steps):
        some = rng.integers(0, len(anchor), 512)
        a, p, n = (
            torch.nn.functional.normalize(data[rows[some]] @ W) for rows in (anchor, positive, negative)
        )
        loss = torch.relu(margin + ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return W.detach().numpy()


def draw_triplets(rng, positive, negative, n=20_000):
    """Draw rows of anchors with an entry of each of their lists."""
    anchors = rng.choice(np.intersect1d(positive.row, negative.row), n)
    ends = []
    for entries in (positive, negative):
        first, last = (np.searchsorted(entries.row, anchors, side=side) for side in ("left", "right"))
        ends.append(entries.item[first + (rng.random(n) * (last - first)).astype(int)])
    return anchors, *ends


def test_an_embedding_trained_on_pools_serves_classes_it_never_saw(rng):
    (X, _), (unseen, labels) = draw_classes(rng), draw_classes(rng)
    everyone = np.arange(len(X))
    euclidean, manifold = list_both(unit(X), everyone, k=10)
    pools = mine_pools(everyone, euclidean, manifold, k_positive=30, k_negative=60)
    anchors, near, _ = draw_triplets(rng, euclidean.first(5), euclidean.first(5))
    plain = anchors, near, rng.integers(0, len(X), len(anchors))
    initial = mean_precision(unseen, labels)
    mined = draw_triplets(rng, *pools)
    by_near, by_pools = (mean_precision(unseen @ train_embedding(X, *t), labels) for t in (plain, mined))
    assert initial < by_near < by_pools
    assert by_pools > initial + 0.3
