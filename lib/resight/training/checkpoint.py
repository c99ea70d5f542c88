"""Where a training stands: written whole after steps and epochs, so that it goes on as if never stopped."""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from resight import files

__all__ = ["Progress", "load_checkpoint", "save_checkpoint"]

FILE = "checkpoint.pt"


@dataclass
class Progress:
    """What is behind a training.

    Parameters
    ----------
    epoch, piece, done, step : int
        The epoch, from 1; the piece of its anchors that has negatives of its own; tuples done in it; steps
        done in the epoch.
    slots, weights : ndarray or None
        Tuples of the piece, mined with the weights of its beginning.
    log : list of dict
        Rows of ``training_log``.
    best_map : float
        Of the epochs so far; below 0 before the first.
    best : dict or None
        Weights of the epoch that is to be kept.
    """

    epoch: int = 1
    piece: int = 0
    done: int = 0
    step: int = 0
    slots: np.ndarray | None = None
    weights: np.ndarray | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    best_map: float = -1.0
    best_epoch: int = 0
    best: dict[str, Any] | None = None


def save_checkpoint(folder: str, progress: Progress, parts: dict[str, Any]) -> None:
    """Write progress and the state of ``parts`` (trained weights, optimiser, scaler) into one file."""
    content = {**vars(progress), "parts": {name: part.state_dict() for name, part in parts.items()}}
    for name in ("slots", "weights"):
        content[name] = None if content[name] is None else torch.from_numpy(content[name])
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write_bytes(files.join(folder, FILE), buffer.getvalue())


def load_checkpoint(folder: str, parts: dict[str, Any]) -> Progress | None:
    """Give the progress of a training that was stopped and put its state into ``parts``; None without one."""
    uri = files.join(folder, FILE)
    if not files.exists(uri):
        return None
    content = torch.load(io.BytesIO(files.read_bytes(uri)), weights_only=True, map_location="cpu")
    for name, state in content.pop("parts").items():
        parts[name].load_state_dict(state)
    for name in ("slots", "weights"):
        content[name] = None if content[name] is None else content[name].numpy()
    return Progress(**content)
