r"""Orthonormal transforms into the eigenvectors of squared forward differences.

With :math:`D` the forward difference along an axis of n points (unit spacing), :math:`D^T D c_k = \mu_k c_k`. The
vectors depend on the values beyond the edges, k = 0 ... n-1, i = 0 ... n-1:

=============  ==================  ==========================================  =====================================
edges          differences         :math:`c_k(i)`, up to its norm              :math:`\mu_k`
=============  ==================  ==========================================  =====================================
free           n-1 inside          :math:`\cos(\pi k (2i+1) / 2n)`             :math:`4 \sin^2(\pi k / 2n)`
zero           n+1, zeros beyond   :math:`\sin(\pi (k+1)(i+1) / (n+1))`        :math:`4 \sin^2(\pi (k+1) / 2(n+1))`
appended_zero  n, a zero appended  :math:`\cos(\pi (2k+1)(2i+1) / 2(2n+1))`    :math:`4 \sin^2(\pi (2k+1) / 2(2n+1))`
periodic       n, around           :math:`\cos + \sin (2 \pi k i / n)`         :math:`4 \sin^2(\pi k / n)`
=============  ==================  ==========================================  =====================================

These are the cosine transform II, the sine transform I, the cosine transform VIII and the Hartley transform. Up to
`LARGEST_MATRIX` points they are matrix products, which are cheaper there, beyond it fast transforms; the cosine
transform II, whose fast form costs least, is a matrix product up to `MOST_COSINES` wavenumbers that are kept, on any
number of points. The cosine transform II and the sine transform have their fast form on the CPU, by scipy; other
devices multiply by matrices of any size.
Strang, G. (1999) The discrete cosine transform, SIAM Review 41, 135-147, doi:10.1137/S0036144598336745.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import scipy.fft
import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Shape
from xvar.core.grid import Device
from xvar.core.linear_maps import Map, linear

#: Transform of an axis of a field to its lowest wavenumbers, and its transpose, each with the axis.
Pair = tuple[Callable[[Tensor, int], Tensor], Callable[[Tensor, int], Tensor]]
DifferenceEdges = Literal["free", "zero", "periodic", "appended_zero"]

#: Largest number of points along an axis for which a matrix product is cheaper than a fast Fourier transform, and of
#: wavenumbers for which it is cheaper than a fast cosine transform.
LARGEST_MATRIX = 1024
MOST_COSINES = 64
#: Bytes.
CACHE_LINE = 64


def eigenvalues(points: int, edges: DifferenceEdges) -> Tensor:
    """Return the eigenvalues of the squared forward difference for a spacing of one, float64 (points,)."""
    k = torch.arange(points, dtype=torch.float64)
    angle = {
        "free": k / (2 * points),
        "zero": (k + 1) / (2 * (points + 1)),
        "appended_zero": (2 * k + 1) / (2 * (2 * points + 1)),
        "periodic": k / points,
    }[edges]
    return 4 * torch.sin(math.pi * angle) ** 2


@lru_cache(maxsize=32)
def basis(points: int, edges: DifferenceEdges, modes: int | None = None) -> Tensor:
    """Return the orthonormal eigenvectors of the lowest wavenumbers as rows, float64 (wavenumber, point)."""
    k = torch.arange(points if modes is None else modes, dtype=torch.float64)[:, None]
    i = torch.arange(points, dtype=torch.float64)
    # Whole numbers are reduced before the product with pi: the cosine of a large angle would lose digits.
    if edges == "free":
        rows = torch.cos(math.pi / (2 * points) * (k * (2 * i + 1) % (4 * points))) * math.sqrt(2 / points)
        rows[0] /= math.sqrt(2)
    elif edges == "zero":
        period = 2 * (points + 1)
        rows = torch.sin(2 * math.pi / period * ((k + 1) * (i + 1) % period)) * math.sqrt(2 / (points + 1))
    elif edges == "appended_zero":
        period = 4 * (2 * points + 1)
        rows = torch.cos(2 * math.pi / period * ((2 * k + 1) * (2 * i + 1) % period)) * 2 / math.sqrt(2 * points + 1)
    else:
        angle = 2 * math.pi / points * (k * i % points)
        rows = (torch.cos(angle) + torch.sin(angle)) / math.sqrt(points)
    return rows


class Transform:
    """Separable orthonormal transform of the last two axes of (window, component, y, x), or of the only one.

    `truncation` is the share of the wavenumbers along each axis that are kept, the lowest; `modes` their number along
    (y, x).
    """

    def __init__(
        self, shape: Shape, edges: DifferenceEdges, *, dtype: torch.dtype, device: Device, truncation: float = 1.0
    ) -> None:
        self.shape, self.edges = shape, edges
        self.modes = kept(shape, truncation)
        self._both = partial(self._along_both, inverse=False), partial(self._along_both, inverse=True)
        self._rows: Tensor | Pair | None = None  # there is one axis alone
        self._columns: Tensor | Pair
        rows, columns = (1, *shape)[-2:]
        if len(shape) == 1:
            pass
        elif _is_product(rows, self.modes[0], edges, device):
            self._rows = basis(rows, edges, self.modes[0]).to(device=device, dtype=dtype)
        else:
            self._rows = _fast_pair(rows, self.modes[0], edges, dtype, device)
        self._padding = _padding(rows, columns, dtype)
        self._spectral_padding = self._padding if self.modes == tuple(shape) else 0
        if _is_product(columns, self.modes[-1], edges, device):
            padded = pad(basis(columns, edges, self.modes[-1]), (0, self._padding, 0, self._spectral_padding))
            self._columns = padded.to(device=device, dtype=dtype)
        else:
            self._columns = _fast_pair(columns, self.modes[-1], edges, dtype, device)

    def forward(self, field: Tensor) -> Tensor:
        """Transform points to wavenumbers."""
        return linear(field, *self._both)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Transform wavenumbers to points: the inverse, which is the transpose."""
        return linear(spectrum, *reversed(self._both))

    def diagonal(self, variances: Tensor) -> Tensor:
        r"""Return the diagonal of :math:`C^T \Lambda C`, the variance of each point, float64 (y, x)."""
        diagonal = variances.to(torch.float64)
        for axis, points in zip(range(-len(self.shape), 0), self.shape, strict=True):
            diagonal = _squared(diagonal.movedim(axis, -1), points, self.edges).movedim(-1, axis)
        return diagonal

    def _along_both(self, field: Tensor, *, inverse: bool) -> Tensor:
        left = right = None
        if isinstance(self._rows, Tensor):
            left = self._rows.T if inverse else self._rows
        if isinstance(self._columns, Tensor):
            right = self._columns if inverse else self._columns.T
        if left is not None or right is not None:
            field = self._multiply(field, left, right, inverse=inverse)
        # The axis that makes the field smaller goes first, the one that makes it larger last.
        for along_rows in (inverse, not inverse):
            pair = self._rows if along_rows else self._columns
            if pair is not None and not isinstance(pair, Tensor):
                field = pair[inverse](field, -2 if along_rows else -1)
        return field.contiguous()

    def _multiply(self, field: Tensor, left: Tensor | None, right: Tensor | None, *, inverse: bool) -> Tensor:
        """Multiply each (y, x) by a matrix from the left, from the right, or both.

        A stack of products, since the bits of one product of all windows would depend on the batch. They also depend
        on where in a cache line a matrix begins, so each of the stack begins at the start of one.
        """
        stack = field.reshape(-1, *field.shape[-2:])
        before, after = self._padding, self._spectral_padding
        if inverse:
            before, after = after, before
        if before:
            stack = pad(stack, (0, before))
        elif stack.storage_offset() * stack.element_size() % CACHE_LINE:
            stack = stack.clone()
        if left is not None:
            stack = torch.bmm(left.expand(stack.shape[0], -1, -1), stack)
        if right is not None:
            stack = torch.bmm(stack, right.expand(stack.shape[0], -1, -1))
        if right is None:
            after = before
        if after:
            stack = stack[..., : stack.shape[-1] - after]
        return stack.reshape(*field.shape[:-2], *stack.shape[-2:])


