"""Sizes of batches: windows of a task, and windows that are minimised together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xvar.execution import workers

TOGETHER_POINTS = 2**18  # points of the images minimised together: the fields of more do not fit a cache
POINT_SECONDS = 1.5e-6  # approximate cost of a point of an image on one core
TASK_SECONDS = 10.0  # work of a task: long for a scheduler, short if a worker is killed
MIN_TASKS_OF_RECORD = 10  # a kill costs at most a tenth of a short record
MIN_TASKS_OF_WORKER = 4  # all workers end at about the same time


class Sizes(NamedTuple):
    """Windows of a task, and windows that are minimised together."""

    task: int
    together: int


def is_batch(batch: object) -> bool:
    """Return True if `batch_sizes` accepts the value."""
    if isinstance(batch, str):
        from dask.utils import parse_bytes

        try:
            return parse_bytes(batch) > 0
        except ValueError:
            return False
    return batch is None or (isinstance(batch, (int, np.integer)) and not isinstance(batch, bool) and bool(batch >= 1))


def batch_sizes(
    batch: int | str | None, windows: int, points: int, steps: int, working_fields: int, *, lazy: bool = True
) -> Sizes:
    """Return the sizes of batches for a record of `windows` of `steps` frames on `points`; no result depends on them.

    `batch` is the number of windows of a task, or its memory, such as "500MiB". By default a task is about ten seconds
    of work, at most a tenth of the record, and small enough to keep every worker busy. `working_fields` is the number
    of fields, of four bytes a point, that a window needs while it is minimised. If not `lazy`, the fastest number of
    windows is taken.
    """
    cached = max(1, TOGETHER_POINTS // (points * steps))
    if isinstance(batch, str):
        from dask.utils import parse_bytes

        field_bytes = 4 * points
        # A stored window takes its frames and outputs, a window that is minimised its working fields.
        together = min(cached, max(1, parse_bytes(batch) // (2 * working_fields * field_bytes)))
        left = parse_bytes(batch) - together * working_fields * field_bytes
        return Sizes(int(min(windows, max(1, left // (5 * steps * field_bytes)))), int(together))
    if batch is not None:
        return Sizes(min(batch, windows), min(batch, cached))
    if not lazy:
        return Sizes(min(windows, cached), min(windows, cached))
    affordable = int(TASK_SECONDS / (POINT_SECONDS * points * steps))
    busy = -(-windows // (MIN_TASKS_OF_WORKER * workers.cluster_threads()))
    task = max(1, min(-(-windows // MIN_TASKS_OF_RECORD), affordable, busy))
    return Sizes(task, min(task, cached))
