"""A plan: a solver of plain arrays, and the table of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from xvar.configuration import Configuration

Solve = Callable[..., Mapping[str, NDArray[Any]]]


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
        The variable that the row speaks of, where it is not the observed one.
    attrs : mapping of str to value
        Attributes that stand above those of the row.
    """

    dims: tuple[str, ...]
    dtype: str
    entry: str
    of: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How the windows of a record are solved.

    Attributes
    ----------
    configuration : Configuration
        The choices.
    solve : callable (frames, seconds) -> arrays
        Solves one batch; it can be pickled, and needs nothing but plain arrays. Where windows form chains it also takes
        a `Handover`.
    variables : mapping of str to Variable
        What it gives, by name.
    forced : tuple of float
        Where the middle of each model error lies, in intervals between frames since the first.
    std : array (time, y, x), optional
        Standard deviation of the errors of observation, which goes with the frames to the solver.
    step : float, optional
        Longest step of the model in seconds.
    carried : tuple of str
        Variables that the next window of a chain takes over.
    control : int
        The step of the window at which the control is the state: the first or the last.
    artefacts : bool
        Whether what instruments add to images is taken out, see `xvar.cf.artefacts`: where the user states no problem
        of her own.
    """

    configuration: Configuration
    solve: Solve
    variables: Mapping[str, Variable]
    forced: tuple[float, ...] = ()
    std: NDArray[Any] | None = None
    step: float | None = None
    carried: tuple[str, ...] = ()
    control: int = -1
    artefacts: bool = False


def backgrounds(components: tuple[str, ...], dtype: str) -> dict[str, Variable]:
    """What is said of the background where windows form chains."""
    return {
        **{f"{name}_background": Variable(("y", "x"), dtype, "background", of=name) for name in components},
        "background_source": Variable((), "int8", "background_source"),
    }


def diagnostics(terms: tuple[str, ...], *, motion: bool = True) -> dict[str, Variable]:
    """What every analysis says of its windows; of one with a motion also whether its trajectories cross."""
    costs = ("cost", *(f"cost_{term}" for term in terms))
    numbers = {
        "gradient_norm": "float64",
        "evaluations": "int32",
        "number_of_observations": "int32",
        "number_of_rejected_observations": "int32",
        **({"deformation_number": "float64"} if motion else {}),
        "status": "int8",
    }
    return {
        **{name: Variable(("stage",), "float64", name) for name in costs},
        **{name: Variable((), dtype, name) for name, dtype in numbers.items()},
    }
