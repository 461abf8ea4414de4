"""Windows for training, and windows held out of it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Fault, InputError
from xvar.learning.windows import Windows


class Split(NamedTuple):
    """Numbers of the windows for training and of those held out; windows that share a frame with these are in none."""

    training: NDArray[np.intp]
    held_out: NDArray[np.intp]


def split(windows: Windows, held_out: float | slice | None) -> Split:
    """Return the windows for training and those held out.

    A share is that of the last windows, a slice of dates (both ends included) those windows whose frames all lie in it.
    Raises InputError if it is neither, or leaves no window on one side.
    """
    frames, every = windows.plan.schedule.frames, np.arange(len(windows))
    if held_out is None:
        return Split(every, every[:0])
    if isinstance(held_out, slice):
        inside = np.isin(frames, _frames_of(windows, held_out)) | (frames < 0)
        held = np.flatnonzero(inside.all(axis=1))
    else:
        if isinstance(held_out, bool) or not isinstance(held_out, (int, float)) or not 0 < held_out < 1:
            _refuse(held_out, "a share between 0 and 1, a slice of dates, or None", "held-out-invalid")
        held = every[-math.ceil(held_out * len(every)) :]
    shared = np.isin(frames, frames[held][frames[held] >= 0]).any(axis=1)
    training = every[~shared]
    if not len(held) or not len(training):
        found = f"{len(training)} of {len(every)} windows for training, {len(held)} held out"
        _refuse(held_out, "windows on both sides that share no frame", "held-out-empty", f": {found}")
    return Split(training, held)


def _frames_of(windows: Windows, dates: slice) -> NDArray[np.intp]:
    """Return the numbers of the frames in a slice of dates."""
    times = windows.record.times.values
    numbers = xr.DataArray(np.arange(len(times)), {"time": times}, ["time"])
    try:
        return np.asarray(numbers.sel(time=dates).values)
    except (KeyError, TypeError, ValueError):
        _refuse(dates, 'dates of the record, such as slice("2018-01-05", "2018-01-07")', "held-out-invalid")
        raise


def _refuse(given: Any, expected: str, code: str, found: str = "") -> None:
    raise InputError(Fault(f"held_out={given!r}{found}", expected, "held_out=0.2", code=code, variable="held_out"))
