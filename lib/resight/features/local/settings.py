"""What local features are made of: the settings of an extractor, without importing any network."""

from typing import Annotated, Any, Literal

from resight.config import Config, Meta, execution
from resight.features.settings import ExtractSettings

__all__ = ["LocalSettings"]

HOW_SCALES = (2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25)
NETWORK_KEYS = ("backbone", "weights", "precision")


class LocalSettings(Config, frozen=True):
    """Settings of one extractor of local features; equal settings and weights give equal features."""

    extractor: Annotated[
        Literal["rootsift", "xfeat", "how", "aliked", "disk"],
        Meta(description="what finds and describes keypoints; how: activations of a network"),
    ] = "rootsift"
    max_keypoints: Annotated[int, Meta(ge=1, le=100_000, description="the strongest of a photo")] = 1000
    min_side: Annotated[
        int, Meta(ge=0, le=8192, description="photos whose longer side is below are enlarged to it; 0: none")
    ] = 512
    max_side: Annotated[
        int, Meta(ge=32, le=8192, description="photos whose longer side is above are reduced to it")
    ] = 1024
    box_mode: Annotated[
        Literal["inside", "crop"],
        Meta(description="box of a query: keypoints of the photo strictly inside, or a photo of its own"),
    ] = "inside"
    contrast: Annotated[float, Meta(ge=0, le=1, description="rootsift: weakest contrast")] = 0.01
    edge: Annotated[float, Meta(gt=0, le=1000, description="rootsift: largest ratio of curvatures")] = 12.0
    min_strength: Annotated[
        float, Meta(ge=0, lt=1, description="xfeat, aliked, disk: weakest keypoint; 0: the network's own")
    ] = 0.0
    aliked: Annotated[
        Literal["n16", "n16rot", "n32", "t16"], Meta(description="aliked: which of its networks")
    ] = "n16"
    backbone: Annotated[
        str,
        Meta(
            pattern=r"^(lite0|(timm|torchscript|how):.+)$",
            description="how: lite0 (embedded), timm:NAME with weights, torchscript:URI, or how:CHECKPOINT",
        ),
    ] = "lite0"
    weights: Annotated[
        str, execution("how: path or URI of a timm backbone's weight file (its SHA-256 enters the build)")
    ] = ""
    layer: Annotated[
        str,
        Meta(description="how: head, blockN or a module's dotted name; empty: block5 of lite0, else head"),
    ] = ""
    smoothing: Annotated[
        int, Meta(ge=1, le=15, description="how: cells over which activations are averaged, odd; 1: none")
    ] = 3
    scales: Annotated[
        tuple[float, ...],
        Meta(min_length=1, max_length=12, description="how: sizes as factors of the photo's"),
    ] = HOW_SCALES
    precision: Annotated[
        Literal["auto", "float32", "float16"],
        Meta(description="how: arithmetic of the network; auto: float16 on CUDA, float32 on CPU"),
    ] = "auto"
    max_pixels: Annotated[
        int, Meta(ge=1, description="photos with more pixels are not decoded (too_large)")
    ] = 178_956_970
    decoder: Annotated[str, Meta(description="module:function that decodes, as for ingest-images")] = (
        "resight.images.decode:decode_image"
    )

    def __post_init__(self) -> None:
        """Check what single fields cannot say; the message begins with the key."""
        timm = self.backbone.startswith("timm:")
        for fits, text in (
            (self.min_side <= self.max_side, "min_side: not above max_side"),
            (not timm or self.weights, "weights: a timm backbone needs its weight file"),
            (timm or not self.weights, "weights: only a timm backbone takes a weight file"),
            (not self.is_checkpoint or not self.layer, "layer: a HOW checkpoint has one layer of its own"),
            (self.smoothing % 2 == 1, "smoothing: an odd number of cells"),
            (all(0.05 <= s <= 8 for s in self.scales), "scales: factors from 0.05 to 8"),
            (len(set(self.scales)) == len(self.scales), "scales: a factor occurs twice"),
        ):
            if not fits:
                raise ValueError(text)

    @property
    def is_checkpoint(self) -> bool:
        """Whether the network is that of a HOW checkpoint."""
        return self.backbone.startswith("how:")

    @property
    def uses_network(self) -> bool:
        """Whether torch is needed."""
        return self.extractor != "rootsift"

    def network_settings(self) -> ExtractSettings:
        """Give the part that the loader of backbones knows; not for a HOW checkpoint."""
        layer = self.layer or ("block5" if self.backbone == "lite0" else "head")
        return ExtractSettings(layers=(layer,), **{key: getattr(self, key) for key in NETWORK_KEYS})

    def content(self) -> dict[str, Any]:
        """Give what decides the features; a weight file counts by its content, not its path."""
        kind = self.backbone.partition(":")[0]
        return super().content() | {"backbone": self.backbone if kind in ("lite0", "timm") else kind}
