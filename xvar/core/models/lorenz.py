"""The models of Lorenz (1963) and Lorenz (1996): small and chaotic, for tests of a method.

Their time is dimensionless; a step of "one second" is one unit of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xvar.core.dynamics import State, runge_kutta
from xvar.core.grid import Edges


@dataclass(frozen=True)
class Lorenz63:
    r"""Convection in three numbers.

    .. math::

        \dot x_1 = \sigma (x_2 - x_1), \quad \dot x_2 = x_1 (\rho - x_3) - x_2, \quad \dot x_3 = x_1 x_2 - \beta x_3

    The state has one component ``x`` (window, 1, 3). With the numbers of the paper the distance of two close states
    grows by a factor e in 1.1 units of time.

    Parameters
    ----------
    sigma, rho, beta : float
        Prandtl number, Rayleigh number over its critical value, and the shape of the rolls.
    step : float
        Longest time step.

    References
    ----------
    Lorenz, E. N. (1963) Deterministic nonperiodic flow, doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2.
    """

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8.0 / 3.0
    step: float = 0.01
    components: ClassVar[dict[str, tuple[str, ...]]] = {"x": ("x",)}

    def tendency(self, x: Tensor) -> Tensor:
        """Return the rate of change of (window, 1, 3)."""
        first, second, third = x.unbind(-1)
        rates = (self.sigma * (second - first), first * (self.rho - third) - second, first * second - self.beta * third)
        return torch.stack(rates, dim=-1)

    def __call__(self, state: State, seconds: float) -> State:
        """Advance the state by one Runge-Kutta step."""
        return {"x": runge_kutta(self.tendency, state["x"], seconds)}


@dataclass(frozen=True)
class Lorenz96:
    r"""A ring of variables with quadratic advection, damping and forcing.

    .. math:: \dot x_i = (x_{i+1} - x_{i-2})\, x_{i-1} - x_i + F

    The state has one component ``x`` (window, 1, variable) of four variables or more; 40 is customary. The grid is
    periodic, so covariances are by default. With F = 8 a
    unit of time is about five days of weather, and errors double in 0.42 of it.

    Parameters
    ----------
    forcing : float
        F.
    step : float
        Longest time step.

    References
    ----------
    Lorenz, E. N. and Emanuel, K. A. (1998) Optimal sites for supplementary weather observations,
    doi:10.1175/1520-0469(1998)055<0399:OSFSWO>2.0.CO;2.
    """

    forcing: float = 8.0
    step: float = 0.05
    components: ClassVar[dict[str, tuple[str, ...]]] = {"x": ("x",)}
    edges: ClassVar[Edges] = "periodic"

    def tendency(self, x: Tensor) -> Tensor:
        """Return the rate of change of (window, 1, variable)."""
        return (x.roll(-1, -1) - x.roll(2, -1)) * x.roll(1, -1) - x + self.forcing

    def __call__(self, state: State, seconds: float) -> State:
        """Advance the state by one Runge-Kutta step."""
        return {"x": runge_kutta(self.tendency, state["x"], seconds)}
