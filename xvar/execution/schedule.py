"""Window schedule of a record: the frames of each window, from the times of the frames alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Partial = Literal["drop", "keep"]
Length = int | float  # frames if it is an int, else seconds


@dataclass(frozen=True)
class Schedule:
    """Frames of each window."""

    frames: NDArray[np.intp]  # (window, step), index in the record; -1 fills windows with fewer frames
    seconds: NDArray[np.float64]  # (window, step), after the first frame of the window; NaN without a frame
    # Of cycled and chained windows: seconds from the last and from the first frame of the previous window, NaN if a
    # chain begins.
    lead: NDArray[np.float64] | None = None  # (window,)
    elapsed: NDArray[np.float64] | None = None  # (window,)
    # Of cycled windows that overlap: the first frames that the window before has observed, by their number, and the
    # step of a window from which the next one begins.
    shared: NDArray[np.intp] | None = None  # (window,)
    handover: NDArray[np.intp] | None = None  # (window,)

    def groups(self) -> list[tuple[NDArray[np.intp], tuple[float, ...]]]:
        """Return windows with equal frame times, which can be solved together, and these times."""
        # Rounded to milliseconds, so that rounding errors of the times separate no windows.
        groups: dict[tuple[float, ...], list[int]] = {}
        for index, row in enumerate(self.seconds):
            groups.setdefault(tuple(np.round(row[~np.isnan(row)], 3).tolist()), []).append(index)
        return [(np.array(windows), times) for times, windows in groups.items()]


def make_schedule(
    seconds: NDArray[np.float64],
    window: Length,
    stride: Length | None = None,
    partial: Partial = "drop",
    *,
    gap: float = np.inf,
    cycled: bool = False,
    chained: bool = False,
) -> Schedule | None:
    """Lay windows over a record with frames at `seconds` (frame,), ascending; None if it has no window.

    A window and the stride, the distance between the first frames of consecutive windows, are frames (int) or seconds.
    A length in seconds includes both ends of the window, and by default the last frame of a window is the first of the
    next. Cycled windows are half-open: a length in seconds excludes the end, and the default stride is the window; with
    a shorter one they overlap, see `_overlapping`. `chained` windows are laid as others, and have the times since the
    window before as cycled ones do. `partial` states if windows that the end of the record, or a gap, cuts short are
    kept. No window goes across a step of more than `gap` seconds, or of more than a window; the latter ends a chain.
    """
    cadence = float(np.median(np.diff(seconds)))
    span = (window - 1 + cycled) * cadence if isinstance(window, int) else window
    rows: list[NDArray[np.intp]] = []
    starts: list[int] = []
    steps, longest = np.diff(seconds), max(span, cadence) * (1 + 1e-6)
    breaks = np.flatnonzero(steps > min(gap, longest)) + 1
    for begin, end in pairwise([0, *breaks.tolist(), len(seconds)]):
        if begin == 0 or steps[begin - 1] > longest:
            starts.append(len(rows))
        rows.extend(_lay(seconds, begin, end, window, stride, partial, cadence if cycled else None))
    if not rows:
        return None
    table = np.full((len(rows), max(len(row) for row in rows)), -1, dtype=np.intp)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    since = np.where(table >= 0, seconds[table] - seconds[table[:, :1]], np.nan)
    if not (cycled or chained):
        return Schedule(table, since)
    first, last = seconds[table[:, 0]], seconds[table.max(axis=1)]
    lead, elapsed = (np.concatenate([[np.nan], first[1:] - before[:-1]]) for before in (last, first))
    # A segment too short for a window adds none: its number is that of the first window of the next segment.
    fresh = [start for start in starts if start < len(rows)]
    lead[fresh] = elapsed[fresh] = np.nan
    if cycled and bool((lead <= 0).any()):
        return _overlapping(Schedule(table, since, lead, elapsed))
    return Schedule(table, since, lead, elapsed)


def _overlapping(cycled: Schedule) -> Schedule:
    """Return a schedule of cycled windows that share frames: each begins within the one before."""
    table, lead = cycled.frames, cycled.lead
    assert lead is not None
    shared, handover = np.zeros(len(table), dtype=np.intp), (table >= 0).sum(axis=1) - 1
    for window in np.flatnonzero(np.nan_to_num(lead, nan=1.0) <= 0):
        before, own = table[window - 1], table[window]
        shared[window] = np.count_nonzero((own >= 0) & (own <= before.max()))
        handover[window - 1] = int(np.flatnonzero(before == own[0])[0])
    return replace(cycled, lead=np.where(shared > 0, 0.0, lead), shared=shared, handover=handover)


def _lay(
    seconds: NDArray[np.float64],
    begin: int,
    end: int,
    window: Length,
    stride: Length | None,
    partial: Partial,
    half_open: float | None,
) -> list[NDArray[np.intp]]:
    """Lay windows over the frames `begin` to `end` - 1, half-open if the cadence is given as `half_open`."""
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
        first = max(following, first + 1)
    return rows
