"""Static parameters in the control: of the model, such as a diffusivity, or of the observations, such as a gain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xvar.core.covariance import Diagonal
from xvar.core.dynamics import State, start
from xvar.core.grid import Grid, bind
from xvar.errors import Faults


@dataclass(frozen=True, eq=False)
class Parameter:
    r"""A number or field that is constant over the window and estimated with the state.

    .. math:: J_p = \tfrac12 \|p - p_b\|^2_{B_p}, \qquad
        \text{or } J_p = \tfrac12 \left\|\ln \frac{p}{p_b}\right\|^2_{B_p} \text{ if p is positive}

    Parameters
    ----------
    prior : float, array (y, x) or DataArray
        :math:`p_b`, in `units`; a field on the grid, as an array with ascending coordinates.
    error : float or specification of xvar.covariance
        Standard deviation of the prior of a number. With a specification, such as `xvar.covariance.Matern`, the
        parameter is a field on the grid, with this :math:`B_p`.
    units : str, optional
        For the output. Default: those of the variable for an offset, otherwise "1".
    positive : bool
        Estimate its logarithm: `error` is then that of the logarithm, 0.5 for a factor of 1.6 to either side.
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
        """Reject a prior that is not finite, and errors that do not belong to it."""
        faults = Faults()
        labelled = hasattr(self.prior, "dims")
        given = self.prior.values if labelled else self.prior
        # Torch takes no negative strides of an array.
        prior = torch.as_tensor(given.copy() if hasattr(given, "strides") else given, dtype=torch.float64)
        prior = prior.detach().cpu()
        if not (labelled and prior.ndim):  # a DataArray is brought to the grid when the call is read
            object.__setattr__(self, "prior", prior.numpy() if prior.ndim else float(prior))
        if not bool(prior.isfinite().all()):
            faults.add(
                code="parameter-prior-not-finite",
                found=f"a prior of shape {tuple(prior.shape)}, {int((~prior.isfinite()).sum())} of it not finite",
                expected="a finite number, or a field of them",
                fix="Parameter(prior=100.0, error=30.0)",
            )
        elif self.positive and not bool((prior > 0).all()):
            faults.add(
                code="parameter-prior-not-positive",
                found="a positive parameter with a prior of zero or below",
                expected="a prior above zero",
                fix="Parameter(prior=100.0, error=0.5, positive=True), or leave positive=False",
            )
        if prior.ndim and not self.is_field:
            faults.add(
                code="parameter-field-without-specification",
                found=f"a prior of shape {tuple(prior.shape)} with one number for its error",
                expected="a specification for the error of a field",
                fix="error=xvar.covariance.Matern(std=..., length=...)",
            )
        if not self.is_field and not 0 < float(self.error) < math.inf:
            faults.add(
                code="parameter-error-not-positive",
                found=f"error={self.error} of a parameter",
                expected="a positive standard deviation",
                fix="leave out of parameters= what is known exactly",
            )
        faults.raise_if_any()

    @property
    def is_field(self) -> bool:
        """True for a field on the grid, False for a number."""
        return hasattr(self.error, "bind")

    @property
    def specification(self) -> Any:
        """B of the value in the control."""
        return self.error if self.is_field else Diagonal(float(self.error))

    def background(self, windows: int, count: int, grid: Grid, like: Tensor) -> Tensor:
        """Return the prior as the control holds it, (window, count, 1, 1) or (window, count, y, x)."""
        prior = torch.as_tensor(self.prior, dtype=torch.float64).to(like)
        if self.positive:
            prior = prior.log()
        return prior.expand(windows, count, *(grid.shape if self.is_field else (1,) * len(grid.shape))).contiguous()

    def value(self, control: Tensor) -> Tensor:
        """Return the parameter from its value in the control."""
        return control.exp() if self.positive else control


@dataclass(frozen=True)
class Holding:
    """A model that is given constant parameters at every step.

    It finds its own parameters in its state by name, each (window, 1, 1, 1), or (window, 1, y, x) if it is a field, and
    need not return them. It does not see the `others`, those of the observations.
    """

    model: Any  # specification or callable
    own: Mapping[str, Parameter] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> Holding:
        """Bind the model to a grid."""
        return replace(self, model=bind(self.model, grid, torch.empty(0, dtype=dtype, device=device)))

    def start(self, state: State) -> State:
        """Complete the initial state, for a model that remembers."""
        seen, static = self._split(state)
        return {**start(self.model, seen), **static}

    def __call__(self, state: State, seconds: float) -> State:
        """Advance the state by one step."""
        seen, static = self._split(state)
        after = self.model(seen, seconds)
        return {**{key: after[key] for key in state if key not in static}, **static}

    def _split(self, state: State) -> tuple[State, State]:
        """Return the state as the model sees it, and the values of all parameters in the control."""
        static = {key: state[key] for key in (*self.own, *self.others)}
        seen = {key: values for key, values in state.items() if key not in static}
        return {**seen, **{key: parameter.value(state[key]) for key, parameter in self.own.items()}}, static
