"""Covariances by wavenumber: diagonal in a cosine, sine or Hartley basis, or 2 by 2 blocks for vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Covariance, Shape
from xvar.core.covariance.transform import Transform
from xvar.core.grid import Device, Grid
from xvar.core.linear_maps import conjugate_gradients, linear


class SpectralCovariance(Covariance):
    r""":math:`B = S C^T \Lambda C S` on each component.

    C is an orthonormal transform, :math:`\Lambda` the positive variance of each basis vector, (y, x), or (component, y,
    x) if components differ, and S (`scale`) a factor of each point, broadcastable to (window, component, y, x). The
    control lives in the space of wavenumbers, so :math:`B^{1/2} = S C^T \Lambda^{1/2}` costs one inverse transform.
    Modes that a truncated transform leaves out have no variance, and `solve` is the pseudo-inverse, zero if S is.
    """

    _of_windows = ("_scale",)

    def __init__(
        self,
        transform: Transform,
        variances: Tensor,
        scale: Tensor | None = None,
        *,
        dtype: torch.dtype,
        device: Device = None,
    ) -> None:
        self.transform = transform
        lowest: Any = (..., *map(slice, transform.modes))
        self._deviation = variances[lowest].to(torch.float64).sqrt().to(device=device, dtype=dtype)
        self._scale = None if scale is None else scale.to(device=device, dtype=dtype)
        self._scaled = slice(None)  # components that have a scale
        self.dtype, self.device = dtype, self._deviation.device

    @classmethod
    def with_deviation(
        cls, transform: Transform, variances: Tensor, deviation: Tensor, *, dtype: torch.dtype, device: Device
    ) -> SpectralCovariance:
        """Return the operator with a standard deviation at each point; with zeros beyond the edges the greatest is it.

        `deviation` is broadcastable to (window, component, y, x).
        """
        lowest: Any = (..., *map(slice, transform.modes))
        variance = transform.diagonal(variances[lowest])
        if transform.edges in ("zero", "appended_zero"):
            variance = variance.max()
        return cls(transform, variances, deviation / variance.sqrt(), dtype=dtype, device=device)

    def control_shape(self, shape: Shape) -> Shape:
        """Return the shape of the wavenumbers of each component."""
        return (*shape[: -len(self.transform.modes)], *self.transform.modes)

    def sqrt(self, control: Tensor) -> Tensor:
        """Apply one inverse transform to the control, the spectrum over its standard deviation."""
        return linear(control, self._synthesise, self._analyse)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Apply one transform."""
        return linear(state, self._analyse, self._synthesise)

    def _synthesise(self, control: Tensor) -> Tensor:
        return self._times_scale(self.transform.inverse(control * self._deviation))

    def _analyse(self, state: Tensor) -> Tensor:
        if self._scale is not None:
            state = self._times_scale(state.clone())
        return self.transform.forward(state) * self._deviation

    def _times_scale(self, state: Tensor) -> Tensor:
        """Multiply a state by the scale, in place."""
        if self._scale is not None:
            state[:, self._scaled] *= self._scale
        return state

    def solve(self, state: Tensor) -> Tensor:
        """Apply one transform and its inverse."""
        state = self.transform.inverse(self.inverse_sqrt(state) / self._deviation)
        return state if self._scale is None else state * self._inverse_scale()

    def inverse_sqrt(self, state: Tensor) -> Tensor:
        """Apply one transform."""
        if self._scale is not None:
            state = state * self._inverse_scale()
        return self.transform.forward(state) / self._deviation

    def _inverse_scale(self) -> Tensor:
        assert self._scale is not None
        return torch.where(self._scale > 0, 1 / self._scale, 0.0)

    def embed(self, coarse: Covariance, control: Tensor) -> Tensor | None:
        """Return the control of the waves of a coarser grid, without shorter ones."""
        if not isinstance(coarse, SpectralCovariance) or self.transform.edges != "free":
            return None
        if len(self.transform.shape) != 2:
            return None
        cells = [fine / few for fine, few in zip(self.transform.shape, coarse.transform.shape, strict=True)]
        rows, columns = coarse.transform.modes
        if cells[0] != cells[1] or cells[0] % 1 or rows > self.transform.modes[0] or columns > self.transform.modes[1]:
            return None
        size = cells[0]
        for part, sign in ((coarse, 1), (self, -1)):
            size *= 1.0 if part._scale is None else float(part._scale.double().mean()) ** sign
        here = control * (size * coarse._deviation / self._deviation[..., :rows, :columns])
        return pad(here, (0, self.transform.modes[1] - columns, 0, self.transform.modes[0] - rows))

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor:
        """Approximate each wavenumber alone, with the mean curvature over the grid."""
        if self._scale is not None:
            curvature = curvature * self._scale**2
        axes = tuple(range(-len(self.transform.modes), 0))
        # Contiguous: over strides of zero the order of a sum, and so its bits, depends on the number of windows.
        mean = curvature.expand(shape).contiguous().mean(dim=axes, keepdim=True)
        return 1 / (1 + self._deviation**2 * mean)

    @property
    def stack_key(self) -> Any:
        """The transform."""
        return id(self.transform)

    @classmethod
    def stack(cls, parts: Sequence[tuple[SpectralCovariance, int]]) -> SpectralCovariance:
        """Return one operator on the components of several, whose transform then runs once for all."""
        first, _ = parts[0]
        stacked = copy(first)
        stacked._deviation = torch.cat([part._deviation.expand(count, *first.transform.modes) for part, count in parts])
        scales: list[Tensor | None] = []  # of each component
        for part, count in parts:
            own = part._scale
            scales += [None] * count if own is None else own.expand(len(own), count, *own.shape[2:]).unbind(1)
        if known := [index for index, scale in enumerate(scales) if scale is not None]:
            stacked._scaled = slice(known[0], known[-1] + 1)
            one = torch.ones((), dtype=first.dtype, device=first.device)
            between = (one if scale is None else scale for scale in scales[stacked._scaled])
            stacked._scale = torch.stack(torch.broadcast_tensors(*between), dim=1)
        return stacked


