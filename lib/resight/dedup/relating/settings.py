"""When two photos are copies of each other."""

from typing import Annotated

from resight.config import Config, Meta

__all__ = ["RelateSettings"]


class RelateSettings(Config, frozen=True):
    """Settings of the relation of two photos; equal settings and pixels give equal relations."""

    min_agreement: Annotated[
        float,
        Meta(
            gt=0, le=1, description="correlation of the aligned pixels from which they are a copy's, at least"
        ),
    ] = 0.9
    min_share: Annotated[
        float, Meta(gt=0, le=1, description="share of the overlap, in blocks, that must agree")
    ] = 0.8
    min_overlap: Annotated[
        float, Meta(gt=0, le=1, description="share of one of the photos that the other must show")
    ] = 0.5
    min_inliers: Annotated[
        int, Meta(ge=3, description="distinct keypoints that a transform must explain")
    ] = 8
    max_keypoints: Annotated[
        int, Meta(ge=16, le=10_000, description="strongest keypoints of a photo that are compared")
    ] = 1000
    screened: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="strongest keypoints, of which some must agree before all are compared; 0: at once",
        ),
    ] = 0
    keypoint_side: Annotated[
        int,
        Meta(ge=0, le=4096, description="longer side at which keypoints are found; 0: as compared"),
    ] = 0
    strict: Annotated[
        bool, Meta(description="keep photos apart that differ in a small place: a word, a number")
    ] = False
    max_side: Annotated[
        int,
        Meta(ge=64, le=4096, description="longer side at which photos are compared; strict: twice"),
    ] = 512
