"""Frames whose time alone is off the cadence of all others: told, with what it costs and the line that mends it."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from xvar.cf.times import Times, date_text
from xvar.errors import InputWarning, warn

#: Of the time between two frames, by which a frame may come early or late.
PUNCTUAL = 0.02
#: Share of the frames above which they come when they come, and none of them is shifted.
FEW = 0.1
#: Frames below which there is no cadence.
FEWEST = 4


def shifted_frames(times: Times, dim: Hashable) -> list[str]:
    """Tell frames that are off an otherwise even cadence, with a warning for each.

    A clock that is a minute off in one of four images of a radar, five minutes apart, changes the steady motion by 1 to
    3 % (the images before and after make up for each other), but where it is one of the newest two, the motion that
    the forecast starts from by a fifth to a third, and the error of a forecast of 5 minutes by up to a quarter.

    Parameters
    ----------
    times : Times
        Of the record.
    dim : hashable
        Its dimension.

    Returns
    -------
    list of str
        For the attributes of the output.
    """
    late = lateness(times.seconds)
    notes = []
    for frame in np.flatnonzero(late):
        given = times.values[frame]
        cadence = float(np.median(np.diff(times.seconds)))
        when = f"{abs(late[frame]):g} s {'late' if late[frame] > 0 else 'early'}"
        text = f"frame {frame} ({date_text(given)}) comes {when}, where the others keep to {cadence:g} s"
        notes.append(text)
        mend = "correct its time"
        if times.values.dtype.kind == "M":
            right = given - np.timedelta64(round(late[frame] * 1e9), "ns")
            wrong, due = (f"numpy.datetime64('{date_text(moment)}')" for moment in (given, right))
            mend = f"ds = ds.assign_coords({dim}=ds[{str(dim)!r}].where(ds[{str(dim)!r}] != {wrong}, {due}))"
        share = abs(late[frame]) / cadence
        warn(
            f"dimension {str(dim)!r}: {text}; where its clock is wrong, the motion beside it is off by {share:.0%}: "
            f"{mend}",
            InputWarning,
        )
    return notes


def lateness(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds by which each frame is off the cadence of all others; zero where it is not, or where there is none."""
    none = np.zeros(seconds.size)
    if seconds.size < FEWEST:
        return none
    cadence = float(np.median(np.diff(seconds)))
    best = none
    for first in seconds[:2]:  # one of them keeps to the cadence, where all others do
        off = (seconds - first + cadence / 2) % cadence - cadence / 2
        off = np.where(np.abs(off) > PUNCTUAL * cadence, off, 0.0)
        if 0 < np.count_nonzero(off) <= max(1.0, FEW * seconds.size):
            best = off
            break
        if not off.any():
            break
    return best
