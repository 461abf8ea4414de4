"""Motion as a mean, a stream function and a potential."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.coast import Coast, with_coast
from xvar.core.covariance.homogeneous import Matern, matern_scale
from xvar.core.covariance.spectral import PeriodicVectorCovariance, difference_symbols, symbols_along_axes
from xvar.core.covariance.transform import laplacian_eigenvalues
from xvar.core.grid import Device, Grid
from xvar.core.linear_maps import linear, truncated_conjugate_gradients
from xvar.errors import Faults


@dataclass(frozen=True)
class Helmholtz(Specification):
    r"""A motion that is uniform, plus the curl of a stream function, plus the gradient of a potential.

    .. math::

        w = \overline w + \nabla^\perp \psi + \nabla \chi, \qquad
        P_\psi(k) \propto k^{-2} (1 + L^2 k^2)^{-(\nu+1)}, \qquad P_\chi = r P_\psi

    The velocity has the spectrum of the Matérn family, shared between a part without divergence and a part without curl
    (both exactly so for forward differences). With r = 1 the components are uncorrelated, each of the Matérn family.
    With free edges the statistics are those of a larger periodic grid, the same at every point; the margin separates
    opposite edges by a distance at which the correlation is below 0.1. (It falls with the square of the distance,
    however short the length, since one part is free of divergence.) Correlations cross land, unless
    ``coast="no_flow"``: the statistics are then conditional on no flow through the coast, see
    `xvar.core.covariance.coast.NoFlowCovariance`.

    Parameters
    ----------
    std : float
        Standard deviation of each component of :math:`w - \overline w` at a point, in m/s.
    length : float
        In metres, as in `Matern`: L itself for a smoothness of 1, else Daley's length.
    mean_std : float
        Standard deviation of each component of the uniform motion, in m/s.
    smoothness : int
        :math:`\nu` of the velocity.
    potential_ratio : float
        r, the power of the potential over that of the stream function, positive.
    coast : {"free", "no_flow"}
    edges : {"free", "periodic"}, optional
        Default: the grid's. Zeros beyond the edges are compatible with neither part.

    References
    ----------
    Lindgren, F., Rue, H., Lindström, J. (2011) An explicit link between Gaussian fields and Gaussian Markov random
    fields, doi:10.1111/j.1467-9868.2011.00777.x.
    """

    std: float
    length: float
    mean_std: float
    smoothness: int = 1
    potential_ratio: float = 0.2
    edges: Literal["free", "periodic"] | None = None
    coast: Coast = "free"

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> Covariance:
        """Return the operator on a grid, for states of two components (u, v); see `Specification.bind`."""
        edges = self.edges or grid.edges
        faults = Faults()
        faults.check_numbers(self, {"std": 0.3, "length": 10e3, "mean_std": 0.3, "potential_ratio": 0.2})
        faults.check_choice("edges", edges, ("free", "periodic"), "free")
        faults.raise_if_any()
        Matern(self.std, self.length, self.smoothness).check(grid, plane=True)
        # Twice the distance at which the correlation has fallen to 0.13.
        distance = 2 * matern_scale(self.length, self.smoothness) * math.sqrt(8 * self.smoothness)
        larger = grid if edges == "periodic" else Grid(with_margin(grid, distance), grid.spacing, edges="periodic")
        across, along = self.variances(larger)
        parts = along.sqrt(), across.sqrt(), difference_symbols(larger)
        make = partial(PeriodicVectorCovariance, *parts)
        return with_coast(make, larger.shape, grid, self.coast, dtype=dtype, device=device)

    def variances(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return the variances of the parts without divergence and without curl, by wavenumber of a periodic grid."""
        variances = Matern(self.std, self.length, self.smoothness).spectrum(
            laplacian_eigenvalues(grid.shape, grid.spacing, "periodic")
        )
        variances[0, 0] = 0
        # Half of the trace of a block is the mean over the components.
        across = variances * self.std**2 / (variances.mean() * (1 + self.potential_ratio) / 2)
        along = across * self.potential_ratio
        across[0, 0] = along[0, 0] = grid.size * self.mean_std**2
        return across, along


def with_margin(grid: Grid, distance: float, coarsest: int = 1) -> Shape:
    """Return the shape of a periodic grid around another, with a margin of a distance in metres, at most the grid's.

    It is a multiple of `coarsest`: whole blocks of so many cells a side.
    """
    return tuple(
        coarsest * fast_size(math.ceil((n + min(n, math.ceil(distance / d))) / coarsest))
        for n, d in zip(grid.shape, grid.spacing, strict=True)
    )


def fast_size(points: int) -> int:
    """Return the next even number whose only factors are 2, 3 and 5, each of which divides a power of 30."""
    return next(size for size in count(points + points % 2, 2) if 30 ** size.bit_length() % size == 0)


RIDGE = 0.03  # standard deviation in `solve` of the waves that are left out, relative to that of the motion
ITERATIONS = 1000  # of the conjugate gradients of `solve`
TOLERANCE = 1e-20  # of their squared residual, relative to the first
POWER = 0.7  # of the inverse Hessian; with 1 short waves would be fitted before long ones, up to a false minimum


