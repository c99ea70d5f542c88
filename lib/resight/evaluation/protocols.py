"""Which labelled images count as positive, which are ignored, under each protocol.

A label of the ground truth becomes a small integer code; the query's own image, where it is part of the
collection, has codes of its own. A protocol is a table from code to relevance. Easy, medium and hard follow
Radenovic et al., "Revisiting Oxford and Paris" (CVPR 2018), table 1; old is the original Oxford protocol.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from resight.config import SettingError

LABELS = ("positive", "easy", "hard", "junk")
N_CODES = 1 + len(LABELS)  # code 0: not labelled, a negative
POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class Protocol:
    """A reading of the labels; what is neither positive nor ignored is negative.

    ``own`` says what the query's own image is: what its label says, a positive, or ignored.
    """

    name: str
    positives: tuple[str, ...]
    own: Literal["labelled", "positive", "ignored"] = "labelled"

    @property
    def relevance(self) -> np.ndarray:
        """Relevance (2 * N_CODES,) int8 by code: labels of other images, then of the query's own."""
        labelled = [POSITIVE if label in self.positives else IGNORED for label in LABELS]
        others = np.array([NEGATIVE, *labelled], np.int8)
        fixed = POSITIVE if self.own == "positive" else IGNORED
        own = others if self.own == "labelled" else np.full(N_CODES, fixed, np.int8)
        return np.concatenate([others, own])


ANY = ("positive", "easy", "hard")
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("old", ANY),
        Protocol("easy", ("easy",)),
        Protocol("medium", ANY),
        Protocol("hard", ("hard",)),
        Protocol("leave_one_out", ANY, own="ignored"),
        Protocol("ukb", ANY, own="positive"),
    )
}


def find_protocols(names: Iterable[str]) -> list[Protocol]:
    """Look protocols up by name; `SettingError` lists those there are."""
    names = list(names)
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        wrong = f"unknown protocol {unknown[0]!r}" if unknown else "no protocol given"
        raise SettingError(f"{wrong}; the protocols are {', '.join(PROTOCOLS)}")
    return [PROTOCOLS[name] for name in names]


@dataclass(frozen=True)
class QueryTruth:
    """What is known about one query: ``image_ids`` (m,) int64 ascending, ``codes`` (m,) int8."""

    image_ids: np.ndarray
    codes: np.ndarray
    own: int | None = None

    def label_ranking(self, image_ids: np.ndarray) -> np.ndarray:
        """Code (n,) int8 of every ranked image (n,) int64; 0 where it is not labelled."""
        if not len(self.image_ids):
            return np.zeros(len(image_ids), np.int8)
        at = np.searchsorted(self.image_ids, image_ids).clip(max=len(self.image_ids) - 1)
        return np.where(self.image_ids[at] == image_ids, self.codes[at], 0).astype(np.int8)

    def count_positives(self, protocol: Protocol) -> int:
        """Count the positives of the ground truth under a protocol."""
        return int(np.count_nonzero(protocol.relevance[self.codes] == POSITIVE))


def build_query_truth(image_ids: np.ndarray, labels: Iterable[str], *, own: int | None = None) -> QueryTruth:
    """Gather the labelled images of one query.

    Parameters
    ----------
    image_ids : ndarray, (m,) int64
        Labelled images, each once.
    labels : sequence of str, (m,)
        Their labels, out of `LABELS`.
    own : int, optional
        The query's own image where it is part of the collection.
    """
    image_ids = np.asarray(image_ids, np.int64)
    codes = np.array([1 + LABELS.index(label) for label in labels], np.int8)
    if own is not None:
        if own not in image_ids:
            image_ids, codes = np.append(image_ids, own), np.append(codes, np.int8(0))
        codes = np.where(image_ids == own, codes + N_CODES, codes).astype(np.int8)
    order = np.argsort(image_ids)
    repeated = image_ids[order][1:][np.diff(image_ids[order]) == 0]
    if len(repeated):
        raise ValueError(f"image {repeated[0]} is labelled twice for one query")
    return QueryTruth(image_ids[order], codes[order], own)
