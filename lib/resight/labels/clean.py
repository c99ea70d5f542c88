"""How much a noisy label is to be believed: a small graph network that tells clean from noisy examples.

Iscen, Tolias, Avrithis, Chum, Schmid, "Graph convolutional networks for learning with few clean and many
noisy labels", ECCV 2020, section 4. Every class has a graph and a network of its own.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Cleaned", "average_graph", "clean_class", "own_noise_weight", "reciprocal_graph"]

NEIGHBORS = 50
HIDDEN = 16
DROPOUT = 0.5
RATE, ITERATIONS, EVERY, WEIGHT_DECAY = 0.1, 100, 30, 5e-4
NOISE_WEIGHTS = ((20, 5.0), (10, 1.0), (5, 0.5), (2, 0.05), (1, 0.01))  # of ResNet-10, by clean examples


class Cleaned(NamedTuple):
    """What became of one class of N examples.

    Parameters
    ----------
    relevance : ndarray, (N,) float64
        In [0, 1]; 1 of the clean ones.
    first_loss, last_loss : float
        Of the training, without dropout.
    status : str
        ``ok``, ``no_noisy`` (nothing to clean), ``no_clean_edges`` (the graph ties no clean example to a
        noisy one, whose relevance is then 0) or ``collapsed`` (all noisy ones have the same).
    """

    relevance: np.ndarray
    first_loss: float
    last_loss: float
    status: str


def own_noise_weight(n_clean: int) -> float:
    """Give the weight of the noisy examples for a number of clean ones: the fewer, the smaller.

    >>> [own_noise_weight(n) for n in (1, 3, 5, 100)]
    [0.01, 0.05, 0.5, 5.0]
    """
    return next(weight for n, weight in NOISE_WEIGHTS if n_clean >= n)


def reciprocal_graph(X: np.ndarray, *, k: int = NEIGHBORS) -> sp.csr_array:
    """Link the rows of ``X`` (N, d), unit vectors, that are among each other's ``k`` nearest, by cosines.

    Those above 0; equal ones by row. A row is never its own neighbour. Returns (N, N) float64, symmetric.
    """
    n, rows = len(X), []
    k = min(k, n - 1)
    for begin in range(0, n, 1024):
        s = np.asarray(X[begin : begin + 1024], np.float64) @ np.asarray(X, np.float64).T
        s[np.arange(len(s)), np.arange(begin, begin + len(s))] = -np.inf
        near = np.argsort(-s, axis=1, kind="stable")[:, :k]
        src = np.repeat(np.arange(begin, begin + len(s)), k)
        rows.append((src, near.ravel(), np.take_along_axis(s, near, axis=1).ravel()))
    src, dst, similarity = (np.concatenate(part) for part in zip(*rows, strict=True))
    kept = similarity > 0
    A = sp.csr_array((similarity[kept], (src[kept], dst[kept])), shape=(n, n))
    return A.minimum(A.T).tocsr()  # an entry that only one side has becomes 0


def average_graph(A: sp.csr_array) -> sp.csr_array:
    """Add every row itself and divide rows by their sums: ``D^-1 (A + I)`` of section 4.1."""
    looped = sp.csr_array(A + sp.eye_array(A.shape[0], format="csr"))
    return sp.csr_array(sp.diags_array(1 / looped.sum(1)) @ looped)


def clean_class(
    X: np.ndarray,
    n_clean: int,
    *,
    A: sp.csr_array | None = None,
    noise_weight: float | None = None,
    seed: int = 0,
) -> Cleaned:
    """Train the network of one class and read off how relevant its noisy examples are.

    Parameters
    ----------
    X : ndarray, (N, d)
        Unit vectors, the clean examples first.
    n_clean : int
        One at least.
    A : csr_array, (N, N), optional
        Affinity; by default `reciprocal_graph` of ``X``. Without any edge this is a plain network.
    noise_weight : float, optional
        The paper's lambda: how firmly noisy examples are taken for wrong; by default `own_noise_weight`.
    seed : int
        Of the weights that the network begins with, and of the dropout.

    Returns
    -------
    Cleaned
    """
    import torch

    if n_clean < 1:
        raise ValueError("a class without a clean example cannot be cleaned")
    n = len(X)
    if n == n_clean:
        return Cleaned(np.ones(n), 0.0, 0.0, "no_noisy")
    given, A = A is not None, reciprocal_graph(X) if A is None else A
    if not given and not A[:n_clean, n_clean:].nnz:
        return Cleaned((np.arange(n) < n_clean).astype(np.float64), 0.0, 0.0, "no_clean_edges")
    weight = own_noise_weight(n_clean) if noise_weight is None else noise_weight
    average = average_graph(A)
    model = GraphNetwork(average, np.asarray(average @ X), n_clean, weight, seed)
    first = model.loss(train=False).item()
    model.train()
    with torch.no_grad():
        last, relevance = model.loss(train=False).item(), torch.sigmoid(model.logits(train=False)).numpy()
    relevance = relevance.astype(np.float64)
    status = "ok" if relevance[n_clean:].std() > 1e-3 or n - n_clean == 1 else "collapsed"
    relevance[:n_clean] = 1.0
    return Cleaned(relevance, first, last, status)


class GraphNetwork:
    """Two layers that average over neighbours: ``sigmoid(At relu(At X T1 + b1) T2 + b2)``."""

    def __init__(
        self, average: sp.csr_array, averaged: np.ndarray, n_clean: int, weight: float, seed: int
    ) -> None:
        import torch

        coo = average.tocoo()
        index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
        self.average = torch.sparse_coo_tensor(
            index, torch.from_numpy(coo.data), coo.shape, check_invariants=False
        ).coalesce()
        self.averaged = torch.from_numpy(averaged.astype(np.float64))
        self.n_clean, self.weight = n_clean, weight
        self.generator = torch.Generator().manual_seed(seed)
        shapes = ((averaged.shape[1], HIDDEN), (HIDDEN,), (HIDDEN, 1), (1,))
        self.weights = [self.draw(shape, shape[-1]) for shape in shapes]

    def draw(self, shape: tuple[int, ...], fan_out: int) -> "Tensor":
        """Draw weights uniformly, of width 1 / sqrt(fan_out) to both sides."""
        import torch

        drawn = torch.rand(shape, generator=self.generator, dtype=torch.float64) * 2 - 1
        return (drawn / fan_out**0.5).requires_grad_()

    def logits(self, *, train: bool) -> "Tensor":
        """Give the logits (N,), with dropout in training."""
        import torch

        T1, b1, T2, b2 = self.weights
        H = torch.relu(self.averaged @ T1 + b1)
        if train:
            kept = torch.rand(H.shape, generator=self.generator, dtype=torch.float64) >= DROPOUT
            H = H * kept / (1 - DROPOUT)
        return (self.average @ (H @ T2)).squeeze(1) + b2

    def loss(self, *, train: bool) -> "Tensor":
        """Mean over the clean of -log F, plus ``weight`` times the mean over the noisy of -log(1 - F)."""
        from torch.nn.functional import softplus

        z = self.logits(train=train)
        return softplus(-z[: self.n_clean]).mean() + self.weight * softplus(z[self.n_clean :]).mean()

    def train(self) -> None:
        """Take all steps."""
        import torch

        optimizer = torch.optim.Adam(self.weights, lr=RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, EVERY, 0.1)
        for _ in range(ITERATIONS):
            optimizer.zero_grad()
            self.loss(train=True).backward()
            optimizer.step()
            schedule.step()
