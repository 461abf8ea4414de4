"""Progress of a run: a callback, or a bar in a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xvar.runs.report import Report

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
