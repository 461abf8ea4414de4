"""Observation operators, and observations.

An operator gives the equivalent of the observations from a state. Operators after the first take a tensor, so that
they compose: ``Compose(Component("tracer"), SquareRoot())``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance
from xvar.core.dynamics import State
from xvar.core.finite import all_true, filled, is_finite
from xvar.core.grid import Box, block_mean, crop
from xvar.core.norm import Norm, Quadratic
from xvar.core.whitening import whitened

Operator = Callable[[State], Tensor]
TimeInterpolation = Literal["linear", "nearest"]


@dataclass(frozen=True)
class Component:
    """Operator of a component of the state, or of some of its parts: ``H(x) = x[name]``."""

    name: str
    components: tuple[int, ...] | None = None

    def __call__(self, state: State) -> Tensor:
        """Return the component (window, component, *grid)."""
        values = state[self.name]
        return values if self.components is None else values[:, list(self.components)]


@dataclass(frozen=True)
class SquareRoot:
    r"""Square root with a finite slope at zero, for a variable whose variance grows with its value, such as rain.

    Below `floor` the root continues along its tangent, so that it has a gradient at zero and takes negative values too.

    Parameters
    ----------
    floor : float
        In the variable's units.
    """

    floor: float = 1e-3

    def __call__(self, values: Tensor) -> Tensor:
        """Return the root of each value."""
        root: float = self.floor**0.5
        return torch.where(values > self.floor, values.clamp_min(self.floor).sqrt(), 0.5 * root + values / (2 * root))


@dataclass(frozen=True)
class Logarithm:
    r"""Logarithm :math:`\log(1 + x / \mathrm{scale})` of a variable that is not negative.

    Parameters
    ----------
    scale : float
        In the variable's units.
    """

    scale: float = 1.0

    def __call__(self, values: Tensor) -> Tensor:
        """Return the logarithm of each value."""
        return torch.log1p(values.clamp_min(0) / self.scale)


@dataclass(frozen=True)
class Compose:
    """Composition of operators, the first of them from the state."""

    operators: tuple[Any, ...]

    def __init__(self, *operators: Any) -> None:
        object.__setattr__(self, "operators", operators)

    def __call__(self, state: State) -> Tensor:
        """Apply the operators in turn."""
        values: Any = state
        for operator in self.operators:
            values = operator(values)
        return values  # type: ignore[no-any-return]

    def select(self, windows: Tensor) -> Compose:
        """Return the operators of some windows of the batch."""
        return Compose(*(of_each("select", part, windows) for part in self.operators))

    def coarsen(self, factor: int) -> Compose:
        """Return the operators on a coarser grid."""
        return Compose(*(of_each("coarsen", part, factor) for part in self.operators))


def of_each(verb: str, operator: Any, argument: Any) -> Any:
    """Apply `select` or `coarsen` to an operator; one without that method depends on neither windows nor grid."""
    return getattr(operator, verb)(argument) if hasattr(operator, verb) else operator


@dataclass(frozen=True)
class Observation:
    r"""Observations at one time, and their misfit.

    .. math:: J_o = \sum \rho\left(R^{-1/2} (H(x) - y)\right), \quad R = \mathrm{diag}(\sigma^2) \text{ or a covariance}
    """

    time: float  # seconds from the time of the control
    operator: Operator  # H, from a state to (window, component, *shape)
    values: Tensor  # y (window, component, *shape); what is not finite is not observed
    std: Tensor  # σ of the error of observation, broadcastable to `values`: the root of the diagonal of R
    norm: Norm = field(default_factory=Quadratic)  # ρ
    #: Component of the state that the observation replaces where it is valid, after its misfit was taken (direct
    #: insertion). This cuts the adjoint of that component: such a window is no strong-constraint 4D-Var.
    replaces: str | None = None
    time_interpolation: TimeInterpolation = "linear"  # of the state, if `time` is between two steps
    valid: Tensor | None = None  # bool, true for observed values; None: the finite ones
    source: int = 0  # number of the source of the observation
    covariance: Covariance | None = None  # R of correlated errors, in double precision; the norm is then quadratic
    whole: bool = False  # compare on the full grid whatever the grid of the state, see `Problem.coarsen`

    def __post_init__(self) -> None:
        """Set missing values to zero: a NaN that is masked later still spoils the gradient."""
        if self.valid is None:
            valid = is_finite(self.values)
            object.__setattr__(self, "valid", valid)
            object.__setattr__(self, "values", filled(self.values))
            if not bool((self.std.isfinite() & (self.std > 0)).all()):
                # An invalid deviation of an observed value stays, so that J shows it.
                object.__setattr__(self, "std", torch.where(valid, self.std, torch.ones_like(self.std)))

    @property
    def mask(self) -> Tensor:
        """Mask of observed values."""
        assert self.valid is not None
        return self.valid

    @cached_property
    def complete(self) -> bool:
        """True if every value was observed."""
        return bool(all_true(self.mask, 0))

    def count(self) -> Tensor:
        """Return the number of observed values of each window."""
        return self.mask.flatten(1).sum(1)

    def residual(self, state: State) -> Tensor:
        r"""Return :math:`R^{-1/2} (H(x) - y)`, of uncorrelated errors zero if nothing is observed; see `whitened`."""
        departure = self.operator(state) - self.values
        if self.covariance is None:
            departure = departure / self.std
        if not self.complete:
            departure = torch.where(self.mask, departure, 0.0)
        return departure if self.covariance is None else whitened(departure, self.covariance, self.mask)

    def misfit(self, state: State) -> Tensor:
        """Return J_o of each window (window,)."""
        residual = self.residual(state)
        if isinstance(self.norm, Quadratic):
            return 0.5 * residual.square().flatten(1).sum(1)
        return self.norm(residual).flatten(1).sum(1)

    def insert(self, state: State) -> State:
        """Return the state with the observed values in place of its own."""
        if self.replaces is None:
            return state
        return {**state, self.replaces: torch.where(self.mask, self.values, state[self.replaces])}

    def select(self, windows: Tensor) -> Observation:
        """Return the observations of some windows of the batch."""
        each = self.std.ndim == self.values.ndim and len(self.std) > 1
        return self._as_complete(
            operator=of_each("select", self.operator, windows),
            values=self.values[windows],
            std=self.std[windows] if each else self.std,
            valid=self.mask[windows],
            covariance=None if self.covariance is None else self.covariance.select(windows),
        )

    def coarsen(self, factor: int) -> Observation:
        """Return observations averaged over blocks of `factor` cells a side; points stay points."""
        operator = of_each("coarsen", self.operator, factor)
        if self.values.ndim < 4:
            return self._as_complete(operator=operator)
        mean = block_mean(self.values, factor)
        valid = torch.ones_like(mean, dtype=torch.bool)
        if not self.complete:
            weight = block_mean(self.mask.to(self.values.dtype), factor)
            mean, valid = mean / weight.clamp_min(1e-6), weight >= 0.5
        std = self.std
        if std.ndim > 0 and std.shape[-2:] != (1, 1):
            std = block_mean(std.expand(torch.broadcast_shapes(std.shape, (1, 1, *self.values.shape[-2:]))), factor)
        return self._as_complete(operator=operator, values=mean, std=std, valid=valid)

    def _as_complete(self, **parts: Any) -> Observation:
        """Return the observation with other parts, as complete as this one: to look would wait for the device."""
        found = replace(self, **parts)
        vars(found)["complete"] = self.complete
        return found

    def crop(self, box: Box) -> Observation:
        """Return the part of images in a box of the grid."""
        std = crop(self.std, box) if self.std.ndim > 1 else self.std
        operator = of_each("crop", self.operator, box)
        return replace(self, operator=operator, values=crop(self.values, box), std=std, valid=crop(self.mask, box))
