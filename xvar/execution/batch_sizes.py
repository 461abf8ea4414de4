"""How many windows a task holds, and how many of them are minimised together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xvar.cf.size import WORKING_FIELDS
from xvar.execution import workers

TOGETHER_POINTS = 2**18  # points of the images minimised together: beyond this their fields no longer fit a cache
POINT_SECONDS = 1.5e-6  # about what a point of an image costs one core
TASK_SECONDS = 10.0  # of work in a task: long for a scheduler, short where a worker is killed
TASKS_OF_RECORD = 10  # at least, so that a kill costs a tenth of a short record
TASKS_OF_WORKER = 4  # at least, so that all workers end at about the same time


@dataclass(frozen=True)
class Sizes:
    """How many windows a task holds, and how many of them are minimised together."""

    task: int
    together: int


def is_batch(batch: object) -> bool:
    """Whether `batch_sizes` takes it."""
    if isinstance(batch, str):
        from dask.utils import parse_bytes

        try:
            return parse_bytes(batch) > 0
        except ValueError:
            return False
    return batch is None or (isinstance(batch, (int, np.integer)) and not isinstance(batch, bool) and bool(batch >= 1))


def batch_sizes(
    batch: int | str | None, windows: int, points: int, steps: int, itemsize: int = 4, *, lazy: bool = True
) -> Sizes:
    """Number of windows of a batch.

    Parameters
    ----------
    batch : int, str or None
        As the user states it: windows, or the memory of a task such as "500MiB". By default a task holds about ten
        seconds of work, a tenth of the record at most, and less where workers would be left without.
    windows : int
        Of the record.
    points : int
        Of the grid.
    steps : int
        Frames of a window.
    itemsize : int
        Bytes of a number.
    lazy : bool
        Whether batches become tasks. In memory there are no workers to be kept busy: as many windows go together as are
        quickest.

    Notes
    -----
    However many a task holds, only so many are minimised together as fit a cache; no result depends on either.
    """
    cached = max(1, TOGETHER_POINTS // (points * steps))
    if isinstance(batch, str):
        from dask.utils import parse_bytes

        field_bytes = points * itemsize
        # A window held takes its frames and its outputs, one that is minimised its working fields.
        together = min(cached, max(1, parse_bytes(batch) // (2 * WORKING_FIELDS * field_bytes)))
        left = parse_bytes(batch) - together * WORKING_FIELDS * field_bytes
        return Sizes(int(min(windows, max(1, left // (5 * steps * field_bytes)))), int(together))
    if batch is not None:
        return Sizes(min(batch, windows), min(batch, cached))
    if not lazy:
        return Sizes(min(windows, cached), min(windows, cached))
    at_once = int(TASK_SECONDS / (POINT_SECONDS * points * steps))
    busy = -(-windows // (TASKS_OF_WORKER * workers.cluster_threads()))
    task = max(1, min(-(-windows // TASKS_OF_RECORD), at_once, busy))
    return Sizes(task, min(task, cached))
