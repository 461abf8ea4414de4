"""Covariances of vectors on periodic grids: one 2 by 2 block for each wavenumber."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Covariance, Shape
from xvar.core.grid import Device, Grid
from xvar.core.linear_maps import conjugate_gradients


def difference_symbols(grid: Grid) -> Tensor:
    r"""Fourier symbols :math:`(e^{i \theta} - 1) / d` of forward differences along x and y, complex (2, y, x), m-1."""
    (ny, nx), (dy, dx) = grid.shape, grid.spacing

    def symbol(points: int, spacing: float) -> Tensor:
        angle = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
        # As a product, which is real at the highest wavenumber of an even number of points and exact at small angles.
        return torch.complex(-2 * torch.sin(angle / 2) ** 2, torch.sin(angle)) / spacing

    along_y, along_x = symbol(ny, dy), symbol(nx, dx)
    return torch.stack((along_x.expand(ny, nx), along_y[:, None].expand(ny, nx)))


def _reflected(spectrum: Tensor) -> Tensor:
    """Return x(-k), the values at the opposite wavenumbers."""
    return spectrum.flip((-2, -1)).roll((1, 1), (-2, -1))


class PeriodicVectorCovariance(Covariance):
    r"""Two components whose covariance is a 2 by 2 block for each wavenumber of a periodic grid.

    .. math:: B = F^H \left[ \sigma_\perp^2 (I - e e^H) + \sigma_\parallel^2 e e^H \right] F

    with :math:`e(k)` the unit vector along the gradient (u first): the divergent part of the motion has the variances
    :math:`\sigma_\parallel^2` (`along`), the rest :math:`\sigma_\perp^2` (`across`), both even in k, as standard
    deviations (y, x). `gradient`, complex (2, y, x), holds the symbols of the differences along x and along y, up to a
    common factor; if both are zero, both components have the variance of `across`. The control is real, in the space of
    the two-dimensional Hartley transform, :math:`v = (\mathrm{Re} - \mathrm{Im}) F x` for white x, so :math:`B^{1/2}`
    costs one inverse real Fourier transform.

    With a `domain` (y, x) at its near edges the operator is that of the states there, :math:`P^T B P` with P the
    padding with zeros: no point has a neighbour across an edge, and the statistics are the same at every point. The
    control stays on the periodic grid, and the inverse is iterative, in double precision.
    """

    def __init__(
        self,
        along: Tensor,
        across: Tensor,
        gradient: Tensor,
        domain: Shape | None = None,
        *,
        dtype: torch.dtype,
        device: Device = None,
    ) -> None:
        self.shape, self._domain = tuple(along.shape), tuple(along.shape) if domain is None else domain
        norm = gradient.abs().square().sum(0).sqrt()
        # A velocity along the conjugate of the symbol a has the divergence a.w.
        unit = torch.where(norm > 0, gradient.conj() / norm.clamp(min=1e-300), torch.zeros_like(gradient))
        half = self.shape[1] // 2 + 1
        outer = unit[:, None] * unit[None].conj()
        identity = torch.eye(2, dtype=torch.float64)[:, :, None, None]

        def block(along: Tensor, across: Tensor) -> Tensor:
            whole = across * (identity - outer) + along * outer
            return whole[..., :half].to(device=device, dtype=dtype.to_complex())

        self._root, self._precision = block(along, across), block(along**-2, across**-2)
        self._logarithm = torch.where(norm > 0, 2 * along.log(), 2 * across.log()).sum() + 2 * across.log().sum()
        self._logarithm = self._logarithm.to(device=device, dtype=dtype)
        self.dtype, self.device = dtype, self._logarithm.device
        self._precise: PeriodicVectorCovariance | None = None
        if self._domain != self.shape:
            parts = along, across, gradient, domain
            double = dtype == torch.float64
            self._precise = self if double else PeriodicVectorCovariance(*parts, dtype=torch.float64, device=device)

    def _times(self, block: Tensor, spectrum: Tensor) -> Tensor:
        u, v = spectrum[:, 0], spectrum[:, 1]
        return torch.stack((block[0, 0] * u + block[0, 1] * v, block[1, 0] * u + block[1, 1] * v), dim=1)

    def _points(self, spectrum: Tensor) -> Tensor:
        field: Tensor = torch.fft.irfft2(spectrum, s=self.shape, norm="ortho")
        return field

    def _inside(self, field: Tensor) -> Tensor:
        return field[..., : self._domain[0], : self._domain[1]].contiguous()

    def _transformed(self, state: Tensor) -> Tensor:
        """Return the Fourier transform of a state on the domain."""
        (ny, nx), (rows, columns) = self._domain, self.shape
        spectrum: Tensor = torch.fft.rfft2(pad(state, (0, columns - nx, 0, rows - ny)), norm="ortho")
        return spectrum

    def control_shape(self, shape: Shape) -> Shape:
        """Return the shape on the periodic grid."""
        return (*shape[:-2], *self.shape)

    def sqrt(self, control: Tensor) -> Tensor:
        """Apply one inverse real Fourier transform for each component, and keep the domain."""
        half = self.shape[1] // 2 + 1
        # The Fourier transform of a Hartley transform is a sum over the two opposite wavenumbers.
        plain, opposite = control[..., :half], _reflected(control)[..., :half]
        spectrum = torch.complex(plain + opposite, opposite - plain) / 2
        return self._inside(self._points(self._times(self._root, spectrum)))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Apply three Fourier transforms for each component (autograd's adjoint of `sqrt` takes one)."""
        spectrum = self._times(self._root, self._transformed(state))
        full = torch.fft.fft2(self._points(spectrum), norm="ortho")
        hartley: Tensor = full.real - full.imag
        return hartley

    def solve(self, state: Tensor) -> Tensor:
        """Apply one Fourier transform and its inverse; on a domain only as a preconditioner of conjugate gradients.

        These return NaN for a window if they fail.
        """
        if self._precise is None:
            return self._divide(state)
        return conjugate_gradients(self._precise.apply, state, self._precise._divide)

    def _divide(self, state: Tensor) -> Tensor:
        """Return the inverse on the periodic grid."""
        return self._inside(self._points(self._times(self._precision, self._transformed(state))))

    def log_determinant(self, shape: Shape) -> Tensor | None:
        """Sum over the blocks; None on a domain."""
        return None if self._precise is not None else self._logarithm.expand(shape[0])
