"""Homogeneous and isotropic errors: of the Matérn family, and with the spectrum of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

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
        faults.check_numbers(self, {"length": 10e3})
        if self.smoothness != int(self.smoothness) or self.smoothness < 1:
            faults.add(
                code="matern-smoothness",
                found=f"smoothness={self.smoothness}",
                expected="a whole number from 1 up",
                fix="smoothness=2",
            )
        grid.check_plane(faults)
        faults.raise_if_any()


#: Smallest variance of a wave, relative to the largest.
LEAST = 1e-10


@dataclass(frozen=True, eq=False)
class Homogeneous(Specification):
    r"""Homogeneous and isotropic errors with the spectrum of samples, on two axes.

    .. math:: B = S\, C^T \Lambda C\, S, \qquad
        \Lambda(k) = \frac{1}{N\, n(k)} \sum_i \sum_{|k' - k| < \frac12} \left| (C x_i)_{k'} \right|^2

    with the orthonormal transform C of the grid's edges, and S such that the variance at every point is the mean
    variance of the samples. The mean is over the N samples and the n(k) waves of a ring of wavenumbers, as wide as that
    of the longest wave, log-linear between the middles of the rings. Samples are differences of model states that
    represent errors (the method of the National Meteorological Center): forecasts of different lead times for one time,
    or states as far apart in time as the background is old. Few suffice, as each ring holds many waves.

    Parameters
    ----------
    samples : Tensor (sample, y, x)
        In the units of the variable, on the grid; their mean over the domain is a wave like the others.
    scale : float
        Factor of the standard deviation of the samples.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        Values beyond the edges. Default: the grid's.

    References
    ----------
    Parrish, D. F., Derber, J. C. (1992) The National Meteorological Center's spectral statistical-interpolation
    analysis system, doi:10.1175/1520-0493(1992)120<1747:TNMCSS>2.0.CO;2.
    """

    samples: Tensor
    scale: float = 1.0
    edges: DifferenceEdges | None = None

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> SpectralCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        self._check(grid)
        edges = self.edges or grid.edges
        fields = self.samples.detach().to("cpu", torch.float64)
        spectrum = shared_transform(grid.shape, edges, torch.float64, "cpu").forward(fields[None])[0].square().mean(0)
        squares = laplacian_eigenvalues(grid.shape, grid.spacing, edges).to("cpu", torch.float64)
        # In units of the longest wave of the basis: between free edges half a wave, on a periodic grid a whole one.
        longest = squares[squares > 1e-9 * squares.max()].min() if squares.max() > 0 else torch.ones(())
        number = (squares / longest).sqrt()
        variances = _by_rings(number.flatten(), spectrum.flatten()).reshape(number.shape)
        transform = shared_transform(grid.shape, edges, dtype, device)
        # Waves have a larger variance at a free edge, which the operator compensates.
        deviation = (self.scale * fields.square().mean().sqrt()).reshape(1, 1, 1, 1)
        return SpectralCovariance.with_deviation(transform, variances, deviation, dtype=dtype, device=device)

    def _check(self, grid: Grid) -> None:
        faults = Faults()
        shape = tuple(self.samples.shape)
        if len(grid.shape) != 2 or len(shape) != 3 or shape[1:] != grid.shape or shape[0] < 1:
            faults.add(
                code="samples-shape",
                found=f"samples of shape {shape} for a grid of shape {grid.shape}",
                expected="(sample, y, x) on the grid",
                fix="torch.stack(differences of model states)",
            )
        elif not bool(self.samples.isfinite().all()) or not bool(self.samples.any()):
            faults.add(
                code="samples-not-valid",
                found="samples that are all zero, or not finite",
                expected="finite differences of states",
                fix="samples[samples.isfinite().flatten(1).all(1)]",
            )
        faults.check_numbers(self, {"scale": 1.0})
        faults.raise_if_any()


def _by_rings(number: Tensor, spectrum: Tensor) -> Tensor:
    """Average a spectrum over rings of wavenumbers, and interpolate log-linearly between their middles."""
    ring = number.round().long()
    count = torch.bincount(ring)
    held = count > 0
    power, middle = (
        torch.bincount(ring, values, minlength=len(count))[held] / count[held] for values in (spectrum, number)
    )
    if len(middle) == 1:
        return power.expand(len(number))
    right = torch.searchsorted(middle, number).clamp(1, len(middle) - 1)
    low, high = middle[right - 1], middle[right]
    share = ((number - low) / (high - low)).clamp(0, 1)
    logs = power.clamp_min(LEAST * float(power.max())).log()
    return torch.lerp(logs[right - 1], logs[right], share).exp()
