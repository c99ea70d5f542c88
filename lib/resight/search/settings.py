"""How a collection is ranked for a query."""

from typing import Annotated, Literal

from resight.config import Config, Meta


class SearchSettings(Config, frozen=True):
    """Settings of one search; defaults are those of the papers where these say any."""

    method: Annotated[
        Literal["global", "average_qe", "alpha_qe", "diffusion", "offline_diffusion"],
        Meta(
            description="global: similarity; average_qe, alpha_qe: query expansion; diffusion: over the "
            "graph; offline_diffusion: by the table manifold_neighbors, without a solve"
        ),
    ] = "global"
    depth: Annotated[int | Literal["all"], Meta(description="results per query, or all")] = 100
    expansion: Annotated[int, Meta(ge=1, description="images that expand a query (average_qe, alpha_qe)")] = (
        10
    )
    expansion_power: Annotated[
        float, Meta(ge=0, description="exponent of their similarity as weight (alpha_qe)")
    ] = 3.0
    query_neighbors: Annotated[
        int, Meta(ge=1, description="distinct images that a query observes (diffusion)")
    ] = 10
    gamma: Annotated[float, Meta(gt=0, description="exponent of their similarity (diffusion)")] = 3.0
    alpha: Annotated[float, Meta(gt=0, lt=1, description="weight of the neighbours in the walk")] = 0.99
    tol: Annotated[float, Meta(gt=0, lt=1, description="relative residual of the solver")] = 1e-6
    precision: Annotated[
        Literal["float64", "float32"],
        Meta(description="arithmetic of the iterations; the residual reached is the same"),
    ] = "float64"
    shortlist: Annotated[
        int, Meta(ge=0, description="diffuse among so many nearest images of each query; 0: the whole graph")
    ] = 0
    renormalise: Annotated[
        bool, Meta(description="degrees within the shortlist (else those of the whole graph)")
    ] = True
    explain: Annotated[
        int, Meta(ge=0, description="results per query whose chain of images is written (diffusion)")
    ] = 0

    def __post_init__(self) -> None:
        """Check what single fields cannot say; the message begins with the key."""
        if self.depth != "all" and self.depth < 1:
            raise ValueError("depth: at least 1, or all")
        if self.explain and self.method != "diffusion":
            raise ValueError("explain: only the method diffusion walks along edges that can be shown")
        if self.shortlist and self.method != "diffusion":
            raise ValueError("shortlist: only for the method diffusion")


def needs_graph(settings: SearchSettings) -> bool:
    """Whether a search walks along the edges of a graph."""
    return settings.method == "diffusion"


def needs_manifold(settings: SearchSettings) -> bool:
    """Whether a search combines rows of the offline diffusion."""
    return settings.method == "offline_diffusion"
