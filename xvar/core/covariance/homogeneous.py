"""Homogeneous and isotropic errors with the spectrum of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.checks import check_numbers
from xvar.core.covariance.base import Specification
from xvar.core.covariance.spectral import SpectralCovariance
from xvar.core.covariance.transform import DifferenceEdges, laplacian_eigenvalues, shared_transform
from xvar.core.grid import Device, Grid
from xvar.errors import Faults

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
        check_numbers(self, {"scale": 1.0}, faults)
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
