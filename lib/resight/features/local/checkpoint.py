"""A network that was trained by the public code of HOW: its checkpoint, read without executing anything.

The file is what that code's ``torch.save`` leaves as ``model_best.pth`` or ``model_epochN.pth``, a dict with

- ``net_params``: ``architecture`` (a ResNet of torchvision, such as ``resnet18``), ``skip_layer`` (how many
  groups of blocks are left out at the end), ``dim_reduction`` (``{"dim": d}`` or empty), ``smoothing``
  (``{"kernel_size": M}`` or empty) and ``runtime``, whose ``mean_std`` holds the RGB mean and deviation;
- ``state_dict``: ``features.I.*`` for the I-th child of the ResNet (0 convolution, 1 batch norm, 4 to 7 the
  groups of blocks), ``dim_reduction.weight`` (d, D, 1, 1) and ``dim_reduction.bias`` (d,): ``W u + b``.

The older layout, without ``net_params``, says the same in ``meta`` (``architecture``, ``skip_layer``,
``feat_pool_k``, ``mean``, ``std``) and calls the projection ``whiten.weight`` and ``whiten.bias``. What else
the file holds (optimiser, scores) is not used; the scales are those of the settings.
"""

import threading
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from resight.config import SettingError
from resight.features.backbones import Backbone, pick_device
from resight.features.local.how import Projection
from resight.features.local.settings import LocalSettings
from resight.features.local.weights import local_weights_path, local_weights_sha256
from resight.features.networks import IMAGENET, first_line

__all__ = ["load_checkpoint", "read_checkpoint"]


def plain_dict(*_: Any) -> dict[Any, Any]:
    """Stand for a dict with a default, which torch does not read."""
    return {}


HARMLESS: list[Any] = [  # beside tensors and plain values: what the scores in such a file are made of
    (plain_dict, "collections.defaultdict"),
    list,
    np.dtype,
    np.ndarray,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    np.dtypes.Int64DType,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),  # type: ignore[attr-defined]
]
Loaded = tuple[Backbone, Projection | None, int]
loaded: dict[tuple, Loaded] = {}
lock = threading.Lock()


class Checkpoint(NamedTuple):
    """What a file says: a network up to its last map, ``o(u) = W u + b``, and the smoothing."""

    network: nn.Module
    reduction: tuple[Tensor, Tensor] | None  # W (d, D), b (d,)
    smoothing: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_checkpoint(settings: LocalSettings, device: str | None = None) -> Loaded:
    """Put the network of a checkpoint on its device, once per process: backbone, projection, smoothing."""
    place = pick_device(device)
    half = {"auto": place.type == "cuda", "float16": True, "float32": False}[settings.precision]
    if half and place.type == "cpu":
        raise SettingError("precision: float16 needs a CUDA device; use auto or float32")
    key = (str(place), half, local_weights_sha256(settings))
    with lock:
        if key not in loaded:
            path = local_weights_path(settings)
            if path is None:
                raise ValueError(f"{settings.extractor} has no weight file")
            loaded[key] = place_network(read_checkpoint(path), place, half=half)
        return loaded[key]


def place_network(read: Checkpoint, place: torch.device, *, half: bool) -> Loaded:
    """Make the backbone and the projection on a device."""
    dtype = torch.float16 if half else torch.float32
    network = read.network.to(place, dtype).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(v, device=place).view(1, 3, 1, 1) * 255 for v in (read.mean, read.std))
    projection = None
    if read.reduction is not None:
        W, b = read.reduction
        projection = Projection(W.T.float().contiguous().to(place), b.float().to(place))
    return Backbone(network, ("head",), mean, std, place, dtype), projection, read.smoothing


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of the layout above.

    Raises
    ------
    SettingError
        It is of another layout, or its tensors are of another network.
    """
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
        raise SettingError(f"backbone: {path} cannot be read: {first_line(error)}") from None
    if not isinstance(content, dict) or not {"state_dict", "net_params"} & set(content) >= {"state_dict"}:
        raise SettingError(f"backbone: {path} is no HOW checkpoint: it holds no state_dict")
    try:
        return interpret(content)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise SettingError(f"backbone: {path} is no HOW checkpoint: {first_line(error)}") from None


def interpret(content: dict[str, Any]) -> Checkpoint:
    """Make the network that a checkpoint describes."""
    state: dict[str, Tensor] = content["state_dict"]
    old = "net_params" not in content
    says = content["meta"] if old else content["net_params"]
    if old:
        smoothing, normalisation, name = says.get("feat_pool_k"), (says["mean"], says["std"]), "whiten"
    else:
        smoothing = (says.get("smoothing") or {}).get("kernel_size")
        normalisation, name = says.get("runtime", {}).get("mean_std") or IMAGENET, "dim_reduction"
    network = build_resnet(says["architecture"], int(says.get("skip_layer") or 0))
    network.load_state_dict(
        {k.removeprefix("features."): t for k, t in state.items() if k.startswith("features.")}
    )
    reduction = None
    if f"{name}.weight" in state:
        reduction = state[f"{name}.weight"][:, :, 0, 0], state[f"{name}.bias"]
    mean, std = (tuple(map(float, values)) for values in normalisation)
    return Checkpoint(network.eval(), reduction, int(smoothing or 1), mean, std)


def build_resnet(architecture: str, skip_layer: int) -> nn.Sequential:
    """Make a ResNet of torchvision without pooling and classifier, and without its last groups of blocks."""
    import torchvision

    if not architecture.startswith("resnet") or not hasattr(torchvision.models, architecture):
        raise KeyError(f"architecture {architecture}")
    children = list(getattr(torchvision.models, architecture)(weights=None).children())[:-2]
    return nn.Sequential(*children[: len(children) - skip_layer])
