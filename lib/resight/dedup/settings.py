"""Settings of ``find-duplicates``."""

from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec

from resight import files
from resight.config import Meta, execution
from resight.dedup.export import writer_kind
from resight.dedup.groups import GroupRule
from resight.dedup.keep import KEEP_CRITERIA, parse_policy
from resight.dedup.relating.settings import RelateSettings
from resight.reader import Reader
from resight.search.filter import parse_filter
from resight.tables import SOURCES

__all__ = ["DuplicatesConfig", "compares", "may_read", "must_read"]

KEYPOINTS: dict[str, dict[str, int]] = {  # what settings of keypoints that are 0 mean
    "quick": {},
    "standard": {"max_keypoints": 400, "screened": 128, "keypoint_side": 256},
    "thorough": {"max_keypoints": 1000, "screened": 500},
}
THRESHOLD = 0.95
Candidates = Literal["descriptors", "codes", "keypoints"]


class DuplicatesConfig(RelateSettings, frozen=True):
    """Settings of ``find-duplicates``."""

    effort: Annotated[
        Literal["quick", "standard", "thorough"],
        Meta(
            description="quick: the graph's similarity decides; standard: near descriptors and codes are "
            "candidates, whose aligned pixels decide (quick where no source has pixels); thorough: also "
            "what a search by keypoints found"
        ),
    ] = "standard"
    candidates: Annotated[
        tuple[Candidates, ...],
        Meta(
            description="standard, thorough: what gives the pairs to compare: descriptors (of the graph), "
            "codes (of hash-images), keypoints (of a search); default: the first two where they are there, "
            "one of them at least, and for thorough keypoints too"
        ),
    ] = ()
    filter: Annotated[
        tuple[str, ...],
        Meta(description="look only at images with column=value, a column of images or of their manifest"),
    ] = ()
    new: Annotated[
        tuple[str, ...],
        Meta(
            description="a delivery: name or place of sources, and column=value; pairs without an image of "
            "it are neither looked for nor written"
        ),
    ] = ()
    against: Annotated[
        tuple[str, ...],
        Meta(description="the archive that --new is compared with, named alike; default: all the rest"),
    ] = ()
    max_keypoints: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="strongest keypoints of a photo that are compared; 0: 400, for thorough 1000",
        ),
    ] = 0
    screened: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="strongest keypoints of which some must agree before all are compared; 0: 128, for "
            "thorough 500",
        ),
    ] = 0
    keypoint_side: Annotated[
        int,
        Meta(
            ge=0,
            le=4096,
            description="longer side at which keypoints are found; 0: 256, for thorough as compared",
        ),
    ] = 0
    graph: Annotated[str, Meta(description="build of the graph; default: the newest")] = ""
    threshold: Annotated[
        float, Meta(gt=0, le=1, description="quick: similarity from which a pair is a near copy")
    ] = THRESHOLD
    also_thresholds: Annotated[
        tuple[float, ...],
        Meta(
            description="count the groups at these similarities too, to compare; where pixels decide, at "
            "these agreements, from --min-agreement up"
        ),
    ] = ()
    min_similarity: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="what every member must reach to the kept image; 0: threshold, or, where pixels "
            "decide, that they do",
        ),
    ] = 0.0
    max_group: Annotated[
        int, Meta(ge=0, description="members of a group, equal pixels counted once; 0: any number")
    ] = 0
    codes: Annotated[
        str, Meta(description="standard, thorough: build of hash-images; default: the newest, if any")
    ] = ""
    results: Annotated[
        str, Meta(description="thorough: build of search --method asmk --queries-from collection")
    ] = ""
    verified: Annotated[
        str,
        Meta(
            description="standard, thorough: build of verify-pairs, whose pairs with 8 inliers or more are "
            "compared as well; default: none"
        ),
    ] = ""
    candidate_similarity: Annotated[
        float, Meta(ge=-1, le=1, description="of descriptors, from which a pair is compared")
    ] = 0.6
    background: Annotated[
        tuple[str, ...],
        Meta(
            description="images that are copies of nothing, named as for --new: left out themselves, and "
            "what an image reaches with them counts for nothing in its similarities"
        ),
    ] = ()
    background_top: Annotated[
        int, Meta(ge=1, description="nearest images of the background, over which the mean is taken")
    ] = 10
    background_weight: Annotated[
        float, Meta(ge=0, le=2, description="how much of that mean is taken off")
    ] = 1.0
    background_margin: Annotated[
        float,
        Meta(
            ge=-1, le=1, description="with --background instead of --candidate-similarity: what must remain"
        ),
    ] = 0.1
    candidate_bits: Annotated[
        float, Meta(ge=0, lt=0.5, description="share of the bits in which codes of a candidate may differ")
    ] = 0.125
    top: Annotated[
        int, Meta(ge=1, description="candidates per image of each kind, the best first: bounds the cost")
    ] = 20
    max_bucket: Annotated[
        int,
        Meta(
            ge=0,
            description="codes that share a part, beyond which they are not compared there: what that leaves "
            "out is counted in duplicate_limits; 0: any number",
        ),
    ] = 0
    same_scene: Annotated[
        bool, Meta(description="also list pairs of photos of one thing; they join no group")
    ] = False
    splits: Annotated[
        str, Meta(description="column of the manifest: list which pairs lie in two of its values")
    ] = ""
    keep: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="criteria for the image to keep, the first that differs decides; sharpness differs "
            "by a factor of two or so, as noise and brightening sharpen; also NAME:reverse, under:FOLDER/, "
            "split:VALUE",
        ),
    ] = KEEP_CRITERIA
    export: Annotated[
        tuple[str, ...], execution("CSV or JSON lines files to list what could go; nothing is deleted")
    ] = ()
    chunk_size: Annotated[int, execution("pairs per chunk of work", ge=1)] = 500

    def __post_init__(self) -> None:
        """Check the policy, the names of the lists and what belongs together."""
        parse_filter(self.filter)
        for path in self.export:
            if files.local_path(path) is None:
                raise ValueError(f"export: {path} lies on a remote store; give a path on this machine")
            writer_kind(Path(path))
        for fits, text in belongings(self):
            if not fits:
                raise ValueError(text)

    def suited(self, reader: Reader) -> Self:
        """Be quick, not standard, where no source of the collection has pixels to compare."""
        if self.effort != "standard" or not reader.has(SOURCES):
            return self
        kinds = reader.read(SOURCES, columns=["kind"])["kind"].unique().to_pylist()
        return msgspec.structs.replace(self, effort="quick") if kinds == ["vectors"] else self

    def rule(self, dtype: str = "float16") -> GroupRule:
        """Give the guard of the groups; ``dtype`` is that of the vectors that measure members, if any do."""
        least = self.min_similarity or (-1.0 if compares(self) else self.threshold)
        return GroupRule(least, parse_policy(self.keep), dtype=dtype, max_size=self.max_group)

    def relating(self) -> RelateSettings:
        """Give the part that says when pixels are those of a copy."""
        fields = {name: getattr(self, name) for name in RelateSettings.__struct_fields__}
        by_effort = {k: value for k, value in KEYPOINTS[self.effort].items() if not fields[k]}
        return RelateSettings(**fields | by_effort)


