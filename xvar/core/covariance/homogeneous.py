"""Homogeneous errors: of the Matérn family, with the spectrum of samples, and by penalties on differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Covariance, Penalty, Specification, checked_deviation
from xvar.core.covariance.spectral import PeriodicVectorCovariance, SpectralCovariance, difference_symbols
from xvar.core.covariance.transform import DifferenceEdges, laplacian_eigenvalues, shared_transform
from xvar.core.grid import Device, Grid
from xvar.errors import Faults


def matern_scale(length: float, smoothness: int) -> float:
    r"""Return the L of :math:`1 - L^2 \nabla^2` in metres, from the stated length and the smoothness :math:`\nu`.

    On d axes Daley's length is :math:`D = \sqrt{-d / \nabla^2 c(0)} = L \sqrt{2 \nu - 2}`. For :math:`\nu = 1`
    the correlation has no curvature at the origin and the stated length is L itself, at which the correlation is 0.602;
    at Daley's length of a Gaussian it is 0.607.
    """
    return length if smoothness == 1 else length / math.sqrt(2 * smoothness - 2)


@dataclass(frozen=True, eq=False)
class Matern(Specification):
    r"""Homogeneous correlations of the Matérn family, on one axis or two.

    .. math::

        B = \Sigma \, N (1 - L^2 \nabla^2)^{-(\nu + d / 2)} N \, \Sigma, \qquad
        c(r) = \frac{2^{1-\nu}}{\Gamma(\nu)} \left(\frac rL\right)^\nu K_\nu\!\left(\frac rL\right)

    on d axes, with the Laplacian of forward differences in metres, and N such that the variance is exactly
    :math:`\sigma^2` at every point, edges included. With zeros beyond the edges N is one number, and :math:`\sigma^2`
    the greatest variance. Correlations cross land; those of `Diffusion` do not.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation :math:`\sigma` in the units of the variable, broadcastable to (window, component, y, x).
    length : float
        In metres, or in the units of an axis without a length: Daley's length
        :math:`\sqrt{-d / \nabla^2 c(0)} = L \sqrt{2\nu - 2}` for a smoothness of 2 or more, L itself for a smoothness
        of 1 (see `matern_scale`).
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
        squares = laplacian_eigenvalues(grid.shape, grid.spacing, edges, self.truncation)
        variances = self.spectrum(squares, len(grid.shape))
        deviation = checked_deviation(self.std, grid)
        return SpectralCovariance.with_deviation(transform, variances, deviation, dtype=dtype, device=device)

    def spectrum(self, squares: Tensor, axes: int = 2) -> Tensor:
        r"""Return :math:`(1 + L^2 k^2)^{-(\nu + d / 2)}` from the squared wavenumbers in m-2 on d axes."""
        scale = matern_scale(self.length, self.smoothness)
        return (1 + scale**2 * squares) ** -(self.smoothness + axes / 2)

    def correlation(self, distance: Tensor) -> Tensor:
        """Return c(r) at distances in metres, of the infinite plane."""
        r = (distance / matern_scale(self.length, self.smoothness)).clamp_min(1e-12)
        below, bessel = torch.special.modified_bessel_k0(r), torch.special.modified_bessel_k1(r)
        for order in range(1, int(self.smoothness)):
            below, bessel = bessel, below + 2 * order / r * bessel
        scale = 2.0 ** (1 - self.smoothness) / math.gamma(self.smoothness)
        return torch.where(r > 1e-6, scale * r**self.smoothness * bessel, 1.0)

    def check(self, grid: Grid, *, plane: bool = False) -> None:
        """Raise InputError if it cannot be bound to the grid; of a `plane` two axes are needed."""
        faults = Faults()
        faults.check_numbers(self, {"length": 10e3})
        if self.smoothness != int(self.smoothness) or self.smoothness < 1:
            faults.add(
                code="matern-smoothness",
                found=f"smoothness={self.smoothness}",
                expected="a whole number from 1 up",
                fix="smoothness=2",
            )
        (grid.check_plane if plane else grid.check_axes)(faults)
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


