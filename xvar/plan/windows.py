"""Reading of the options `window`, `stride`, `partial` and `gaps`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.times import parse_duration
from xvar.errors import Faults
from xvar.execution.schedule import Length, Schedule, make_schedule
from xvar.plan.option import Gaps
from xvar.plan.options import Options

DEFAULT_FRAMES = 4  # of a window, as in the paper
GAP = 1.5  # times the usual step: a longer one is a gap
KEPT = 0.75  # share of frames that windows between gaps must cover of those that windows across gaps do


@dataclass(frozen=True)
class Windows:
    """Windows of a record, how its gaps are treated, and why."""

    schedule: Schedule
    gaps: Gaps = "cross"
    reason: str = ""


def find_gaps(seconds: NDArray[np.float64], cadence: float) -> NDArray[np.intp]:
    """Return the frames behind which a record has a gap."""
    return np.flatnonzero(np.diff(seconds) > GAP * cadence)


def count_across(schedule: Schedule, gaps: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the number of windows that go across each gap."""
    first, last = schedule.frames[:, 0], schedule.frames.max(axis=1)
    return np.asarray(np.searchsorted(first, gaps, "right") - np.searchsorted(last, gaps, "right"))


def read_windows(
    seconds: NDArray[np.float64],
    dimension: Hashable,
    options: Options,
    faults: Faults,
    *,
    cycled: bool = False,
    has_state: bool = False,
) -> Windows | None:
    """Return the windows over frames at some ascending times; None if a fault was added.

    `dimension` names that of time in messages. With `has_state` the model carries a state across gaps, and `cycled`
    windows may share frames, see `make_schedule`.
    """
    count = len(faults)
    window, stride = options.window, options.stride
    frames, cadence = len(seconds), float(np.median(np.diff(seconds)))
    stated, step = _length(window, "window", faults), _length(stride, "stride", faults)
    if len(faults) > count:
        return None
    length = min(DEFAULT_FRAMES, frames) if stated is None else stated
    in_frames = isinstance(length, int)
    span = (length - 1 + cycled) * cadence if in_frames else length
    step_seconds = step * cadence if isinstance(step, int) else step
    if cycled and not has_state and step_seconds is not None and step_seconds < span * (1 - 1e-6):
        faults.add(
            code="overlapping-cycled-windows",
            dimension=str(dimension),
            found=f"stride={stride!r}, shorter than cycled windows of {span:g} s",
            expected="a stride of at least the window: no frame is assimilated twice",
            fix="leave stride out" if window is None else f"stride={window!r}, or leave it out",
        )
    if (in_frames and length < 2) or span < cadence * (1 + cycled) * (1 - 1e-6):
        faults.add(
            code="window-too-short",
            dimension=dimension,
            found=f"window={window!r}, shorter than two frames ({cadence:g} s apart)"
            + (" without its end, which belongs to the next window" if cycled else ""),
            expected="a window of at least 2 frames",
            fix="give a longer window, window=4",
        )
    record = seconds[-1] - seconds[0]
    if length > frames if in_frames else span > record + cycled * cadence + 1e-3:
        faults.add(
            code="window-too-long",
            dimension=dimension,
            found=f"window={window!r}, longer than the record of {frames} frames over {record:g} s",
            expected=f"a window of at most {frames} frames",
            fix=f"window={frames}, or a longer record",
        )
    if len(faults) > count:
        return None
    chained = options.first_guess is not None
    shape: Any = (seconds, length, step, options.partial)
    split, across = (make_schedule(*shape, gap=gap, cycled=cycled, chained=chained) for gap in (GAP * cadence, np.inf))
    gaps, reason = _choose(options, has_state, _covered(split) / max(1, _covered(across)))
    schedule = split if gaps == "split" else across
    if schedule is None:
        faults.add(
            code="no-window-between-gaps",
            dimension=dimension,
            found=f"gaps that leave no {length} {'frames' if in_frames else 'seconds'} together",
            expected="at least one full window between two gaps",
            fix=("" if across is None else 'gaps="cross", ') + 'partial="keep", or a shorter window',
        )
        return None
    return Windows(schedule, gaps, reason)


def _choose(options: Options, has_state: bool, kept: float) -> tuple[Gaps, str]:
    """Return how gaps are treated, and why; windows between gaps hold a share of the frames that others would."""
    if options.gaps is not None:
        return options.gaps, "as stated by gaps="
    if has_state:
        return "cross", "the model carries a state across them"
    if kept < KEPT:
        return "cross", f"windows between them hold {kept:.0%} of the frames"
    return "split", "the default"


def _covered(schedule: Schedule | None) -> int:
    """Return the number of frames that are in a window."""
    return 0 if schedule is None else np.unique(schedule.frames[schedule.frames >= 0]).size


def _length(value: object, name: str, faults: Faults) -> Length | None:
    """Return a number of frames, or a duration in seconds."""
    if value is None:
        return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64)):
        if value >= 1:
            return int(value)
        expected = "a positive number of frames, or a duration"
        faults.add(code="not-a-duration", found=f"{name}={value}", expected=expected, fix=f"{name}=4")
        return None
    return parse_duration(value, name, faults)


def seconds_after(dates: NDArray[Any], origin: Any) -> NDArray[np.float64]:
    """Return the seconds from a date to others, of numpy or of cftime."""
    if dates.dtype.kind == "M":
        return np.asarray((dates - origin) / np.timedelta64(1, "s"), dtype=np.float64)
    return np.array([(date - origin).total_seconds() for date in dates], dtype=np.float64)
