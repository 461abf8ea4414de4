"""Uncorrelated errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.grid import Device, Grid
from xvar.errors import Fault, InputError


def checked_deviation(std: float | Tensor, grid: Grid) -> Tensor:
    r"""Return a standard deviation in float64 on the CPU, with an axis for each of (window, component, \*grid).

    Raises InputError if it is negative, not finite, or has another shape than the grid.
    """
    deviation = torch.as_tensor(std, dtype=torch.float64, device="cpu").detach()
    axes = len(grid.shape)
    own = tuple(deviation.shape)[-axes:]
    if deviation.ndim > axes + 2 or any(
        n not in (1, m) for n, m in zip(reversed(own), reversed(grid.shape), strict=False)
    ):
        found = f"a standard deviation of shape {tuple(deviation.shape)}"
        expected = f"one broadcastable to (window, component, *grid) with a grid of shape {grid.shape}"
        raise InputError(Fault(found, expected, "std=1.0, or a tensor on the grid", code="std-shape"))
    if not bool(((deviation >= 0) & deviation.isfinite()).all()):
        found, expected = "a standard deviation that is negative or not finite", "finite numbers, zero or more"
        raise InputError(Fault(found, expected, "std=std.nan_to_num().abs()", code="std-not-valid"))
    return deviation.reshape((1,) * (axes + 2 - deviation.ndim) + tuple(deviation.shape))


class DiagonalCovariance(Covariance):
    r""":math:`B = \mathrm{diag}(\sigma^2)`, with σ broadcastable to (window, component, \*grid).

    If σ is zero, `solve` is the pseudo-inverse.
    """

    def __init__(self, std: Tensor) -> None:
        self.std = std
        self.dtype, self.device = std.dtype, std.device
        self._inverse = torch.where(std > 0, 1 / std**2, torch.zeros_like(std))

    def sqrt(self, control: Tensor) -> Tensor:
        """Multiply by the standard deviation."""
        return control * self.std

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Multiply by the standard deviation."""
        return state * self.std

    def solve(self, state: Tensor) -> Tensor:
        """Divide by the variance."""
        return state * self._inverse

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor:
        """Return the variance of the analysis over that of the background, exactly."""
        return (1 / (1 + self.std**2 * curvature)).expand(shape)

    def select(self, windows: Tensor) -> DiagonalCovariance:
        """Return the operator of some windows."""
        return DiagonalCovariance(self.std[windows]) if len(self.std) > 1 else self

    def log_determinant(self, shape: Shape) -> Tensor:
        """Sum the logarithms of the variances of each window."""
        return 2 * self.std.log().expand(shape).flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Diagonal(Specification):
    r"""Uncorrelated errors: :math:`B = \mathrm{diag}(\sigma^2)`.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation in the variable's units, broadcastable to (window, component, \*grid); zero means no error.
    """

    std: float | Tensor

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> DiagonalCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        return DiagonalCovariance(checked_deviation(self.std, grid).to(device=device, dtype=dtype))
