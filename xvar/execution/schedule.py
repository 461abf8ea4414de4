"""The schedule of a record: which frames each window holds. It is known without computing anything."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xvar.cf.times import parse_duration
from xvar.errors import Faults

Partial = Literal["drop", "keep"]

PARTIALS: tuple[Partial, ...] = ("drop", "keep")
DEFAULT_FRAMES = 4  # the paper's window


@dataclass(frozen=True)
class Schedule:
    """Frames of each window.

    Attributes
    ----------
    frames : ndarray of int (window, step)
        Index of each frame in the record; -1 fills windows that hold fewer frames than the longest.
    seconds : ndarray of float (window, step)
        Time of each frame after the first of its window; NaN where there is no frame.
    lead : ndarray of float (window,), optional
        Where windows form chains: seconds from the last frame of the window before to the first of this one; NaN where
        a chain begins.
    elapsed : ndarray of float (window,), optional
        Likewise, from the first frame of the window before.
    """

    frames: NDArray[np.intp]
    seconds: NDArray[np.float64]
    lead: NDArray[np.float64] | None = None
    elapsed: NDArray[np.float64] | None = None

    def rows(self, begin: int, end: int) -> Schedule:
        """The windows from one number to another."""
        lead, elapsed = (None if part is None else part[begin:end] for part in (self.lead, self.elapsed))
        return Schedule(self.frames[begin:end], self.seconds[begin:end], lead, elapsed)

    def groups(self) -> list[tuple[NDArray[np.intp], tuple[float, ...]]]:
        """Windows with the same frame times, which can be solved in one batch: their indices and those times."""
        # Milliseconds tell apart all that a record can mean, and hide the rounding of its times.
        keys = [tuple(np.round(row[~np.isnan(row)], 3)) for row in self.seconds]
        groups: dict[tuple[float, ...], list[int]] = {}
        for index, key in enumerate(keys):
            groups.setdefault(tuple(float(second) for second in key), []).append(index)
        return [(np.array(windows), times) for times, windows in groups.items()]


def make_schedule(
    seconds: NDArray[np.float64],
    dimension: Hashable,
    window: object,
    stride: object,
    partial: Partial,
    faults: Faults,
    *,
    cycled: bool = False,
) -> Schedule | None:
    """Lay windows over a record.

    Parameters
    ----------
    seconds : ndarray of float (frame,)
        Times of the frames, ascending.
    dimension : hashable
        Name of the time dimension, for messages.
    window, stride : int, duration or None
        Length of a window and distance between the first frames of two: in frames, or as durations, a window
        including both its ends ("3D" of daily frames is 4 frames). By default 4 frames, or all where there are fewer,
        and one frame less than the window, so that windows share a frame.
    partial : {"drop", "keep"}
        What becomes of frames at the end of the record, or before a gap, that do not fill a window.
    faults : Faults
        Takes what cannot be done.
    cycled : bool
        Whether each window goes on from the one before it. Windows are then half-open, so that no frame is in two:
        a duration leaves its end to the next window ("3D" of daily frames is 3 frames), and the stride is by default
        the window itself, and no less.

    Returns
    -------
    Schedule or None
        Windows never reach across a gap that is longer than a window: the record is laid out anew behind it. None
        where a problem was added.
    """
    count = len(faults)
    faults.check_choice("partial", partial, PARTIALS, PARTIALS[0])
    frames = len(seconds)
    cadence = float(np.median(np.diff(seconds)))
    length = _length(window, "window", faults)
    step = _length(stride, "stride", faults)
    if len(faults) > count:
        return None
    in_frames = length is None or isinstance(length, int)
    whole: float | int = min(DEFAULT_FRAMES, frames) if length is None else length
    span = (whole - 1) * cadence if in_frames else float(whole)
    if cycled:
        span = whole * cadence if in_frames else float(whole)
        _refuse_overlap(span, step, cadence, stride, window, faults)
    if (isinstance(whole, int) and whole < 2) or span < cadence * (1 + cycled) * (1 - 1e-6):
        faults.add(
            dimension=dimension,
            found=f"window={window!r}, shorter than two frames ({cadence:g} s apart)"
            + (", its end left to the next window" if cycled else ""),
            expected="a window of at least 2 frames",
            fix="give a longer window, window=4",
        )
    longest_span = seconds[-1] - seconds[0] + cycled * cadence + 1e-3
    if (isinstance(whole, int) and whole > frames) or (not in_frames and span > longest_span):
        faults.add(
            dimension=dimension,
            found=f"window={window!r}, longer than the record of {frames} frames over {seconds[-1] - seconds[0]:g} s",
            expected=f"a window of at most {frames} frames",
            fix=f"window={frames}, or a longer record",
        )
    if len(faults) > count:
        return None
    rows: list[NDArray[np.intp]] = []
    starts: list[int] = []
    for begin, end in _segments(seconds, max(span, cadence) * (1 + 1e-6)):
        starts.append(len(rows))
        rows.extend(_lay(seconds, begin, end, whole, step, partial, cadence if cycled else None))
    if not rows:
        faults.add(
            dimension=dimension,
            found=f"gaps that leave no {whole} frames together",
            expected="at least one full window between two gaps",
            fix='partial="keep", or a shorter window',
        )
        return None
    longest = max(len(row) for row in rows)
    table = np.full((len(rows), longest), -1, dtype=np.intp)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    since = np.where(table >= 0, seconds[table] - seconds[table[:, :1]], np.nan)
    if not cycled:
        return Schedule(table, since)
    first, last = seconds[table[:, 0]], seconds[table.max(axis=1)]
    lead, elapsed = (np.concatenate([[np.nan], first[1:] - before[:-1]]) for before in (last, first))
    # A segment too short for a window adds none, and its number is that of the next one's first.
    fresh = [start for start in starts if start < len(rows)]
    lead[fresh] = elapsed[fresh] = np.nan
    return Schedule(table, since, lead, elapsed)


def _refuse_overlap(
    span: float, step: int | float | None, cadence: float, stride: object, window: object, faults: Faults
) -> None:
    """Refuse a stride that would assimilate frames twice."""
    own = step * cadence if isinstance(step, int) else step
    if own is not None and own < span * (1 - 1e-6):
        faults.add(
            found=f"stride={stride!r} with windows of {span:g} s that go on from one another",
            expected="a stride of the window or more: no frame is assimilated twice",
            fix="leave stride out" if window is None else f"stride={window!r}, or leave it out",
        )


def _length(value: object, name: str, faults: Faults) -> int | float | None:
    """A number of frames, or a duration in seconds."""
    if value is None:
        return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if value < 1:
            faults.add(found=f"{name}={value}", expected="a positive number of frames, or a duration", fix=f"{name}=4")
            return None
        return int(value)
    return parse_duration(value, name, faults)


def _segments(seconds: NDArray[np.float64], gap: float) -> list[tuple[int, int]]:
    """Stretches of the record without a gap longer than `gap`."""
    breaks = np.flatnonzero(np.diff(seconds) > gap) + 1
    bounds = [0, *(int(index) for index in breaks), len(seconds)]
    return list(pairwise(bounds))


def _lay(
    seconds: NDArray[np.float64],
    begin: int,
    end: int,
    window: int | float,
    stride: int | float | None,
    partial: Partial,
    half_open: float | None = None,
) -> list[NDArray[np.intp]]:
    """Windows over the frames begin to end of one segment, half-open where the time between frames is given."""
    rows: list[NDArray[np.intp]] = []
    first, last = begin, begin
    while first < end - 1:
        if isinstance(window, int):
            stop, full = min(first + window, end), first + window <= end
        else:
            limit = seconds[first] + window
            if half_open is None:
                stop = int(np.searchsorted(seconds[:end], limit * (1 + 1e-12) + 1e-3, side="right"))
                full = seconds[end - 1] >= limit - 1e-3
            else:
                stop = int(np.searchsorted(seconds[:end], limit - 1e-3, side="left"))
                full = seconds[end - 1] >= limit - half_open * (1 + 1e-6) - 1e-3
        if not full and (partial == "drop" or stop == last):
            break
        if stop - first >= 2:
            rows.append(np.arange(first, stop, dtype=np.intp))
            last = stop
        if stride is None:
            following = max(stop - 1, first + 1) if half_open is None else stop
        elif isinstance(stride, int):
            following = first + stride
        else:
            following = int(np.searchsorted(seconds, seconds[first] + stride - 1e-3, side="left"))
        first = max(following, first + 1 if half_open is None else stop)
    return rows
