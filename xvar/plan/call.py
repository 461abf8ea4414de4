"""A call whose data and options are read; its plan: a solver, and the variables that it returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.metadata import flag_attributes
from xvar.cf.record import Record
from xvar.cf.units import are_convertible, convert, normalise_units, rain_rate_factor, same_units
from xvar.errors import Faults
from xvar.execution.batches import Output, WindowBatch
from xvar.execution.schedule import Schedule
from xvar.plan.bridge import Array, Bridge
from xvar.plan.configuration import Configuration
from xvar.plan.options import Options
from xvar.quality.rules import Rule

if TYPE_CHECKING:
    from xvar.core.ensemble import Ensemble
    from xvar.core.posterior import Sampling
    from xvar.core.problem import Problem
    from xvar.core.solve import Minimisation

BEFORE_NEXT = 1e-5  # seconds, of which times of observations are no multiples
HALF_MICROSECOND = 5e-7  # likewise


class Span(NamedTuple):
    """The time of a window, in seconds."""

    begin: float  # after the first frame of the record
    length: float
    seen: float = -math.inf  # after its beginning: the window before has observed what is not later

    def holds(self, seconds: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return which times after the first frame of the record lie in the window, and all after its beginning."""
        time = np.round(seconds - self.begin, 6)  # the same in whatever record a window is
        inside = (time >= 0) & (time <= self.length + HALF_MICROSECOND) & (time > self.seen + HALF_MICROSECOND)
        return inside, time


@dataclass(frozen=True)
class Call:
    """Record, windows and options of a call, with the faults and notes that planning adds."""

    record: Record
    schedule: Schedule
    configuration: Configuration
    options: Options
    background: xr.Dataset | None
    faults: Faults
    notes: list[str]

    @property
    def name(self) -> str:
        """Name of the variable."""
        return self.configuration.variable

    @property
    def cycled(self) -> bool:
        """True if each window begins from the forecast of the window before."""
        return self.configuration.cycled

    @property
    def bridge(self) -> Bridge:
        """Conversion to the tensors of the core."""
        edges: Any = "free" if self.record.is_plane else getattr(self.options.dynamics, "edges", "free")
        return Bridge(self.record.grid, self.record.land, self.configuration.dtype, self.configuration.device, edges)

    @property
    def plane(self) -> tuple[str, ...]:
        """Axes of the grid as the variables of an analysis name them."""
        return tuple(self.record.axes.places)

    @cached_property
    def windows(self) -> list[Span]:
        """The span of time of each window.

        A cycled window of images lasts until just before the first frame of the next one. One that begins within the
        window before, or at its end, leaves out what that one has observed.
        """
        begin = self.record.times.seconds[self.schedule.frames[:, 0]]
        length, seen = np.nanmax(self.schedule.seconds, axis=1), np.full(len(begin), -np.inf)
        lead, elapsed = self.schedule.lead, self.schedule.elapsed
        if self.cycled and lead is not None and elapsed is not None:
            following = np.append(lead[1:], np.nan)
            seen[1:] = np.where(lead[1:] == 0, length[:-1] - elapsed[1:], -np.inf)
            length = np.where(following > 0, length + following - BEFORE_NEXT, length)
        return [Span(*row) for row in zip(begin.tolist(), length.tolist(), seen.tolist(), strict=True)]

    def in_units(
        self, values: Array, field: xr.DataArray, wanted: str, label: str, *, difference: bool = False
    ) -> Array:
        """Return values in the units `wanted`, from those of `field`; note conversions and assumptions.

        `label` names the quantity in messages; of a `difference` 1 K is 1 degree Celsius.
        """
        given = field.attrs.get("units")
        if given is None:
            self.notes.append(f"{label} has no units: taken to be in {wanted!r}")
            return values
        own = normalise_units(str(given))
        if are_convertible(own, wanted):
            if not same_units(own, wanted):
                self.notes.append(
                    f"{label} converted from {own!r} to {wanted!r}" + (", as a difference" if difference else "")
                )
            return np.asarray(convert(values, own, wanted, difference=difference)).reshape(values.shape)
        factors = [rain_rate_factor(unit, None) for unit in (own, wanted)]
        fix = f"convert it, and write its attrs['units'] = {wanted!r}"
        if factors[0] is not None and factors[1] is not None:
            # A mass of water and a depth: one is the other by a density that the user states.
            fix = (
                f"xvar.rain_rate(field, convert='liquid_water') takes a litre of liquid water for a kilogram: 1 {own} "
                f"is {factors[0] / factors[1]:.6g} {wanted}"
            )
        elif "dBZ" in (own, wanted):
            fix = "reflectivity is no rain: xvar.rain_rate(reflectivity) makes it one"
        self.faults.add(
            code="units-not-convertible",
            variable=label,
            found=f"units {str(given)!r}",
            expected=f"units that can be converted to {wanted!r}",
            fix=fix,
        )
        return values


