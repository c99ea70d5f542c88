"""What a codebook holds, as bytes of a table and as files that every worker maps into memory."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from resight.codebook.quantize import Coarse, Quantizer
from resight.features.whitening import pack, unpack
from resight.knn.matrix import map_array, save_array

ARRAYS = ("centroids", "projection", "medians", "whitening")
FACTS = ("n_probes", "settings", "dtype", "sha256")

__all__ = ["Codebook", "CodebookFiles", "QuantizerFiles", "save_codebook", "save_quantizer"]


@dataclass(frozen=True, eq=False)
class Codebook:
    """Centroids and the rule that turns residuals into bits.

    Parameters
    ----------
    centroids : ndarray, (k, d) float32
        One visual word per row.
    projection : ndarray, (b, d) float32, optional
        Orthonormal rows; without it a residual is that to the centroid, and has d bits.
    medians : ndarray, (k, b) float32, optional
        What is subtracted from projected descriptors of each word; given with ``projection``.
    n_probes : int
        Groups of centroids that an assignment visits; 0 visits all, which is exact.
    settings : str
        JSON of the `LocalSettings` of the extractor whose descriptors these are.
    dtype : str
        Of stored descriptors: others are rounded to it before they are assigned.
    sha256 : str
        Of the extractor's weight file; empty where it has none.
    whitening : ndarray, (n,) uint8, optional
        The bytes of the `Whitening` that the extractor applies.
    """

    centroids: np.ndarray
    projection: np.ndarray | None = None
    medians: np.ndarray | None = None
    n_probes: int = 0
    settings: str = "{}"
    dtype: str = "float32"
    sha256: str = ""
    whitening: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check that the shapes belong together."""
        if self.centroids.ndim != 2 or not self.centroids.size:
            raise ValueError(f"centroids have shape {self.centroids.shape}, expected (k, d)")
        k, d = self.centroids.shape
        if (self.projection is None) != (self.medians is None):
            raise ValueError("a projection and medians come together or not at all")
        if self.projection is not None and self.medians is not None:
            b = len(self.projection)
            if self.projection.shape != (b, d) or self.medians.shape != (k, b):
                shapes = f"{self.projection.shape}, medians {self.medians.shape}"
                raise ValueError(f"projection {shapes}, expected (b, {d}) and ({k}, b)")

    @property
    def k(self) -> int:
        """Number of visual words."""
        return len(self.centroids)

    @property
    def d(self) -> int:
        """Dimensions of a descriptor."""
        return self.centroids.shape[1]

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self.d if self.projection is None else len(self.projection)

    @cached_property
    def quantizer(self) -> Quantizer:
        """What assigns descriptors; made at the first use."""
        return Quantizer(np.ascontiguousarray(self.centroids, np.float32), self.n_probes)

    def arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays that there are, by name."""
        named = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in named.items() if array is not None}

    def stored(self) -> dict[str, np.ndarray]:
        """Give the arrays, and the groups of the centroids where an assignment visits groups.

        They are found once: k-means elsewhere, with another number of threads, may find others.
        """
        return self.arrays() | (self.quantizer.coarse._asdict() if self.n_probes else {})

    def facts(self) -> dict[str, Any]:
        """Give what is no array, by name."""
        return {name: getattr(self, name) for name in FACTS}

    def to_bytes(self) -> bytes:
        """Pack the codebook for the table ``models``."""
        words = np.array([self.settings, self.dtype, self.sha256])
        return pack(**self.stored(), n_probes=np.int64(self.n_probes), words=words)

    @classmethod
    def from_bytes(cls, params: bytes) -> "Codebook":
        """Unpack what `to_bytes` packed."""
        fields = unpack(params)
        settings, dtype, sha256 = (str(word) for word in fields.pop("words"))
        n_probes = int(fields.pop("n_probes"))
        groups = [fields.pop(name) for name in Coarse._fields if name in fields]
        codebook = cls(**fields, n_probes=n_probes, settings=settings, dtype=dtype, sha256=sha256)
        if groups:
            codebook.quantizer.coarse = Coarse(*groups)
        return codebook


@dataclass(frozen=True)
class CodebookFiles:
    """Where the arrays of a codebook lie; small, so a task carries it whole."""

    folder: str
    names: tuple[tuple[str, str], ...]  # array -> file
    n_probes: int = 0
    settings: str = "{}"
    dtype: str = "float32"
    sha256: str = ""

    def open(self) -> Codebook:
        """Map the arrays into memory; kept per process."""
        return open_codebook(self)


def save_codebook(codebook: Codebook, folder: str) -> CodebookFiles:
    """Write the arrays of ``codebook`` into ``folder``, where they may lie already; its groups with them."""
    names = tuple((name, save_array(folder, name, array)) for name, array in codebook.stored().items())
    return CodebookFiles(folder, names, **codebook.facts())


@lru_cache(maxsize=2)
def open_codebook(layout: CodebookFiles) -> Codebook:
    """Open ``layout`` once per process."""
    fields: dict[str, Any] = {name: map_array(layout.folder, file) for name, file in layout.names}
    groups = [fields.pop(name) for name in Coarse._fields if name in fields]
    codebook = Codebook(**fields | {name: getattr(layout, name) for name in FACTS})
    if groups:
        codebook.quantizer.coarse = Coarse(*groups)
    return codebook


@dataclass(frozen=True)
class QuantizerFiles:
    """Where the centroids and the groups of a quantizer lie; small, so a task carries it whole."""

    folder: str
    names: tuple[str, ...]
    n_probes: int

    def open(self) -> Quantizer:
        """Read the arrays."""
        centroids, *groups = (np.array(map_array(self.folder, name)) for name in self.names)
        return Quantizer(centroids, self.n_probes, Coarse(*groups) if groups else None)


def save_quantizer(quantizer: Quantizer, folder: str) -> QuantizerFiles:
    """Write what tasks assign by: they visit the very groups that this process does."""
    arrays = {"centroids": quantizer.centroids}
    if quantizer.n_probes:
        arrays |= quantizer.coarse._asdict()
    names = tuple(save_array(folder, name, array) for name, array in arrays.items())
    return QuantizerFiles(folder, names, quantizer.n_probes)
