"""Tables of points on the grid of a record: quality of each point, and selection of those of a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.core.methods.points import PointTable
from xvar.errors import Faults
from xvar.plan.bridge import Array, Bridge, to_tensor
from xvar.plan.experiment.places import is_dry, positions
from xvar.plan.experiment.state import State
from xvar.plan.experiment.table import Points, read_rows

if TYPE_CHECKING:
    from xvar.cf.record import Record
    from xvar.execution.schedule import Schedule

_BEFORE = 1e-5  # seconds, of which times of observations are no multiples

#: Outcome of an observation.
QUALITY = ("used", "outside_domain", "outside_window", "no_value", "on_land")


@dataclass(frozen=True)
class PointSource:
    """All points of a call, table after table.

    Attributes
    ----------
    date : array of datetime64 (point,)
    seconds : array of float (point,)
        Time after the first frame of the record; NaN if there is none.
    position : array (2, point)
        Grid units along ascending x and y.
    value, std : array of float (point,)
    variable, source, quality : array of int (point,)
        Numbers of the variable in the state, of the table, and of the outcome in `QUALITY`.
    state : State
        The variables, and their places from the grid points.
    options : tuple of mapping
        Interpolation and norm of each table, see `PointTable`.
    half_open : bool
        A point at the end of a window belongs to it, and not to the next one.
    size : int
        Most used points of a window.
    """

    date: Array
    seconds: NDArray[np.float64]
    position: NDArray[np.float64]
    value: NDArray[np.float64]
    std: NDArray[np.float64]
    variable: Array
    source: Array
    quality: Array
    state: State
    options: tuple[Mapping[str, Any], ...]
    half_open: bool = False
    size: int = 1

    @cached_property
    def _in_time(self) -> tuple[Array, NDArray[np.float64]]:
        """The rows in order of time, and their times."""
        order = np.argsort(self.seconds, kind="stable")
        return order, self.seconds[order]

    def within(self, begin: float, length: float) -> Array:
        """Return the rows of the points that lie in a window, both ends included unless `half_open`."""
        order, seconds = self._in_time
        first, last = np.searchsorted(seconds, (begin - 1.0, begin + length + 1.0))
        rows: Array = np.sort(order[first:last])
        time = np.round(self.seconds[rows] - begin, 6)  # the same in whatever record a window is
        after = time > 0 if self.half_open and begin > 0 else time >= 0
        inside: Array = rows[after & (time <= length + 1e-6)]
        return inside

    def used(self, begin: float, length: float) -> Array:
        """Return the rows of the points of a window that enter J."""
        rows = self.within(begin, length)
        used: Array = rows[self.quality[rows] == QUALITY.index("used")]
        return used

    def tables(self, begin: float, length: float, bridge: Bridge) -> list[PointTable]:
        """Return the used points of a window, table by table."""
        rows, state = self.used(begin, length), self.state
        staggered = tuple(part for part, name in zip(state.parts, state.names, strict=True) if name in state.staggered)
        tables = []
        for number, options in enumerate(self.options):
            own = rows[self.source[rows] == number]
            places = self.position[:, own] - state.shifts[:, self.variable[own]]
            position, value, std = (
                to_tensor(part, dtype=bridge.dtype, device=bridge.device)
                for part in (places, self.value[own], self.std[own])
            )
            tables.append(
                PointTable(
                    time=to_tensor(
                        np.round(self.seconds[own] - begin, 6).clip(0, length), dtype="float64", device=None
                    ),
                    position=position,
                    which=to_tensor(self.variable[own], dtype="int64", device=None),
                    value=value,
                    std=std,
                    components=state.parts,
                    staggered=staggered,
                    **options,
                )
            )
        return tables


def read_points(
    points: Mapping[str, Points],
    state: State,
    record: Record,
    schedule: Schedule,
    faults: Faults,
    *,
    half_open: bool = False,
) -> PointSource | None:
    """Place all points of a call on the grid, and judge each; None if there are none, or a fault was added."""
    before = len(faults)
    if points and record.times.values.dtype.kind != "M":
        faults.add(
            code="points-with-other-calendar",
            found=f"points beside images whose times are {type(record.times.values[0]).__name__}",
            expected="images with times of the standard calendar",
            fix="ds.convert_calendar('standard')",
        )
    tables = [rows for table in points.values() if (rows := read_rows(table, state.names, faults)) is not None]
    if not points or len(faults) > before:
        return None
    plane = (record.axes.y, record.axes.x)
    places = [positions(table.dataset, record.array, plane, record.grid, faults) for table in points.values()]
    if len(faults) > before:
        return None
    date, value, std, variable = (
        np.concatenate([getattr(one, name) for one in tables]) for name in ("date", "value", "std", "variable")
    )
    names = ("time_interpolation", "sampler", "threshold")
    source = PointSource(
        date=date,
        seconds=np.asarray((date - record.times.values[0]) / np.timedelta64(1, "s"), dtype=np.float64),
        position=np.concatenate(places, axis=1),
        value=value,
        std=std,
        variable=variable,
        source=np.repeat(np.arange(len(tables)), [len(one.value) for one in tables]),
        quality=np.zeros(len(value), dtype="int8"),
        state=state,
        options=tuple({name: getattr(table, name) for name in names} for table in points.values()),
        half_open=half_open,
    )
    windows = windows_of(schedule, record)
    _judge(source, record, windows)
    return replace(source, size=max(1, *(len(source.used(*window)) for window in windows)))


def _judge(source: PointSource, record: Record, windows: list[tuple[float, float]]) -> None:
    """Set the quality of each point."""
    is_staggered = np.isin(source.variable, [source.state.names.index(name) for name in source.state.staggered])
    outside = ~np.isfinite(source.position).all(axis=0)
    in_window = np.isin(np.arange(len(source.value)), np.concatenate([source.within(*window) for window in windows]))
    for name, where in (
        ("on_land", is_dry(source.position, record.grid, record.land, is_staggered)),
        ("outside_domain", outside),
        ("outside_window", ~in_window & ~outside),
        ("no_value", ~np.isfinite(source.value)),
    ):
        source.quality[where] = QUALITY.index(name)


def windows_of(schedule: Schedule, record: Record) -> list[tuple[float, float]]:
    """Return the beginning of each window, in seconds after the first frame of the record, and its length.

    A cycled window of images lasts until just before the first frame of the next one.
    """
    begin, length = record.times.seconds[schedule.frames[:, 0]], np.nanmax(schedule.seconds, axis=1)
    if schedule.lead is not None:
        following = np.append(schedule.lead[1:], np.nan)
        length = np.where(following > 0, length + following - _BEFORE, length)
    return [(float(a), float(b)) for a, b in zip(begin, length, strict=True)]
