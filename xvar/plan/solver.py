"""Solvers of plain arrays, and the table of the variables that they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xvar.cf.metadata import flag_attributes
from xvar.cf.units import are_convertible
from xvar.execution.batches import Output, WindowBatch
from xvar.execution.schedule import Schedule
from xvar.plan.configuration import Configuration
from xvar.quality.rules import Rule

if TYPE_CHECKING:
    import xarray as xr

    from xvar.core.problem import Problem
    from xvar.core.solve import Minimisation

Array = NDArray[Any]


@dataclass(frozen=True)
class Variable:
    """One variable of an analysis."""

    dims: tuple[str, ...]  # after "window"; "y" and "x" represent those of the record
    dtype: str
    entry: str  # row of `xvar.cf.metadata`
    of: str | None = None  # the variable that the row describes, if it is not the observed one
    units: str | None = None  # instead of those of the observed variable
    attrs: Mapping[str, Any] = field(default_factory=dict)  # replace those of the row

    def output(self, sizes: Mapping[str, int]) -> Output:
        """Return shape and type of one window."""
        fill = np.nan if self.dtype.startswith("float") else 0
        return Output(tuple(sizes[dim] for dim in self.dims), self.dtype, fill=fill)


class Solver(Protocol):
    """Solver of windows with the same frame times; it can be pickled."""

    @property
    def outputs(self) -> Mapping[str, Variable]:
        """Return the variables that a call returns."""
        ...

    def __call__(self, batch: WindowBatch, /) -> dict[str, Array]:
        """Return an array (window, ...) of each output."""
        ...

    def problem(self, batch: WindowBatch, /) -> Problem:
        """Return the problem that is minimised first, for checks of its gradient."""
        ...


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
    label_observations: Callable[[xr.Dataset], xr.Dataset] | None = None  # beside the record
    rules: tuple[Rule, ...] = ()

    @property
    def evaluations(self) -> int:
        """Return the length of the cost history."""
        return sum(one.evaluations for one in self.minimisations)


def backgrounds(units: Mapping[str, str], dtype: str) -> dict[str, Variable]:
    """Return the variables of the background of cycled windows, by variables with their units."""
    return {
        **{f"{name}_background": Variable(("y", "x"), dtype, "background", name, own) for name, own in units.items()},
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
