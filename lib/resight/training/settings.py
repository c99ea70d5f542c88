"""How a network is trained: the settings that the kernels know, without importing any network."""

from typing import Annotated, Literal

from resight.config import Config, Meta, execution

__all__ = ["LAUNCHER", "TrainSettings"]

LAUNCHER = "RESIGHT_LAUNCHER"  # names the process that waits for a training of several, in their environment

OWN_MARGIN = {"contrastive": 0.75, "triplet": 0.1}
OWN_RATE = {"adam": 1e-5, "sgd": 1e-3}


class TrainSettings(Config, frozen=True):
    """Settings of a training; equal settings, tuples and photos give equal networks on one CPU."""

    backbone: Annotated[
        str,
        Meta(
            pattern=r"^((timm|trained):.+|[\w.-]+)$",
            description="where the training begins: lite0, timm:NAME with weights, or the build of a network "
            "that was trained before",
        ),
    ] = "lite0"
    weights: Annotated[str, execution("path or URI of a timm backbone's weight file")] = ""
    train_from: Annotated[
        str,
        Meta(description="first part that is trained: all, blockN, head, or a part's dotted name"),
    ] = "block5"
    pooling: Annotated[
        Literal["gem", "mac", "spoc", "rmac"], Meta(description="how the last maps become a vector")
    ] = "gem"
    p: Annotated[float, Meta(ge=1, le=1000, description="exponent of GeM at the beginning")] = 3.0
    learn_p: Annotated[bool, Meta(description="GeM: the exponent is learned, at ten times the rate")] = True
    longer_side: Annotated[int, Meta(ge=16, le=8192, description="pixels of a photo in training")] = 362
    loss: Annotated[Literal["contrastive", "triplet"], Meta(description="of a tuple")] = "contrastive"
    margin: Annotated[float, Meta(ge=0, le=2, description="0: .75 of distances, triplet .1 of squares")] = 0.0
    weighted: Annotated[bool, Meta(description="a tuple counts by the weight of its positive")] = True
    negatives: Annotated[
        Literal["listed", "all"],
        Meta(description="where hard ones are sought: those mined for the anchor, or all other components"),
    ] = "listed"
    n_negatives: Annotated[int, Meta(ge=1, le=100, description="negatives of a tuple")] = 5
    draw_from: Annotated[
        int, Meta(ge=0, description="draw them from so many of the nearest; 0: the nearest themselves")
    ] = 0
    mining_rounds: Annotated[int, Meta(ge=1, description="times in an epoch that negatives are mined")] = 1
    anchors: Annotated[int, Meta(ge=0, description="drawn anew for every epoch; 0: all")] = 0
    batch_tuples: Annotated[int, Meta(ge=1, description="tuples of a step")] = 5
    epochs: Annotated[int, Meta(ge=1, description="passes over the anchors")] = 10
    optimizer: Annotated[Literal["adam", "sgd"], Meta(description="rule of a step")] = "adam"
    learning_rate: Annotated[float, Meta(ge=0, description="0: adam 1e-5, sgd 1e-3")] = 0.0
    momentum: Annotated[float, Meta(ge=0, lt=1, description="of sgd")] = 0.9
    weight_decay: Annotated[float, Meta(ge=0, description="not of p")] = 5e-4
    schedule: Annotated[
        Literal["exponential", "steps"],
        Meta(description="rate times exp(-decay * epoch), or times decay after every decay_epochs"),
    ] = "exponential"
    decay: Annotated[float, Meta(ge=0, description="0: exponential .1, steps .1")] = 0.0
    decay_epochs: Annotated[int, Meta(ge=1, description="of schedule steps")] = 10
    scales: Annotated[
        tuple[float, ...],
        Meta(min_length=1, max_length=8, description="sizes that an evaluation describes photos in"),
    ] = (1.0, 0.7071, 0.5)
    keep: Annotated[
        Literal["best", "last"], Meta(description="best: the epoch of highest mAP on validation tuples")
    ] = "best"
    whitening_dims: Annotated[
        int, Meta(ge=0, description="dimensions of a whitening learned from the pairs at the end; 0: none")
    ] = 0
    seed: Annotated[int, Meta(ge=0, description="of every draw")] = 0
    precision: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"],
        Meta(description="of the network on CUDA; auto: bfloat16, or float16 on older devices"),
    ] = "auto"
    max_pixels: Annotated[int, Meta(ge=1, description="larger photos are not decoded")] = 178_956_970
    tuples_per_pass: Annotated[
        int, execution("tuples that go through the network together; their gradients add up", ge=1)
    ] = 5
    batch_pixels: Annotated[int, execution("pixels described together", ge=1)] = 1 << 18
    cache_gb: Annotated[float, execution("memory for what the untrained part of the network gives", ge=0)] = (
        2.0
    )
    checkpoint_steps: Annotated[int, execution("steps between checkpoints inside an epoch", ge=1)] = 100
    processes: Annotated[int, execution("that train together, each on a GPU of its own if any", ge=1)] = 1

    def __post_init__(self) -> None:
        """Check what single fields cannot say; the message begins with the key."""
        timm = self.backbone.startswith("timm:")
        for fits, text in (
            (not timm or self.weights, "weights: a timm backbone needs its weight file"),
            (timm or not self.weights, "weights: only a timm backbone takes a weight file"),
            (all(0.05 <= s <= 8 for s in self.scales), "scales: factors from 0.05 to 8"),
            (min(self.sizes) >= 16, "scales: no size below 16 pixels"),
            (
                self.draw_from == 0 or self.draw_from >= self.n_negatives,
                "draw_from: 0, or n_negatives at least",
            ),
        ):
            if not fits:
                raise ValueError(text)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Longer sides in pixels of an evaluation, one per scale."""
        return tuple(round(self.longer_side * scale) for scale in self.scales)

    @property
    def own_margin(self) -> float:
        """The margin, or that of the loss."""
        return self.margin or OWN_MARGIN[self.loss]

    @property
    def own_rate(self) -> float:
        """The learning rate, or that of the optimiser."""
        return self.learning_rate or OWN_RATE[self.optimizer]

    def rate_in(self, epoch: int) -> float:
        """Give the learning rate of an epoch; the first is 1.

        >>> [round(TrainSettings(learning_rate=1.0).rate_in(epoch), 3) for epoch in (1, 2, 11)]
        [1.0, 0.905, 0.368]
        """
        import math

        decay, passed = self.decay or 0.1, epoch - 1
        if self.schedule == "exponential":
            return self.own_rate * math.exp(-decay * passed)
        return self.own_rate * decay ** (passed // self.decay_epochs)
