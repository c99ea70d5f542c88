"""What is known during one run of a job: its inputs, what it may lose, what it has written."""

from dataclasses import dataclass, field
from typing import Any

from resight.workspace import Output, Run


class LossError(RuntimeError):
    """More of the collection would go, or turned bad, than the run allows; nothing is committed."""


@dataclass
class RunContext:
    """What a store knows during one run of a job."""

    run_id: str
    build_id: str
    inputs: dict[str, Run]  # table, or table:role -> the run whose version is read
    previous: Run | None  # the last committed run of this build
    max_removed: float = 0.05
    max_bad: float = 0.05
    accept_loss: bool = False
    outputs: dict[str, Output] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    n_held: int = 0  # frames that were computed and kept for this run
