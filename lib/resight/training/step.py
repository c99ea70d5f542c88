"""One step of a training: losses of some tuples, gradients added up over passes and processes."""

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel

from resight.training.embed import group_maps
from resight.training.losses import tuple_losses
from resight.training.network import Network
from resight.training.photos import Photos
from resight.training.ranks import Ranks
from resight.training.settings import TrainSettings

__all__ = ["Stepper", "build_optimizer"]

P_FACTOR = 10  # the exponent of GeM learns so many times faster


def build_optimizer(trained: nn.Module, settings: TrainSettings) -> optim.Optimizer:
    """Make the optimiser of the settings; the exponent has a rate of its own and does not decay."""
    named = [(name, p) for name, p in trained.named_parameters() if p.requires_grad]
    weights = {"params": [p for name, p in named if name != "p"], "factor": 1}
    exponent = {"params": [p for name, p in named if name == "p"], "factor": P_FACTOR, "weight_decay": 0.0}
    groups = [group for group in (weights, exponent) if group["params"]]
    rate, decay = settings.own_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return optim.SGD(groups, lr=rate, momentum=settings.momentum, weight_decay=decay)
    return optim.Adam(groups, lr=rate, weight_decay=decay)


class Stepper:
    """Takes steps with a network; the same in every process, each on its share of the tuples.

    Parameters
    ----------
    network : Network
        What is trained.
    photos : Photos
        Where its inputs come from.
    settings : TrainSettings
        Loss, optimiser, size of a pass.
    ranks : Ranks
        Who takes part.
    """

    def __init__(self, network: Network, photos: Photos, settings: TrainSettings, ranks: Ranks) -> None:
        self.network, self.photos, self.settings, self.ranks = network, photos, settings, ranks
        self.optimizer = build_optimizer(network.trained, settings)
        half = network.trained.precision is torch.float16
        self.scaler = torch.amp.GradScaler(network.device.type, enabled=half)
        self.model: nn.Module = network.trained
        if ranks.world > 1:
            ids = [network.device.index] if network.device.type == "cuda" else None
            self.model = DistributedDataParallel(network.trained, device_ids=ids, broadcast_buffers=False)

    def set_rate(self, rate: float) -> None:
        """Let the steps that follow have a learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    def step(self, slots: np.ndarray, weights: np.ndarray) -> float:
        """Take one step down the sum of the losses of tuples.

        Parameters
        ----------
        slots : ndarray, (t, 2 + k) int64
            Rows of anchor, positive and negatives; -1: there is none.
        weights : ndarray, (t,) float64
            What each counts.

        Returns
        -------
        float
            The sum of the losses over all processes, before the step.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        passes = list(self.passes(slots, weights))
        for i, (own_slots, own_weights) in enumerate(passes):
            total += self.accumulate(own_slots, own_weights, last=i == len(passes) - 1)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            self.network.trained.p.clamp_(min=1)
        return self.ranks.sum(total)

    def passes(self, slots: np.ndarray, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Cut this process' share into passes; without a share it goes along with what counts nothing."""
        own_slots, own_weights = self.ranks.share(slots), self.ranks.share(weights)
        if not len(own_slots):
            yield slots[:1], np.zeros(1)
        for begin in range(0, len(own_slots), self.settings.tuples_per_pass):
            end = begin + self.settings.tuples_per_pass
            yield own_slots[begin:end], own_weights[begin:end]

    def accumulate(self, slots: np.ndarray, weights: np.ndarray, *, last: bool) -> float:
        """Add the gradients of some tuples; the ``last`` pass of a step sums them over the processes."""
        conf, device = self.settings, self.network.device
        maps = self.photos.maps(slots[slots >= 0].tolist(), conf.longer_side)
        groups, places = group_maps(maps, self.network)
        alone = isinstance(self.model, DistributedDataParallel) and not last
        with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            losses = tuple_losses(
                self.model(groups),
                torch.from_numpy(place_slots(slots, places)).to(device),
                loss=conf.loss,
                margin=conf.own_margin,
                weights=torch.from_numpy(weights).float().to(device),
            )
            summed: Tensor = losses.sum()
            self.scaler.scale(summed * self.ranks.world).backward()  # which takes the mean of the processes
        return float(summed.detach())


def place_slots(slots: np.ndarray, places: dict[int, int]) -> np.ndarray:
    """Turn rows of photos into their places in a batch; -1 stays.

    Raises
    ------
    RuntimeError
        A photo that could be read before has no place.
    """
    lost = set(slots[slots >= 0].tolist()) - places.keys()
    if lost:
        raise RuntimeError(f"photo {min(lost)} of the training cannot be read any more")
    return np.array([[places.get(row, -1) for row in line] for line in slots.tolist()], np.int64)
