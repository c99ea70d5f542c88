"""A network that is being trained: a frozen stem, a trained tail, pooling with a learned exponent.

Batch normalisation keeps the statistics that it came with, as in Radenovic et al. (TPAMI 2018); there is no
dropout, so that the network computes the same in training as later.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resight.config import SettingError
from resight.features import networks, pooling, rmac
from resight.features.backbones import MIN_SIDE, weights_path
from resight.features.settings import ExtractSettings
from resight.training.settings import TrainSettings

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Network", "Trained", "load_network", "pool_gem"]

EPS = 1e-6  # activations below it count as much: the powers have finite slopes


def pool_gem(x: Tensor, p: Tensor) -> Tensor:
    """Take the generalised mean of every channel with an exponent that has a gradient.

    The value is that of `resight.features.pooling.gem` of activations of `EPS` at least: (b, d, h, w) to
    (b, d). The channel's maximum, by which it is divided against overflow, takes no part in the slopes, as
    the result does not depend on it.
    """
    x = x.clamp_min(EPS)
    top = x.detach().amax((2, 3), keepdim=True)  # (b, d, 1, 1)
    return ((x / top) ** p).mean((2, 3)) ** (1 / p) * top[:, :, 0, 0]


class Trained(nn.Module):
    """The part whose weights change: maps to unit vectors.

    Parameters
    ----------
    tail : Module
        Maps (b, c, h, w) to the last maps (b, d, h', w').
    how : str
        ``gem``, ``mac``, ``spoc`` or ``rmac``.
    p : float
        Exponent of GeM at the beginning; a parameter where it is learned.
    precision : torch.dtype, optional
        What the tail computes in; pooling is always in float32.
    """

    def __init__(
        self, tail: nn.Module, how: str, *, p: float, learn_p: bool, precision: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.tail, self.how, self.precision = tail, how, precision
        self.p = nn.Parameter(torch.tensor(float(p)), requires_grad=learn_p and how == "gem")

    def forward(self, groups: Sequence[Tensor]) -> Tensor:
        """Describe photos in groups of one shape, (b_i, c, h_i, w_i), by unit vectors (sum b_i, d)."""
        return torch.cat([self.describe(x) for x in groups])

    def describe(self, x: Tensor) -> Tensor:
        """Describe photos of one shape."""
        with torch.autocast(x.device.type, dtype=self.precision, enabled=self.precision is not None):
            maps = self.tail(x)
        maps = maps.float()
        if self.how == "rmac":
            grid = rmac.region_grid(*maps.shape[2:])
            return pooling.normalize(rmac.sum_regions(rmac.pool_regions(maps, grid=grid)))
        if self.how == "gem":
            return pooling.normalize(pool_gem(maps, self.p))
        return pooling.normalize(pooling.mac(maps) if self.how == "mac" else pooling.spoc(maps))


@dataclass(eq=False)
class Network:
    """All of a network on one device.

    Parameters
    ----------
    body : Module
        The whole timm model, whose last parts ``trained`` shares: what is written at the end.
    stem : Module or None
        What comes before, batch normalisation folded in; None where nothing is known to be apart.
    trained : Trained
        What comes after.
    mean, std : Tensor, (1, 3, 1, 1) float32
        Of pixels in 0..255, on the device.
    facts : dict
        What builds the model again: architecture, mean, std.
    """

    body: Any
    stem: nn.Module | None
    trained: Trained
    mean: Tensor
    std: Tensor
    device: torch.device
    facts: dict[str, Any]

    def enter(self, pixels: "np.ndarray") -> Tensor:
        """Run photos (b, h, w, 3) uint8 through the frozen stem: (b, c, h', w') on the CPU."""
        x = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float().sub(self.mean).div(self.std)
        down, right = (max(MIN_SIDE - side, 0) for side in x.shape[2:])
        x = nn.functional.pad(x, (0, right, 0, down)) if down or right else x
        x = x.contiguous(memory_format=torch.channels_last)
        if self.stem is None:
            return x.cpu()
        half = self.trained.precision
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, dtype=half, enabled=half is not None),
        ):
            return self.stem(x).cpu()

    def pack(self, **facts: Any) -> bytes:
        """Pack the whole network, with further ``facts``, as a file that ``extract-features`` loads."""
        return networks.pack_network(self.body, self.facts | facts)


def load_network(settings: TrainSettings, device: torch.device) -> Network:
    """Read the backbone and split it where the training begins.

    Raises
    ------
    SettingError
        The backbone cannot be read, or has no such part.
    """
    body, own, facts = read_body(settings)
    body.eval().to(device).to(memory_format=torch.channels_last)
    stem, tail = split_body(body, settings.train_from)
    half = pick_half(settings.precision, device)
    trained = Trained(
        tail, settings.pooling, p=facts.get("p", settings.p), learn_p=settings.learn_p, precision=half
    )
    mean, std = (torch.tensor(v, dtype=torch.float32, device=device).view(1, 3, 1, 1) * 255 for v in own)
    facts = {"architecture": facts["architecture"], "mean": list(own[0]), "std": list(own[1])}
    return Network(body, stem, trained.to(device), mean, std, device, facts)


def read_body(settings: TrainSettings) -> tuple[nn.Module, networks.Normalisation, dict[str, Any]]:
    """Build the timm model of a backbone, with its normalisation and the facts that name it."""
    path = weights_path(ExtractSettings(backbone=settings.backbone, weights=settings.weights))
    if settings.backbone == "lite0":
        body: Any = networks.read_lite0(path)
        body.reset_classifier(0)
        return body, networks.LITE0, {"architecture": "tf_efficientnet_lite0"}
    if settings.backbone.startswith("trained:"):
        return networks.read_trained(path)
    name = settings.backbone.partition(":")[2]
    body, own = networks.build_timm(name, networks.read_weights(Path(path)), path)
    return body, own, {"architecture": name}


def split_body(body: Any, train_from: str) -> tuple[nn.Module | None, nn.Module]:
    """Freeze what comes before ``train_from``, and give it as a module of its own where that is known.

    It is known of networks of timm's EfficientNet family: a stem, ``blocks`` in a row, one last convolution.
    """
    if train_from == "all":
        return None, networks.Head(body)
    number = train_from.removeprefix("block")
    part = f"blocks.{number}" if number.isdecimal() else train_from
    in_row = all(hasattr(body, name) for name in ("conv_stem", "bn1", "blocks", "conv_head", "bn2"))
    if in_row and (part == "head" or part.startswith("blocks.")):
        blocks = list(body.blocks)
        first = len(blocks) if part == "head" else int(part.partition(".")[2])
        if first > len(blocks):
            raise SettingError(f"train_from: the backbone has {len(blocks)} blocks, not {train_from!r}")
        stem = copy.deepcopy(nn.Sequential(body.conv_stem, body.bn1, *blocks[:first])).requires_grad_(False)
        networks.fold_neighbours(stem)
        for module in (body.conv_stem, body.bn1, *blocks[:first]):
            module.requires_grad_(False)
        return stem, nn.Sequential(*blocks[first:], body.conv_head, body.bn2)
    freeze_before(body, part)
    return None, networks.Head(body)


def freeze_before(body: nn.Module, part: str) -> None:
    """Let the weights that are listed before the module ``part`` stay as they are."""
    names = [name for name, _ in body.named_parameters()]
    first = next((i for i, name in enumerate(names) if name.startswith(f"{part}.")), None)
    if first is None:
        known = ", ".join(child for child, _ in body.named_children())
        raise SettingError(f"train_from: the backbone has no {part!r}; at its top are {known}")
    for i, (_, parameter) in enumerate(body.named_parameters()):
        parameter.requires_grad_(i >= first)


def pick_half(precision: str, device: torch.device) -> torch.dtype | None:
    """Give what the network computes in besides float32, if anything."""
    if precision == "auto" and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    found = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)
    if found is not None and device.type == "cpu":
        raise SettingError(f"precision: {precision} needs a CUDA device; use auto or float32")
    return found
