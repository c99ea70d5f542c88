"""A training from a folder of files, in this process or in several that torchrun starts.

``python -m resight.training.worker FOLDER`` is one of them; the folder is a URI that all can read.
"""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.ipc

from resight import files
from resight.training.examples import Examples
from resight.training.settings import LAUNCHER, TrainSettings

__all__ = ["Outcome", "run_training", "write_plan"]

DEVICE = "RESIGHT_DEVICE"  # as for extract-features: cpu, cuda:1


@dataclass(frozen=True)
class Outcome:
    """What a training left in its folder.

    Parameters
    ----------
    log : list of dict
        Rows of ``training_log``.
    epoch : int
        Whose weights were kept.
    p : float or None
        The exponent of GeM in them.
    failures : int
        Photos that could not be read.
    n_anchors : int
        Of the training.
    network, whitening : str
        Names of files in the folder; ``whitening`` is empty where none was learned.
    device, precision : str
        What it ran on.
    """

    log: list[dict[str, Any]]
    epoch: int
    p: float | None
    failures: int
    n_anchors: int
    network: str
    whitening: str
    device: str
    precision: str


def write_plan(folder: str, settings: TrainSettings, examples: Examples, photos: pa.Table) -> None:
    """Write what a training needs; ``photos`` says where the bytes of each row of ``examples`` lie."""
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, photos.schema) as writer:
        writer.write_table(photos)
    files.write_bytes(files.join(folder, "photos.arrow"), buffer.getvalue())
    files.write_bytes(files.join(folder, "examples.npz"), examples.to_bytes())
    files.write_bytes(files.join(folder, "settings.json"), msgspec.json.encode(settings))


def run_training(folder: str, *, processes: int = 1, device: str | None = None) -> Outcome:
    """Train as the plan in ``folder`` says, or go on where a training in it was stopped.

    Raises
    ------
    RuntimeError
        One of several processes failed.
    """
    if processes == 1:
        train_here(folder, device)
    else:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(processes), "-m", "resight.training.worker", folder]
        environment = os.environ | {LAUNCHER: str(os.getpid())} | ({DEVICE: device} if device else {})
        environment |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or threads_of(processes)}
        with subprocess.Popen(command, env=environment) as launched:
            try:
                status = launched.wait()
            except BaseException:
                launched.terminate()  # torchrun ends those that it started
                raise
        if status:
            raise RuntimeError(f"one of {processes} processes of the training failed, exit status {status}")
    return Outcome(**json.loads(files.read_bytes(files.join(folder, "outcome.json"))))


def threads_of(processes: int) -> str:
    """Share the cores of this machine."""
    return str(max((os.cpu_count() or 1) // processes, 1))


def train_here(folder: str, device: str | None = None) -> None:
    """Train in this process, alone or as one of several."""
    from resight.features.photos import one_native_thread
    from resight.training.network import load_network
    from resight.training.photos import Photos
    from resight.training.ranks import join_ranks
    from resight.training.train import Trainer

    settings, examples, listed = read_plan(folder)
    with (
        join_ranks(device or os.environ.get(DEVICE)) as ranks,
        one_native_thread(torch=False),
        torch_threads(),
    ):
        network = load_network(settings, ranks.device)
        photos = Photos(listed, network, settings, n_threads=count_threads())
        trainer = Trainer(folder, examples, photos, network, settings, ranks)
        progress = trainer.train()
        whitening = trainer.fit_whitening()
        if ranks.is_first:
            p, half = trainer.exponent(), network.trained.precision
            packed = network.pack(pooling=settings.pooling, **({"p": p} if p is not None else {}))
            files.write_bytes(files.join(folder, "network.safetensors"), packed)
            if whitening is not None:
                files.write_bytes(files.join(folder, "whitening.npz"), whitening.to_bytes())
            outcome = Outcome(
                log=progress.log,
                epoch=progress.best_epoch or settings.epochs,
                p=p,
                failures=len(photos.failures),
                n_anchors=len(trainer.part.anchors),
                network="network.safetensors",
                whitening="" if whitening is None else "whitening.npz",
                device=network.device.type,
                precision=str(half or "float32").removeprefix("torch."),
            )
            write_outcome(folder, outcome)


def read_plan(folder: str) -> tuple[TrainSettings, Examples, pa.Table]:
    """Read what `write_plan` wrote."""
    settings = msgspec.json.decode(files.read_bytes(files.join(folder, "settings.json")), type=TrainSettings)
    examples = Examples.from_bytes(files.read_bytes(files.join(folder, "examples.npz")))
    with pa.ipc.open_file(files.read_bytes(files.join(folder, "photos.arrow"))) as reader:
        return settings, examples, reader.read_all()


def write_outcome(folder: str, outcome: Outcome) -> None:
    """Say that the training has ended, and how: the last file that it writes."""
    files.write_bytes(files.join(folder, "outcome.json"), json.dumps(asdict(outcome)).encode())


@contextmanager
def torch_threads() -> Iterator[None]:
    """Let torch use all cores that this process may, whatever it used before: sums depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(count_threads(), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_threads() -> int:
    """Count the threads that decode photos; 0 on one core: in the thread that asks."""
    n = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    return n if n > 1 else 0


def main(folder: str) -> None:
    """Take part in the training of ``folder``."""
    is_first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(format="%(message)s", level=logging.INFO if is_first else logging.WARNING)
    train_here(folder)


if __name__ == "__main__":
    main(sys.argv[1])