class StreamPotentialCovariance(Covariance):
    r"""The covariance of `Helmholtz`, with the coefficients of stream function and potential as its control.

    .. math:: B^{1/2} = P^T F^H [e_\perp \sigma_\perp, e_\parallel \sigma_\parallel]

    on a larger periodic grid, with the standard deviation of each coefficient (`across`, `along`) and the Fourier
    symbols of the differences there along y and along x, restricted by P to the domain `shape`. A control is the real
    or the imaginary part of one coefficient of one part, so the inverse Hessian of observations of both components
    alike is diagonal in it. Of the wavenumbers along each axis the share `truncation` is kept, without the shortest
    waves; `solve` inverts
    :math:`B + r^2` by conjugate gradients, a least-squares fit of the others.
    """

    def __init__(
        self,
        across: Tensor,
        along: Tensor,
        symbols: tuple[Tensor, ...],
        shape: Shape,
        truncation: float,
        *,
        dtype: torch.dtype,
        device: Device = None,
    ) -> None:
        self._shape, self._larger = tuple(shape), tuple(across.shape)
        ny, nx = self._larger
        rows, self._columns = min(ny - 1, int(ny * truncation)), min(nx // 2 + 1, int((nx // 2 + 1) * truncation))
        self._low = (rows + 1) // 2
        self._high = rows - self._low
        kept = torch.cat((torch.arange(self._low), torch.arange(ny - self._high, ny)))
        deviation = torch.stack([part[kept, : self._columns] for part in (across, along)])
        along_y, along_x = symbols[0][kept, None], symbols[1][: self._columns]
        # Each coefficient has two real numbers of unit variance.
        directions = _directions(torch.stack(torch.broadcast_tensors(along_x, along_y)))
        root = directions * (deviation * math.sqrt(0.5))
        # The transform to points takes the real part of the first column, which stands for two conjugate halves.
        root[..., 0] *= math.sqrt(2)
        variance = deviation.square()[None]
        self._root = root.to(device=device, dtype=dtype.to_complex())
        self._roots: tuple[Tensor, ...] = (self._root,)  # of each motion
        self._variance = variance.to(device=device, dtype=dtype)
        self._share = math.prod(self._shape) / math.prod(self._larger)
        self._floor = RIDGE**2 * float((across.square() + along.square()).mean() / 2)
        self.dtype, self.device = dtype, self._root.device

    def control_shape(self, shape: Shape) -> Shape:
        """Return (window, part, real and imaginary, row, column)."""
        return (shape[0], 2, 2, self._low + self._high, self._columns)

    def sqrt(self, control: Tensor) -> Tensor:
        """Apply one inverse Fourier transform for each component, and keep the domain."""
        return linear(control, self._synthesise, self._analyse)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Apply one Fourier transform for each component."""
        return linear(state, self._analyse, self._synthesise)

    @property
    def stack_key(self) -> Any:
        """Grid and waves."""
        return self._shape, self._larger, self._low, self._high, self._columns

    @classmethod
    def stack(cls, parts: Sequence[tuple[StreamPotentialCovariance, int]]) -> StreamPotentialCovariance:
        """Return one operator on several motions."""
        stacked = copy(parts[0][0])
        stacked._roots = tuple(part._root for part, _ in parts)
        return stacked

    def _synthesise(self, control: Tensor) -> Tensor:
        waves = torch.complex(control[:, :, 0], control[:, :, 1]).split(2, dim=1)
        pairs = zip(self._roots, waves, strict=True)
        spectrum = torch.cat([torch.addcmul(root[:, 0] * v[:, :1], root[:, 1], v[:, 1:]) for root, v in pairs], dim=1)
        gap = spectrum.new_zeros(*spectrum.shape[:2], self._larger[0] - self._low - self._high, self._columns)
        full = torch.cat((spectrum[:, :, : self._low], gap, spectrum[:, :, self._low :]), dim=2)
        rows = torch.fft.ifft(full, dim=-2, norm="ortho")[:, :, : self._shape[0]]
        torch.view_as_real(rows)[..., 0, 1] = 0  # so that the motion is real
        field: Tensor = torch.fft.irfft(rows, n=self._larger[1], dim=-1, norm="ortho")
        return field[..., : self._shape[1]].contiguous()

    def _analyse(self, state: Tensor) -> Tensor:
        """Return the adjoint of `_synthesise`, its steps in reverse."""
        ny, nx = self._larger
        spectrum = torch.fft.rfft(state, n=nx, dim=-1, norm="ortho")[..., : self._columns]
        full = torch.fft.fft(spectrum, n=ny, dim=-2, norm="ortho")
        kept = torch.cat((full[:, :, : self._low], full[:, :, ny - self._high :]), dim=2)
        # A coefficient that represents two conjugate ones counts twice.
        kept[..., 1 : (nx + 1) // 2] *= 2
        pairs = zip(self._roots, kept.split(2, dim=1), strict=True)
        waves = [torch.addcmul(root[0].conj() * w[:, :1], root[1].conj(), w[:, 1:]) for root, w in pairs]
        parts = torch.cat(waves, dim=1)
        return torch.stack((parts.real, parts.imag), dim=2)

    def solve(self, state: Tensor) -> Tensor:
        """Return :math:`(B + r^2)^{-1} x`, by conjugate gradients."""
        return linear(state, self._solve, self._solve)

    def _solve(self, state: Tensor) -> Tensor:
        def nearly(x: Tensor) -> Tensor:
            control = self.sqrt_transpose(x) / (self._variance + self._floor)[:, :, None]
            return (x - self.sqrt(control)) / self._floor

        return truncated_conjugate_gradients(
            lambda x: self.apply(x) + self._floor * x, state, nearly, TOLERANCE, ITERATIONS
        )[0]

    def refine(self, coarse: Covariance, control: Tensor) -> Tensor | None:
        """Return the control of the motion of a coarse grid of the same period.

        A wave of the coarse grid is one of this grid with another phase, as the centres of the first cells differ.
        """
        assert isinstance(coarse, StreamPotentialCovariance)
        factor = self._larger[0] / coarse._larger[0]
        low, high, columns = (min(getattr(self, k), getattr(coarse, k)) for k in ("_low", "_high", "_columns"))
        theirs, ours = (
            torch.cat((torch.arange(low), torch.arange(own._low + own._high - high, own._low + own._high)))
            for own in (coarse, self)
        )
        spectrum = torch.complex(control[:, :, 0], control[:, :, 1])[:, :, theirs][..., :columns]
        motion = (coarse._root[:, :, theirs][..., :columns] * spectrum[:, None]).sum(2)
        rows = torch.cat((torch.arange(low), torch.arange(-high, 0)))[:, None] / self._larger[0]
        turns = (rows + torch.arange(columns) / self._larger[1]) * (factor - 1) / 2
        moved = motion * torch.polar(torch.full_like(turns, factor), -2 * math.pi * turns).to(motion)
        root = self._root[:, :, ours][..., :columns]
        parts = (root.conj() * moved[:, :, None]).sum(1) / root.abs().square().sum(0)
        fine = control.new_zeros(self.control_shape((len(control),)))
        for index, part in enumerate((parts.real, parts.imag)):
            fine[:, :, index, ours, :columns] = part
        return fine

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor:
        """Approximate each coefficient alone, to a power below one."""
        # Contiguous: over strides of zero the order of a sum, and so its bits, depends on the number of windows.
        mean = curvature.expand(shape).contiguous().mean((1, 2, 3)) * self._share
        # One window after the other: the bits of a power depend on the position of a value in the batch.
        diagonal = torch.stack([(1 + one * self._variance[0]) ** -POWER for one in mean])
        return diagonal[:, :, None].expand(-1, -1, 2, -1, -1)


def period_around(grid: Grid, length: float, coarsest: int) -> tuple[float, ...]:
    """Return a period along (y, x) in metres with a margin for a correlation length in metres beside a grid.

    It is a whole number of cells at all levels, the coarsest with blocks of `coarsest` cells a side.
    """
    shape = with_margin(grid, 2 * length * math.sqrt(8), coarsest)
    return tuple(n * d for n, d in zip(shape, grid.spacing, strict=True))


def _directions(symbols: Tensor) -> Tensor:
    """Return unit vectors (component, part, row, column) across and along each wave; u and v for the mean."""
    norm = symbols.abs().square().sum(0).sqrt()
    wave = norm > 0
    along = torch.where(wave, symbols.conj() / norm.clamp_min(1e-300), torch.zeros_like(symbols))
    across = torch.stack((-along[1].conj(), along[0].conj()))
    along[1][~wave] = 1
    across[0][~wave] = 1
    return torch.stack((across, along), dim=1)


@dataclass(frozen=True)
class StreamPotential(Helmholtz):
    r"""The statistics of `Helmholtz` on free edges, with a control for fast minimisation.

    .. math:: w = \overline{w} + \nabla^\perp \psi + \nabla \chi

    The control leaves out the shortest waves, in which long correlations leave next to nothing, and makes the Hessian
    nearly diagonal.

    References
    ----------
    Daley (1991), Atmospheric Data Analysis, Cambridge University Press, section 5.2 (motion from ψ and χ).
    """

    truncation: float = 0.5  # share of the wavenumbers along each axis that are kept
    period: tuple[float, ...] | None = None  # along (y, x) in metres, one at all resolutions, see `period_around`

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> Covariance:
        """Return the operator on a grid, for states of two components (u, v); see `Specification.bind`."""
        Matern(self.std, self.length, self.smoothness).check(grid, plane=True)
        period = self.period or period_around(grid, matern_scale(self.length, self.smoothness), 1)
        shape = tuple(max(n, round(p / d)) for n, p, d in zip(grid.shape, period, grid.spacing, strict=True))
        larger = Grid(shape, grid.spacing, edges="periodic")
        across, along = self.variances(larger)
        parts = across.sqrt(), along.sqrt(), symbols_along_axes(larger)
        make = partial(StreamPotentialCovariance, *parts, truncation=self.truncation)
        return with_coast(make, larger.shape, grid, self.coast, dtype=dtype, device=device)
