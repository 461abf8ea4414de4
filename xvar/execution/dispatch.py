"""Dispatch of windows: solved at once in this process, or as tasks of dask if the record is lazy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.execution import graph, workers
from xvar.execution.batches import Array, LazyTasks, Work, make_batches, solve_batch
from xvar.execution.devices import take_device
from xvar.execution.schedule import Schedule

#: Points of a grid from which on torch's own threads are worth their cost: two take 0.9 of the time of one at 256 x 256
#: and 0.75 at 512 x 512, for twice the CPU time, and wait for one another where a machine is busy.
MIN_POINTS_FOR_THREADS = 2**17

_deferred: ContextVar[LazyTasks | None] = ContextVar("deferred", default=None)


@contextmanager
def deferred() -> Iterator[LazyTasks]:
    """Make a call inside lazy, whether its data are in memory or not, and note its tasks."""
    tasks = LazyTasks()
    token = _deferred.set(tasks)
    try:
        yield tasks
    finally:
        _deferred.reset(token)


def is_deferred() -> bool:
    """Return True inside a call of `deferred`."""
    return _deferred.get() is not None


def run_batches(
    work: Work,
    data: Array,
    schedule: Schedule,
    size: int,
    seconds: NDArray[np.float64],
    times: NDArray[Any] | None = None,
) -> dict[str, Array]:
    """Solve every window of a schedule, in tasks of `size` windows; return arrays (window, ...) by output.

    The record (time, y, x) has frames at `seconds` (time,), and `times` for messages. If it is a dask array nothing is
    computed, and each batch becomes a task that reads its own frames.
    """
    tasks = _deferred.get()
    if tasks is None and not hasattr(data, "dask"):
        (whole,) = make_batches(schedule, len(schedule.frames), seconds, times)
        workers.refuse_fork()
        take_device(work.device)
        small = data.shape[-2] * data.shape[-1] < MIN_POINTS_FOR_THREADS
        with workers.one_torch_thread() if small else nullcontext():
            return solve_batch(work, whole, data, np.arange(len(data))).arrays
    return graph.lazy_batches(work, data, make_batches(schedule, size, seconds, times), tasks)
