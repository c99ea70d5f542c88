"""The exchange over torch.distributed: gloo between processes, nccl where each rank has a GPU of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np

from resight.diffusion.partitioned.exchange import Pieces

WAIT = timedelta(minutes=30)  # for a rank that reads its part, or is being replaced


class TorchExchange:
    """`Exchange` of a process that has joined the group; ``device`` is where the transport reads from."""

    def __init__(self, rank: int, size: int, device: str) -> None:
        self.rank, self.size, self.device, self.sent = rank, size, device, 0

    def gather(self, x: np.ndarray) -> np.ndarray:
        """Collect an array of one shape and dtype from every rank."""
        import torch
        from torch import distributed

        mine = torch.from_numpy(np.array(x)).to(self.device)
        all_of_them = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(all_of_them, mine)
        return np.stack([part.cpu().numpy() for part in all_of_them])

    def swap(self, gives: Pieces, takes: Pieces) -> None:
        """Send contiguous arrays and fill others."""
        import torch
        from torch import distributed

        if not gives and not takes:
            return
        host = [torch.from_numpy(array) for _, array in takes]
        landing = [tensor.to(self.device) for tensor in host]  # on the CPU the very same memory
        calls = [
            distributed.P2POp(distributed.isend, torch.from_numpy(array).to(self.device), q)
            for q, array in gives
        ]
        calls += [
            distributed.P2POp(distributed.irecv, tensor, q)
            for (q, _), tensor in zip(takes, landing, strict=True)
        ]
        for work in distributed.batch_isend_irecv(calls):
            work.wait()
        for tensor, landed in zip(host, landing, strict=True):
            if landed is not tensor:
                tensor.copy_(landed)
        self.sent += sum(array.nbytes for _, array in gives)


@contextmanager
def join_group(
    rank: int, size: int, host: str, share: Callable[[str], list[str]], gpu: int | None = None
) -> Iterator[TorchExchange]:
    """Join the group of all ranks, and leave it whatever happens.

    Parameters
    ----------
    host : str
        Address of this rank, as the others reach it.
    share : function
        Gives a text to all ranks and returns the texts of all, in the order of the ranks.
    gpu : int, optional
        The GPU that this rank owns; all ranks have one or none has.
    """
    import torch
    from torch import distributed
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store: Any = None
    if rank == 0:  # port 0: the system gives one that is free, and it is taken at once
        store = TCPStore(host, 0, size, is_master=True, wait_for_workers=False, timeout=WAIT)
    texts = share(f"{host} {store.port}" if rank == 0 else "")
    if rank > 0:
        address, port = texts[0].split(" ")
        store = TCPStore(address, int(port), size, is_master=False, timeout=WAIT)
    device = "cpu" if gpu is None else f"cuda:{gpu}"
    if gpu is not None:
        torch.cuda.set_device(gpu)
    backend = "gloo" if gpu is None else "nccl"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=WAIT)
    try:
        yield TorchExchange(rank, size, device)
    finally:
        distributed.destroy_process_group()
