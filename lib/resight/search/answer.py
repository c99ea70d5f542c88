"""What a search gives for one query."""

from typing import NamedTuple

import numpy as np

from resight.diffusion.explain import Path


class Answer(NamedTuple):
    """One query's ranking: ordinals (k,) int64 and scores (k,) float64, best first.

    ``no_support``: the graph has nothing near the query, so that similarity alone ranks. ``iterations`` and
    ``residual`` are those of the solver, None where nothing was solved; ``paths`` lead to the first results,
    where they were asked for.
    ``regions`` (k,) int32, of regional diffusion: the region of each result that adds most to its score, -1
    where diffusion did not reach it.
    """

    ordinals: np.ndarray
    scores: np.ndarray
    no_support: bool = False
    iterations: int | None = None
    residual: float | None = None
    paths: tuple[Path, ...] = ()
    regions: np.ndarray | None = None
