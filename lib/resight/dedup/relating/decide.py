"""The word for what two photos are to each other."""

from typing import NamedTuple

import numpy as np

from resight.dedup.relating.align import LEAST, Alignment, align_frames, align_keypoints
from resight.dedup.relating.compare import Compared, compare_views
from resight.dedup.relating.covers import find_cover
from resight.dedup.relating.differ import measure_difference
from resight.dedup.relating.echoes import measure_echo
from resight.dedup.relating.relation import NAN, Relation
from resight.dedup.relating.seams import is_framed, measure_seam
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.views import View
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE

__all__ = ["WHOLE", "relate_views"]

WHOLE = 0.9  # share of a photo from which the other shows all of it
SURE = 0.97  # agreement at which nothing else is tried
EXACT = 0.95  # agreement that a transform of keypoints needs: a photo of a photo reaches less
SIDEWAYS = 0.99  # and one seen from the side, as a copy seldom is, but the views of a panorama are
FEW_BLOCKS = 8  # blocks that can stand for keypoints, where they agree surely
LEVEL = 8.0  # degrees from which a photo is turned
ECHO = 0.8  # share of the parts of the frame in which a blend shows each of its photos
SHOWN = 0.25  # agreement of a blend with each of its photos, at least
DRAWN = 0.5  # agreement that is left at least where something was drawn over a photo
BESIDES = 0.1  # share that agrees at least beside a rectangle that covers the rest
FAINT = 0.7  # contrast of what agrees, below which another photo lies over it
SEAM = 1.9  # from which an outline is an edge
SCENE = 15  # exact inliers from which two photos show one thing
DIFFERS = 2.6  # noise of a small place that is another one; copies reach less, recompressed or resized

COPIES = ("near", "turned", "mirrored", "crop", "contains")


class Found(NamedTuple):
    """A transform between two views, and what the pixels say under it."""

    alignment: Alignment
    compared: Compared

    @property
    def worth(self) -> float:
        """How much agrees."""
        return float(np.nan_to_num([self.compared.share, self.compared.agreement], nan=0.0).sum())

    @property
    def is_sure(self) -> bool:
        """Whether the pixels leave no doubt."""
        return self.compared.agreement >= SURE and self.compared.share >= SURE


def relate_views(a: View, b: View, settings: RelateSettings) -> Relation:
    """Say what photo a is to photo b, see `resight.dedup.relations.relate`; equal photos are near."""
    found = find_alignment(a, b, settings.screened)
    if found is None:
        return Relation()
    relation, seam = name_relation(a, b, found, settings), NAN
    if relation in COPIES and is_part(found.compared):
        seam = outline_seam(a, b, found)
        relation = "composite" if seam >= SEAM else relation
    difference = NAN
    if relation in COPIES and settings.strict:
        difference = measure_difference(a, b, found.alignment.transform)
        relation = "same_scene" if difference >= DIFFERS else relation
    return describe(a, b, found)._replace(relation=relation, seam=seam, difference=difference)


def find_alignment(a: View, b: View, screened: int = 0) -> Found | None:
    """Find the transform under which most agrees: of the frames, else of the keypoints."""
    best: Found | None = None
    for alignment in align_frames(a, b):
        found = Found(alignment, compare_views(a, b, alignment.transform))
        best = found if best is None or found.worth > best.worth else best
        if best.is_sure:
            return best
    by_keypoints = align_keypoints(a, b, screened)
    if by_keypoints is not None:
        found = Found(by_keypoints, compare_views(a, b, by_keypoints.transform))
        best = found if best is None or found.worth > best.worth else best
    return best


