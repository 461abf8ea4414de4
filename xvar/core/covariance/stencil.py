r"""The operator :math:`1 - L^2 \nabla^2` between coasts, as a symmetric five-point stencil."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xvar.core.grid import Device, Grid

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
