"""How far a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvar.batches import FAILED

NOT_RUN = 0


@dataclass(frozen=True)
class Report:
    """How far a run is.

    Attributes
    ----------
    path : Path
        Its store.
    status : ndarray of int8 (window,)
        As in the output: 0 not run, 5 failed, anything else done.
    reasons : mapping of int to str
        Why windows failed.
    before : int
        Windows that an earlier run had already finished.
    running : str, optional
        Who holds the lock of the store.
    """

    path: Path
    status: NDArray[np.int8]
    reasons: Mapping[int, str] = field(default_factory=dict)
    before: int = 0
    running: str | None = None

    @property
    def windows(self) -> int:
        """Windows in all."""
        return len(self.status)

    @property
    def failed(self) -> dict[int, str]:
        """Windows that failed, with the reason."""
        indices = np.flatnonzero(self.status == FAILED)
        return {int(index): self.reasons.get(int(index), "reason unknown") for index in indices}

    @property
    def left(self) -> int:
        """How many windows were not run."""
        return int((self.status == NOT_RUN).sum())

    @property
    def done(self) -> int:
        """How many windows have a result."""
        return self.windows - self.left - int((self.status == FAILED).sum())

    @property
    def not_run(self) -> list[int]:
        """Windows that were not run."""
        return [int(index) for index in np.flatnonzero(self.status == NOT_RUN)]

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.windows} windows done", f"{len(self.failed)} failed", f"{self.left} not run"]
        return f"{self.path}: {', '.join(parts)}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: what was finished is kept, and the same call goes on from there.

    Attributes
    ----------
    report : Report
        How far the run came.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(f"interrupted; {report}; the same command goes on: windows {ranges(report.not_run)}")


def ranges(numbers: list[int]) -> str:
    """Numbers as ranges: 3-5, 8."""
    if not numbers:
        return "none"
    breaks = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1), len(numbers)]
    pairs = [(numbers[a], numbers[b - 1]) for a, b in pairwise(breaks)]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)
