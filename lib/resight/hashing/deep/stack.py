"""The model: bits of a descriptor, layers of activations, and a code from the last one."""

import io
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from resight.hashing.deep.rbm import sigmoid

__all__ = ["StackModel", "activate_layers", "center_stack"]

ROWS = 8192  # described together
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class StackModel:
    """Bits of x: whether the last layer is driven above its mean, or, with the same, not.

    Parameters
    ----------
    kind : str
        rbmh or deephash.
    mean : ndarray, (d,) float32
        Above which a component of a descriptor counts as on; that of the sample, frozen.
    weights : tuple of ndarray, (I_l, J_l) float32
        Of every layer, I_1 = d and J_L a multiple of 8.
    biases : tuple of ndarray, (J_l,) float32
        Of every layer; the last is not used, ``center`` takes its place.
    center : ndarray, (J_L,) float64
        Mean of z W over the sample, z the activations below the last layer: mu of the paper, equation 6.
    """

    kind: str
    mean: np.ndarray
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    center: np.ndarray

    def __post_init__(self) -> None:
        """Check that the shapes belong together."""
        widths = [len(self.mean), *(len(b) for b in self.biases)]
        shapes = [W.shape for W in self.weights]
        if shapes != [*pairwise(widths)] or widths[-1] % 8 or len(widths) < 2:
            raise ValueError(f"weights {shapes} between layers of {widths} units; bits come in bytes")
        if self.center.shape != (widths[-1],):
            raise ValueError(f"center {self.center.shape}, expected ({widths[-1]},)")

    @property
    def n_bits(self) -> int:
        """Length of a code."""
        return len(self.center)

    def drive(self, X: np.ndarray) -> np.ndarray:
        """Give z W (n, L) float64 of the last layer for descriptors ``X`` (n, d)."""
        if X.ndim != 2 or X.shape[1] != len(self.mean):
            raise ValueError(f"vectors {X.shape}, expected (n, {len(self.mean)})")
        V = (X.astype(np.float32) > self.mean).astype(np.float64)
        below = activate_layers(V, self.weights[:-1], self.biases[:-1])[-1]
        return below @ self.weights[-1].astype(np.float64)

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Encode ``X`` (n, d) of any float dtype as codes (n, L / 8) uint8, little-endian bits."""
        codes = np.empty((len(X), self.n_bits // 8), np.uint8)
        for start in range(0, len(X), ROWS):
            bits = self.drive(X[start : start + ROWS]) > self.center
            codes[start : start + ROWS] = np.packbits(bits, axis=1, bitorder="little")
        return codes

    def to_bytes(self) -> bytes:
        """Write as a npz archive; equal models give equal bytes."""
        parts = dict[str, np.ndarray]()
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            parts |= {f"weights_{i}": W, f"biases_{i}": b}
        file = io.BytesIO()
        kind = np.array(self.kind)
        np.savez(file, kind=kind, mean=self.mean, center=self.center, allow_pickle=False, **parts)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "StackModel":
        """Read what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            numbers = range(sum(name.startswith("weights_") for name in stored.files))
            weights, biases = (
                tuple(stored[f"{part}_{i}"] for i in numbers) for part in ("weights", "biases")
            )
            return cls(str(stored["kind"]), stored["mean"], weights, biases, stored["center"])


def activate_layers(V: np.ndarray, weights: Arrays, biases: Arrays) -> list[np.ndarray]:
    """Give the units of every layer, the visible ones ``V`` (n, I) first, in the dtype of ``V``."""
    layers = [V]
    for W, b in zip(weights, biases, strict=True):
        layers.append(sigmoid(layers[-1] @ W.astype(V.dtype) + b.astype(V.dtype)))
    return layers


def center_stack(
    kind: str,
    mean: np.ndarray,
    weights: tuple[np.ndarray, ...],
    biases: tuple[np.ndarray, ...],
    X: np.ndarray,
) -> StackModel:
    """Make the model whose bits are on for about half of the sample ``X`` (n, d)."""
    model = StackModel(kind, mean, weights, biases, np.zeros(len(biases[-1])))
    sums = np.zeros(model.n_bits)
    for start in range(0, len(X), ROWS):
        sums += model.drive(X[start : start + ROWS]).sum(0)
    return StackModel(kind, mean, weights, biases, sums / len(X))
