"""Assignment of descriptors to their nearest centroids, exactly or over groups of centroids.

A large codebook is cut into groups by k-means on its centroids. A descriptor is compared with the groups and
then only with the centroids of its nearest groups, all descriptors of a group in one matrix product: the
inverted lists of Jégou, Douze and Schmid (PAMI 2011) with the roles of queries and lists exchanged. How many
groups are visited follows from the agreement with the exact assignment on a sample. Which descriptors are
assigned together changes nothing, see `resight.codebook.nearest`.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import faiss
import numpy as np

if TYPE_CHECKING:
    from resight.codebook.model import Codebook

__all__ = ["EXACT_WORDS", "Agreement", "Quantizer", "assign", "count_groups", "tune_probes"]

EXACT_WORDS = 8192  # up to here all centroids are compared
AGREEMENT = 0.99  # share of descriptors that get their true word
SPARE = 2  # candidates beyond those asked for, ranked together in float64
TILE_ROWS = 16_384  # descriptors that are assigned together
PRODUCT_ROWS = 1024  # rows and, where all centroids are compared, words of one matrix product
GROUP_ITERATIONS = 8


class Agreement(NamedTuple):
    """How many groups are visited, and the share of a sample that then gets its true word."""

    n_probes: int
    share: float


class Groups(NamedTuple):
    """Centroids in groups of near ones: ``order`` (k,) names them group by group, ``offsets`` (g + 1,).

    ``centers`` (g, d) has no rows where the groups are only runs of words, all of them to be visited.
    """

    centers: np.ndarray
    order: np.ndarray
    offsets: np.ndarray


def assign(X: np.ndarray, codebook: "Codebook", m: int = 1) -> np.ndarray:
    """Find the ``m`` nearest words of each descriptor.

    Parameters
    ----------
    X : ndarray, (n, d) float
        Finite descriptors.
    m : int
        Words per descriptor; as many as there are where the codebook has fewer.

    Returns
    -------
    ndarray, (n, min(m, k)) int32
        Nearest first; words at equal distance by ascending number.

    Raises
    ------
    ValueError
        ``X`` has another shape, or holds a NaN or an infinity.
    """
    return codebook.quantizer.assign(X, m)


class Quantizer:
    """Finds the nearest of some centroids (k, d) float32; ``n_probes`` 0 compares all of them."""

    def __init__(self, centroids: np.ndarray, n_probes: int = 0) -> None:
        self.centroids, self.n_probes = centroids, n_probes

    @cached_property
    def groups(self) -> Groups:
        """The centroids in groups."""
        return group_centroids(self.centroids)

    @cached_property
    def runs(self) -> Groups:
        """The centroids in the order of their numbers, cut for one product each."""
        k, d = self.centroids.shape
        bounds = np.append(np.arange(0, k, PRODUCT_ROWS), k)
        return Groups(np.zeros((0, d), np.float32), np.arange(k), bounds)

    @cached_property
    def half_norms(self) -> np.ndarray:
        """Half the squared length (k,) float32 of every centroid."""
        wide = self.centroids.astype(np.float64)
        return (np.einsum("kd,kd->k", wide, wide) / 2).astype(np.float32)

    def prepare(self) -> None:
        """Make what several threads would each make at their first use."""
        _ = self.half_norms, self.groups if self.n_probes else self.runs

    def assign(self, X: np.ndarray, m: int = 1) -> np.ndarray:
        """Find the words of each row of ``X``, see `assign`."""
        k, d = self.centroids.shape
        if X.ndim != 2 or X.shape[1] != d:
            raise ValueError(f"descriptors have shape {X.shape}, the codebook has {d} dimensions")
        m = min(m, k)
        blocks = [self.assign_block(block, m) for block in blocks_of(X)]
        return np.concatenate([*blocks, np.zeros((0, m), np.int32)])

    def assign_block(self, X: np.ndarray, m: int) -> np.ndarray:
        """Find the words of some rows; groups are for the nearest word only, a query's are few."""
        if not np.isfinite(X).all():
            raise ValueError("a descriptor holds a NaN or an infinity")
        return self.visit_groups(X) if m == 1 else find_nearest(X, self.centroids, m)

    def visit_groups(self, X: np.ndarray) -> np.ndarray:
        """Find the best word (n, 1) int32 among the groups that each row of ``X`` (n, d) visits."""
        from resight.codebook.nearest import settle, take_best  # compiled: no command line waits for it

        centers, order, offsets = self.groups if self.n_probes else self.runs
        probes = choose_groups(X, centers, len(offsets) - 1, self.n_probes)
        best, second = np.full((2, len(X)), -np.inf, np.float32)
        names = np.zeros(len(X), np.int32)
        for g, rows in rows_of_groups(probes, len(offsets) - 1):
            words = order[offsets[g] : offsets[g + 1]]
            products = X[rows] @ self.centroids[words].T
            take_best(products, self.half_norms[words], rows, words, best, second, names)
        largest = np.sqrt(2 * self.half_norms.max())
        slack = 2 * error_bound(X.shape[1]) * largest * (np.sqrt(np.einsum("nd,nd->n", X, X)) + largest)
        close = np.flatnonzero(~(best - second > slack))
        settle(close, np.ascontiguousarray(probes[close]), X, self.centroids, order, offsets, names)
        return names[:, None]