@dataclass(frozen=True)
class Tikhonov(Specification):
    r"""Penalties on the differences of an increment, as a covariance.

    .. math::

        x^T B^{-1} x = \sum_{\mathrm{pixels}} \alpha |\nabla w|^2 + \gamma (\nabla^2 w)^2 + \beta (\nabla \cdot w)^2
                       + \frac{\overline{w}^2}{\sigma^2}

    with forward differences in metres along each axis, :math:`\nabla^2 = -(D_x^T D_x + D_y^T D_y)`, and
    :math:`\overline{w}` the mean over the domain of each component. The square root of gradient and curvature is exact
    and costs one transform. That of the divergence is exact on periodic grids only: elsewhere half of its norm lies
    outside the blocks of a wavenumber, so the bound operator leaves it out and `penalties` returns it as a term of J,
    "divergence".

    Parameters
    ----------
    gradient : float
        :math:`\alpha`, in s2 for a velocity in m/s (in general m2 over the square of the variable's units).
    curvature : float
        :math:`\gamma`, in m2 s2.
    divergence : float
        :math:`\beta`, in s2. For a velocity only.
    mean_std : float, optional
        :math:`\sigma`, standard deviation of the mean over the domain of each component, in the units of the variable.
        Required with free and periodic edges, since a uniform motion has no differences; not allowed with zeros beyond
        the edges, which determine the mean.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        Values beyond the edges: none, zeros on all sides, those of the opposite edge, or zeros beyond the far edges
        only (the paper's appended row and column). Default: the grid's.
    truncation : float
        Share of the wavenumbers along each axis in the control, the lowest; 1 keeps all.
    pixel_area : float, optional
        Area in m2 of the pixels for which the weights are stated. The sum is multiplied by the ratio of the grid's
        pixel area to this one, and so approximates the same integral at every resolution; 1 gives weights per m2.
        Default: the pixel area of the grid, as in the paper.

    Notes
    -----
    The paper's rain case is ``Tikhonov(gradient=5e9, divergence=5e6, edges="appended_zero")``.

    References
    ----------
    Filoche, A., Béréziat, D., Brajard, J., Charantonis, A. (2021) Variational assimilation of geophysical images
    leveraging deep learning tools, ORASIS 2021.
    Lepoittevin, Y., Herlin, I. (2016) Regularization terms for motion estimation: links with spatial correlations,
    VISAPP 2016, doi:10.5220/0005712104580466.
    """

    gradient: float
    curvature: float = 0.0
    divergence: float = 0.0
    mean_std: float | None = None
    edges: DifferenceEdges | None = None
    truncation: float = 1.0
    pixel_area: float | None = None

    def _area_ratio(self, grid: Grid) -> float:
        return 1.0 if self.pixel_area is None else math.prod(grid.spacing) / self.pixel_area

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> Covariance:
        """Return the operator on a grid, without the divergence unless the edges are periodic; see `penalties`."""
        edges = self.edges or grid.edges
        self._check(grid, edges)
        weight = self._area_ratio(grid)
        whole = bool(self.divergence) and edges == "periodic"
        squares = laplacian_eigenvalues(grid.shape, grid.spacing, edges, 1.0 if whole else self.truncation)
        precision = weight * (self.gradient * squares + self.curvature * squares**2)
        if self.mean_std is not None:
            # The mean is the coefficient of the uniform vector of unit norm over the square root of the points.
            precision[0, 0] = 1 / (grid.size * self.mean_std**2)
        if whole:
            symbols = difference_symbols(grid)
            along = precision + weight * self.divergence * symbols.abs().square().sum(0)
            return PeriodicVectorCovariance(along.rsqrt(), precision.rsqrt(), symbols, dtype=dtype, device=device)
        transform = shared_transform(grid.shape, edges, dtype, device, self.truncation)
        return SpectralCovariance(transform, 1 / precision, dtype=dtype, device=device)

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:
        """Return the divergence as a term of J, ``{"divergence": function}``, unless the operator includes it."""
        edges = self.edges or grid.edges
        if not self.divergence or edges == "periodic":
            return {}
        weight = self.divergence * self._area_ratio(grid)
        return {"divergence": partial(divergence_penalty, grid=grid, weight=weight, edges=edges)}

    def _check(self, grid: Grid, edges: DifferenceEdges) -> None:
        faults = Faults()
        faults.check_numbers(self, {"gradient": 5e9, "curvature": 0.0, "divergence": 0.0}, zero_allowed=True)
        if self.gradient == self.curvature == 0:
            faults.add(
                code="tikhonov-no-weight",
                found="gradient=0 and curvature=0",
                expected="one of them positive",
                fix="gradient=5e9",
            )
        zeros = edges in ("zero", "appended_zero")
        if not zeros and not (self.mean_std is not None and 0 < self.mean_std < math.inf):
            faults.add(
                code="tikhonov-mean-std",
                found=f"mean_std={self.mean_std} with {edges} edges",
                expected="a positive standard deviation of the mean over the domain, which has no differences",
                fix="mean_std=10.0 (in the units of the variable)",
            )
        if zeros and self.mean_std is not None:
            faults.add(
                code="tikhonov-mean-std",
                found=f"mean_std={self.mean_std} with edges={edges!r}",
                expected="no mean_std: the zeros beyond the edges determine the mean",
                fix='mean_std=None or edges="free"',
            )
        if self.pixel_area is not None:
            faults.check_numbers(self, {"pixel_area": 1e6})
        grid.check_plane(faults)
        faults.raise_if_any()


def divergence_penalty(velocity: Tensor, grid: Grid, weight: float, edges: DifferenceEdges | None = None) -> Tensor:
    r"""Return :math:`\frac12 \beta \sum (\nabla \cdot w)^2` of each window (window,), by forward differences.

    The velocity (window, 2, y, x) is in m/s, component 0 along x, and :math:`\beta` (`weight`) in s2. The sum runs over
    the points at which both differences exist: with free edges all but the last row and column, with zeros on all sides
    one row and one column more. `edges` are those of `Tikhonov`, by default the grid's.
    """
    edges = edges or grid.edges
    beyond = {"free": (0, 0, 0, 0), "zero": (1, 1, 1, 1)}.get(edges, (0, 1, 0, 1))
    field = pad(velocity, beyond, mode="circular" if edges == "periodic" else "constant")
    dy, dx = grid.spacing
    along_x = field[:, 0, :-1].diff(dim=-1) / dx
    along_y = field[:, 1, :, :-1].diff(dim=-2) / dy
    return 0.5 * weight * ((along_x + along_y) ** 2).flatten(1).sum(1)
