"""The Matérn family, a standard deviation and a length in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Specification
from xvar.core.covariance.diagonal import checked_deviation
from xvar.core.covariance.spectral import SpectralCovariance
from xvar.core.covariance.transform import DifferenceEdges, laplacian_eigenvalues, shared_transform
from xvar.core.grid import Grid
from xvar.errors import Faults


def matern_scale(length: float, smoothness: int) -> float:
    r"""Return the L of :math:`1 - L^2 \nabla^2` in metres, from the stated length and the smoothness :math:`\nu`.

    In two dimensions Daley's length is :math:`D = \sqrt{-2 / \nabla^2 c(0)} = L \sqrt{2 \nu - 2}`. For :math:`\nu = 1`
    the correlation has no curvature at the origin and the stated length is L itself: the correlation at this distance
    is 0.602 there, and 0.607 at Daley's length of a Gaussian.
    """
    return length if smoothness == 1 else length / math.sqrt(2 * smoothness - 2)


@dataclass(frozen=True, eq=False)
class Matern(Specification):
    r"""Correlations of the Matérn family, the same everywhere, on two axes.

    .. math::

        B = \Sigma \, N (1 - L^2 \nabla^2)^{-(\nu + 1)} N \, \Sigma, \qquad
        c(r) = \frac{2^{1-\nu}}{\Gamma(\nu)} \left(\frac rL\right)^\nu K_\nu\!\left(\frac rL\right)

    with the Laplacian of forward differences in metres, and N such that the variance is :math:`\sigma^2` at every point
    exactly, edges included. With zeros beyond the edges the field must vanish there: N is then one number, and
    :math:`\sigma^2` the greatest variance. Land is not seen: `Diffusion` knows coasts.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation :math:`\sigma` in the units of the variable, broadcastable to (window, component, y, x).
    length : float
        In metres: Daley's length :math:`\sqrt{-2 / \nabla^2 c(0)} = L \sqrt{2\nu - 2}` for a smoothness of 2 or more; L
        itself for a smoothness of 1, which has none (the correlation at this distance is 0.602; at Daley's length of a
        Gaussian it is 0.607).
    smoothness : int
        :math:`\nu \ge 1`: 1 gives fields that are just not differentiable, many the Gaussian.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        What lies beyond the edges. Default: the grid's.
    truncation : float
        Share of the wavenumbers along each axis that may be anything but zero, the lowest: long correlations leave
        nothing in the others, and the control is so much smaller.

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

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> SpectralCovariance:
        """Operator on this grid.

        Raises
        ------
        InputError
            Where the length or the standard deviation is not positive, the smoothness not a whole number from 1 up, or
            the grid has not two axes.
        """
        self.check(grid)
        edges = self.edges or grid.edges
        transform = shared_transform(grid.shape, edges, dtype, device, self.truncation)
        rows, columns = transform.modes
        variances = self.spectrum(laplacian_eigenvalues(grid.shape, grid.spacing, edges))[:rows, :columns]
        variance = transform.diagonal(variances)
        if edges in ("zero", "appended_zero"):
            variance = variance.max()
        scale = checked_deviation(self.std, grid) / variance.sqrt()
        return SpectralCovariance(transform, variances, scale, dtype=dtype, device=device)

    def spectrum(self, squares: Tensor) -> Tensor:
        r""":math:`(1 + L^2 k^2)^{-(\nu+1)}` from the squared wavenumbers in m-2."""
        scale = matern_scale(self.length, self.smoothness)
        return (1 + scale**2 * squares) ** -(self.smoothness + 1)

    def check(self, grid: Grid) -> None:
        """Raise InputError where it cannot be bound to the grid."""
        faults = Faults()
        if not 0 < self.length < math.inf:
            faults.add(found=f"length={self.length}", expected="a positive length in metres", fix="mend length")
        if self.smoothness != int(self.smoothness) or self.smoothness < 1:
            faults.add(
                found=f"smoothness={self.smoothness}", expected="a whole number from 1 up", fix="choose 1, 2 or 3"
            )
        if len(grid.shape) != 2:
            faults.add(found=f"a grid of shape {grid.shape}", expected="two axes (y, x)", fix="use Diagonal there")
        faults.raise_if_any()
