"""How a collection is ranked for a query."""

from typing import Annotated, Literal

from resight.config import Config, Meta

Method = Literal[
    "global",
    "average_qe",
    "alpha_qe",
    "diffusion",
    "offline_diffusion",
    "regional_diffusion",
    "asmk",
    "hqe",
    "fused",
]


class SearchSettings(Config, frozen=True):
    """Settings of one search.

    Defaults are those of the papers but for three that are chosen for collections of small things, a few
    photos each: ``alpha`` .8 (paper: .99), ``expansion`` 10 (alpha_qe: 50, for landmarks), and the five
    observed by a fused query. Most photos of a longer list show something else there.
    """

    method: Annotated[
        Method,
        Meta(
            description="global: similarity; average_qe, alpha_qe: query expansion; diffusion: over the "
            "graph; offline_diffusion: by the table manifold_neighbors, without a solve; regional_diffusion: "
            "over the graph of regions; asmk: by local features, over an inverted file; hqe: the same, the "
            "query expanded by its sure matches; fused: all of this, over the graph of build-graph --of fused"
        ),
    ] = "global"
    depth: Annotated[int | Literal["all"], Meta(description="results per query, or all")] = 100
    expansion: Annotated[
        int,
        Meta(
            ge=1,
            description="images that expand a query (average_qe, alpha_qe; the paper of alpha_qe takes 50, "
            "for places with hundreds of photos)",
        ),
    ] = 10
    include_query: Annotated[
        bool, Meta(description="the query is one of what it is expanded to, with weight 1")
    ] = True
    expansion_power: Annotated[
        float, Meta(ge=0, description="exponent of their similarity as weight (alpha_qe)")
    ] = 3.0
    query_neighbors: Annotated[
        int | Literal["auto"],
        Meta(
            description="images, or regions, that a query observes (diffusion, fused); auto: 10, as many "
            "regions as 10 images have, 5"
        ),
    ] = "auto"
    query_pool: Annotated[
        Literal["sum_of_powers", "power_of_sum"],
        Meta(
            description="how the regions of a query that observe the same region add up: similarities to the "
            "power gamma (the paper), or their sum to that power (the authors' code)"
        ),
    ] = "sum_of_powers"
    region_pool: Annotated[
        Literal["gmp", "sum"],
        Meta(description="how an image's regions are added: by the graph's weights (gmp), or equally (sum)"),
    ] = "gmp"
    gamma: Annotated[float, Meta(gt=0, description="exponent of their similarity (diffusion)")] = 3.0
    alpha: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description="weight of the walk; .99 (the paper) for large instances; for offline_diffusion that "
            "of diffuse",
        ),
    ] = 0.8
    tol: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description="relative residual of the solver (diffusion, regional_diffusion, fused); that of "
            "offline_diffusion is a setting of diffuse",
        ),
    ] = 1e-6
    precision: Annotated[
        Literal["float64", "float32"],
        Meta(
            description="arithmetic of the iterations (diffusion, regional_diffusion); the residual reached "
            "is the same"
        ),
    ] = "float64"
    shortlist: Annotated[
        int,
        Meta(
            ge=0,
            description="diffuse among so many nearest images of each query, or their regions; 0: all of the "
            "graph",
        ),
    ] = 0
    renormalise: Annotated[
        bool, Meta(description="degrees within the shortlist (else those of the whole graph)")
    ] = True
    assignments: Annotated[
        int, Meta(ge=1, description="visual words per keypoint of a query (asmk, hqe)")
    ] = 5
    asmk_alpha: Annotated[
        float, Meta(gt=0, description="exponent of the similarity of two codes (asmk, hqe)")
    ] = 3.0
    asmk_tau: Annotated[
        float, Meta(ge=-1, lt=1, description="codes of at most this similarity count nothing (asmk, hqe)")
    ] = 0.0
    hqe_shortlist: Annotated[
        int, Meta(ge=1, description="first images among which reliable ones are looked for (hqe)")
    ] = 100
    hqe_similarity: Annotated[
        float, Meta(ge=-1, lt=1, description="codes of more than this similarity match (hqe)")
    ] = 0.5
    hqe_matches: Annotated[int, Meta(ge=1, description="matches that make an image reliable (hqe)")] = 5
    hqe_share: Annotated[
        float, Meta(ge=0, description="new words of an expanded query, as a share of its own (hqe)")
    ] = 0.5
    fused_weight: Annotated[
        float, Meta(ge=0, description="weight of what the index adds to the similarity (fused)")
    ] = 0.4
    colour_weight: Annotated[
        float, Meta(gt=0, description="weight of the vectors of --colour beside the first (fused)")
    ] = 0.6
    also_weight: Annotated[
        float, Meta(ge=0, description="weight of what the search --also adds to the similarity (fused)")
    ] = 0.4
    weighting: Annotated[
        Literal["frozen", "adaptive"],
        Meta(
            description="frozen: these weights for every query; adaptive: times 1/2 to 2, the more the "
            "faster the scores of a query's ranking fall beside its similarities (fused)"
        ),
    ] = "frozen"
    n_verified: Annotated[
        int, Meta(ge=0, description="best by similarity, and by index, that are verified; 0: none (fused)")
    ] = 30
    verified_weight: Annotated[
        float, Meta(ge=0, description="weight of what inliers add to the similarity (fused)")
    ] = 0.2
    verified: Annotated[
        str,
        Meta(description="build of verify-pairs whose pairs are not verified again (fused); default: none"),
    ] = ""
    explain: Annotated[
        int,
        Meta(
            ge=0,
            description="results per query whose chain of images is written (diffusion, offline_diffusion)",
        ),
    ] = 0
    explain_hops: Annotated[
        int,
        Meta(ge=1, description="longest chain, the hop from the query included; longer are not seen"),
    ] = 8
    explain_nodes: Annotated[
        int, Meta(ge=1, description="images whose edges are followed for one chain, then it is given up")
    ] = 10_000

    def __post_init__(self) -> None:
        """Check what single fields cannot say; the message begins with the key."""
        if self.depth != "all" and self.depth < 1:
            raise ValueError("depth: at least 1, or all")
        if self.query_neighbors != "auto" and self.query_neighbors < 1:
            raise ValueError("query_neighbors: at least 1, or auto")
        if self.verified and self.method != "fused":
            raise ValueError("verified: only for the method fused")
        if self.explain and not opens_graph(self):
            raise ValueError(
                "explain: only diffusion and offline_diffusion walk along edges that can be shown"
            )
        if self.shortlist and not (needs_graph(self) or needs_regions(self)):
            raise ValueError("shortlist: only for the methods diffusion and regional_diffusion")

    @property
    def k_q(self) -> int:
        """How many images a query observes, 10 in the paper; of regions, as many as so many images have."""
        if self.query_neighbors != "auto":
            return self.query_neighbors
        return 5 if needs_fusion(self) else 10


def needs_graph(settings: SearchSettings) -> bool:
    """Whether a search walks along the edges of a graph of images."""
    return settings.method == "diffusion"


def opens_graph(settings: SearchSettings) -> bool:
    """Whether a search reads a graph of images: to diffuse over it, or to explain offline diffusion."""
    return needs_graph(settings) or bool(settings.explain and needs_manifold(settings))


def needs_regions(settings: SearchSettings) -> bool:
    """Whether a search walks along the edges of a graph of regions."""
    return settings.method == "regional_diffusion"


def needs_index(settings: SearchSettings) -> bool:
    """Whether a search compares local features over an inverted file."""
    return settings.method in ("asmk", "hqe", "fused")


def needs_vectors(settings: SearchSettings) -> bool:
    """Whether a search reads one vector per image."""
    return settings.method not in ("asmk", "hqe")


def needs_fusion(settings: SearchSettings) -> bool:
    """Whether a search combines vectors, an inverted file, verification and a graph of fused similarity."""
    return settings.method == "fused"


def needs_manifold(settings: SearchSettings) -> bool:
    """Whether a search combines rows of the offline diffusion."""
    return settings.method == "offline_diffusion"
