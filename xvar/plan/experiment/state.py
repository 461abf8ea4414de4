"""The model of a call, the variables of its state, and their background at the beginning of windows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.grid.coordinates import on_grid
from xvar.cf.record import Record
from xvar.cf.times import check_calendar, date_text
from xvar.errors import Faults
from xvar.plan.bridge import Array
from xvar.plan.call import Call
from xvar.plan.control import complete
from xvar.plan.experiment.record import PointRecord, time_of
from xvar.plan.method import components_of, is_advection, named_models
from xvar.plan.windows import seconds_after

_SLACK = 1e-3  # seconds: times of a record are told apart to milliseconds


@dataclass(frozen=True)
class State:
    """The model of a call, and the variables of its state."""

    model: Any  # specification or callable
    components: dict[str, tuple[str, ...]]  # the variables of each component of the state
    units: dict[str, str]  # of the variables, as far as they are known
    converted: tuple[str, ...]  # variables whose background is converted into these units
    advection: bool  # True for xvar's advection of images

    @classmethod
    def read(cls, record: Record, dynamics: Any, background: xr.Dataset | None) -> State:
        """Return the model of a call and its variables: those it states, else those of the background."""
        name = str(record.name)
        model = named_models()[dynamics or "advection"] if dynamics is None or isinstance(dynamics, str) else dynamics
        given = {} if background is None else background.data_vars
        components = components_of(model, name) or {str(key): (str(key),) for key in given}
        own = {str(key): str(part.attrs["units"]) for key, part in given.items() if "units" in part.attrs}
        advection = is_advection(model)
        known = {name: record.units, **({"u": "m s-1", "v": "m s-1"} if advection else {})}
        return cls(model, dict(components), {**own, **known}, tuple(known), advection)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All variables, component by component."""
        return tuple(name for names in self.components.values() for name in names)

    @cached_property
    def parts(self) -> dict[str, tuple[str, int]]:
        """Component of each variable, and its number there."""
        return {name: (key, index) for key, names in self.components.items() for index, name in enumerate(names)}

    @property
    def staggered(self) -> tuple[str, ...]:
        """The variables between the grid points."""
        return tuple(name for name, shift in zip(self.names, self.shifts.T, strict=True) if shift.any())

    @property
    def shifts(self) -> NDArray[np.float64]:
        """Places of the variables in cells from the grid points (2, variable), along x and y."""
        offsets = getattr(self.model, "offsets", {})
        return np.array([offsets.get(name, (0.0, 0.0)) for name in self.names]).reshape(-1, 2).T

    @property
    def step(self) -> Any:
        """The longest step that the model states, or None."""
        return getattr(self.model, "step", None)

    def place(self, name: str, label: str, faults: Faults) -> tuple[str, int | None] | None:
        """Return the component of a variable, and its number if the component holds several; None if it is unknown."""
        if name in self.parts:
            key, index = self.parts[name]
            return key, index if len(self.components[key]) > 1 else None
        faults.add(
            code="observed-variable-unknown",
            variable=label,
            found=f"observations of {name!r}",
            expected=f"a variable of the state: {', '.join(map(repr, self.names)) or 'none'}",
            fix="xvar.observation.Images(data=..., variable=one of them)",
        )
        return None


@dataclass(frozen=True)
class Background:
    """Fields (time, y, x) of the background by variable: one time for all windows, or several.

    `seconds` (time,) are then the times after the first frame of the record.
    """

    fields: Mapping[str, Array]
    seconds: NDArray[np.float64] | None = None

    def at(self, begin: NDArray[np.float64]) -> dict[str, Array]:
        """Return the fields (window, y, x) of windows that begin at some seconds after the first frame."""
        index = np.zeros(len(begin), dtype=int)
        if self.seconds is not None:
            index = np.searchsorted(self.seconds, begin - _SLACK)
        return {name: part[index if len(part) > 1 else np.zeros_like(index)] for name, part in self.fields.items()}


