"""A progress bar on the terminal: windows done, failed, left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xvar.runs import Report


@contextmanager
def watched(title: str) -> Iterator[Callable[[Report], None] | None]:
    """Show how far a run is while it goes on, with the time left; nothing where the output is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed, {task.fields[left]} left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, failed=0, left=0)

        def tell(report: Report) -> None:
            finished = report.windows - report.left
            bar.update(task, total=report.windows, completed=finished, failed=len(report.failed), left=report.left)

        yield tell
