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
    is_small: bool = False  # the body runs on few rows: plans are not worth much planning
    options: dict[str, str] = field(default_factory=dict)  # of the session, as they were before the body

    @property
    def largest(self) -> int | None:
        """Rows of the largest table that is read, or was written before; None where there is none."""
        runs = [*self.inputs.values(), *([self.previous] if self.previous else [])]
        return max((output.n_rows for run in runs for output in run.outputs.values()), default=None)
