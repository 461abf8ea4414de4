"""Correlations by diffusion, which do not cross coasts."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.checks import check_plane
from xvar.core.covariance.base import Covariance, Specification
from xvar.core.covariance.diagonal import checked_deviation
from xvar.core.covariance.linear import linear
from xvar.core.covariance.matern import matern_scale
from xvar.core.covariance.stencil import DiffusionInverse, DiffusionStencil
from xvar.core.covariance.variance import LARGEST_DENSE, inverse_power_diagonal
from xvar.core.grid import Device, Grid
from xvar.errors import Faults

#: Shortest length in cells that the stencil resolves.
SHORTEST_LENGTH = 2


class DiffusionCovariance(Covariance):
    r""":math:`B = S \, q(A)^m S` with :math:`q(A) \approx A^{-1}` and m (`order`) even, every component alike.

    S (`scale`), float64, is broadcastable to (window, component, y, x), and zero on land; `solve` gives zero there.
    """

    def __init__(
        self, inverse: DiffusionInverse, order: int, scale: Tensor, *, dtype: torch.dtype, device: Device = None
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
        """Apply half of the diffusion."""
        return linear(control, self._root, self._root) * self._scale

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Apply half of the diffusion."""
        return linear(state * self._scale, self._root, self._root)

    def solve(self, state: Tensor) -> Tensor:
        """Apply the stencil, corrected for the error of its approximate inverse."""
        return linear(state * self._unscale, self._precision, self._precision) * self._unscale

    def select(self, windows: Tensor) -> DiffusionCovariance:
        """Return the operator of some windows."""
        if len(self._scale) == 1:
            return self
        part = copy(self)
        part._scale, part._unscale = self._scale[windows], self._unscale[windows]
        return part


@dataclass(frozen=True, eq=False)
class Diffusion(Specification):
    r"""Correlations of the Matérn family that do not cross land, with the local spacing of the grid.

    .. math:: B = \Sigma \, N W^{-1/2} A^{-m} W^{-1/2} N \, \Sigma, \qquad A = W^{1/2} (1 - L^2 \nabla^2) W^{-1/2}

    with no flux through coasts and free edges, W the areas of the cells, and N such that the variance is
    :math:`\sigma^2` at every point of water, coasts included. On land the field is zero. With zeros beyond the edges N
    is one number and :math:`\sigma^2` the greatest variance.

    The square root is m/2 implicit steps of diffusion, each a Chebyshev polynomial of the stencil: linear and
    self-adjoint to rounding. N is computed when it is bound, in about a second for 128 by 128 points.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation in the units of the variable, broadcastable to (window, component, y, x).
    length : float
        In metres, as in `Matern` with :math:`\nu = m - 1`: Daley's length :math:`L \sqrt{2m - 4}` for an order of 4 or
        more, L itself for an order of 2; two cells or more.
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

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> DiffusionCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        faults = Faults()
        if self.order != int(self.order) or self.order < 2 or self.order % 2:
            expected = "a positive even number"
            faults.add(code="diffusion-order", found=f"order={self.order}", expected=expected, fix="order=4")
        check_plane(grid, faults)
        if len(grid.shape) == 2 and not bool(grid.wet().any()):
            faults.add(
                code="no-water", found="a grid without water", expected="some water", fix="land= with a correct mask"
            )
        faults.raise_if_any()
        spacings = torch.stack(grid.lengths())[:, grid.wet() > 0]
        coarsest, finest = float(spacings.max()), float(spacings.min())
        if not SHORTEST_LENGTH * coarsest <= self.length < math.inf:
            faults.add(
                code="length-too-short",
                found=f"length={self.length:g} m on a grid with a spacing of up to {coarsest:g} m",
                expected="a length of at least two cells",
                fix=f"length={2 * coarsest:g}, or Diagonal(std=...) for uncorrelated errors",
            )
        faults.raise_if_any()
        deviation = checked_deviation(self.std, grid)
        scale = matern_scale(self.length, self.order - 1)
        stencil = DiffusionStencil(grid, scale)
        # A point is affected through its image beyond the margin, twice as far, where the correlation is below 0.5 %.
        margin = math.ceil((3 + self.order / 2) * scale / finest)
        if grid.edges == "periodic" and grid.size > LARGEST_DENSE and min(grid.shape) < 2 * margin:
            faults.add(
                code="length-too-long",
                found=f"a periodic grid of shape {grid.shape} with correlations over {2 * margin} points",
                expected="a period longer than the correlations",
                fix=f"length={self.length * min(grid.shape) / (2 * margin):.3g}, or without land Matern(...)",
            )
            faults.raise_if_any()
        variance = inverse_power_diagonal(stencil, self.order, margin)
        if grid.edges == "zero":
            variance = variance.max().expand(grid.shape)
        amplitude = variance.rsqrt()
        if grid.water is not None:
            amplitude = torch.where(grid.water.to("cpu"), amplitude, torch.zeros_like(amplitude))
        inverse = DiffusionInverse(stencil, dtype=dtype, device=device)
        return DiffusionCovariance(inverse, self.order, deviation * amplitude, dtype=dtype, device=device)
