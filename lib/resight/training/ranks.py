"""The processes that train together: who this one is, sums and gathered rows over all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import distributed

from resight.training.settings import LAUNCHER

__all__ = ["Ranks", "join_ranks", "require_launcher"]


@dataclass(frozen=True)
class Ranks:
    """A process among those that train together.

    Parameters
    ----------
    rank, world : int
        Its number, and how many there are.
    device : torch.device
        What it computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is kept."""
        return self.rank == 0

    def share(self, items: Any) -> Any:
        """Give this process' share of a sequence or array: every ``world``-th item."""
        return items[self.rank :: self.world]

    def sum(self, value: float) -> float:
        """Add a number over all processes."""
        if self.world == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total)

    def join(self, rows: np.ndarray, n: int) -> np.ndarray:
        """Put shares of (n, ...) float32 rows together again, in every process."""
        if self.world == 1:
            return rows
        longest = -(-n // self.world)
        padded = np.zeros((longest, *rows.shape[1:]), np.float32)
        padded[: len(rows)] = rows
        mine = torch.from_numpy(padded).to(self.device)
        parts = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(parts, mine)
        found = np.empty((n, *rows.shape[1:]), np.float32)
        for rank, part in enumerate(parts):
            share = found[rank :: self.world]
            share[:] = part.cpu().numpy()[: len(share)]
        return found


@contextmanager
def join_ranks(device: str | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started, or be the only one.

    Each takes the GPU of its number; they talk by NCCL, and by gloo where there is no GPU.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    has_gpu = torch.cuda.is_available() and device != "cpu"
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device(device or (f"cuda:{local % torch.cuda.device_count()}" if has_gpu else "cpu"))
    if world == 1:
        yield Ranks(0, 1, place)
        return
    distributed.init_process_group("nccl" if has_gpu else "gloo")
    try:
        yield Ranks(distributed.get_rank(), world, place)
    finally:
        distributed.destroy_process_group()


def require_launcher() -> None:
    """End this process where the one that waits for the training is gone: another may go on with it."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is None:
        return
    try:
        os.kill(int(launcher), 0)
    except OSError:
        raise SystemExit(f"process {launcher}, which waits for the training, is gone") from None