@lru_cache(maxsize=32)
def shared_transform(
    shape: Shape, edges: DifferenceEdges, dtype: torch.dtype, device: Device, truncation: float = 1.0
) -> Transform:
    """Return a cached transform: equal arguments give the same object."""
    with torch.inference_mode(False):
        return Transform(shape, edges, dtype=dtype, device=device, truncation=truncation)


def kept(shape: Shape, truncation: float) -> Shape:
    """Return the wavenumbers along each axis of a truncated transform, in whole cache lines."""
    if truncation >= 1:
        return tuple(shape)
    line = CACHE_LINE // 4
    return tuple(min(n, max(line, line * math.ceil(n * truncation / line))) for n in shape)


def _padding(rows: int, columns: int, dtype: torch.dtype) -> int:
    """Return the columns to append so that a (y, x) matrix fills whole cache lines."""
    unit = CACHE_LINE // (math.gcd(rows, CACHE_LINE) * dtype.itemsize)
    return -columns % max(unit, 1)


def laplacian_eigenvalues(
    shape: Shape, spacing: tuple[float, ...], edges: DifferenceEdges, truncation: float = 1.0
) -> Tensor:
    r"""Return the eigenvalues of :math:`-\nabla^2 = D_y^T D_y + D_x^T D_x` in m-2, float64 (y, x); or of one axis.

    Of a truncated transform those of the wavenumbers that it keeps.
    """
    modes = kept(shape, truncation)
    *along_y, along_x = (eigenvalues(n, edges)[:m] / d**2 for n, m, d in zip(shape, modes, spacing, strict=True))
    return along_y[0][:, None] + along_x if along_y else along_x


