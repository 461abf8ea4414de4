"""Progress of a run, and a bar that shows it in a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvar.errors import Status


@dataclass(frozen=True)
class Report:
    """Progress of a run.

    Attributes
    ----------
    path : Path
        Its store.
    status : ndarray of int8 (window,)
        As in the output.
    reasons : mapping of int to str
        Reasons of windows without a result.
    before : int
        Windows that an earlier run had already finished.
    running : str, optional
        Holder of the lock of the store.
    fall : float, optional
        Share of J by which it fell from background to analysis, the median over the windows that this run finished.
    damaged : tuple of str
        What was damaged or absent when the store was read.
    way : str
        Choice between threads and worker processes, and why, if the run made it.
    """

    path: Path
    status: NDArray[np.int8]
    reasons: Mapping[int, str] = field(default_factory=dict)
    before: int = 0
    running: str | None = None
    fall: float | None = None
    damaged: tuple[str, ...] = ()
    way: str = ""

    @property
    def windows(self) -> int:
        """Windows in all."""
        return len(self.status)

    @property
    def failed(self) -> dict[int, str]:
        """Windows that failed or diverged at the background, with the reason."""
        without = {int(index): "reason unknown" for index in np.flatnonzero(self.status == Status.FAILED)}
        ends = np.isin(self.status, (Status.DIVERGED, Status.FAILED))
        return without | {index: reason for index, reason in sorted(self.reasons.items()) if ends[index]}

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of windows by their `status`, in its words."""
        counts = np.bincount(self.status, minlength=len(Status))
        return {status.word: int(counts[status]) for status in Status if counts[status]}

    @property
    def left(self) -> int:
        """Number of windows that were not run."""
        return int((self.status == Status.NOT_RUN).sum())

    @property
    def done(self) -> int:
        """Number of windows with a result."""
        return self.windows - self.left - len(self.failed)

    @property
    def not_run(self) -> list[int]:
        """Windows that were not run."""
        return [int(index) for index in np.flatnonzero(self.status == Status.NOT_RUN)]

    @property
    def counts(self) -> str:
        """Numbers of windows, as text."""
        return f"{self.done} of {self.windows} windows done, {len(self.failed)} failed, {self.left} not run"

    def __str__(self) -> str:
        return f"{self.path}: {self.counts}"

    __repr__ = __str__


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: what was finished is kept, and the same call continues from there.

    Attributes
    ----------
    report : Report
        Progress of the run.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(f"interrupted; {report}; the same command computes windows {ranges(report.not_run)}")


def ranges(numbers: list[int]) -> str:
    """Return numbers as ranges: 3-5, 8."""
    runs = [list(part) for _, part in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    texts = (f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)
    return ", ".join(texts) or "none"


Progress = Callable[[Report], object]


@contextmanager
def watched(progress: bool | Progress, title: str) -> Iterator[Progress]:
    """Yield the progress callback; a bar shows nothing in a file, a pipe or a log."""
    if not isinstance(progress, bool):
        yield progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not progress or not (console.is_terminal or console.is_jupyter):
        yield lambda report: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed, {task.fields[left]} left{task.fields[fall]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, failed=0, left=0, fall="")

        def update(report: Report) -> None:
            fall = "" if report.fall is None else f", J fell by {report.fall:.0%}"
            finished, failed = report.windows - report.left, len(report.failed)
            bar.update(task, total=report.windows, completed=finished, failed=failed, left=report.left, fall=fall)

        yield update
