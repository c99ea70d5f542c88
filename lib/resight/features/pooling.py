"""Pooling of activation maps to vectors: MAC, SPoC, GeM.

Radenovic, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018, section
3.1; the regional MAC of Tolias et al. is in `resight.features.rmac`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["gem", "join_layers", "mac", "normalize", "pool_scales", "spoc"]

TINY = 1e-12


def normalize(x: Tensor, dim: int = -1) -> Tensor:
    """Divide by the Euclidean norm along ``dim``; a zero vector stays zero."""
    return x / torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp_min(TINY)


def mac(x: Tensor) -> Tensor:
    """Take the maximum of every channel: (b, d, h, w) float32 to (b, d)."""
    return x.amax((2, 3))


def spoc(x: Tensor) -> Tensor:
    """Take the mean of every channel: (b, d, h, w) float32 to (b, d)."""
    return x.mean((2, 3))


def gem(x: Tensor, p: float) -> Tensor:
    """Take the generalised mean of every channel: (b, d, h, w) float32 to (b, d).

    ``f = M mean((x / M)^p)^(1/p)`` with ``M`` the channel's maximum (the paper's eq. 3 without overflow
    or underflow); negative activations count as zero, a channel of zeros has the mean zero.
    """
    x = x.clamp_min(0)
    top = x.amax((2, 3), keepdim=True)  # (b, d, 1, 1)
    scaled = x / torch.where(top > 0, top, 1)
    return (scaled**p).mean((2, 3)) ** (1 / p) * top[:, :, 0, 0]


def join_layers(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate the unit vectors of several layers to one unit vector per photo."""
    units = [normalize(part) for part in parts]
    return units[0] if len(units) == 1 else normalize(torch.cat(units, dim=1))


def pool_scales(V: Tensor, *, p: float = 1.0) -> Tensor:
    """Pool unit vectors of s sizes (n, s, d) to one unit vector per photo (n, d).

    ``p = 1`` is their mean; else their generalised mean, for vectors without negative entries.
    """
    if p == 1:
        return normalize(V.mean(1))
    return normalize((V.clamp_min(0) ** p).mean(1) ** (1 / p))
