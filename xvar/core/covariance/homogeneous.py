r"""Errors whose spectrum is that of samples, the same everywhere and in all directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Specification
from xvar.core.covariance.spectral import SpectralCovariance
from xvar.core.covariance.transform import DifferenceEdges, laplacian_eigenvalues, shared_transform
from xvar.core.grid import Grid
from xvar.errors import Faults

#: Of the largest variance: waves that the samples do not hold are no reason to divide by zero.
LEAST = 1e-10


@dataclass(frozen=True, eq=False)
class Homogeneous(Specification):
    r"""Homogeneous and isotropic errors with the spectrum of samples, on two axes.

    .. math:: B = S\, C^T \Lambda C\, S, \qquad
        \Lambda(k) = \frac{1}{N\, n(k)} \sum_i \sum_{|k' - k| < \frac12} \left| (C x_i)_{k'} \right|^2

    with the orthonormal transform C of the grid's edges, and S such that the variance at every point is that of the
    samples on average; the mean is over the N samples and the n(k) waves in a ring of
    wavenumbers, as wide as that of the longest wave, log-linear between the middles of the rings. Samples
    are differences of model states that stand for errors: of forecasts of unlike lead for one time, or of states so
    far apart in time as the background is off (the method of the National Meteorological Center). Few of them do, as
    the rings hold many waves each; a correlation of a stated form, such as `Matern`, has the tail that its form has.

    Parameters
    ----------
    samples : Tensor (sample, y, x)
        In the units of the variable, on the grid; their mean over the domain is a wave like the others.
    scale : float
        By which the standard deviation of the samples is multiplied.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        What lies beyond the edges. Default: the grid's.

    References
    ----------
    Parrish, D. F., Derber, J. C. (1992) The National Meteorological Center's spectral statistical-interpolation
    analysis system, doi:10.1175/1520-0493(1992)120<1747:TNMCSS>2.0.CO;2.
    """

    samples: Tensor
    scale: float = 1.0
    edges: DifferenceEdges | None = None

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> SpectralCovariance:
        """Operator on this grid.

        Raises
        ------
        InputError
            Where the samples are not on the grid, not finite, or all zero, or the scale is not positive.
        """
        self._check(grid)
        edges = self.edges or grid.edges
        fields = self.samples.detach().to("cpu", torch.float64)
        spectrum = shared_transform(grid.shape, edges, torch.float64, "cpu").forward(fields[None])[0].square().mean(0)
        squares = laplacian_eigenvalues(grid.shape, grid.spacing, edges).to("cpu", torch.float64)
        # In units of the longest wave of the basis: half a wave a side between free edges, a whole one around.
        longest = squares[squares > 1e-9 * squares.max()].min() if squares.max() > 0 else torch.ones(())
        number = (squares / longest).sqrt()
        ring = number.round().long()
        count = torch.bincount(ring.flatten())
        held = count > 0
        power = torch.bincount(ring.flatten(), spectrum.flatten(), minlength=len(count))[held] / count[held]
        middle = torch.bincount(ring.flatten(), number.flatten(), minlength=len(count))[held] / count[held]
        right = torch.searchsorted(middle, number.flatten()).clamp(1, len(middle) - 1) if len(middle) > 1 else None
        if right is None:
            variances = power.expand(number.numel())
        else:
            low, high = middle[right - 1], middle[right]
            share = ((number.flatten() - low) / (high - low)).clamp(0, 1)
            logs = power.clamp_min(LEAST * float(power.max())).log()
            variances = torch.lerp(logs[right - 1], logs[right], share).exp()
        transform = shared_transform(grid.shape, edges, dtype, device)
        variances = variances.reshape(number.shape)
        # Waves that end at a free edge are higher there: every point has the variance of the samples.
        variance = transform.diagonal(variances)
        if edges in ("zero", "appended_zero"):
            variance = variance.max()
        deviation = self.scale * fields.square().mean().sqrt() / variance.sqrt()
        scale = deviation.reshape(1, 1, *deviation.shape) if deviation.ndim else deviation.reshape(1, 1, 1, 1)
        return SpectralCovariance(transform, variances, scale, dtype=dtype, device=device)

    def _check(self, grid: Grid) -> None:
        faults = Faults()
        shape = tuple(self.samples.shape)
        if len(grid.shape) != 2 or len(shape) != 3 or shape[1:] != grid.shape or shape[0] < 1:
            faults.add(
                found=f"samples of shape {shape} for a grid of shape {grid.shape}",
                expected="(sample, y, x) on the grid",
                fix="differences of model states, one after the other",
            )
        elif not bool(self.samples.isfinite().all()) or not bool(self.samples.any()):
            faults.add(
                found="samples that are all zero, or not finite", expected="differences of states", fix="mend samples"
            )
        if not self.scale > 0:
            faults.add(found=f"scale={self.scale}", expected="a positive number", fix="mend scale")
        faults.raise_if_any()
