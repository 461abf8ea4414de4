"""Points on the grid of a record: their places, the quality of each, and selection of those of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.record import Record
from xvar.core.comparison import OfVariables
from xvar.core.methods.points import PointTable
from xvar.plan.bridge import Array, Bridge, ascending, to_tensor
from xvar.plan.call import Call, Span
from xvar.plan.experiment.checks import outside_range
from xvar.plan.experiment.layout import along
from xvar.plan.experiment.operators import of_variables
from xvar.plan.experiment.places import in_space, positions
from xvar.plan.experiment.rows import read_rows
from xvar.plan.experiment.state import State
from xvar.plan.experiment.table import Points
from xvar.plan.windows import seconds_after

if TYPE_CHECKING:
    from torch import Tensor

#: A point is on land if water has less than this share of the weights of its interpolation.
WETTEST_LAND = 0.01

#: Outcome of an observation.
QUALITY = ("used", "outside_domain", "outside_window", "no_value", "on_land", "out_of_range", "background_check")


@dataclass(frozen=True)
class PointSource:
    """All points of a call, table after table."""

    date: Array  # (point,), likewise the following
    seconds: NDArray[np.float64]  # after the first frame of the record; NaN if there is no date
    position: NDArray[np.float64]  # (axis, point), grid units along ascending x, y, ...
    value: NDArray[np.float64]
    std: NDArray[np.float64]
    variable: Array  # number in `observed`
    source: Array  # number of the table
    quality: Array  # number in `QUALITY`
    state: State
    tables: Mapping[str, Points]  # as they are stated, by label
    operators: Mapping[str, OfVariables]  # of the tables that have one
    predictors: Mapping[str, Mapping[str, Any]]  # of the bias of each table: arrays (point of the table,), or operators
    in_space: Mapping[str, Array]  # (axis, point of the table), in metres, of the tables whose errors correlate
    size: int = 1  # most used points of a window

    @property
    def observed(self) -> tuple[str, ...]:
        """Names that points observe: the variables of the state, then the tables that have an operator."""
        return (*self.state.names, *self.operators)

    @property
    def units(self) -> dict[str, str]:
        """Units of what points observe, as far as they are known."""
        tables = {label: self.tables[label].dataset for label in self.operators}
        own = {label: table["value"].attrs.get("units") for label, table in tables.items() if table is not None}
        return {**self.state.units, **{label: str(units) for label, units in own.items() if units is not None}}

    @property
    def background_check(self) -> bool:
        """True if a table has a background check."""
        return any(table.background_check is not None for table in self.tables.values())

    def out_of_range(self, window: Span) -> list[int]:
        """Return the number of points of a window outside the range that each table states."""
        rows = self.within(window)
        wrong = self.source[rows[self.quality[rows] == QUALITY.index("out_of_range")]]
        return [int((wrong == number).sum()) for number in range(len(self.tables))]

    @cached_property
    def _in_time(self) -> tuple[Array, NDArray[np.float64]]:
        """The rows in order of time, and their times."""
        order = np.argsort(self.seconds, kind="stable")
        return order, self.seconds[order]

    def within(self, window: Span) -> Array:
        """Return the rows of the points that lie in a window."""
        order, seconds = self._in_time
        first, last = np.searchsorted(seconds, (window.begin - 1.0, window.begin + window.length + 1.0))
        rows: Array = np.sort(order[first:last])
        inside, time = window.holds(self.seconds[rows])
        stated = np.array([table.half_open for table in self.tables.values()])[self.source[rows]]
        found: Array = rows[inside & (~stated | (time > 0))]
        return found

    def used(self, window: Span) -> Array:
        """Return the rows of the points of a window that enter J."""
        rows = self.within(window)
        used: Array = rows[self.quality[rows] == QUALITY.index("used")]
        return used

    def within_tables(self, window: Span, bridge: Bridge) -> list[PointTable]:
        """Return the used points of a window, table by table."""
        rows, state = self.used(window), self.state
        tables, first = [], 0
        shifts = np.zeros((max(2, len(self.position)), len(self.observed)))
        shifts[:2, : len(state.names)] = state.shifts
        for number, (label, stated) in enumerate(self.tables.items()):
            own = rows[self.source[rows] == number]
            time = np.round(self.seconds[own] - window.begin, 6).clip(0, window.length)
            place = self.position[:, own] - shifts[: len(self.position), self.variable[own]]
            operator = self.operators.get(label)
            tables.append(
                PointTable(
                    time=to_tensor(time, dtype="float64", device=None),
                    position=bridge.numbers(place),
                    which=to_tensor(self.variable[own], dtype="int64", device=None),
                    value=bridge.numbers(self.value[own]),
                    std=bridge.numbers(self.std[own]),
                    components=tuple(state.parts.values()) if operator is None else (("", 0),),
                    staggered=tuple(state.parts[name] for name in state.staggered),
                    sampler=stated.sampler,
                    edges=bridge.edges,
                    comparison=stated,
                    prefix=f"{label}_",
                    operator=operator,
                    predictors={
                        name: bridge.numbers(part[own - first]) if isinstance(part, np.ndarray) else part
                        for name, part in self.predictors[label].items()
                    },
                    correlation=stated.correlation,
                    places=self._in_space(label, own - first, bridge),
                )
            )
            first += int((self.source == number).sum())
        return tables

    def _in_space(self, label: str, rows: Array, bridge: Bridge) -> Tensor | None:
        """Return the places of some rows of a table whose errors correlate."""
        places = self.in_space.get(label)
        return None if places is None else to_tensor(places[:, rows], dtype="float64", device=bridge.device)


def read_points(points: Mapping[str, Points], call: Call, state: State) -> PointSource | None:
    """Place all points of a call on the grid, and judge each; None if there are none, or a fault was added."""
    record, faults, before = call.record, call.faults, len(call.faults)
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
    for label, table in points.items():
        if table.sampler != "bilinear" and not record.is_plane:
            faults.add(
                code="sampler-of-plane",
                variable=label,
                found=f"sampler={table.sampler!r} on a grid of shape {record.grid.shape}",
                expected="linear interpolation along each axis: the other samplers are for grids (y, x)",
                fix="leave sampler= out",
            )
    stated = [table.dataset for table in points.values() if table.dataset is not None]
    places = [positions(one, record, faults, periodic=call.bridge.edges == "periodic") for one in stated]
    if len(faults) > before:
        return None
    operators = {
        label: of_variables(table.operator, (1, *record.grid.shape), state, call)
        for label, table in points.items()
        if table.operator is not None
    }
    for label, one in zip(points, tables, strict=True):
        if label in operators:
            one["variable"] += len(state.names) + list(operators).index(label)
    predictors = {label: _predictors(label, table, state, call) for label, table in points.items()}
    in_metres = _correlated(points, [one["variable"] for one in tables], call)
    wrong = [
        outside_range(one["value"], points[label].quality, label, faults)
        for label, one in zip(points, tables, strict=True)
    ]
    if len(faults) > before:
        return None
    columns: dict[str, Any] = {name: np.concatenate([one[name] for one in tables]) for name in tables[0]}
    source = PointSource(
        **columns,
        seconds=seconds_after(columns["date"], record.times.values[0]),
        position=np.concatenate(places, axis=1),
        source=np.repeat(np.arange(len(tables)), [len(one["value"]) for one in tables]),
        quality=np.zeros(len(columns["value"]), dtype="int8"),
        state=state,
        tables=points,
        operators=operators,
        predictors=predictors,
        in_space=in_metres,
    )
    _judge(source, record, call.windows, np.concatenate(wrong))
    return replace(source, size=max(1, *(len(source.used(window)) for window in call.windows)))


def _predictors(label: str, points: Points, state: State, call: Call) -> dict[str, Any]:
    """Return the predictors of a bias by name: arrays (point,), operators, None for a constant."""
    found: dict[str, Any] = {}
    for name, parameter in (points.bias or {}).items():
        given, table = getattr(parameter, "predictor", None), points.dataset
        assert table is not None
        if callable(given):
            found[f"bias_{name}"] = of_variables(given, (1, *call.record.grid.shape), state, call)
        elif given is not None:
            column = table[given] if isinstance(given, str) and given in table else given
            what = f"{label} predictor {name}"
            values = along(column, table["value"], what, call.faults)
            found[f"bias_{name}"] = None if values is None else np.broadcast_to(values, table["value"].shape)
    return found


def _correlated(points: Mapping[str, Points], variables: Sequence[Array], call: Call) -> dict[str, Array]:
    """Return the places in metres of the tables whose errors correlate; report points at the same time and place."""
    found: dict[str, Array] = {}
    for (label, table), variable in zip(points.items(), variables, strict=True):
        if table.correlation is None or table.dataset is None:
            continue
        found[label] = places = in_space(table.dataset, call.record, periodic=call.bridge.edges == "periodic")
        rows = np.vstack([table.dataset["time"].values.astype("datetime64[ns]").astype("int64"), variable, places])
        rows = rows[:, np.isfinite(np.asarray(table.dataset["value"].values, dtype="float64"))]
        twice = rows.shape[1] - np.unique(rows, axis=1).shape[1]
        if twice:
            call.faults.add(
                code="points-at-one-place",
                variable=label,
                found=f"{twice} points at the time and place of others, with errors that correlate",
                expected="each place once at a time: the errors of both would be the same",
                fix="their means, or points at one place in a table of their own",
            )
    return found


def _judge(source: PointSource, record: Record, windows: Sequence[Span], wrong: NDArray[np.bool_]) -> None:
    """Set the quality of each point; those with a `wrong` value are outside the range that was stated."""
    is_staggered = np.isin(source.variable, [source.state.names.index(name) for name in source.state.staggered])
    outside = ~np.isfinite(source.position).all(axis=0)
    in_window = np.isin(np.arange(len(source.value)), np.concatenate([source.within(window) for window in windows]))
    for name, where in (
        ("on_land", _is_dry(source.position, record, is_staggered)),
        ("outside_domain", outside),
        ("outside_window", ~in_window & ~outside),
        ("no_value", ~np.isfinite(source.value)),
        ("out_of_range", wrong),
    ):
        source.quality[where] = QUALITY.index(name)


def _is_dry(position: Array, record: Record, staggered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which points have land all around; between staggered velocities on land nothing is unknown."""
    from scipy.ndimage import map_coordinates

    if record.land is None:
        return np.zeros(position.shape[1], dtype=bool)
    water = ascending(~record.land, record.grid).astype("float64")
    wet = map_coordinates(water, np.nan_to_num(position)[::-1], order=1, mode="nearest")
    return np.asarray(wet < WETTEST_LAND) & ~staggered