def read_background(call: Call, state: State) -> Background:
    """Return the background of the whole state; rest for a motion, and the first frame for its images, if left out."""
    record, given, name = call.record, call.background, call.name
    background = Background({}) if given is None else _read_fields(call, state, given)
    of_table = isinstance(record, PointRecord)
    first_frame = {name} if not of_table and (name,) in state.components.values() else set[str]()
    missing = [key for key in state.names if (given is None or key not in given) and key not in first_frame]
    if state.advection:
        _check_speed(call, background, state.step)
        rest = np.zeros((1, *record.grid.shape))
        background = replace(background, fields={"u": rest, "v": rest, **background.fields})
        missing = [key for key in missing if key not in ("u", "v")]
    elif name not in state.names and not _record_has_operator(call.options.observation):
        missing.append(name)
    if missing:
        held = "" if given is None else f", only one of {', '.join(map(repr, given.data_vars)) or 'nothing'}"
        stated = "a Dataset with a variable (y, x) for each"
        call.faults.add(
            code="background-incomplete-state",
            variable="background",
            found=f"no background of {', '.join(map(repr, missing))}{held}",
            expected=f"the whole state: {', '.join(map(repr, dict.fromkeys([*state.names, name])))}",
            fix=f"background=xvar.background.Cycled(first={stated})" if call.cycled else f"background={stated}",
        )
    return background


def _record_has_operator(observation: Any) -> bool:
    """Return whether an operator makes the images of the record from the state, which then need not hold them."""
    sources = observation.values() if isinstance(observation, Mapping) else observation
    every = sources if isinstance(sources, Iterable) else [sources]
    return any(hasattr(one, "data") and one.data is None and one.operator is not None for one in every)


def _check_speed(call: Call, background: Background, step: float | None) -> None:
    """Report a first guess that carries everything off the grid within one step."""
    grid, frame = call.record.grid, float(np.nanmax(np.diff(call.schedule.seconds, axis=1)))
    seconds = frame if step is None else min(step, frame)
    for name, axis in (("u", 1), ("v", 0)):
        if name not in background.fields:
            continue
        spacing, size = grid.spacing[axis], grid.shape[axis]
        fastest = float(np.nanmax(np.abs(background.fields[name])))
        if fastest * seconds > spacing * size:
            call.faults.add(
                code="background-too-fast",
                variable=f"background {name}",
                found=f"a speed of {fastest:g} m/s: {fastest * seconds / spacing:.4g} cells of {spacing:g} m in a "
                f"step of {seconds:g} s",
                expected=f"less than the {size} cells of the grid, {spacing * size / seconds:.4g} m/s",
                fix="check its units (m s-1), or give the model a shorter step",
            )


def _read_fields(call: Call, state: State, given: xr.Dataset) -> Background:
    """Read fields (y, x), or (time, y, x) with a time for each window, on the points of the record; some are missing.

    Staggered variables may be undefined beside land.
    """
    record, faults = call.record, call.faults
    held = [name for name in state.names if name in given]
    time = time_of(given[held])
    seconds: NDArray[np.float64] | None = None
    slices: list[dict[Hashable, int]] = [{}]
    if time is not None:
        check_calendar(time, record.times.values, faults, "background")
        since = seconds_after(time.values, record.times.values[0])
        order = np.argsort(since)
        seconds, slices = since[order], [{time.dims[0]: int(index)} for index in order]
        _check_times(call, seconds)
    fields = {}
    for name in held:
        field, label = given[name], f"background {name}"
        check_calendar(field, record.times.values, faults, label)
        of_times = slices if time is not None and time.dims[0] in field.dims else [{}]
        parts = [on_grid(field.isel(one), record.array, record.axes, faults, label) for one in of_times]
        if any(part is None for part in parts):
            continue
        values = np.stack([np.asarray(part.values, dtype="float64") for part in parts if part is not None])
        if name in state.converted:
            values = call.in_units(values, field, state.units[name], label)
        # Nothing flows through a coast.
        gaps = name in state.staggered
        fields[name] = complete(values, record.land, label, faults, 0.0 if gaps else None, gaps=gaps)
    return Background(fields, seconds)


def _check_times(call: Call, seconds: NDArray[np.float64]) -> None:
    """Report windows that begin at a time of which there is no background."""
    times, first = call.record.times, call.schedule.frames[:, 0]
    begin = times.seconds[first]
    place = np.searchsorted(seconds, begin - _SLACK).clip(max=len(seconds) - 1)
    missing = np.flatnonzero(np.abs(seconds[place] - begin) > _SLACK)
    if missing.size:
        call.faults.add(
            code="background-time-missing",
            variable="background",
            dimension="time",
            found=f"no background for {missing.size} of {len(begin)} windows, the first at "
            f"{date_text(times.values[first[missing[0]]])}",
            expected="a time for the beginning of each window, or one time for all",
            fix="background.isel(time=0), or background.interp(time=...)",
        )
