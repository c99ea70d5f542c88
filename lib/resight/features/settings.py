"""What a descriptor is made of: the settings of an extractor, without importing any network."""

from typing import Annotated, Any, Literal

from resight.config import Config, Meta, execution

__all__ = ["ExtractSettings"]

OWN_LONGER_SIDE = {"network": 256, "colour": 128}
REGION_SUM = "needs a network, pooling rmac, one layer and scale_pooling mean"


class ExtractSettings(Config, frozen=True):
    """Settings of one extractor; equal settings and weights give equal descriptors."""

    extractor: Annotated[
        Literal["network", "colour"],
        Meta(description="network: pooled activations; colour: Lab histogram"),
    ] = "network"
    backbone: Annotated[
        str,
        Meta(
            pattern=r"^((timm|torchscript|onnx|trained):.+|[\w.-]+)$",
            description="lite0 (embedded), timm:NAME with weights, torchscript:URI or onnx:URI of its file, "
            "or the build of a network that train-network made",
        ),
    ] = "lite0"
    weights: Annotated[
        str, execution("path or URI of a timm backbone's weight file (its SHA-256 enters the build)")
    ] = ""
    layers: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="head (last maps), blockN, or a module's dotted name"),
    ] = ("head",)
    pooling: Annotated[
        Literal["mac", "spoc", "gem", "rmac"], Meta(description="how a map becomes a vector")
    ] = "rmac"
    p: Annotated[float, Meta(ge=0, le=1000, description="exponent of GeM (1: mean; 0: as trained)")] = 3.0
    levels: Annotated[int, Meta(ge=1, le=8, description="window sizes of R-MAC")] = 3
    rmac_grid: Annotated[
        Literal["quality", "paper"],
        Meta(description="R-MAC windows: steps of at most 0.6 window, or the paper's 40 % overlap"),
    ] = "quality"
    include_whole: Annotated[bool, Meta(description="R-MAC: the whole map is one more region")] = False
    whiten_regions: Annotated[
        bool, Meta(description="R-MAC: whiten every region before the sum, not the vector")
    ] = False
    regions: Annotated[
        bool, Meta(description="R-MAC: also keep every region's vector (region_descriptors)")
    ] = False
    longer_side: Annotated[
        int, Meta(ge=0, le=8192, description="pixels; 0: 256 for network, 128 for colour")
    ] = 0
    scales: Annotated[
        tuple[float, ...],
        Meta(min_length=1, max_length=8, description="sizes as factors of longer_side"),
    ] = (1.0,)
    scale_pooling: Annotated[
        Literal["mean", "gem"], Meta(description="how the vectors of several sizes become one")
    ] = "mean"
    enlarge: Annotated[bool, Meta(description="enlarge photos that are smaller")] = True
    max_pixels: Annotated[
        int, Meta(ge=1, description="photos with more pixels are not decoded (too_large)")
    ] = 178_956_970
    decoder: Annotated[str, Meta(description="module:function that decodes, as for ingest-images")] = (
        "resight.images.decode:decode_image"
    )
    pixel_mean: Annotated[
        tuple[float, ...], Meta(description="RGB mean in 0..1; empty: the backbone's own")
    ] = ()
    pixel_std: Annotated[
        tuple[float, ...], Meta(description="RGB deviation in 0..1; empty: the backbone's own")
    ] = ()
    precision: Annotated[
        Literal["auto", "float32", "float16"],
        Meta(description="arithmetic of the network; auto: float16 on CUDA, float32 on CPU"),
    ] = "auto"
    batch_pixels: Annotated[
        int, execution("pixels that go through the network together; 0: by device", ge=0)
    ] = 0
    held_pixels: Annotated[int, execution("decoded pixels that wait for photos of their shape", ge=1)] = (
        32_000_000
    )

    def __post_init__(self) -> None:
        """Check what single fields cannot say; the message begins with the key."""
        timm = self.backbone.startswith("timm:")
        for fits, text in (
            (self.p >= 1 or (self.p == 0 and self.is_named), "p: 1 at least; 0 only for a trained network"),
            (not timm or self.weights, "weights: a timm backbone needs its weight file"),
            (timm or not self.weights, "weights: only a timm backbone takes a weight file"),
            (all(0.05 <= s <= 8 for s in self.scales), "scales: factors from 0.05 to 8"),
            (min(self.sizes) >= 16, "longer_side: no size below 16 pixels"),
            (max(self.sizes) <= 8192, "longer_side: no size above 8192 pixels"),
            (len(set(self.layers)) == len(self.layers), "layers: a name occurs twice"),
            (not self.is_closed or self.layers == ("head",), "layers: TorchScript and ONNX have only head"),
            (not self.whiten_regions or self.is_region_sum, "whiten_regions: " + REGION_SUM),
            (not self.regions or self.is_region_sum, "regions: " + REGION_SUM),
            (not self.regions or len(self.scales) == 1, "regions: needs one size, not several scales"),
            (len(self.pixel_mean) in (0, 3), "pixel_mean: three numbers or none"),
            (len(self.pixel_std) in (0, 3), "pixel_std: three numbers or none"),
            (all(s > 0 for s in self.pixel_std), "pixel_std: positive numbers"),
            (not self.is_colour or len(self.scales) == 1, "scales: colour has one size"),
        ):
            if not fits:
                raise ValueError(text)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Longer sides in pixels, one per scale."""
        side = self.longer_side or OWN_LONGER_SIDE[self.extractor]
        return tuple(round(side * scale) for scale in self.scales)

    @property
    def file_kind(self) -> str:
        """Kind of the one file that holds the whole backbone; empty where there is none."""
        kind, separator, _ = self.backbone.partition(":")
        return kind if separator and kind != "timm" else ""

    @property
    def is_closed(self) -> bool:
        """Whether nobody sees the inner layers of the backbone."""
        return self.file_kind in ("torchscript", "onnx")

    @property
    def is_named(self) -> bool:
        """Whether the backbone is a build of ``train-network``, whose file has to be found in a workspace."""
        return self.backbone != "lite0" and ":" not in self.backbone

    @property
    def weights_uri(self) -> str:
        """Path or URI of the user's weight file; empty for what is embedded."""
        return self.backbone.partition(":")[2] if self.file_kind else self.weights

    @property
    def weights_key(self) -> str:
        """The setting that names the weight file."""
        return "backbone" if self.file_kind or self.is_named else "weights"

    @property
    def is_colour(self) -> bool:
        """Whether no network is needed."""
        return self.extractor == "colour"

    @property
    def is_region_sum(self) -> bool:
        """Whether the vector is a plain sum over regions of one layer."""
        sums = self.extractor == "network" and self.pooling == "rmac"
        return sums and len(self.layers) == 1 and self.scale_pooling == "mean"

    def content(self) -> dict[str, Any]:
        """Give what decides the descriptors; a weight file counts by its content, not its path."""
        backbone = "trained" if self.is_named else self.file_kind or self.backbone
        return super().content() | {"backbone": backbone}
