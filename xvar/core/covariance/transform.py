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
`LARGEST_MATRIX` points they are matrix products, which are cheaper there, beyond it fast Fourier transforms; the cosine
transform II, whose fast form costs least, changes over at `LARGEST_COSINE_MATRIX`.
Strang, G. (1999) The discrete cosine transform, SIAM Review 41, 135-147, doi:10.1137/S0036144598336745.
Makhoul, J. (1980) A fast cosine transform in one and two dimensions, doi:10.1109/TASSP.1980.1163351.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Shape
from xvar.core.grid import Device
from xvar.core.linear_maps import Map, linear

DifferenceEdges = Literal["free", "zero", "periodic", "appended_zero"]

#: Largest number of points along an axis for which a matrix product is cheaper than a fast Fourier transform.
LARGEST_MATRIX = 1024
LARGEST_COSINE_MATRIX = 192
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
def basis(points: int, edges: DifferenceEdges) -> Tensor:
    """Return the orthonormal eigenvectors as rows, float64 (wavenumber, point)."""
    k = torch.arange(points, dtype=torch.float64)[:, None]
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
        self._rows: Tensor | tuple[Map, Map] | None = None  # there is one axis alone
        self._columns: Tensor | tuple[Map, Map]
        rows, columns = (1, *shape)[-2:]
        largest = min(LARGEST_MATRIX, LARGEST_COSINE_MATRIX) if edges == "free" else LARGEST_MATRIX
        if len(shape) == 1:
            pass
        elif rows <= largest:
            self._rows = basis(rows, edges)[: self.modes[0]].to(device=device, dtype=dtype)
        else:
            self._rows = _fourier_pair(rows, self.modes[0], edges, dtype, device)
        self._padding = _padding(rows, columns, dtype)
        self._spectral_padding = self._padding if self.modes == tuple(shape) else 0
        if columns <= largest:
            padded = pad(basis(columns, edges)[: self.modes[-1]], (0, self._padding, 0, self._spectral_padding))
            self._columns = padded.to(device=device, dtype=dtype)
        else:
            self._columns = _fourier_pair(columns, self.modes[-1], edges, dtype, device)

    def forward(self, field: Tensor) -> Tensor:
        """Transform points to wavenumbers."""
        return linear(field, *self._both)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Transform wavenumbers to points: the inverse, which is the transpose."""
        return linear(spectrum, *reversed(self._both))

    def diagonal(self, variances: Tensor) -> Tensor:
        r"""Return the diagonal of :math:`C^T \Lambda C`, the variance of each point, float64 (y, x)."""
        *rows, columns = (basis(n, self.edges)[:m] ** 2 for n, m in zip(self.shape, self.modes, strict=True))
        along_columns = variances.to(torch.float64) @ columns
        return rows[0].T @ along_columns if rows else along_columns

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
                field = pair[inverse](field.mT).mT if along_rows else pair[inverse](field)
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


@lru_cache(maxsize=16)
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


def laplacian_eigenvalues(shape: Shape, spacing: tuple[float, ...], edges: DifferenceEdges) -> Tensor:
    r"""Return the eigenvalues of :math:`-\nabla^2 = D_y^T D_y + D_x^T D_x` in m-2, float64 (y, x); or of one axis."""
    *along_y, along_x = (eigenvalues(n, edges) / d**2 for n, d in zip(shape, spacing, strict=True))
    return along_y[0][:, None] + along_x if along_y else along_x


def _fourier_pair(
    points: int, modes: int, edges: DifferenceEdges, dtype: torch.dtype, device: Device
) -> tuple[Map, Map]:
    """Return the transform of the last axis to its lowest wavenumbers, and its transpose."""
    if edges == "free":
        return _cosine_ii(points, modes, dtype, device)
    if edges == "appended_zero":
        transform = _cosine_viii(points, dtype, device)
    else:
        transform = _sine_i(points) if edges == "zero" else _hartley
    return (lambda field: transform(field)[..., :modes]), (
        lambda spectrum: transform(pad(spectrum, (0, points - modes)) if modes < points else spectrum)
    )


def _unit_circle(turns: Tensor, dtype: torch.dtype, device: Device) -> Tensor:
    r"""Return :math:`e^{-2 \pi i t}`, computed in double precision."""
    angle = -2 * math.pi * turns
    return torch.complex(torch.cos(angle), torch.sin(angle)).to(device=device, dtype=dtype.to_complex())


def _cosine_ii(points: int, modes: int, dtype: torch.dtype, device: Device) -> tuple[Map, Map]:
    """Return the transform and its transpose by one real Fourier transform of reordered points (Makhoul).

    Even points come first, odd ones after them in reverse. Turned by a quarter of a step, the real parts are the
    wavenumbers of the lower half, the imaginary parts those of the upper half in reverse; truncation leaves most of the
    latter out.
    """
    half, evens = points // 2 + 1, (points + 1) // 2
    low = min(modes, half)
    mirrored = slice(points - modes + 1, points - half + 1)  # wavenumbers whose imaginary part is one of the upper half
    overlap = slice(points - modes + 1, half)  # the same, and the middle one, which has both
    k = torch.arange(half, dtype=torch.float64)
    norm = torch.full((half,), math.sqrt(2 / points), dtype=torch.float64)
    norm[0] = math.sqrt(1 / points)
    turn = torch.polar(norm, math.pi / (2 * points) * k)
    cosine, sine = (part.to(device=device, dtype=dtype) for part in (turn.real, turn.imag))
    back = (turn / norm**2).to(device=device, dtype=dtype.to_complex())

    def forward(field: Tensor) -> Tensor:
        reordered = torch.cat((field[..., ::2], field[..., 1::2].flip(-1)), dim=-1)
        real, imaginary = torch.view_as_real(torch.fft.rfft(reordered)).unbind(-1)
        result = torch.addcmul(real[..., :low] * cosine[:low], imaginary[..., :low], sine[:low])
        if modes <= half:
            return result
        upper = real[..., mirrored] * sine[mirrored] - imaginary[..., mirrored] * cosine[mirrored]
        return torch.cat((result, upper.flip(-1)), dim=-1)

    def inverse(spectrum: Tensor) -> Tensor:
        half_spectrum = spectrum[..., :low] * back[:low]
        if points - modes + 1 < half:
            half_spectrum[..., overlap] -= 1j * back[overlap] * spectrum[..., points - half + 1 :].flip(-1)
        reordered = torch.fft.irfft(half_spectrum, n=points)
        field = torch.empty_like(reordered)
        field[..., ::2] = reordered[..., :evens]
        field[..., 1::2] = reordered[..., evens:].flip(-1)
        return field

    return forward, inverse


def _sine_i(points: int) -> Map:
    scale = -math.sqrt(2 / (points + 1))

    def transform(field: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfft(pad(field, (1, points + 1)))
        return spectrum.imag[..., 1 : points + 1] * scale

    return transform


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
