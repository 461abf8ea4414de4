"""Static parameters in the control: of the model, such as a diffusivity, and of the observations, such as a gain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xvar.core.covariance import Diagonal
from xvar.core.dynamics import Dynamics, State, start
from xvar.core.grid import Grid
from xvar.errors import Faults


@dataclass(frozen=True, eq=False)
class Parameter:
    r"""A number, or a field, that does not change over the window and is estimated along with the state.

    .. math:: J_p = \tfrac12 \|p - p_b\|^2_{B_p}, \qquad
        \text{or } J_p = \tfrac12 \left\|\ln \frac{p}{p_b}\right\|^2_{B_p} \text{ where p is positive}

    Parameters
    ----------
    prior : float or array (y, x)
        :math:`p_b`, in `units`.
    error : float or specification of xvar.covariance
        Standard deviation of the prior: of a number, which then is one for the whole window. With a specification,
        such as `xvar.covariance.Matern`, the parameter is a field on the grid, and this its :math:`B_p`.
    units : str, optional
        For the output. Default: none for a gain, those of the variable for an offset, "1" for what else there is.
    positive : bool
        Whether its logarithm is estimated: `error` is then that of the logarithm, 0.5 for a factor of 1.6 to either
        side.
    long_name : str, optional
        For the output.

    References
    ----------
    Evensen, G., Dee, D., Schröter, J. (1998) Parameter estimation in dynamical models,
    doi:10.1007/978-94-011-5096-5_16.
    Dee, D. P. (2005) Bias and data assimilation, doi:10.1256/qj.05.137.
    """

    prior: Any
    error: Any
    units: str | None = None
    positive: bool = False
    long_name: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no prior."""
        faults = Faults()
        prior = torch.as_tensor(self.prior, dtype=torch.float64)
        if not bool(prior.isfinite().all()) or prior.ndim not in (0, 2):
            faults.add(
                found=f"a prior of shape {tuple(prior.shape)}, {int((~prior.isfinite()).sum())} of it not finite",
                expected="a finite number, or an array (y, x)",
                fix="Parameter(prior=100.0, error=30.0)",
            )
        elif self.positive and not bool((prior > 0).all()):
            faults.add(
                found="a positive parameter with a prior that is not",
                expected="a prior above zero",
                fix="mend prior, or leave positive=False",
            )
        if prior.ndim == 2 and not self.is_field:
            faults.add(
                found="a prior (y, x) with one number for its error",
                expected="a specification for the error of a field",
                fix="error=xvar.covariance.Matern(std=..., length=...)",
            )
        if not self.is_field and not 0 < float(self.error) < math.inf:
            faults.add(
                found=f"error={self.error} of a parameter",
                expected="a positive standard deviation",
                fix="leave out of the control what is known exactly",
            )
        faults.raise_if_any()

    @property
    def is_field(self) -> bool:
        """Whether it is a field on the grid."""
        return hasattr(self.error, "bind")

    @property
    def specification(self) -> Any:
        """B of what is in the control."""
        return self.error if self.is_field else Diagonal(float(self.error))

    def background(self, windows: int, count: int, grid: Grid, like: Tensor) -> Tensor:
        """What is in the control at first, (window, count, 1, 1) or (window, count, y, x)."""
        prior = torch.as_tensor(self.prior, dtype=torch.float64).to(like)
        if self.positive:
            prior = prior.log()
        return prior.expand(windows, count, *(grid.shape if self.is_field else (1,) * len(grid.shape))).contiguous()

    def value(self, control: Tensor) -> Tensor:
        """The parameter from what is in the control."""
        return control.exp() if self.positive else control


@dataclass(frozen=True)
class Holding:
    """A model with parameters, which it is given at every step and which stay as they are.

    Parameters
    ----------
    model : specification or callable
        The model; its state holds the parameters that are its own by name, each (window, 1, 1, 1), or (window, 1, y, x)
        where it is a field. It need not give them back.
    own : mapping of str to Parameter
        Those of the model.
    others : tuple of str
        Those of the observations, of which the model hears nothing.
    """

    model: Any
    own: Mapping[str, Parameter] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> Held:
        """The model on a grid."""
        model = self.model
        bound = model.bind(grid, dtype=dtype, device=device) if hasattr(model, "bind") else model
        return Held(bound, self.own, self.others)


@dataclass(frozen=True)
class Held:
    """`Holding` on a grid."""

    model: Dynamics
    own: Mapping[str, Parameter]
    others: tuple[str, ...]

    def start(self, state: State) -> State:
        """The initial state, with what a model that remembers adds to it."""
        begun = start(self.model, self._as_the_model_sees(state))
        return {**begun, **self._static(state)}

    def __call__(self, state: State, seconds: float) -> State:
        """One step."""
        after = self.model(self._as_the_model_sees(state), seconds)
        return {**{key: after[key] for key in state if key not in self._names}, **self._static(state)}

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.own, *self.others)

    def _static(self, state: State) -> State:
        return {key: state[key] for key in self._names}

    def _as_the_model_sees(self, state: State) -> State:
        seen = {key: values for key, values in state.items() if key not in self._names}
        return {**seen, **{key: parameter.value(state[key]) for key, parameter in self.own.items()}}


@dataclass(frozen=True)
class Calibrated:
    r"""Observation operator of an instrument that is not quite calibrated: :math:`H(x) = a\, H_0(x) + b`.

    Parameters
    ----------
    operator : callable
        :math:`H_0`, from a state.
    gain, offset : Parameter, optional
        a and b, components ``gain`` and ``offset`` of the state.
    index : int
        Which of their values holds for this observation.
    """

    operator: Any
    gain: Parameter | None
    offset: Parameter | None
    index: int

    def __call__(self, state: State) -> Tensor:
        """What the instrument would show."""
        values: Tensor = self.operator(state)
        for name, parameter in (("gain", self.gain), ("offset", self.offset)):
            if parameter is not None:
                own = parameter.value(state[name][:, self.index : self.index + 1])
                values = values * own if name == "gain" else values + own
        return values
