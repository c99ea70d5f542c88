"""The guard: cut a component of pairs into groups around images that are kept.

A component of near pairs can chain unlike images together: a is near b, b is near c, a is not near c.
`split_component` covers it by stars: the image most worth keeping takes every image that it reaches
through pairs whose similarity *to it* is at least ``min_similarity``; of what is left, the one most
worth keeping takes its own, and so on (Aslam, Pelekhov and Rus 2004, section 3).

Only images next to a group are ever measured against its kept image, and each pair makes that happen
at most twice: the time is linear in the number of pairs, for a chain as for a giant component.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from resight.dedup.keep import Criterion, parse_policy

Measure = Callable[[int, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class GroupRule:
    """What makes a group, and how the work is cut up.

    Attributes
    ----------
    min_similarity : float
        What every member must reach to the kept image.
    policy : tuple of Criterion
        Which image is kept.
    n_blocks : int
        Components are worked on in so many blocks; the result does not depend on it.
    dtype : str
        Of the stored vectors.
    max_size : int
        Images of a group, classes of copies counted once; 0: any number.
    """

    min_similarity: float
    policy: tuple[Criterion, ...] = parse_policy()
    n_blocks: int = 64
    dtype: str = "float16"
    max_size: int = 0


@dataclass(frozen=True)
class Split:
    """What `split_component` decided, in ordinals of its n images.

    Attributes
    ----------
    kept : ndarray, (n,) int64
        The image that is kept for each image; itself where it is kept or alone.
    similarity : ndarray, (n,) float32
        To that image; 1 to itself.
    cut_image, cut_kept : ndarray, (c,) int64
        Images that touch a group and were kept out of it, and whose group it is.
    cut_similarity : ndarray, (c,) float32
        What they reached; NaN where it could not be measured. At the limit and above, the group was full.
    """

    kept: np.ndarray
    similarity: np.ndarray
    cut_image: np.ndarray
    cut_kept: np.ndarray
    cut_similarity: np.ndarray


def split_component(
    order: np.ndarray,
    pairs: np.ndarray,
    similarity: np.ndarray,
    measure: Measure,
    *,
    min_similarity: float,
    max_size: int = 0,
) -> Split:
    """Cover a component, or several at once, by groups under the guard.

    Parameters
    ----------
    order : ndarray, (n,) int64
        All images, the one most worth keeping first.
    pairs : ndarray, (p, 2) int64
        Ordinals of paired images, each pair once.
    similarity : ndarray, (p,) float32
        Of the pairs.
    measure : function (kept, images) -> (len(images),) float32
        Similarity of images to a kept one that they are not paired with; NaN if unknown.
    min_similarity : float
        What a member must reach to the kept image, compared in float32.
    max_size : int
        Images of a group; the most similar of those that are reached together are taken. 0: any number.

    Returns
    -------
    Split
        Independent of the order of ``pairs``, and of which components share a call.
    """
    n = len(order)
    starts, others, weights = adjacency(pairs, similarity, n)
    kept = np.full(n, -1, np.int64)
    reached = np.ones(n, np.float32)
    cuts: list[tuple[int, int, float]] = []
    limit = np.float32(min_similarity)
    for centre in order.tolist():
        if kept[centre] >= 0:
            continue
        kept[centre] = centre
        row = slice(starts[centre], starts[centre + 1])
        listed = dict(zip(others[row].tolist(), weights[row].tolist(), strict=True))
        asked, frontier, room = {centre}, [centre], max_size - 1 if max_size else n
        while frontier:
            touched = neighbours_of(frontier, starts, others)
            new = [i for i in sorted(touched) if i not in asked and kept[i] < 0]
            asked.update(new)
            values = measured(centre, new, listed, measure)
            frontier = choose_members(new, values, limit, room)
            room -= len(frontier)
            taken = set(frontier)
            for i, value in zip(new, values, strict=True):
                if i in taken:
                    kept[i], reached[i] = centre, value
                else:
                    cuts.append((i, centre, value))
    return Split(kept, reached, *cut_columns(cuts))


def choose_members(images: list[int], values: list[float], limit: np.float32, room: int) -> list[int]:
    """Choose those that reach ``limit``, the most similar ones where there is not ``room`` for all."""
    reached = [(-value, i) for i, value in zip(images, values, strict=True) if value >= limit]
    if len(reached) > room:
        reached = sorted(reached)[:room]
    return sorted(i for _, i in reached)


def adjacency(pairs: np.ndarray, similarity: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both directions of ``pairs`` as lists: starts (n + 1,), others (2 p,), weights (2 p,)."""
    a = np.concatenate([pairs[:, 0], pairs[:, 1]])
    b = np.concatenate([pairs[:, 1], pairs[:, 0]])
    weights = np.concatenate([similarity, similarity])
    by_image = np.lexsort((b, a))
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(a, minlength=n), out=starts[1:])
    return starts, b[by_image], weights[by_image]


def neighbours_of(images: list[int], starts: np.ndarray, others: np.ndarray) -> set[int]:
    """Collect what ``images`` are paired with."""
    found: set[int] = set()
    for i in images:
        found.update(others[starts[i] : starts[i + 1]].tolist())
    return found


def measured(centre: int, images: list[int], listed: dict[int, float], measure: Measure) -> list[float]:
    """Similarity of ``images`` to ``centre``: from its pairs, else measured."""
    absent = np.array([i for i in images if i not in listed], np.int64)
    if not len(absent):
        return [listed[i] for i in images]
    values = dict(zip(absent.tolist(), measure(centre, absent).tolist(), strict=True))
    return [listed[i] if i in listed else values[i] for i in images]


def cut_columns(cuts: list[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of the recorded cuts: image, kept, similarity."""
    images, kept, values = zip(*cuts, strict=True) if cuts else ((), (), ())
    return np.array(images, np.int64), np.array(kept, np.int64), np.array(values, np.float32)


def cosine_measure(X: np.ndarray) -> Measure:
    """Measure by the cosine of ``X`` (n, d); a zero or non-finite row is unknown.

    Each value is summed on its own in float64: it does not depend on what is asked with it.
    """

    def measure(kept: int, images: np.ndarray) -> np.ndarray:
        x = X[kept].astype(np.float64)
        Y = X[images].astype(np.float64)  # (m, d)
        lengths = np.sqrt((x * x).sum() * (Y * Y).sum(axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((Y * x).sum(axis=1) / lengths).astype(np.float32)

    return measure


def unknown_measure(kept: int, images: np.ndarray) -> np.ndarray:
    """Measure nothing: only paired images can share a group."""
    return np.full(len(images), np.nan, np.float32)
