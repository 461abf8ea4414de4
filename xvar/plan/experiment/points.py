"""Tables of points on the grid of a record: quality of each point, and selection of those of a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

#: Outcome of an observation.
QUALITY = ("used", "outside_domain", "outside_window", "no_value", "on_land")


@dataclass(frozen=True)
class Columns:
    """All points of a call, source after source.

    Attributes
    ----------
    date : array of datetime64 (point,)
    seconds : array of float (point,)
        Time after the first frame of the record; NaN if there is none.
    position : array (2, point)
        Grid units along ascending x and y.
    value, std : array of float (point,)
    variable, source, quality : array of int (point,)
        Numbers of the variable in the state, of the source, and of the outcome in `QUALITY`.
    half_open : bool
        A point at the end of a window belongs to it, and not to the next one.
    """

    date: Array
    seconds: NDArray[np.float64]
    position: NDArray[np.float64]
    value: NDArray[np.float64]
    std: NDArray[np.float64]
    variable: Array
    source: Array
    quality: Array
    half_open: bool = False

    @property
    def used(self) -> NDArray[np.bool_]:
        """Points that enter J in the windows in which they lie."""
        return np.asarray(self.quality == QUALITY.index("used"))

    def within(self, begin: float, length: float) -> NDArray[np.bool_]:
        """Return which points lie in a window, both ends included unless `half_open`."""
        time = np.round(self.seconds - begin, 6)  # the same in whatever record a window is
        after = time > 0 if self.half_open and begin > 0 else time >= 0
        return np.asarray(after & (time <= length + 1e-6))


@dataclass(frozen=True)
class PointSource:
    """Points of a call as the solver holds them.

    Attributes
    ----------
    columns : Columns
    options : tuple of mapping
        Interpolation and norm of each source, see `PointTable`.
    parts : tuple of (str, int)
        Component and number of each variable of the state.
    staggered : tuple of (str, int)
    shifts : array (2, variable)
        Places of variables from the grid points.
    size : int
        Most used points of a window.
    """

    columns: Columns
    options: tuple[Mapping[str, Any], ...]
    parts: tuple[tuple[str, int], ...]
    staggered: tuple[tuple[str, int], ...]
    shifts: NDArray[np.float64]
    size: int = 1

    def rows(self, begin: float, length: float) -> Array:
        """Return the used points of a window."""
        return np.flatnonzero(self.columns.within(begin, length) & self.columns.used)

    def tables(self, begin: float, length: float, bridge: Bridge) -> list[PointTable]:
        """Return the used points of a window, source by source."""
        rows, columns = self.rows(begin, length), self.columns
        tables = []
        for number, options in enumerate(self.options):
            own = rows[columns.source[rows] == number]
            time = np.round(columns.seconds[own] - begin, 6).clip(0, length)
            places = columns.position[:, own] - self.shifts[:, columns.variable[own]]
            position, value, std = (
                to_tensor(part, dtype=bridge.dtype, device=bridge.device)
                for part in (places, columns.value[own], columns.std[own])
            )
            tables.append(
                PointTable(
                    time=to_tensor(time, dtype="float64", device=None),
                    position=position,
                    which=to_tensor(columns.variable[own], dtype="int64", device=None),
                    value=value,
                    std=std,
                    components=self.parts,
                    staggered=self.staggered,
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
    tables = [read_rows(table, state.names, faults) for table in points.values()]
    plane = (record.axes.y, record.axes.x)
    places = [
        positions(table.dataset, record.array, plane, record.grid, faults)
        for table, rows in zip(points.values(), tables, strict=True)
        if rows is not None and table.dataset is not None
    ]
    if not points or len(faults) > before:
        return None
    rows = [table for table in tables if table is not None]
    date, value, std, variable = (
        np.concatenate([getattr(one, name) for one in rows]) for name in ("date", "value", "std", "variable")
    )
    position = np.concatenate(places, axis=1)
    seconds = np.asarray((date - record.times.values[0]) / np.timedelta64(1, "s"), dtype=np.float64)
    columns = Columns(
        date=date,
        seconds=seconds,
        position=position,
        value=value,
        std=std,
        variable=variable,
        source=np.repeat(np.arange(len(rows)), [len(one.value) for one in rows]),
        quality=np.zeros(len(value), dtype="int8"),
        half_open=half_open,
    )
    windows = windows_of(schedule, record)
    in_window = np.logical_or.reduce([columns.within(*window) for window in windows])
    is_staggered = np.isin(variable, [state.names.index(name) for name in state.staggered])
    columns.quality[is_dry(position, record.grid, record.land, is_staggered)] = QUALITY.index("on_land")
    outside = ~np.isfinite(position).all(axis=0)
    columns.quality[outside] = QUALITY.index("outside_domain")
    columns.quality[~in_window & ~outside] = QUALITY.index("outside_window")
    columns.quality[~np.isfinite(value)] = QUALITY.index("no_value")
    source = PointSource(
        columns=columns,
        options=tuple(
            {name: getattr(one, name) for name in ("time_interpolation", "sampler", "threshold")}
            for one in points.values()
        ),
        parts=state.parts,
        staggered=tuple(part for part, name in zip(state.parts, state.names, strict=True) if name in state.staggered),
        shifts=state.shifts,
    )
    size = max(1, *(len(source.rows(*window)) for window in windows))
    return PointSource(**{**vars(source), "size": size})


def windows_of(schedule: Schedule, record: Record) -> list[tuple[float, float]]:
    """Return the beginning of each window, in seconds after the first frame of the record, and its length."""
    begin, length = record.times.seconds[schedule.frames[:, 0]], np.nanmax(schedule.seconds, axis=1)
    return [(float(a), float(b)) for a, b in zip(begin, length, strict=True)]
