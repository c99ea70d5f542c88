"""What the settings of a search say to a fused one."""

from msgspec import structs

from resight.rerank.fuse import MOST, Weighting
from resight.search.fused.rank import FusedRecipe
from resight.search.settings import SearchSettings


def read_fused_recipe(settings: SearchSettings, n: int) -> FusedRecipe:
    """Take what concerns a collection of ``n`` images from the settings of a search."""
    adaptive = settings.weighting == "adaptive"
    return FusedRecipe(
        n if settings.depth == "all" else min(settings.depth, n),
        k_q=settings.k_q,
        alpha=settings.alpha,
        tol=settings.tol,
        n_verified=settings.n_verified,
        weighting=Weighting(settings.fused_weight, settings.also_weight, adaptive),
        bonus_weight=settings.verified_weight,
    )


def index_settings(settings: SearchSettings) -> SearchSettings:
    """Give the settings of the search by local features whose ranking is fused."""
    return structs.replace(settings, method="asmk", verified="", depth=max(MOST + 1, settings.n_verified))
