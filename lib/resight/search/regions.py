"""Files of a graph of regions, and of which regions an image has.

Regions are listed image by image: ``images`` (i,) int64 ordinals of the images' vectors, ascending, every one
with a region; ``offsets`` (i + 1,) int64; and for each of the m regions ``places`` (m,) int64, the node of
the graph that stands for it, ``weights`` (m,) float64 and ``region_ix`` (m,) int32.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from resight import files
from resight.graph.matrix import GraphFiles
from resight.knn.copies import to_offsets
from resight.knn.matrix import VectorFiles, map_array, save_array


@dataclass(frozen=True)
class RegionFiles:
    """Where the vectors of the regions, their graph and the lists of each image's regions lie."""

    vectors: VectorFiles
    graph: GraphFiles
    folder: str
    names: tuple[tuple[str, str], ...]  # array -> file

    def open(self) -> "OpenRegions":
        """Map the files into memory; kept per process."""
        return open_regions(self)

    def save(self) -> None:
        """Write the list of files as ``regions.json``."""
        text = json.dumps(self.names, indent=1)
        files.write_bytes(files.join(self.folder, "regions.json"), text.encode())


def load_region_files(folder: str, vectors: VectorFiles, graph: GraphFiles) -> RegionFiles:
    """Read the list of files that `RegionFiles.save` wrote."""
    names = json.loads(files.read_bytes(files.join(folder, "regions.json")))
    return RegionFiles(vectors, graph, folder, tuple((array, name) for array, name in names))


class OpenRegions:
    """The mapped arrays of some `RegionFiles`."""

    def __init__(self, layout: RegionFiles) -> None:
        self.X, self.graph = layout.vectors.open(), layout.graph.open()
        arrays = {array: map_array(layout.folder, name) for array, name in layout.names}
        self.images, self.offsets = arrays["images"], arrays["offsets"]
        self.places, self.weights, self.region_ix = (arrays[a] for a in ("places", "weights", "region_ix"))


@lru_cache(maxsize=4)
def open_regions(layout: RegionFiles) -> OpenRegions:
    """Open ``layout`` once per process."""
    return OpenRegions(layout)


def save_regions(
    folder: str, images: np.ndarray, places: np.ndarray, region_ix: np.ndarray, weights: np.ndarray
) -> tuple[tuple[str, str], ...]:
    """Write the regions of every image.

    Parameters
    ----------
    images, places, region_ix, weights : ndarray, (m,)
        Of each region, in any order: the ordinal of its image and the place of its node, -1 where there is
        none (such a region is left out), its number in the image, its weight.

    Returns
    -------
    Names of the arrays and their files; not yet saved as complete: see `RegionFiles.save`.
    """
    known = np.flatnonzero((images >= 0) & (places >= 0))
    order = known[np.lexsort((places[known], region_ix[known], images[known]))]
    distinct, counts = np.unique(images[order], return_counts=True)
    arrays = {
        "images": distinct.astype(np.int64),
        "offsets": to_offsets(counts),
        "places": places[order].astype(np.int64),
        "weights": weights[order].astype(np.float64),
        "region_ix": region_ix[order].astype(np.int32),
    }
    return tuple((array, save_array(folder, f"regions-{array}", v)) for array, v in arrays.items())
