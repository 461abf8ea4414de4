"""Frames off an otherwise even cadence, each reported with its effect and a fix."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from xvar.cf.times import Times, date_text
from xvar.errors import InputWarning, warn

PUNCTUAL = 0.02  # of the cadence: a frame may be early or late by this
FEW = 0.1  # share of shifted frames above which the record has no cadence
FEWEST = 4  # frames of a record with a cadence


def shifted_frames(times: Times, dim: Hashable) -> list[str]:
    """Warn of each frame that is off the cadence, and return notes for the attributes of the output.

    A clock that is a minute off in one of four radar images, five minutes apart, changes the steady motion by 1 to 3 %
    (the images before and after compensate). In one of the newest two it changes the motion that the forecast starts
    from by a fifth to a third, and the error of a forecast of 5 minutes by up to a quarter.
    """
    late = lateness(times.seconds)
    cadence = float(np.median(np.diff(times.seconds)))
    notes = []
    for frame in np.flatnonzero(late):
        given = times.values[frame]
        when = f"{abs(late[frame]):g} s {'late' if late[frame] > 0 else 'early'}"
        text = f"frame {frame} ({date_text(given)}) comes {when}; the others keep to {cadence:g} s"
        notes.append(text)
        fix = "correct its time"
        if times.values.dtype.kind == "M":
            right = given - np.timedelta64(round(late[frame] * 1e9), "ns")
            wrong, due = (f"numpy.datetime64('{date_text(moment)}')" for moment in (given, right))
            fix = f"ds = ds.assign_coords({dim}=ds[{str(dim)!r}].where(ds[{str(dim)!r}] != {wrong}, {due}))"
        share = abs(late[frame]) / cadence
        warn(
            f"dimension {str(dim)!r}: {text}; if its clock is wrong, the motion beside it is off by {share:.0%}: {fix}",
            InputWarning,
        )
    return notes


def lateness(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the seconds by which each frame is off the cadence of all others; zeros without a cadence."""
    none = np.zeros(seconds.size)
    if seconds.size < FEWEST:
        return none
    cadence = float(np.median(np.diff(seconds)))
    for first in seconds[:2]:  # one of them keeps to the cadence if all others do
        off = (seconds - first + cadence / 2) % cadence - cadence / 2
        off = np.where(np.abs(off) > PUNCTUAL * cadence, off, 0.0)
        shifted = np.count_nonzero(off)
        if shifted <= max(1.0, FEW * seconds.size):
            return off
    return none
