"""Settings of the job ``mine-pairs``."""

from typing import Annotated, Literal

from resight import files
from resight.config import Config, Meta, execution, require_local
from resight.mining.manifold import MAX_NEGATIVES
from resight.mining.sampling import Draw


class MineConfig(Config, frozen=True):
    """Settings of ``mine-pairs``."""

    pairs_from: Annotated[
        Literal["manifold", "verified", "labels", "reconstruction"],
        Meta(
            description="what says which photos show one thing: a walk over the graph, verified pairs alone, "
            "labels that were propagated, or 3D models"
        ),
    ] = "manifold"
    graph: Annotated[str, Meta(description="build of the graph; default: that of the diffusion")] = ""
    manifold: Annotated[str, Meta(description="build of diffuse; default: the newest, if any")] = ""
    solve: Annotated[
        bool, Meta(description="solve the diffusion of the anchors here, though diffuse may have rows")
    ] = False
    descriptors: Annotated[
        str, Meta(description="build of the descriptors that say what looks alike; default: the graph's")
    ] = ""
    verified: Annotated[
        str, Meta(description="build of verify-pairs, for further positives; default: the newest, if any")
    ] = ""
    labels: Annotated[str, Meta(description="build of propagate-labels; default: the newest")] = ""
    duplicates: Annotated[
        str,
        Meta(description="build of find-duplicates, whose copies are no pairs; default: the newest, if any"),
    ] = ""
    anchors: Annotated[
        int, Meta(ge=0, description="modes of the walk that are anchors, the most visited first; 0: all")
    ] = 1000
    all_anchors: Annotated[
        bool, Meta(description="let every image with neighbours be a mode, for small collections")
    ] = False
    k_positive: Annotated[
        int,
        Meta(
            ge=1,
            description="positives are of so many nearest on the manifold, not of as many alike: fewer "
            "than there are photos of one thing, 3 to 5 where these are some ten",
        ),
    ] = 50
    k_negative: Annotated[
        int | Literal["auto"],
        Meta(
            description="negatives are of so many most similar, not of as many on the manifold: more than "
            "there are photos of one thing; auto: 100, or what diffuse kept"
        ),
    ] = "auto"
    max_negatives: Annotated[int, Meta(ge=1, description="negatives in the pool of an anchor")] = (
        MAX_NEGATIVES
    )
    min_inliers: Annotated[int, Meta(ge=1, description="of a verified pair that counts")] = 20
    alpha: Annotated[float, Meta(gt=0, lt=1, description="solving here: weight of the walk")] = 0.99
    shortlist: Annotated[
        int, Meta(ge=1, description="solving here: nodes around each anchor that take part in its system")
    ] = 10_000
    max_cluster: Annotated[
        float, Meta(gt=0, le=1, description="share of the images that a cluster holds, all on one side")
    ] = 0.05
    models: Annotated[
        str, Meta(description="reconstruction: folder of COLMAP models (cameras, images, points3D)")
    ] = ""
    prefix: Annotated[
        str, Meta(description="reconstruction: what stands before a name of a model in the uri of the image")
    ] = ""
    cameras: Annotated[
        int, Meta(ge=1, description="reconstruction: nearest cameras that positives are chosen from")
    ] = 100
    positive_rule: Annotated[
        Literal["scale", "most_common", "nearest"],
        Meta(
            description="reconstruction: a positive shares enough points at a like scale, or most points, or "
            "looks most alike"
        ),
    ] = "scale"
    min_overlap: Annotated[
        float,
        Meta(
            ge=0,
            description="reconstruction: share of the anchor's points that a positive sees; verified: its "
            "inliers over the most of any pair of the anchor",
        ),
    ] = 0.2
    max_scale: Annotated[
        float,
        Meta(ge=1, description="reconstruction, verified: how much larger things may look in one of the two"),
    ] = 1.5
    query_share: Annotated[
        float, Meta(gt=0, le=1, description="reconstruction: share of a model's images that are anchors")
    ] = 0.1
    max_queries: Annotated[int, Meta(ge=1, description="reconstruction: most anchors of a model")] = 30
    extra_images: Annotated[
        int,
        Meta(
            ge=0,
            description="further images of each model, component or label that may be negatives",
        ),
    ] = 20
    negative_rule: Annotated[
        Literal["models", "images"],
        Meta(
            description="reconstruction, verified: the most similar image of each other model or component, "
            "or images of any; labels: images of any"
        ),
    ] = "models"
    validation: Annotated[
        float, Meta(ge=0, lt=1, description="share of the images whose clusters or models only validate")
    ] = 0.2
    n_positives: Annotated[
        int | Literal["auto"],
        Meta(description="tuples: positives drawn of every anchor; 0: all; auto: 5, of reconstructions 1"),
    ] = "auto"
    n_negatives: Annotated[
        int, Meta(ge=0, description="tuples: negatives drawn for every positive; 0: all")
    ] = 5
    hardest: Annotated[
        int | Literal["auto"],
        Meta(
            description="tuples: negatives, the most similar first, to draw from; 0: all; auto: 10, of "
            "reconstructions as many as are drawn"
        ),
    ] = "auto"
    seed: Annotated[int, Meta(description="of the split and of the draws")] = 0
    export: Annotated[
        str, execution("folder to write the tuples to: CSV, and a training set as cirtorch reads it")
    ] = ""
    shards: Annotated[
        bool, execution("with --export: tar shards for webdataset too, which hold copies of the images")
    ] = False
    block_anchors: Annotated[int, execution("anchors per block of work: bounds memory", ge=1)] = 256

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        for name in ("k_negative", "n_positives", "hardest"):
            value, least = getattr(self, name), int(name == "k_negative")
            if value != "auto" and value < least:
                raise ValueError(f"{name}: at least {least}, or auto")
        if self.solve and self.manifold:
            raise ValueError("solve: with --manifold the rows of diffuse are taken, nothing is solved here")
        if by_models(self) != bool(self.models):
            raise ValueError("models: a folder belongs to --pairs-from reconstruction, and to nothing else")
        if self.shards and not self.export:
            raise ValueError("shards: only with --export")
        if self.export and files.local_path(self.export) is None:
            raise ValueError(f"export: {self.export} lies on a remote store; give a path on this machine")

    def check(self) -> None:
        """Look for the models."""
        if self.models:
            require_local(self.models, "--models")

    def draw(self) -> Draw:
        """Say how tuples are drawn."""
        n_positives = self.n_positives if self.n_positives != "auto" else 1 if by_models(self) else 5
        hardest = self.hardest if self.hardest != "auto" else self.n_negatives if by_models(self) else 10
        first = by_models(self) and self.positive_rule != "scale"
        return Draw(n_positives, self.n_negatives, hardest, self.seed, first)


def by_manifold(conf: MineConfig) -> bool:
    """Whether a graph says what shows one thing."""
    return conf.pairs_from == "manifold"


def by_verified(conf: MineConfig) -> bool:
    """Whether verified pairs say what shows one thing."""
    return conf.pairs_from == "verified"


def by_labels(conf: MineConfig) -> bool:
    """Whether labels say what shows one thing."""
    return conf.pairs_from == "labels"


def by_models(conf: MineConfig) -> bool:
    """Whether 3D models say what shows one thing."""
    return conf.pairs_from == "reconstruction"
