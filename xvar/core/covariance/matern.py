"""Homogeneous correlations of the Matérn family."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.checks import check_numbers, check_plane
from xvar.core.covariance.base import Specification
from xvar.core.covariance.diagonal import checked_deviation
from xvar.core.covariance.spectral import SpectralCovariance
from xvar.core.covariance.transform import DifferenceEdges, laplacian_eigenvalues, shared_transform
from xvar.core.grid import Device, Grid
from xvar.errors import Faults


def matern_scale(length: float, smoothness: int) -> float:
    r"""Return the L of :math:`1 - L^2 \nabla^2` in metres, from the stated length and the smoothness :math:`\nu`.

    In two dimensions Daley's length is :math:`D = \sqrt{-2 / \nabla^2 c(0)} = L \sqrt{2 \nu - 2}`. For :math:`\nu = 1`
    the correlation has no curvature at the origin and the stated length is L itself, at which the correlation is 0.602;
    at Daley's length of a Gaussian it is 0.607.
    """
    return length if smoothness == 1 else length / math.sqrt(2 * smoothness - 2)


@dataclass(frozen=True, eq=False)
class Matern(Specification):
    r"""Homogeneous correlations of the Matérn family, on two axes.

    .. math::

        B = \Sigma \, N (1 - L^2 \nabla^2)^{-(\nu + 1)} N \, \Sigma, \qquad
        c(r) = \frac{2^{1-\nu}}{\Gamma(\nu)} \left(\frac rL\right)^\nu K_\nu\!\left(\frac rL\right)

    with the Laplacian of forward differences in metres, and N such that the variance is exactly :math:`\sigma^2` at
    every point, edges included. With zeros beyond the edges N is one number, and :math:`\sigma^2` the greatest
    variance. Correlations cross land; those of `Diffusion` do not.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation :math:`\sigma` in the units of the variable, broadcastable to (window, component, y, x).
    length : float
        In metres: Daley's length :math:`\sqrt{-2 / \nabla^2 c(0)} = L \sqrt{2\nu - 2}` for a smoothness of 2 or more,
        L itself for a smoothness of 1 (see `matern_scale`).
    smoothness : int
        :math:`\nu \ge 1`: fields of 1 are just not differentiable; the limit of large ones is the Gaussian.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        Values beyond the edges. Default: the grid's.
    truncation : float
        Share of the wavenumbers along each axis in the control, the lowest. Long correlations leave nothing in the
        others.

    References
    ----------
    Lindgren, F., Rue, H., Lindström, J. (2011) An explicit link between Gaussian fields and Gaussian Markov random
    fields, doi:10.1111/j.1467-9868.2011.00777.x.
    Weaver, A., Courtier, P. (2001) Correlation modelling on the sphere using a generalized diffusion equation,
    doi:10.1002/qj.49712757518.
    """

    std: float | Tensor
    length: float
    smoothness: int = 1
    edges: DifferenceEdges | None = None
    truncation: float = 1.0

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> SpectralCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        self.check(grid)
        edges = self.edges or grid.edges
        transform = shared_transform(grid.shape, edges, dtype, device, self.truncation)
        variances = self.spectrum(laplacian_eigenvalues(grid.shape, grid.spacing, edges))
        deviation = checked_deviation(self.std, grid)
        return SpectralCovariance.with_deviation(transform, variances, deviation, dtype=dtype, device=device)

    def spectrum(self, squares: Tensor) -> Tensor:
        r"""Return :math:`(1 + L^2 k^2)^{-(\nu+1)}` from the squared wavenumbers in m-2."""
        scale = matern_scale(self.length, self.smoothness)
        return (1 + scale**2 * squares) ** -(self.smoothness + 1)

    def check(self, grid: Grid) -> None:
        """Raise InputError if it cannot be bound to the grid."""
        faults = Faults()
        check_numbers(self, {"length": 10e3}, faults)
        if self.smoothness != int(self.smoothness) or self.smoothness < 1:
            faults.add(
                code="matern-smoothness",
                found=f"smoothness={self.smoothness}",
                expected="a whole number from 1 up",
                fix="smoothness=2",
            )
        check_plane(grid, faults)
        faults.raise_if_any()
