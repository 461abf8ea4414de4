"""Solvers of plain arrays, and the table of the variables that they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xvar.cf.metadata import flag_attributes
from xvar.execution.batches import Output, WindowBatch
from xvar.execution.schedule import Schedule
from xvar.plan.configuration import Configuration
from xvar.quality.rules import Rule

if TYPE_CHECKING:
    from xvar.core.cost_history import Minimisation
    from xvar.core.problem import Problem
    from xvar.plan.experiment.outputs import ObservationLabels

Array = NDArray[Any]


@dataclass(frozen=True)
class Variable:
    """One variable of an analysis.

    Attributes
    ----------
    dims : tuple of str
        Its dimensions after ``window``; "y" and "x" stand for those of the record.
    dtype : str
    entry : str
        Its row of the table of metadata, see `xvar.cf.metadata`.
    of : str, optional
        The variable that the row describes, if it is not the observed one.
    attrs : mapping of str to value
        Attributes that replace those of the row.
    """

    dims: tuple[str, ...]
    dtype: str
    entry: str
    of: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

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
    """Solver of the windows of a record, and what the labels of its results need.

    Attributes
    ----------
    forced : tuple of float
        Middle of each model error, in intervals between frames since the first.
    step : float, optional
        Longest step of the model in seconds, if it is shorter than the time between frames.
    carried : tuple of str
        Outputs that a cycled window takes over from the window before.
    minimisations : sequence of Minimisation
        Minimisations whose cost history is recorded.
    sizes : mapping of str to int
        Lengths of dimensions of the outputs beside those of the grid and the windows.
    observations : ObservationLabels, optional
        Labels of observations beside the record.
    """

    configuration: Configuration
    solver: Solver
    schedule: Schedule
    forced: tuple[float, ...] = ()
    step: float | None = None
    carried: tuple[str, ...] = ()
    minimisations: Sequence[Minimisation] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    observations: ObservationLabels | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def evaluations(self) -> int:
        """Return the length of the cost history."""
        return sum(one.evaluations for one in self.minimisations)


def backgrounds(components: tuple[str, ...], dtype: str) -> dict[str, Variable]:
    """Return the variables of the background of cycled windows."""
    return {
        **{f"{name}_background": Variable(("y", "x"), dtype, "background", of=name) for name in components},
        "background_source": Variable((), "int8", "background_source"),
    }


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
