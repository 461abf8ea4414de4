"""Covariances that are stated as a matrix, and errors that are the same at all points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import GATE, Covariance, Shape, Specification
from xvar.core.covariance.transform import CACHE_LINE
from xvar.core.grid import Device, Grid
from xvar.core.linear_maps import linear
from xvar.errors import Faults


class MatrixCovariance(Covariance):
    r""":math:`B = R R^T` with the symmetric root R (n, n) of a matrix.

    n is the number of points, and each component has this covariance alone, or of points and components: the matrix is
    that of a state with one row for each point of the first component, then those of the second. `solve` is the
    pseudo-inverse.
    """

    def __init__(self, root: Tensor, inverse: Tensor) -> None:
        self.size = len(root)
        # Whole cache lines, so that the bits of a window do not depend on its place in a batch.
        self._padding = -self.size % (CACHE_LINE // root.element_size())
        self._root, self._inverse = (pad(part, (0, self._padding, 0, self._padding)) for part in (root, inverse))
        self.dtype, self.device = root.dtype, root.device

    def sqrt(self, control: Tensor) -> Tensor:
        """Multiply by the root."""
        return self._times(control, self._root)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Multiply by the root, which is symmetric."""
        return self._times(state, self._root)

    def solve(self, state: Tensor) -> Tensor:
        """Multiply by the inverse."""
        return self._times(state, self._inverse)

    def _times(self, state: Tensor, matrix: Tensor) -> Tensor:
        def product(state: Tensor) -> Tensor:
            rows = pad(state.reshape(len(state), -1, self.size), (0, self._padding))
            result = torch.bmm(rows, matrix.expand(len(rows), -1, -1))[..., : self.size]
            return result.reshape(state.shape).contiguous()

        return linear(state, product, product)


def root_and_inverse(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the symmetric root of a covariance matrix (n, n) in float64, and its pseudo-inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > GATE * values.max()
    root, inverse = torch.where(kept, values, 0.0).sqrt(), torch.where(kept, 1 / values, 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


@dataclass(frozen=True, eq=False)
class Dense(Specification):
    r"""Errors with a stated covariance matrix, for states of up to some thousand values.

    Parameters
    ----------
    matrix : array (n, n)
        B in the square of the variable's units, symmetric and without negative eigenvalues. n is the number of points
        of the grid, the last axis fastest: each component then has this B alone; or that number times the components.
    """

    matrix: Any

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> MatrixCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        matrix = torch.as_tensor(self.matrix, dtype=torch.float64, device="cpu").detach()
        self._check(matrix, grid)
        return MatrixCovariance(*(part.to(device=device, dtype=dtype) for part in root_and_inverse(matrix)))

    def _check(self, matrix: Tensor, grid: Grid) -> None:
        faults, shape = Faults(), tuple(matrix.shape)
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] % grid.size:
            faults.add(
                code="matrix-shape",
                found=f"a matrix of shape {shape} for a grid of {grid.size} points",
                expected="as many rows and columns as points, or as points times components",
                fix="numpy.cov(samples.reshape(len(samples), -1).T)",
            )
        elif not float((matrix - matrix.T).abs().max()) <= GATE * float(matrix.abs().max()):
            faults.add(
                code="covariance-not-symmetric",
                found="a matrix that is not symmetric, or not finite",
                expected="a covariance: symmetric, and no eigenvalue below zero",
                fix="matrix = (matrix + matrix.T) / 2",
            )
        elif float(torch.linalg.eigvalsh(matrix).min()) < -GATE * float(matrix.abs().max()):
            faults.add(
                code="covariance-not-positive",
                found="a matrix with a negative eigenvalue",
                expected="a covariance: symmetric, and no eigenvalue below zero",
                fix="set the negative part of its spectrum to zero",
            )
        faults.raise_if_any()


class UniformCovariance(Covariance):
    r""":math:`B = \sigma^2 1 1^T` on the points of each component: the same error everywhere.

    The control is one number for each component. `solve` is the pseudo-inverse.
    """

    def __init__(self, std: Tensor, points: Shape) -> None:
        self._std, self._points = std, tuple(points)
        self.dtype, self.device = std.dtype, std.device

    def control_shape(self, shape: Shape) -> Shape:
        """Return one point for each component."""
        return (*shape[: -len(self._points)], *(1 for _ in self._points))

    def sqrt(self, control: Tensor) -> Tensor:
        """Spread each number over the points."""
        return (control * self._std).expand(*control.shape[: -len(self._points)], *self._points)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Add up the points."""
        axes = tuple(range(-len(self._points), 0))
        return state.sum(axes, keepdim=True) * self._std

    def solve(self, state: Tensor) -> Tensor:
        """Divide the mean by the variance of the sum."""
        axes = tuple(range(-len(self._points), 0))
        count = state[(0, 0)].numel()
        return (state.mean(axes, keepdim=True) / (count * self._std**2)).expand(state.shape)


@dataclass(frozen=True, eq=False)
class Uniform(Specification):
    r"""The same error at all points, such as an unknown bias: :math:`B = \sigma^2 1 1^T`.

    As a localisation of unit standard deviation it leaves an ensemble as it is.

    Parameters
    ----------
    std : float
        Standard deviation in the variable's units.
    """

    std: float = 1.0

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> UniformCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        faults = Faults()
        faults.check_numbers(self, {"std": 1.0})
        faults.raise_if_any()
        return UniformCovariance(torch.tensor(self.std, dtype=dtype, device=device), grid.shape)
