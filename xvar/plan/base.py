"""A plan: a solver of plain arrays, and the table of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from xvar.cf.metadata import flag_attributes
from xvar.plan.configuration import Configuration

if TYPE_CHECKING:
    from xvar.core.cost_history import Minimisation

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
        a `CycleState`.
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
    artefacts : bool
        Whether what instruments add to images is taken out, see `xvar.quality.artefacts`: where the user states no problem
        of her own.
    minimisations : sequence of Minimisation
        Minimisations whose cost history is recorded.
    """

    configuration: Configuration
    solve: Solve
    variables: Mapping[str, Variable]
    forced: tuple[float, ...] = ()
    std: NDArray[Any] | None = None
    step: float | None = None
    carried: tuple[str, ...] = ()
    artefacts: bool = False
    minimisations: Sequence[Minimisation] = ()

    @property
    def evaluations(self) -> int:
        """Evaluations of J that a cost history has room for."""
        return sum(one.evaluations for one in self.minimisations)


def backgrounds(components: tuple[str, ...], dtype: str) -> dict[str, Variable]:
    """What is said of the background where windows form chains."""
    return {
        **{f"{name}_background": Variable(("y", "x"), dtype, "background", of=name) for name in components},
        "background_source": Variable((), "int8", "background_source"),
    }


def diagnostics(
    terms: tuple[str, ...], *, motion: bool = True, minimisations: Sequence[Minimisation] = ()
) -> dict[str, Variable]:
    """What every analysis says of its windows.

    Parameters
    ----------
    terms : tuple of str
        Of J.
    motion : bool
        Whether there is one, whose trajectories may cross.
    minimisations : sequence of Minimisation
        Minimisations whose cost history is recorded.
    """
    suffixes = ("", *(f"_{term}" for term in terms))
    histories = {
        f"cost_history{suffix}": Variable(("evaluation",), "float64", f"cost_history{suffix}") for suffix in suffixes
    }
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
        **(histories if minimisations else {}),
    }
