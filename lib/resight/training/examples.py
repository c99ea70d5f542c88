"""What a network is trained with: anchors, their positives and the photos to seek negatives among."""

import io
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Examples", "Part", "list_examples"]


class Part(NamedTuple):
    """One side of the split: anchors and, per anchor, ragged rows of its positives and listed negatives."""

    anchors: np.ndarray  # (a,) int64
    positives: list[np.ndarray]
    weights: list[np.ndarray]  # of the positives, float64
    negatives: list[np.ndarray]
    rows: np.ndarray  # (r,) int64 ascending: all photos of this side


@dataclass(frozen=True, eq=False)
class Examples:
    """Pairs and listed negatives, as rows of ``image_ids``.

    Parameters
    ----------
    image_ids : ndarray, (m,) int64
        Ascending.
    clusters : ndarray, (m,) int64
        Component of the graph or 3D model, from 0; a photo of which none is known is one of its own.
    copies : ndarray, (m,) int64
        The row that stands for a photo among its copies.
    pairs : ndarray, (n, 2) int64
        Anchor and positive, sorted.
    weights : ndarray, (n,) float64
        Of the pairs.
    listed : ndarray, (l, 2) int64
        Anchor and a photo that shows something else, sorted.
    in_training : ndarray, (m,) bool
        Whether a photo is of the training; else it is of the validation.
    """

    image_ids: np.ndarray
    clusters: np.ndarray
    copies: np.ndarray
    pairs: np.ndarray
    weights: np.ndarray
    listed: np.ndarray
    in_training: np.ndarray

    def part(self, *, training: bool, bad: np.ndarray | None = None) -> Part:
        """Give one side of the split without the ``bad`` photos (m,) bool, and without lone anchors."""
        usable = self.in_training == training
        usable &= True if bad is None else ~bad
        keep_pairs, keep_listed = usable[self.pairs].all(1), usable[self.listed].all(1)
        pairs, listed = self.pairs[keep_pairs], self.listed[keep_listed]
        anchors = np.unique(pairs[:, 0])
        cuts = np.searchsorted(pairs[:, 0], anchors[1:])
        sides = [np.searchsorted(listed[:, 0], anchors, side=side) for side in ("left", "right")]
        return Part(
            anchors,
            np.split(pairs[:, 1], cuts) if len(anchors) else [],
            np.split(self.weights[keep_pairs], cuts) if len(anchors) else [],
            [listed[begin:end, 1] for begin, end in zip(*sides, strict=True)],
            np.flatnonzero(usable),
        )

    def exclude(self, part: Part) -> list[np.ndarray]:
        """List, per anchor, what is no negative: its positives, the copies of these and of itself."""
        order = np.argsort(self.copies, kind="stable")
        grouped = self.copies[order]
        found = []
        for anchor, positives in zip(part.anchors, part.positives, strict=True):
            groups = np.unique(self.copies[np.append(positives, anchor)])
            begin, end = (np.searchsorted(grouped, groups, side=s) for s in ("left", "right"))
            found.append(np.concatenate([order[b:e] for b, e in zip(begin, end, strict=True)]))
        return found

    def to_bytes(self) -> bytes:
        """Pack into a npz archive."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{f.name: getattr(self, f.name) for f in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, packed: bytes) -> Self:
        """Unpack what `to_bytes` gave."""
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            return cls(**{f.name: archive[f.name] for f in fields(cls)})


def list_examples(
    tuples: pa.Table, pools: pa.Table | None = None, groups: pa.Table | None = None
) -> Examples:
    """Gather the examples from rows of ``training_tuples``.

    Parameters
    ----------
    tuples : Table
        ``anchor, positive, negative, weight, component_id, split``.
    pools : Table, optional
        ``anchor, item, role, split``: further negatives of the same anchors. One that is of the other side,
        or would be of both, is left out.
    groups : Table, optional
        ``group_id, image_id`` of copies.

    Raises
    ------
    ValueError
        A photo is in tuples of both sides.
    """
    T = {name: tuples[name].to_numpy() for name in ("anchor", "positive", "negative")}
    training = np.asarray(tuples["split"]) != "validation"
    of_training = np.unique(np.concatenate([ids[training] for ids in T.values()]))
    of_validation = np.unique(np.concatenate([ids[~training] for ids in T.values()]))
    both = np.intersect1d(of_training, of_validation)
    if len(both):
        raise ValueError(f"image {both[0]} is in tuples of training and of validation")
    further = [] if pools is None else further_negatives(pools, T["anchor"], of_training, of_validation)
    listed = np.concatenate([np.stack([T["anchor"], T["negative"]], axis=1), *further])
    ids = np.unique(np.concatenate([T["positive"], listed.ravel()]))
    of_training = np.concatenate([of_training, *(rows[:, 1] for rows in further[:1])])
    copies = find_copies(ids, groups)
    pairs, first = np.unique(
        np.searchsorted(ids, np.stack([T["anchor"], T["positive"]], axis=1)), axis=0, return_index=True
    )
    return Examples(
        ids,
        find_clusters(ids, tuples, copies),
        copies,
        pairs,
        np.nan_to_num(tuples["weight"].to_numpy()[first].astype(np.float64), nan=1.0),
        np.unique(np.searchsorted(ids, listed), axis=0),
        np.isin(ids, of_training),
    )


def further_negatives(
    pools: pa.Table, anchors: np.ndarray, of_training: np.ndarray, of_validation: np.ndarray
) -> list[np.ndarray]:
    """Give the negatives of pools of the training (l, 2), then those of the validation, as ids."""
    rows = np.stack([pools["anchor"].to_numpy(), pools["item"].to_numpy()], axis=1)
    rows = rows[(np.asarray(pools["role"]) == "negative") & np.isin(rows[:, 0], anchors)]
    trained = rows[np.isin(rows[:, 0], of_training) & ~np.isin(rows[:, 1], of_validation)]
    seen = np.union1d(of_training, trained[:, 1])
    validated = rows[np.isin(rows[:, 0], of_validation) & ~np.isin(rows[:, 1], seen)]
    return [trained, validated]


def find_copies(ids: np.ndarray, groups: pa.Table | None) -> np.ndarray:
    """Give the first row of the group of copies of every id, (m,) int64."""
    copies = np.arange(len(ids))
    if groups is None:
        return copies
    members, names = groups["image_id"].to_numpy(), groups["group_id"].to_numpy()
    known = np.isin(members, ids)
    rows, names = np.searchsorted(ids, members[known]), names[known]
    order = np.argsort(rows)
    _, first, inverse = np.unique(names[order], return_index=True, return_inverse=True)
    copies[rows[order]] = rows[order][first][inverse]
    return copies


def find_clusters(ids: np.ndarray, tuples: pa.Table, copies: np.ndarray) -> np.ndarray:
    """Give the component of anchors and positives, which copies share; others are alone: (m,) int64."""
    clusters = -1 - copies  # of no known component: the group of copies
    named = pc.fill_null(tuples["component_id"], -1).to_numpy()
    for name in ("positive", "anchor"):
        rows = np.searchsorted(ids, tuples[name].to_numpy())
        clusters[rows] = np.where(named >= 0, named, clusters[rows])
    known = clusters >= 0
    best = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(best, copies[known], clusters[known])
    shared = best[copies]
    clusters = np.where(known | (shared == np.iinfo(np.int64).max), clusters, shared)
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64)