def name_relation(a: View, b: View, found: Found, settings: RelateSettings) -> str | None:
    """Name the relation of a to b under a transform, the outline and small places not looked at."""
    compared = found.compared
    scene = "same_scene" if found.alignment.n_inliers >= SCENE else None
    if not is_explained(found, settings):
        return scene
    whole = min(compared.overlap_a, compared.overlap_b) >= WHOLE
    if agrees(found, settings):
        return "composite" if whole and is_faint(compared) else name_copy(found)
    covered = compared.share >= settings.min_share and compared.median >= settings.min_agreement
    covered = covered and compared.agreement >= DRAWN  # or the photos have but a ground in common
    differs = whole and compared.share >= BESIDES and find_cover(a, b, found.alignment.transform)
    if differs == "drawn" or (whole and covered and differs != "pictures" and not is_faint(compared)):
        return name_copy(found)  # something was drawn over it
    shows = whole and compared.agreement >= SHOWN
    if shows and measure_echo(a, b, found.alignment.transform) >= ECHO:
        return "composite"
    return scene


def agrees(found: Found, settings: RelateSettings) -> bool:
    """Whether the aligned pixels are those of one photo."""
    alignment, compared = found
    least = 0.0 if not alignment.n_inliers else SIDEWAYS if alignment.is_bent else EXACT
    if compared.share < max(settings.min_share, least if alignment.is_bent else 0.0):
        return False
    return compared.agreement >= max(settings.min_agreement, least)


def is_explained(found: Found, settings: RelateSettings) -> bool:
    """Whether keypoints, or pixels beyond doubt, speak for the transform, and enough of a photo is shown."""
    alignment, compared = found
    if max(compared.overlap_a, compared.overlap_b) < settings.min_overlap:
        return False
    doubtless = found.is_sure and compared.n_blocks >= FEW_BLOCKS
    enough = alignment.n_inliers == 0 or alignment.n_inliers >= settings.min_inliers
    return enough or (doubtless and alignment.n_inliers >= LEAST)


def is_part(compared: Compared) -> bool:
    """Whether one photo shows all of the other, and more."""
    shares = compared.overlap_a, compared.overlap_b
    return min(shares) < WHOLE <= max(shares)


def is_faint(compared: Compared) -> bool:
    """Whether one photo shows weakly in the other, and not alone."""
    faint = compared.gain <= FAINT or compared.gain >= 1 / FAINT
    return faint and compared.agreement < SURE


def name_copy(found: Found) -> str:
    """Name the kind of a copy by its transform and by what each photo shows of the other."""
    H, compared = found.alignment.transform, found.compared
    if np.linalg.det(H[:2, :2]) < 0:
        return "mirrored"
    if abs(np.degrees(np.arctan2(H[1, 0] - H[0, 1], H[0, 0] + H[1, 1]))) >= LEVEL:
        return "turned"
    if min(compared.overlap_a, compared.overlap_b) >= WHOLE:
        return "near"
    return "crop" if compared.overlap_a >= compared.overlap_b else "contains"


def outline_seam(a: View, b: View, found: Found) -> float:
    """Measure the seam around the part of a crop; NaN where the whole has but a plain border around it."""
    H, is_crop = found.alignment.transform, found.compared.overlap_a >= found.compared.overlap_b
    part, whole, into = (a, b, H) if is_crop else (b, a, np.linalg.inv(H))
    into = into / into[2, 2]
    return NAN if is_framed(part, whole, into) else measure_seam(part, whole, into)


def describe(a: View, b: View, found: Found) -> Relation:
    """Lay out the evidence, the transform between the photos as they were given."""
    to_a, to_b = (np.diag([v.frame[0] / v.size[0], v.frame[1] / v.size[1], 1.0]) for v in (a, b))
    forth = FROM_CENTRE @ found.alignment.transform @ TO_CENTRE
    H = TO_CENTRE @ np.linalg.inv(to_b) @ forth @ to_a @ FROM_CENTRE
    compared = found.compared
    shares = compared.overlap_a, compared.overlap_b, compared.agreement, compared.share
    return Relation(None, H / H[2, 2], found.alignment.n_inliers, *shares)
