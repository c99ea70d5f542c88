"""What the settings of a search say to an ASMK search."""

from typing import NamedTuple

import numpy as np

from resight.asmk.kernel import Rule, Selectivity, lookup_table
from resight.config import SettingError
from resight.rerank.hqe import Expansion
from resight.search.settings import SearchSettings
from resight.workspace import Run


class Recipe(NamedTuple):
    """How queries are scored: codes of ``n_bits``, ``m`` words per keypoint, results to ``depth``."""

    n_bits: int
    selectivity: Selectivity = Selectivity()
    m: int = 5
    depth: int | str = 100
    expansion: Expansion | None = None
    aggregate: bool = True
    real: bool = False

    @property
    def dtype(self) -> str:
        """Type of the codes, or unit vectors, of a query."""
        return "float32" if self.real else "uint8"

    def table(self) -> Rule:
        """Give what a pair of codes is worth by its Hamming distance: (n_bits + 1,) float32.

        Of unit vectors: the selectivity itself.
        """
        if self.real:
            return self.selectivity
        return lookup_table(self.n_bits, self.selectivity).astype(np.float32)

    def limit(self, n_images: int) -> int:
        """Give the number of results of a collection of ``n_images``."""
        return n_images if self.depth == "all" else min(int(self.depth), n_images)


def read_recipe(settings: SearchSettings, n_bits: int, indexed: Run) -> Recipe:
    """Take what concerns an index with codes of ``n_bits`` from the settings of a search.

    Raises
    ------
    SettingError
        The norms of the index, which is not aggregated, are those of another selectivity.
    """
    selectivity, aggregate = (
        Selectivity(settings.asmk_alpha, settings.asmk_tau),
        indexed.settings["aggregate"],
    )
    normed = Selectivity(indexed.settings["alpha"], indexed.settings["tau"])
    if not aggregate and selectivity != normed:
        raise SettingError(
            f"asmk_alpha: the norms of the index {indexed.name!r} are for --asmk-alpha {normed.alpha:g} "
            f"--asmk-tau {normed.tau:g}; give these, or build an index with others"
        )
    real = indexed.settings.get("values", "bits") != "bits"
    if real and settings.method == "hqe":
        raise SettingError(f"method: hqe compares bits, the index {indexed.name!r} holds vectors")
    expansion = Expansion(
        n_bits,
        shortlist=settings.hqe_shortlist,
        similarity=settings.hqe_similarity,
        n_matches=settings.hqe_matches,
        share=settings.hqe_share,
    )
    return Recipe(
        n_bits,
        selectivity,
        settings.assignments,
        settings.depth,
        expansion if settings.method == "hqe" else None,
        aggregate,
        real,
    )