def _squared(variances: Tensor, points: int, edges: DifferenceEdges) -> Tensor:
    r"""Return :math:`\sum_k \lambda_k c_k^2` from variances of the lowest wavenumbers (..., k), float64 (..., i).

    The squares of cosines are cosines of twice the wavenumber, with :math:`\theta_i = \pi (2i+1) / 2n`
    :math:`c_k^2(i) = (1 + \cos 2k \theta_i) / n` for k > 0, and :math:`\cos (2n - j) \theta_i = -\cos j \theta_i`.
    """
    if edges != "free":
        return variances @ basis(points, edges, variances.shape[-1]) ** 2
    modes, half = variances.shape[-1], points // 2 + 1
    waves = variances.new_zeros(*variances.shape[:-1], points)
    waves[..., 0] = variances.sum(-1)
    below = variances[..., 1 : (points + 1) // 2] / 2
    waves[..., 2 : 2 * below.shape[-1] + 1 : 2] = below
    if modes > half:
        waves[..., 2 * (points - modes + 1) : 2 * (points - half) + 1 : 2] -= variances[..., half:].flip(-1) / 2
    return torch.from_numpy(scipy.fft.dct(waves.numpy(), type=3)) / points


def _is_product(points: int, modes: int, edges: DifferenceEdges, device: Device) -> bool:
    """Return whether an axis is transformed to its lowest wavenumbers by a product with a matrix."""
    if edges in ("free", "zero") and torch.device(device or "cpu").type != "cpu":
        return True
    return modes <= MOST_COSINES if edges == "free" else points <= LARGEST_MATRIX


def _fast_pair(points: int, modes: int, edges: DifferenceEdges, dtype: torch.dtype, device: Device) -> Pair:
    """Return the transform of an axis to its lowest wavenumbers, and its transpose."""
    if edges == "free":
        return _by_scipy(partial(scipy.fft.dct, norm="ortho"), partial(scipy.fft.idct, norm="ortho"), points, modes)
    if edges == "zero":
        sine = partial(scipy.fft.dst, type=1, norm="ortho")
        return _by_scipy(sine, sine, points, modes)
    transform = _cosine_viii(points, dtype, device) if edges == "appended_zero" else _hartley

    def forward(field: Tensor, axis: int) -> Tensor:
        return transform(field.movedim(axis, -1))[..., :modes].movedim(-1, axis)

    def inverse(spectrum: Tensor, axis: int) -> Tensor:
        return transform(pad(spectrum.movedim(axis, -1), (0, points - modes))).movedim(-1, axis)

    return forward, inverse


def _by_scipy(forward: Callable[..., Any], inverse: Callable[..., Any], points: int, modes: int) -> Pair:
    """Return transforms of scipy, which share the memory of tensors on the CPU."""

    def to_waves(field: Tensor, axis: int) -> Tensor:
        return torch.from_numpy(forward(field.numpy(), axis=axis)).narrow(axis, 0, modes)

    def to_points(spectrum: Tensor, axis: int) -> Tensor:
        return torch.from_numpy(inverse(spectrum.numpy(), n=points, axis=axis))

    return to_waves, to_points


def _unit_circle(turns: Tensor, dtype: torch.dtype, device: Device) -> Tensor:
    r"""Return :math:`e^{-2 \pi i t}`, computed in double precision."""
    angle = -2 * math.pi * turns
    return torch.complex(torch.cos(angle), torch.sin(angle)).to(device=device, dtype=dtype.to_complex())


def _cosine_viii(points: int, dtype: torch.dtype, device: Device) -> Map:
    length = 2 * points + 1
    i = torch.arange(points, dtype=torch.float64)
    before = _unit_circle(i / (2 * length), dtype, device)
    after = _unit_circle((2 * i + 1) / (4 * length), dtype, device)
    scale = 2 / math.sqrt(length)

    def transform(field: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.fft(field * before, n=length)
        return (spectrum[..., :points] * after).real * scale

    return transform


def _hartley(field: Tensor) -> Tensor:
    spectrum: Tensor = torch.fft.fft(field, norm="ortho")
    return spectrum.real - spectrum.imag
