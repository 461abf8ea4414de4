"""Correlations by diffusion, which stop at coasts."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Specification
from xvar.core.covariance.diagonal import checked_deviation
from xvar.core.covariance.linear import linear
from xvar.core.covariance.matern import matern_scale
from xvar.core.covariance.stencil import DiffusionInverse, DiffusionStencil
from xvar.core.covariance.variance import LARGEST_DENSE, inverse_power_diagonal
from xvar.core.grid import Grid
from xvar.errors import Fault, Faults, InputError


class DiffusionCovariance(Covariance):
    r""":math:`B = S \, q(A)^m S` with :math:`q(A) \approx A^{-1}` and m even, every component alike.

    Parameters
    ----------
    inverse : DiffusionInverse
        q(A).
    order : int
        m.
    scale : Tensor
        S, float64 (window, component, y, x), each of these but the last two of size one where it is the same along it.
        Zero on land: nothing is drawn or taken there, and `solve` gives zero.
    dtype, device
        Of its tensors.
    """

    def __init__(
        self,
        inverse: DiffusionInverse,
        order: int,
        scale: Tensor,
        *,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
    ) -> None:
        self._inverse, self._half = inverse, order // 2
        self._scale = scale.to(device=device, dtype=dtype)
        self._unscale = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale)).to(device=device, dtype=dtype)
        self.dtype, self.device = dtype, self._scale.device

    def _root(self, field: Tensor) -> Tensor:
        for _ in range(self._half):
            field = self._inverse.invert(field)
        return field

    def _precision(self, field: Tensor) -> Tensor:
        for _ in range(2 * self._half):
            field = self._inverse.revert(field)
        return field

    def sqrt(self, control: Tensor) -> Tensor:
        """Half of the diffusion."""
        return linear(control, self._root, self._root) * self._scale

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Half of the diffusion."""
        return linear(state * self._scale, self._root, self._root)

    def solve(self, state: Tensor) -> Tensor:
        """The stencil itself, with the error of its approximate inverse made good."""
        return linear(state * self._unscale, self._precision, self._precision) * self._unscale

    def select(self, windows: Tensor) -> DiffusionCovariance:
        """The scales of some windows, where each has its own."""
        if len(self._scale) == 1:
            return self
        part = copy(self)
        part._scale, part._unscale = self._scale[windows], self._unscale[windows]
        return part


@dataclass(frozen=True, eq=False)
class Diffusion(Specification):
    r"""Correlations of the Matérn family that do not cross land.

    .. math:: B = \Sigma \, N W^{-1/2} A^{-m} W^{-1/2} N \, \Sigma, \qquad A = W^{1/2} (1 - L^2 \nabla^2) W^{-1/2}

    with no flux through coasts and free edges, the local spacing of the grid where it has one (W are the areas of the
    cells), and N such that the variance is :math:`\sigma^2` at every point of water, at the coast too. On land the
    field is zero. With zeros beyond the edges the field must vanish there: N is then one number and :math:`\sigma^2`
    the greatest variance.

    The square root is m/2 implicit steps of diffusion, each a polynomial of the stencil with a fixed degree
    (Chebyshev): linear and self-adjoint to rounding. N is computed when it is bound, which takes about a second for
    128 by 128 points.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation in the units of the variable, broadcastable to (window, component, y, x).
    length : float
        In metres, as in `Matern` with :math:`\nu = m - 1`: Daley's length :math:`L \sqrt{2m - 4}` for an order of 4 or
        more, L itself for an order of 2.
    order : int
        m, even.

    References
    ----------
    Weaver, A., Courtier, P. (2001) Correlation modelling on the sphere using a generalized diffusion equation,
    doi:10.1002/qj.49712757518.
    Mirouze, I., Weaver, A. T. (2010) Representation of correlation functions in variational assimilation using an
    implicit diffusion operator, doi:10.1002/qj.643.
    """

    std: float | Tensor
    length: float
    order: int = 4

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> DiffusionCovariance:
        """Operator on this grid.

        Raises
        ------
        InputError
            Where the length is below two grid spacings (of the widest cell of water) or too long for a periodic grid,
            the order not a positive even number, the standard deviation negative, the grid without two axes, or all of
            it land.
        """
        self._check(grid)
        deviation = checked_deviation(self.std, grid)
        scale = matern_scale(self.length, self.order - 1)
        stencil = DiffusionStencil(grid, scale)
        # What lies at the margin is felt by a point through its image beyond it, twice as far, where the correlation is
        # below half of a percent.
        margin = math.ceil((3 + self.order / 2) * scale / _finest(grid))
        if grid.edges == "periodic" and grid.size > LARGEST_DENSE and min(grid.shape) < 2 * margin:
            raise InputError(
                Fault(
                    f"a periodic grid of shape {grid.shape} with correlations that reach over {2 * margin} points",
                    "a period that is longer",
                    "give a shorter length, or Matern where there is no land",
                )
            )
        variance = inverse_power_diagonal(stencil, self.order, margin)
        if grid.edges == "zero":
            variance = variance.max().expand(grid.shape)
        amplitude = variance.rsqrt()
        if grid.water is not None:
            amplitude = torch.where(grid.water.to("cpu"), amplitude, torch.zeros_like(amplitude))
        inverse = DiffusionInverse(stencil, dtype=dtype, device=device)
        return DiffusionCovariance(inverse, self.order, deviation * amplitude, dtype=dtype, device=device)

    def _check(self, grid: Grid) -> None:
        faults = Faults()
        if self.order != int(self.order) or self.order < 2 or self.order % 2:
            faults.add(found=f"order={self.order}", expected="a positive even number", fix="choose 2, 4 or 6")
        if len(grid.shape) != 2:
            faults.add(found=f"a grid of shape {grid.shape}", expected="two axes (y, x)", fix="use Diagonal there")
        elif grid.water is not None and not bool(grid.water.any()):
            faults.add(found="a grid that is all land", expected="some water", fix="mend the land mask")
        faults.raise_if_any()
        coarsest = _coarsest(grid)
        if not 2 * coarsest <= self.length < math.inf:
            raise InputError(
                Fault(
                    f"length={self.length:g} m on a grid with a spacing of up to {coarsest:g} m",
                    "a length of at least two grid spacings",
                    f"give a length of {2 * coarsest:g} m or more, or Diagonal for errors that are not correlated",
                )
            )


def _spacings(grid: Grid) -> Tensor:
    """Spacings that occur over water, in metres."""
    if grid.metric is None:
        return torch.tensor(grid.spacing, dtype=torch.float64)
    return grid.metric.to(torch.float64) if grid.water is None else grid.metric[:, grid.water].to(torch.float64)


def _coarsest(grid: Grid) -> float:
    return float(_spacings(grid).max())


def _finest(grid: Grid) -> float:
    return float(_spacings(grid).min())
