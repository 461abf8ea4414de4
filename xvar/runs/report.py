"""How far a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvar.errors import Status


@dataclass(frozen=True)
class Report:
    """How far a run is.

    Attributes
    ----------
    path : Path
        Its store.
    status : ndarray of int8 (window,)
        As in the output.
    reasons : mapping of int to str
        Why windows have no result.
    before : int
        Windows that an earlier run had already finished.
    running : str, optional
        Who holds the lock of the store.
    fall : float, optional
        Share of J by which it fell from background to analysis, the median over the windows that this run finished.
    """

    path: Path
    status: NDArray[np.int8]
    reasons: Mapping[int, str] = field(default_factory=dict)
    before: int = 0
    running: str | None = None
    fall: float | None = None

    @property
    def windows(self) -> int:
        """Windows in all."""
        return len(self.status)

    @property
    def failed(self) -> dict[int, str]:
        """Windows that failed, with the reason; one that diverged from its very background is among them."""
        without = {int(index): "reason unknown" for index in np.flatnonzero(self.status == Status.FAILED)}
        ends = np.isin(self.status, (Status.DIVERGED, Status.FAILED))
        return without | {index: reason for index, reason in sorted(self.reasons.items()) if ends[index]}

    @property
    def outcomes(self) -> dict[str, int]:
        """How many windows ended in which way, by the words that `status` has in the output."""
        counts = np.bincount(self.status, minlength=len(Status))
        return {status.word: int(counts[status]) for status in Status if counts[status]}

    @property
    def left(self) -> int:
        """How many windows were not run."""
        return int((self.status == Status.NOT_RUN).sum())

    @property
    def done(self) -> int:
        """How many windows have a result."""
        return self.windows - self.left - len(self.failed)

    @property
    def not_run(self) -> list[int]:
        """Windows that were not run."""
        return [int(index) for index in np.flatnonzero(self.status == Status.NOT_RUN)]

    def __repr__(self) -> str:
        """The text itself, for a notebook or a prompt."""
        return str(self)

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
