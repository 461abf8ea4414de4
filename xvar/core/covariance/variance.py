r"""The exact diagonal of :math:`A^{-m}` for a five-point stencil, to normalise the variance of a diffusion."""

from __future__ import annotations

import torch
from torch import Tensor

from xvar.core.covariance.stencil import DiffusionStencil

#: Largest number of points for which the whole matrix is inverted.
LARGEST_DENSE = 2048
#: Points along x of one strip, without its margins: the work grows with the third power of its width.
STRIP = 64


def inverse_power_diagonal(stencil: DiffusionStencil, power: int, margin: int) -> Tensor:
    r"""Return the diagonal of :math:`A^{-m}` for a power m from 1 up, float64 (y, x).

    Row by row A is block tridiagonal, and the diagonal blocks of :math:`(A + s)^{-1}` follow from a sweep from each
    side, in power series of s up to :math:`s^{m-1}`, whose coefficient is :math:`\pm A^{-m}`. Wide grids are cut into
    strips that overlap by `margin` points, half of the range of the correlations, as do the ends of a large periodic
    grid that is cut open.
    """
    ny, nx = stencil.shape
    if ny * nx <= LARGEST_DENSE:
        return _dense(stencil, power)
    periodic = stencil.edges == "periodic"
    rows = torch.arange(-margin, ny + margin) % ny if periodic else torch.arange(ny)
    parts = []
    for begin in range(0, nx, STRIP):
        end = min(begin + STRIP, nx)
        if periodic:
            columns, first = torch.arange(begin - margin, end + margin) % nx, margin
        else:
            columns, first = torch.arange(max(begin - margin, 0), min(end + margin, nx)), min(margin, begin)
        diagonal, to_y, to_x = (field[rows][:, columns] for field in (stencil.diagonal, stencil.to_y, stencil.to_x))
        part = _sweep(diagonal, to_y, to_x, power)
        parts.append(part[:, first : first + end - begin])
    whole = torch.cat(parts, dim=1)
    return whole[margin : margin + ny] if periodic else whole


def _dense(stencil: DiffusionStencil, power: int) -> Tensor:
    """Return the same from the inverse of the whole matrix."""
    ny, nx = stencil.shape
    points = torch.arange(ny * nx).reshape(ny, nx)
    matrix = torch.diag(stencil.diagonal.flatten())
    for axis, coupling in ((0, stencil.to_y), (1, stencil.to_x)):
        here, there = points.flatten(), points.roll(-1, axis).flatten()
        matrix[here, there] -= coupling.flatten()
        matrix[there, here] -= coupling.flatten()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    diagonal: Tensor = torch.linalg.matrix_power(inverse, power).diagonal()
    return diagonal.reshape(ny, nx)


def _inverse(series: Tensor) -> Tensor:
    """Return the inverse of a power series of symmetric matrices, (power, n, n)."""
    first = torch.cholesky_inverse(torch.linalg.cholesky(series[0]))
    factors = [first @ matrix for matrix in series[1:]]
    inverse = [first]
    for k in range(1, len(series)):
        inverse.append(-sum((factors[i] @ inverse[k - 1 - i] for i in range(k)), torch.zeros_like(first)))
    return torch.stack(inverse)


def _sweep(diagonal: Tensor, to_y: Tensor, to_x: Tensor, power: int) -> Tensor:
    """Return the diagonal of the inverse power for a strip with closed outer faces."""
    count, width = diagonal.shape

    def block(row: int) -> Tensor:
        series = torch.zeros(power, width, width, dtype=torch.float64)
        beside = torch.diag(to_x[row, :-1], 1)
        series[0] = torch.diag(diagonal[row]) - beside - beside.T
        if power > 1:
            series[1] = torch.eye(width, dtype=torch.float64)
        return series

    def beyond(inverse: Tensor, coupling: Tensor) -> Tensor:
        """Return the Schur complement of an eliminated row, subtracted from the block of its neighbour."""
        return coupling[:, None] * inverse * coupling

    above = [torch.zeros(power, width, width, dtype=torch.float64)]
    for row in range(count - 1):
        above.append(beyond(_inverse(block(row) - above[row]), to_y[row]))
    below = torch.zeros(power, width, width, dtype=torch.float64)
    out = torch.empty(count, width, dtype=torch.float64)
    for row in range(count - 1, -1, -1):
        here = block(row) - below
        out[row] = _inverse(here - above[row])[-1].diagonal().abs()
        if row:
            below = beyond(_inverse(here), to_y[row - 1])
    return out