def belongings(conf: DuplicatesConfig) -> list[tuple[bool, str]]:
    """List what single fields cannot say: whether it holds, and the message where it does not."""
    policy, by_pixels = parse_policy(conf.keep), compares(conf)
    least = conf.min_agreement if by_pixels else 0
    return [
        (bool(conf.splits) or all(c.kind != "split" for c in policy), "keep: split:VALUE needs --splits"),
        (all(0 < t <= 1 for t in conf.also_thresholds), "also_thresholds: similarities from 0 to 1"),
        (
            all(t >= least for t in conf.also_thresholds),
            "also_thresholds: where pixels decide, agreements from --min-agreement up",
        ),
        (by_pixels or not conf.strict, "strict: only with --effort standard or thorough"),
        (by_pixels or not conf.verified, "verified: only with --effort standard or thorough"),
        (by_pixels or not conf.candidates, "candidates: only with --effort standard or thorough"),
        (
            not conf.background or (by_pixels and (not conf.candidates or "descriptors" in conf.candidates)),
            "background: only where descriptors give candidates, with --effort standard or thorough",
        ),
        (bool(conf.new) or not conf.against, "against: only with --new, which is compared with it"),
        (
            conf.effort == "thorough" or "keypoints" not in conf.candidates,
            "candidates: keypoints only with --effort thorough",
        ),
        (
            not by_pixels or conf.threshold == THRESHOLD,
            "threshold: only with --effort quick; else aligned pixels decide, see --min-agreement",
        ),
    ]


def compares(conf: DuplicatesConfig) -> bool:
    """Whether the pixels of candidates are compared."""
    return conf.effort != "quick"


def must_read(conf: DuplicatesConfig, kind: Candidates) -> bool:
    """Whether there is nothing to do without what gives this kind of candidates."""
    if not compares(conf):
        return kind == "descriptors"
    if conf.background and kind == "descriptors":
        return True
    if conf.candidates:
        return kind in conf.candidates
    return kind == "keypoints" and conf.effort == "thorough"


def may_read(conf: DuplicatesConfig, kind: Candidates) -> bool:
    """Whether candidates of this kind are taken where they are there."""
    return compares(conf) and not conf.candidates and kind != "keypoints"
