"""Correlations of the Matérn family by diffusion, which do not cross coasts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Specification, checked_deviation
from xvar.core.covariance.homogeneous import matern_scale
from xvar.core.grid import Device, Grid
from xvar.core.linear_maps import linear
from xvar.errors import Faults

#: Relative error of the approximate inverse; as a polynomial of the operator it is exactly linear and symmetric.
ERROR = 1e-3


class DiffusionStencil:
    """:math:`A = 1 + W^{-1/2} K W^{-1/2}` with no flux through coasts.

    K holds :math:`L^2` (`scale` squared, in m2) times the conductance of each face between two points of water (its
    width over the distance of the points), W the areas of the cells. On land A is the identity. No flux crosses free
    edges; beyond zero edges the field is zero.
    """

    def __init__(self, grid: Grid, scale: float) -> None:
        self.shape, self.edges = grid.shape, grid.edges
        water, (dy, dx) = grid.wet(), grid.lengths()
        area = dy * dx

        def faces(axis: int, along: Tensor, across: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Return the conductance of the face to the next neighbour of each point, and of near and far edges."""
            conductance = (across + across.roll(-1, axis)) / (along + along.roll(-1, axis))
            open_face = water * water.roll(-1, axis)
            last = torch.zeros_like(water)
            last.select(axis, -1).fill_(1)
            edge = water * across / along
            if grid.edges == "periodic" and grid.shape[axis] > 2:
                last = torch.zeros_like(last)
            inside = scale**2 * conductance * open_face * (1 - last)
            beyond = scale**2 * edge if grid.edges == "zero" else torch.zeros_like(edge)
            return inside, beyond * last.flip(axis), beyond * last

        to_y, near_y, far_y = faces(0, dy, dx)
        to_x, near_x, far_x = faces(1, dx, dy)
        leaving = to_y + to_y.roll(1, 0) + to_x + to_x.roll(1, 1) + near_y + far_y + near_x + far_x
        #: Float64 (y, x): the diagonal of A, and minus its entries between a point and the next along y and along x.
        self.diagonal = 1 + leaving / area
        self.to_y = to_y / (area * area.roll(-1, 0)).sqrt()
        self.to_x = to_x / (area * area.roll(-1, 1)).sqrt()
        between = self.to_y + self.to_y.roll(1, 0) + self.to_x + self.to_x.roll(1, 1)
        #: Upper bound of the eigenvalues of A; the lower bound is 1.
        self.largest = float((self.diagonal + between).max())


class DiffusionInverse:
    r""":math:`q(A) \approx A^{-1}`, a polynomial by Chebyshev iteration with a fixed number of steps.

    The number makes :math:`|1 - t q(t)| \le` `ERROR` for every eigenvalue t of A. Each step is elementwise, so a window
    has the same bits in any batch.
    """

    def __init__(self, stencil: DiffusionStencil, *, dtype: torch.dtype, device: Device) -> None:
        self._shape, self._edges = stencil.shape, stencil.edges
        to_y, to_x = stencil.to_y.clone(), stencil.to_x.clone()
        self._around_y, self._around_x = (
            around.contiguous().to(device=device, dtype=dtype) for around in (to_y[-1], to_x[:, -1])
        )
        # In the flattened grid the next point after the last of a row is the first of the next row: no face.
        to_x[:, -1] = 0
        self._diagonal = stencil.diagonal.flatten().to(device=device, dtype=dtype)
        self._to_x = to_x.flatten()[:-1].to(device=device, dtype=dtype)
        self._to_y = to_y[:-1].flatten().to(device=device, dtype=dtype)
        largest = max(stencil.largest, 1 + 1e-6)
        self._centre, self._half = (largest + 1) / 2, (largest - 1) / 2
        # The Chebyshev polynomial of this degree is 1 / ERROR at zero, in units of the interval of eigenvalues.
        self.steps = max(1, math.ceil(math.acosh(1 / ERROR) / math.acosh(self._centre / self._half)))

    def operate(self, field: Tensor) -> Tensor:
        """Return A x for (window, component, y, x)."""
        return self._operate(field.reshape(-1, self._diagonal.numel())).view(field.shape)

    def _operate(self, x: Tensor) -> Tensor:
        rows, columns = self._shape
        out: Tensor = x * self._diagonal
        out[:, :-1].addcmul_(x[:, 1:], self._to_x, value=-1)
        out[:, 1:].addcmul_(x[:, :-1], self._to_x, value=-1)
        out[:, :-columns].addcmul_(x[:, columns:], self._to_y, value=-1)
        out[:, columns:].addcmul_(x[:, :-columns], self._to_y, value=-1)
        if self._edges == "periodic":
            size = rows * columns
            out[:, size - columns :].addcmul_(x[:, :columns], self._around_y, value=-1)
            out[:, :columns].addcmul_(x[:, size - columns :], self._around_y, value=-1)
            out[:, columns - 1 :: columns].addcmul_(x[:, ::columns], self._around_x, value=-1)
            out[:, ::columns].addcmul_(x[:, columns - 1 :: columns], self._around_x, value=-1)
        return out

    def invert(self, field: Tensor) -> Tensor:
        """Return q(A) x for (window, component, y, x)."""
        residual = field.reshape(-1, self._diagonal.numel()).clone()
        step = residual / self._centre
        solution = step.clone()
        ratio = self._half / self._centre
        for _ in range(self.steps - 1):
            residual -= self._operate(step)
            following = 1 / (2 * self._centre / self._half - ratio)
            step.mul_(following * ratio).add_(residual, alpha=2 * following / self._half)
            solution += step
            ratio = following
        return solution.view(field.shape)

    def revert(self, field: Tensor) -> Tensor:
        r"""Return :math:`q(A)^{-1} x = A \sum_j (1 - A q(A))^j x`, to rounding."""
        total = rest = field
        for _ in range(math.ceil(16 / -math.log10(ERROR)) - 1):
            rest = rest - self.operate(self.invert(rest))
            total = total + rest
        return self.operate(total)


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


