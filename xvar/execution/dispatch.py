"""Where windows are solved: at once in this process, or as tasks of dask where the record is lazy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.execution import graph, workers
from xvar.execution.batch_sizes import Sizes
from xvar.execution.batches import Array, Errors, LazyTasks, Output, Solve, Work, make_batches, solve_batch
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
    """Whether this is a call inside `deferred`."""
    return _deferred.get() is not None


def run_batches(
    solve: Solve,
    data: Array,
    schedule: Schedule,
    outputs: Mapping[str, Output],
    sizes: Sizes,
    errors: Errors,
    *,
    times: NDArray[Any] | None = None,
    device: str | None = None,
    carried: tuple[str, ...] = (),
) -> dict[str, Array]:
    """Solve every window of a schedule.

    Parameters
    ----------
    solve : callable (frames (window, frame, y, x), seconds) -> mapping of str to array
        Solves windows with the same frame times, from plain arrays. Where windows form chains it also takes the
        `CycleState` of the one window that it is given, or None.
    data : array (time, ..., y, x)
        The record; where it is a dask array nothing is computed, and each batch becomes a task that reads no more than
        its own frames.
    schedule : Schedule
        The windows.
    outputs : mapping of str to Output
        What `solve` gives.
    sizes : Sizes
        Of the batches.
    errors : {"raise", "continue"}
        Whether a window that fails ends the run, or is marked in `status` and leaves the others alone.
    times : ndarray (frame,), optional
        Dates of the frames, for messages.
    device : str, optional
        Device of torch.
    carried : tuple of str
        Outputs that the next window of a chain takes over.

    Returns
    -------
    dict of str to array (window, ...)
    """
    work = Work(solve, outputs, schedule.frames.shape[1], errors, sizes.together, device, carried)
    tasks = _deferred.get()
    if tasks is None and not hasattr(data, "dask"):
        (whole,) = make_batches(schedule, len(schedule.frames), times)
        workers.refuse_fork()
        take_device(device)
        small = data.shape[-2] * data.shape[-1] < MIN_POINTS_FOR_THREADS
        with workers.one_torch_thread() if small else nullcontext():
            return solve_batch(work, whole, data, np.arange(len(data))).arrays
    return graph.lazy_batches(work, data, make_batches(schedule, sizes.task, times), tasks)
