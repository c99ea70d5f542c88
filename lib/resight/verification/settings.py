"""How two photos are verified."""

from typing import Annotated, Literal

from resight.config import Config, Meta


class VerifySettings(Config, frozen=True):
    """Settings of the verification of a pair; pixels are those of photos whose longer side is 512."""

    model: Annotated[
        Literal["affine", "homography", "fundamental"],
        Meta(
            description="affine: similarities from single matches, refined; homography, fundamental: MAGSAC"
        ),
    ] = "affine"
    ratio: Annotated[
        float, Meta(gt=0, le=1, description="limit of nearest to second distance of a match; 1: no test")
    ] = 0.85
    tolerance: Annotated[float, Meta(gt=0, le=64, description="pixels that an inlier may be off")] = 8.0
    mirrored: Annotated[
        bool, Meta(description="also try the mirrored photo, and keep what fits better (rootsift)")
    ] = False
    max_keypoints: Annotated[
        int, Meta(ge=1, description="strongest keypoints of a photo that are matched")
    ] = 1000