def difference_symbols(grid: Grid) -> Tensor:
    r"""Fourier symbols :math:`(e^{i \theta} - 1) / d` of forward differences along x and y, complex (2, y, x), m-1."""
    along_y, along_x = symbols_along_axes(grid)
    return torch.stack((along_x.expand(grid.shape), along_y[:, None].expand(grid.shape)))


def symbols_along_axes(grid: Grid) -> tuple[Tensor, ...]:
    """Return the symbols of `difference_symbols` along y, complex (y,), and along x (x,)."""

    def symbol(points: int, spacing: float) -> Tensor:
        angle = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
        # As a product, which is real at the highest wavenumber of an even number of points and exact at small angles.
        return torch.complex(-2 * torch.sin(angle / 2) ** 2, torch.sin(angle)) / spacing

    return tuple(symbol(points, spacing) for points, spacing in zip(grid.shape, grid.spacing, strict=True))


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
        self.dtype, self.device = dtype, self._root.device
        self._precise: PeriodicVectorCovariance | None = None
        if self._domain != self.shape:
            parts = along, across, gradient, domain
            double = dtype == torch.float64
            self._precise = self if double else PeriodicVectorCovariance(*parts, dtype=torch.float64, device=device)

    def _points(self, block: Tensor, spectrum: Tensor) -> Tensor:
        """Return the states of a spectrum times a block of each wavenumber, on the periodic grid."""
        u, v = spectrum[:, 0], spectrum[:, 1]
        product = torch.stack((block[0, 0] * u + block[0, 1] * v, block[1, 0] * u + block[1, 1] * v), dim=1)
        field: Tensor = torch.fft.irfft2(product, s=self.shape, norm="ortho")
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
        plain, opposite = control[..., :half], control.flip((-2, -1)).roll((1, 1), (-2, -1))[..., :half]
        spectrum = torch.complex(plain + opposite, opposite - plain) / 2
        return self._inside(self._points(self._root, spectrum))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Apply three Fourier transforms for each component (autograd's adjoint of `sqrt` takes one)."""
        full = torch.fft.fft2(self._points(self._root, self._transformed(state)), norm="ortho")
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
        return self._inside(self._points(self._precision, self._transformed(state)))
