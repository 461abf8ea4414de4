"""A progress bar in a terminal or a notebook: windows done, failed, left, and how far J fell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xvar.runs.report import Report


@contextmanager
def watched(title: str) -> Iterator[Callable[[Report], None] | None]:
    """Show how far a run is while it goes on, with the time left; nothing in a file, a pipe or a log."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield None
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
