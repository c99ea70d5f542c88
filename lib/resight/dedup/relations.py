"""The relation of two photos, decided from their pixels: a pure function, no table and no Spark.

``relate(a, b)`` says what a is to b. A transform from keypoints, or from the frames in one of the eight
positions, lays a over b; what counts is whether the aligned pixels agree, block by block: photos of one
object from nearby have the keypoints of a copy, but not its pixels.

==============  ========================================================================================
relation        a is ... (read a -> b)
==============  ========================================================================================
`same_pixels`   equal to b, pixel by pixel
`near`          all of b, resized, recompressed, filtered, with something drawn over it
`turned`        b turned by any angle
`mirrored`      b mirrored, turned or not
`crop`          a part of b
`contains`      a photo of which b is a part
`composite`     made from b and something else, or b from a and something else: blended, pasted, on a page
`same_scene`    another photo of what b shows
None            nothing to b
==============  ========================================================================================

Of two photos that each show but a part of the other, the one of which more is shown is the part.
"""

import numpy as np

from resight.dedup.relating.decide import relate_views
from resight.dedup.relating.relation import Relation
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.views import prepare_view

__all__ = ["RelateSettings", "Relation", "relate"]


DEFAULT = RelateSettings()


def relate(a: np.ndarray, b: np.ndarray, settings: RelateSettings = DEFAULT) -> Relation:
    """Say what photo a is to photo b.

    Parameters
    ----------
    a, b : ndarray, (h, w, 3) uint8
        RGB, upright; of any two sizes.
    settings : RelateSettings
        Limits, and whether small differences count.

    Returns
    -------
    Relation
        ``relate(b, a)`` is its `Relation.reverse`, up to rounding.
    """
    if np.array_equal(a, b) and a.size:
        return Relation("same_pixels", np.eye(3), 0, 1.0, 1.0, 1.0, 1.0, 0.0)
    return relate_views(prepare_view(a, settings), prepare_view(b, settings), settings)