@dataclass(frozen=True)
class Variable:
    """One variable of an analysis."""

    dims: tuple[str, ...]  # after "window"; those of `Axes.places` represent those of the record
    dtype: str
    entry: str  # row of `xvar.cf.metadata`
    of: str | None = None  # the variable that the row describes, if it is not the observed one
    units: str | None = None  # instead of those of the observed variable
    attrs: Mapping[str, Any] = field(default_factory=dict)  # replace those of the row

    def output(self, sizes: Mapping[str, int]) -> Output:
        """Return shape and type of one window."""
        fill = np.nan if self.dtype.startswith("float") else 0
        return Output(tuple(sizes[dim] for dim in self.dims), self.dtype, fill, self.dims[:1] == ("step",))


class Solver(Protocol):
    """Solver of windows with the same frame times; it can be pickled."""

    @property
    def outputs(self) -> Mapping[str, Variable]:
        """Return the variables that a call returns."""

    def __call__(self, batch: WindowBatch, /) -> dict[str, Array]:
        """Return an array (window, ...) of each output."""

    def problem(self, batch: WindowBatch, /) -> Problem:
        """Return the problem that is minimised first, for checks of its gradient."""


@dataclass(frozen=True)
class Plan:
    """Solver of the windows of a record, and what the labels of its results need."""

    configuration: Configuration
    solver: Solver
    schedule: Schedule
    forced: tuple[float, ...] = ()  # middle of each model error, in intervals between frames since the first
    step: float | None = None  # seconds, longest of the model, if it is shorter than the time between frames
    carried: tuple[str, ...] = ()  # outputs that a cycled window takes over from the window before
    minimisations: Sequence[Minimisation] = ()  # those whose cost history is recorded
    sizes: Mapping[str, int] = field(default_factory=dict)  # of dimensions beside those of the grid and the windows
    sources: tuple[str, ...] = ()  # labels of the observations
    sampling: Sampling | None = None  # of the errors of the analysis
    ensemble: Ensemble | None = None  # of assimilations
    label_observations: Callable[[xr.Dataset], xr.Dataset] | None = None  # beside the record
    rules: tuple[Rule, ...] = ()

    @property
    def members(self) -> int:
        """Return the number of members of an ensemble, or of the draws of the posterior."""
        drawn = self.ensemble or self.sampling
        return 0 if drawn is None else drawn.members

    @property
    def evaluations(self) -> int:
        """Return the length of the cost history."""
        return sum(one.evaluations for one in self.minimisations)


def backgrounds(units: Mapping[str, str], dtype: str, plane: tuple[str, ...] = ("y", "x")) -> dict[str, Variable]:
    """Return the variables of the background of cycled windows, by variables with their units."""
    return {
        **{f"{name}_background": Variable(plane, dtype, "background", name, own) for name, own in units.items()},
        "background_source": Variable((), "int8", "background_source"),
    }


def per_second(units: str) -> str:
    """Return the units of a change per second; a change of temperature is in kelvin, whatever its scale."""
    if units == "m s-1":
        return "m s-2"
    return "K s-1" if are_convertible(units, "K") else f"({units}) s-1"


def diagnostics(
    terms: tuple[str, ...], *, motion: bool = True, minimisations: Sequence[Minimisation] = ()
) -> dict[str, Variable]:
    """Return the diagnostic variables of each window: of the terms of J, and of a motion, if there is one."""
    suffixes = ("", *(f"_{term}" for term in terms))
    histories = {name: Variable(("evaluation",), "float64", name) for name in (f"cost_history{s}" for s in suffixes)}
    flags = flag_attributes(("none", *(one.name for one in minimisations)))
    histories["minimisation"] = Variable(("evaluation",), "int8", "minimisation", attrs=flags)
    numbers = {
        "gradient_norm": "float64",
        "evaluations": "int32",
        "number_of_observations": "int32",
        "number_of_rejected_observations": "int32",
        **({"deformation_number": "float64"} if motion else {}),
        "status": "int8",
    }
    return {
        **{f"cost{suffix}": Variable(("stage",), "float64", f"cost{suffix}") for suffix in suffixes},
        **{name: Variable((), dtype, name) for name, dtype in numbers.items()},
        "rejected_observations": Variable(("rule",), "int32", "rejected_observations"),
        **(histories if minimisations else {}),
    }