def error_bound(d: int) -> float:
    """Largest relative error of a float32 dot product of ``d`` terms, see `resight.knn.candidates`."""
    return 1.01 * (d + 3) * 2.0**-24


def choose_groups(X: np.ndarray, centers: np.ndarray, n_groups: int, n_probes: int) -> np.ndarray:
    """Name the groups (n, p) that each row visits: those of the nearest ``centers``, or all."""
    if not len(centers):
        return np.broadcast_to(np.arange(n_groups, dtype=np.int32), (len(X), n_groups))
    return find_nearest(X, centers, min(n_probes, n_groups))


def rows_of_groups(probes: np.ndarray, n_groups: int) -> Iterator[tuple[int, np.ndarray]]:
    """Give each group with the rows that visit it, at most `PRODUCT_ROWS` at a time."""
    flat = probes.ravel()
    rows = np.argsort(flat, kind="stable") // max(1, probes.shape[1])
    bounds = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=n_groups))])
    for g in range(n_groups):
        for start in range(bounds[g], bounds[g + 1], PRODUCT_ROWS):
            yield g, rows[start : min(start + PRODUCT_ROWS, bounds[g + 1])]


def find_nearest(X: np.ndarray, centroids: np.ndarray, m: int) -> np.ndarray:
    """Find the ``m`` nearest of all ``centroids``: (n, m) int32, by distance in float64, then by number."""
    from resight.codebook.nearest import rank_candidates

    candidates = faiss.knn(X, centroids, min(m + SPARE, len(centroids)))[1]
    return rank_candidates(X, centroids, candidates, m)


def blocks_of(X: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into contiguous float32 blocks."""
    for start in range(0, len(X), TILE_ROWS):
        yield np.ascontiguousarray(X[start : start + TILE_ROWS], np.float32)


def count_groups(k: int) -> int:
    """Choose the number of groups of ``k`` centroids: the power of two next to the root of k."""
    return int(2 ** max(0, round(np.log2(np.sqrt(k)))))


def group_centroids(centroids: np.ndarray) -> Groups:
    """Cut ``centroids`` (k, d) into groups; equal centroids give equal groups."""
    k, d = centroids.shape
    kmeans = faiss.Kmeans(
        d,
        count_groups(k),
        niter=GROUP_ITERATIONS,
        seed=0,
        min_points_per_centroid=1,
        max_points_per_centroid=k,
    )
    kmeans.train(np.ascontiguousarray(centroids, np.float32))
    centers = np.ascontiguousarray(kmeans.centroids)
    home = faiss.knn(np.ascontiguousarray(centroids, np.float32), centers, 1)[1][:, 0]
    order = np.argsort(home, kind="stable")
    return Groups(centers, order, np.searchsorted(home[order], np.arange(len(centers) + 1)))


def tune_probes(X: np.ndarray, centroids: np.ndarray, *, agreement: float = AGREEMENT) -> Agreement:
    """Choose how many groups an assignment visits.

    Parameters
    ----------
    X : ndarray, (s, d) float32
        Sampled descriptors.
    agreement : float
        Share of the sample that must get its true word, one standard error added; of this size that is.

    Returns
    -------
    Agreement
        0 probes, and agreement 1, where all centroids are compared: up to `EXACT_WORDS`.
    """
    if len(centroids) <= EXACT_WORDS or not len(X):
        return Agreement(0, 1.0)
    exact = Quantizer(centroids)
    truth = exact.assign(X)[:, 0]
    centers, order, offsets = exact.groups
    home = np.empty(len(centroids), np.int64)
    home[order] = np.repeat(np.arange(len(centers)), np.diff(offsets))
    ranked = faiss.knn(np.ascontiguousarray(X, np.float32), centers, len(centers))[1]
    needed = (ranked == home[truth][:, None]).argmax(1)  # groups that come before that of the true word
    for n_probes in range(1, len(centers)):
        share = float((needed < n_probes).mean())
        if share - np.sqrt(share * (1 - share) / len(X)) >= agreement:
            return Agreement(n_probes, share)
    return Agreement(0, 1.0)
