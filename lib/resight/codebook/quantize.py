"""Assignment of descriptors to their nearest centroids, exactly or over groups of centroids.

A large codebook is cut into groups by k-means on its centroids. A descriptor is compared with the centres of
the groups and then only with the centroids of its nearest groups: the inverted lists of Jégou, Douze and
Schmid (PAMI 2011) with the roles of queries and lists exchanged. How many groups are visited follows from the
agreement with the exact assignment on a sample. Which descriptors are assigned together changes nothing, see
`resight.codebook.nearest` and `resight.codebook.visit`.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from resight.codebook.model import Codebook

__all__ = ["EXACT_WORDS", "Agreement", "Coarse", "Quantizer", "assign", "count_groups", "tune_probes"]

EXACT_WORDS = 2048  # up to here all centroids are compared
AGREEMENT = 0.99  # share of descriptors that get their true word
SPARE = 2  # candidates beyond those asked for, ranked together in float64
TILE_ROWS = 16_384  # descriptors that are assigned together
PRODUCT_ROWS = 1024  # rows and words of one matrix product
GROUP_ROWS = 4096  # descriptors whose visits of groups are sorted together
GROUP_ITERATIONS = 8


class Agreement(NamedTuple):
    """How many groups are visited, and the share of a sample that then gets its true word."""

    n_probes: int
    share: float


class Coarse(NamedTuple):
    """Groups of near centroids: their ``centers`` (g, d) float32, and the ``home`` (k,) int32 of each."""

    centers: np.ndarray
    home: np.ndarray


class Layout(NamedTuple):
    """Vectors group by group, each group filled up to whole tiles of `resight.codebook.visit`.

    Parameters
    ----------
    tiles : ndarray, (s / l, d, l) float32
        Dimension by dimension; zero where a slot is filled up.
    half_norms : ndarray, (s,) float32
        Half of their squared lengths; infinite where a slot is filled up, which no score then chooses.
    names : ndarray, (s + 1,) int32
        Number of the vector in each slot; -1 where there is none, and at the end.
    starts : ndarray, (g + 1,) int64
        Slots of group i are ``starts[i]`` to ``starts[i + 1]``.
    """

    tiles: np.ndarray
    half_norms: np.ndarray
    names: np.ndarray
    starts: np.ndarray


def assign(X: np.ndarray, codebook: "Codebook", m: int = 1, *, exact: bool = False) -> np.ndarray:
    """Find the ``m`` nearest words of each descriptor.

    Parameters
    ----------
    X : ndarray, (n, d) float
        Finite descriptors.
    m : int
        Words per descriptor; as many as there are where the codebook has fewer.
    exact : bool
        Compare all centroids, whatever the codebook says.

    Returns
    -------
    ndarray, (n, min(m, k)) int32
        Nearest first; words at equal distance by ascending number.

    Raises
    ------
    ValueError
        ``X`` has another shape, or holds a NaN or an infinity.
    """
    quantizer = codebook.quantizer
    return (Quantizer(quantizer.centroids) if exact else quantizer).assign(X, m)


class Quantizer:
    """Finds the nearest of some centroids (k, d) float32.

    Parameters
    ----------
    n_probes : int
        Groups that are visited; 0 compares all centroids.
    coarse : Coarse, optional
        The groups, where they are known.
    """

    def __init__(self, centroids: np.ndarray, n_probes: int = 0, coarse: Coarse | None = None) -> None:
        self.centroids, self.n_probes = centroids, n_probes
        if coarse is not None:
            self.coarse = coarse

    @cached_property
    def coarse(self) -> Coarse:
        """The groups of the centroids."""
        return group_centroids(self.centroids)

    @cached_property
    def groups(self) -> tuple[Layout, Layout]:
        """The centroids as they are searched: the centres of their groups, and group by group."""
        centers, home = self.coarse
        return lay_out(centers, np.zeros(len(centers), np.int32), 1), lay_out(
            self.centroids, home, len(centers)
        )

    @cached_property
    def half_norms(self) -> np.ndarray:
        """Half the squared length (k,) float32 of every centroid."""
        return halve_norms(self.centroids)

    def prepare(self) -> None:
        """Make what several threads would each make at their first use."""
        _ = self.groups if self.n_probes else self.half_norms

    def assign(self, X: np.ndarray, m: int = 1) -> np.ndarray:
        """Find the words of each row of ``X``, see `assign`."""
        k, d = self.centroids.shape
        if X.ndim != 2 or X.shape[1] != d:
            raise ValueError(f"descriptors have shape {X.shape}, the codebook has {d} dimensions")
        m = min(m, k)
        blocks = [self.assign_block(block, m) for block in blocks_of(X)]
        return np.concatenate([*blocks, np.zeros((0, m), np.int32)])

    def assign_block(self, X: np.ndarray, m: int) -> np.ndarray:
        """Find the words of some rows."""
        if not np.isfinite(X).all():
            raise ValueError("a descriptor holds a NaN or an infinity")
        if self.n_probes:
            return self.visit_groups(X, m)
        return self.compare_all(X) if m == 1 else find_nearest(X, self.centroids, m)

    def visit_groups(self, X: np.ndarray, m: int) -> np.ndarray:
        """Find the best words (n, m) int32 among the groups that each row of ``X`` (n, d) visits.

        Rows whose groups hold fewer words are compared with all.
        """
        from resight.codebook.nearest import rank_candidates  # compiled: no command line waits for it
        from resight.codebook.visit import choose_groups, search_groups

        centers, words = self.groups
        n_probes, kept = min(self.n_probes, len(self.coarse.centers)), min(m + SPARE, len(self.centroids))
        found = np.empty((len(X), m), np.int32)
        for start in range(0, len(X), GROUP_ROWS):
            rows = X[start : start + GROUP_ROWS]
            probes = choose_groups(rows, centers.tiles, centers.half_norms, n_probes)
            slots = search_groups(rows, probes, words.tiles, words.half_norms, words.starts, kept)
            found[start : start + GROUP_ROWS] = rank_candidates(rows, self.centroids, words.names[slots], m)
        short = np.flatnonzero(found[:, -1] < 0)
        if len(short):
            found[short] = find_nearest(X[short], self.centroids, m)
        return found

    def compare_all(self, X: np.ndarray) -> np.ndarray:
        """Find the nearest word (n, 1) int32 of all for each row of ``X`` (n, d)."""
        from resight.codebook.nearest import settle, take_best

        best, second = np.full((2, len(X)), -np.inf, np.float32)
        names = np.zeros(len(X), np.int32)
        for word in range(0, len(self.centroids), PRODUCT_ROWS):
            some, half_norms = (a[word : word + PRODUCT_ROWS] for a in (self.centroids, self.half_norms))
            for start in range(0, len(X), PRODUCT_ROWS):
                own = slice(start, start + PRODUCT_ROWS)
                take_best(X[own] @ some.T, half_norms, word, best[own], second[own], names[own])
        largest = np.sqrt(2 * self.half_norms.max())
        slack = 2 * error_bound(X.shape[1]) * largest * (np.sqrt(np.einsum("nd,nd->n", X, X)) + largest)
        settle(np.flatnonzero(~(best - second > slack)), X, self.centroids, names)
        return names[:, None]


def error_bound(d: int) -> float:
    """Largest relative error of a float32 dot product of ``d`` terms, see `resight.knn.candidates`."""
    return 1.01 * (d + 3) * 2.0**-24


def halve_norms(centroids: np.ndarray) -> np.ndarray:
    """Half the squared length (k,) float32 of every row."""
    wide = centroids.astype(np.float64)
    return (np.einsum("kd,kd->k", wide, wide) / 2).astype(np.float32)


def lay_out(vectors: np.ndarray, home: np.ndarray, n_groups: int) -> Layout:
    """Order ``vectors`` (k, d) by the groups ``home`` (k,) that they belong to, and fill groups up."""
    from resight.codebook.visit import LANES

    counts = np.bincount(home, minlength=n_groups)
    starts = np.append(0, np.cumsum(-(-counts // LANES) * LANES))
    order = np.argsort(home, kind="stable")
    firsts = np.cumsum(counts) - counts
    slots = (starts[:-1] - firsts)[home[order]] + np.arange(len(order))
    names = np.full(starts[-1] + 1, -1, np.int32)
    names[slots] = order
    filled, half_norms = np.zeros((starts[-1], vectors.shape[1]), np.float32), np.full(starts[-1], np.inf)
    filled[slots], half_norms[slots] = vectors[order], halve_norms(vectors)[order]
    tiles = filled.reshape(-1, LANES, vectors.shape[1]).transpose(0, 2, 1)
    return Layout(np.ascontiguousarray(tiles), half_norms.astype(np.float32), names, starts)


def find_nearest(X: np.ndarray, centroids: np.ndarray, m: int) -> np.ndarray:
    """Find the ``m`` nearest of all ``centroids``: (n, m) int32, by distance in float64, then by number."""
    import faiss

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


def group_centroids(centroids: np.ndarray) -> Coarse:
    """Cut ``centroids`` (k, d) into groups; equal centroids give equal groups."""
    import faiss

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
    return Coarse(centers, home.astype(np.int32))


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
    return find_agreement(X, Quantizer(centroids), agreement)


def find_agreement(X: np.ndarray, exact: Quantizer, agreement: float) -> Agreement:
    """Find how many of its groups agree with a quantizer that compares all, see `tune_probes`."""
    import faiss

    truth = exact.assign(X)[:, 0]
    centers, home = exact.coarse
    ranked = faiss.knn(np.ascontiguousarray(X, np.float32), centers, len(centers))[1]
    needed = (ranked == home[truth][:, None]).argmax(1)  # groups that come before that of the true word
    for n_probes in range(1, len(centers)):
        share = float((needed < n_probes).mean())
        if share - np.sqrt(share * (1 - share) / len(X)) >= agreement:
            return Agreement(n_probes, share)
    return Agreement(0, 1.0)
