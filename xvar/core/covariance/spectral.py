"""Covariances that are diagonal in a cosine, sine or Hartley basis."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Covariance, Shape
from xvar.core.covariance.transform import Transform
from xvar.core.grid import Device


class SpectralCovariance(Covariance):
    r""":math:`B = S C^T \Lambda C S` on each component.

    C is an orthonormal transform, :math:`\Lambda` the positive variance of each basis vector, (y, x), or (component, y,
    x) if components differ, and S (`scale`) a factor of each point, broadcastable to (window, component, y, x). The
    control lives in the space of wavenumbers, so :math:`B^{1/2} = S C^T \Lambda^{1/2}` costs one inverse transform.
    Modes that a truncated transform leaves out have no variance, and `solve` is the pseudo-inverse, zero if S is.
    """

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
        rows, columns = transform.modes
        self._variances = variances[..., :rows, :columns].to(torch.float64)
        self._deviation = self._variances.sqrt().to(device=device, dtype=dtype)
        self._precision = (1 / self._variances).to(device=device, dtype=dtype)
        self._logarithm = self._variances.log().sum((-2, -1)).to(device=device, dtype=dtype)
        self._scale = self._unscale = None
        if scale is not None:
            scale = scale.to(torch.float64)
            self._scale = scale.to(device=device, dtype=dtype)
            self._unscale = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale)).to(device=device, dtype=dtype)
        self.dtype, self.device = dtype, self._deviation.device

    @classmethod
    def with_deviation(
        cls, transform: Transform, variances: Tensor, deviation: Tensor, *, dtype: torch.dtype, device: Device
    ) -> SpectralCovariance:
        """Return the operator with a standard deviation at each point; with zeros beyond the edges the greatest is it.

        `deviation` is broadcastable to (window, component, y, x).
        """
        rows, columns = transform.modes
        variance = transform.diagonal(variances[..., :rows, :columns])
        if transform.edges in ("zero", "appended_zero"):
            variance = variance.max()
        return cls(transform, variances, deviation / variance.sqrt(), dtype=dtype, device=device)

    def control_shape(self, shape: Shape) -> Shape:
        """Return the shape of the wavenumbers of each component."""
        return (*shape[:-2], *self.transform.modes)

    def sqrt(self, control: Tensor) -> Tensor:
        """Apply one inverse transform to the control, the spectrum over its standard deviation."""
        state = self.transform.inverse(control * self._deviation)
        return state if self._scale is None else state * self._scale

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Apply one transform."""
        if self._scale is not None:
            state = state * self._scale
        return self.transform.forward(state) * self._deviation

    def solve(self, state: Tensor) -> Tensor:
        """Apply one transform and its inverse."""
        if self._unscale is not None:
            state = state * self._unscale
        state = self.transform.inverse(self.transform.forward(state) * self._precision)
        return state if self._unscale is None else state * self._unscale

    def embed(self, coarse: Covariance, control: Tensor) -> Tensor | None:
        """Return the control of the waves of a coarser grid, without shorter ones."""
        if not isinstance(coarse, SpectralCovariance) or self.transform.edges != "free":
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

    def select(self, windows: Tensor) -> SpectralCovariance:
        """Return the operator of some windows."""
        if self._scale is None or self._unscale is None or len(self._scale) == 1:
            return self
        part = copy(self)
        part._scale, part._unscale = self._scale[windows], self._unscale[windows]
        return part

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor:
        """Approximate each wavenumber alone, with the mean curvature over the grid."""
        if self._scale is not None:
            curvature = curvature * self._scale**2
        # Contiguous: over strides of zero the order of a sum, and so its bits, depends on the number of windows.
        mean = curvature.expand(shape).contiguous().mean(dim=(-2, -1), keepdim=True)
        return 1 / (1 + self._deviation**2 * mean)

    def log_determinant(self, shape: Shape) -> Tensor:
        """Sum the logarithms of the variances and of the squared scales."""
        total = self._logarithm.expand(shape[1]).sum().expand(shape[0])
        if self._scale is None:
            return total
        return total + 2 * self._scale.log().expand(shape).flatten(1).sum(1)


def stack(parts: Sequence[tuple[SpectralCovariance, int]]) -> SpectralCovariance:
    """Return one operator on the components of several that share a transform, which then runs once for all.

    Each of `parts` is an operator with the number of components that it acts on.
    """
    first, _ = parts[0]
    variances = torch.cat([part._variances.expand(count, -1, -1) for part, count in parts])
    scales = [(torch.ones(1, 1, 1, 1) if part._scale is None else part._scale, count) for part, count in parts]
    windows, _, *points = torch.broadcast_shapes(*((scale.shape[0], 1, *scale.shape[2:]) for scale, _ in scales))
    scale = torch.cat([scale.expand(windows, count, *points).to(torch.float64) for scale, count in scales], dim=1)
    return SpectralCovariance(first.transform, variances, scale, dtype=first.dtype, device=first.device)