#: Shortest length in cells that the stencil resolves.
SHORTEST_LENGTH = 2


class DiffusionCovariance(Covariance):
    r""":math:`B = S \, q(A)^m S` with :math:`q(A) \approx A^{-1}` and m (`order`) even, every component alike.

    S (`scale`), float64, is broadcastable to (window, component, y, x), and zero on land; `solve` gives zero there.
    """

    _of_windows = ("_scale", "_unscale")

    def __init__(
        self, inverse: DiffusionInverse, order: int, scale: Tensor, *, dtype: torch.dtype, device: Device = None
    ) -> None:
        self._inverse, self._half = inverse, order // 2
        self._scale = scale.to(device=device, dtype=dtype)
        self._unscale = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale)).to(device=device, dtype=dtype)
        self.dtype, self.device = dtype, self._scale.device

    def _root(self, field: Tensor) -> Tensor:
        for _ in range(self._half):
            field = self._inverse.invert(field)
        return field

    def _precision(self, field: Tensor) -> Tensor:
        for _ in range(2 * self._half):
            field = self._inverse.revert(field)
        return field

    def sqrt(self, control: Tensor) -> Tensor:
        """Apply half of the diffusion."""
        return linear(control, self._root, self._root) * self._scale

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Apply half of the diffusion."""
        return linear(state * self._scale, self._root, self._root)

    def solve(self, state: Tensor) -> Tensor:
        """Apply the stencil, corrected for the error of its approximate inverse."""
        return linear(state * self._unscale, self._precision, self._precision) * self._unscale


@dataclass(frozen=True, eq=False)
class Diffusion(Specification):
    r"""Correlations of the Matérn family that do not cross land, with the local spacing of the grid.

    .. math:: B = \Sigma \, N W^{-1/2} A^{-m} W^{-1/2} N \, \Sigma, \qquad A = W^{1/2} (1 - L^2 \nabla^2) W^{-1/2}

    with no flux through coasts and free edges, W the areas of the cells, and N such that the variance is
    :math:`\sigma^2` at every point of water, coasts included. On land the field is zero. With zeros beyond the edges N
    is one number and :math:`\sigma^2` the greatest variance.

    The square root is m/2 implicit steps of diffusion, each a Chebyshev polynomial of the stencil: linear and
    self-adjoint to rounding. N is computed when it is bound, in about a second for 128 by 128 points.

    Parameters
    ----------
    std : float or Tensor
        Standard deviation in the units of the variable, broadcastable to (window, component, y, x).
    length : float
        In metres, as in `Matern` with :math:`\nu = m - 1`: Daley's length :math:`L \sqrt{2m - 4}` for an order of 4 or
        more, L itself for an order of 2; two cells or more.
    order : int
        m, even.

    References
    ----------
    Weaver, A., Courtier, P. (2001) Correlation modelling on the sphere using a generalized diffusion equation,
    doi:10.1002/qj.49712757518.
    Mirouze, I., Weaver, A. T. (2010) Representation of correlation functions in variational assimilation using an
    implicit diffusion operator, doi:10.1002/qj.643.
    """

    std: float | Tensor
    length: float
    order: int = 4

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> DiffusionCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        faults = Faults()
        if self.order != int(self.order) or self.order < 2 or self.order % 2:
            expected = "a positive even number"
            faults.add(code="diffusion-order", found=f"order={self.order}", expected=expected, fix="order=4")
        grid.check_plane(faults)
        if len(grid.shape) == 2 and not bool(grid.wet().any()):
            faults.add(
                code="no-water", found="a grid without water", expected="some water", fix="land= with a correct mask"
            )
        faults.raise_if_any()
        spacings = torch.stack(grid.lengths())[:, grid.wet() > 0]
        coarsest, finest = float(spacings.max()), float(spacings.min())
        if not SHORTEST_LENGTH * coarsest <= self.length < math.inf:
            faults.add(
                code="length-too-short",
                found=f"length={self.length:g} m on a grid with a spacing of up to {coarsest:g} m",
                expected="a length of at least two cells",
                fix=f"length={2 * coarsest:g}, or Diagonal(std=...) for uncorrelated errors",
            )
        faults.raise_if_any()
        deviation = checked_deviation(self.std, grid)
        scale = matern_scale(self.length, self.order - 1)
        stencil = DiffusionStencil(grid, scale)
        # A point is affected through its image beyond the margin, twice as far, where the correlation is below 0.5 %.
        margin = math.ceil((3 + self.order / 2) * scale / finest)
        if grid.edges == "periodic" and grid.size > LARGEST_DENSE and min(grid.shape) < 2 * margin:
            faults.add(
                code="length-too-long",
                found=f"a periodic grid of shape {grid.shape} with correlations over {2 * margin} points",
                expected="a period longer than the correlations",
                fix=f"length={self.length * min(grid.shape) / (2 * margin):.3g}, or without land Matern(...)",
            )
            faults.raise_if_any()
        variance = inverse_power_diagonal(stencil, self.order, margin)
        if grid.edges == "zero":
            variance = variance.max().expand(grid.shape)
        amplitude = variance.rsqrt()
        if grid.water is not None:
            amplitude = torch.where(grid.water.to("cpu"), amplitude, torch.zeros_like(amplitude))
        inverse = DiffusionInverse(stencil, dtype=dtype, device=device)
        return DiffusionCovariance(inverse, self.order, deviation * amplitude, dtype=dtype, device=device)
