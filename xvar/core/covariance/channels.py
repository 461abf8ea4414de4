"""Errors correlated across the components of a state, or the channels of an instrument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Diagonal, Shape, Specification
from xvar.core.grid import Device, Grid
from xvar.errors import Fault, InputError


class ChannelsCovariance(Covariance):
    r""":math:`B = S \otimes C`: C acts on each component, and :math:`S = L L^T` across components at each point."""

    _of_windows: ClassVar[tuple[str, ...]] = ("_space",)

    def __init__(self, matrix: Tensor, space: Covariance) -> None:
        self._space, self.dtype, self.device = space, space.dtype, space.device
        root = torch.linalg.cholesky(matrix)
        self._root, self._transposed = root.tolist(), root.T.tolist()
        self._inverse = torch.cholesky_inverse(root).tolist()

    def control_shape(self, shape: Shape) -> Shape:
        """Return the shape of the control of C."""
        return self._space.control_shape(shape)

    def sqrt(self, control: Tensor) -> Tensor:
        r"""Return :math:`L\, C^{1/2} v`."""
        return _mixed(self._root, self._space.sqrt(control))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        r"""Return :math:`C^{T/2} L^T x`."""
        return self._space.sqrt_transpose(_mixed(self._transposed, state))

    def solve(self, state: Tensor) -> Tensor:
        r"""Return :math:`S^{-1} C^{-1} x`."""
        return _mixed(self._inverse, self._space.solve(state))


def _mixed(matrix: Sequence[Sequence[float]], state: Tensor) -> Tensor:
    """Return a matrix times the components at each point, by sums whose bits do not depend on the batch."""
    rows = []
    for weights in matrix:
        row = state[:, 0] * weights[0]
        for index, weight in enumerate(weights[1:], 1):
            row = torch.add(row, state[:, index], alpha=weight)
        rows.append(row)
    return torch.stack(rows, dim=1)


@dataclass(frozen=True, eq=False)
class Channels(Specification):
    r"""Errors correlated across components by a matrix S, and in space by a covariance C: :math:`B = S \otimes C`.

    Parameters
    ----------
    matrix : array (component, component)
        S, the covariance of the components at a point, in the products of their units.
    space : specification, optional
        C, the correlation in space of each component: a covariance with a standard deviation of 1, such as
        ``Matern(1.0, length=20e3)``. Default: none.

    Raises
    ------
    InputError
        If the matrix is not symmetric and positive.
    """

    matrix: Any
    space: Specification | None = None

    def __post_init__(self) -> None:
        """Reject a matrix that is no covariance."""
        matrix = self._double()
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        if square and bool(matrix.isfinite().all()):
            symmetric = bool((matrix - matrix.T).abs().max() <= 1e-9 * matrix.abs().max())
            if symmetric and int(torch.linalg.cholesky_ex(matrix).info) == 0:
                return
        raise InputError(
            Fault(
                f"a matrix of shape {tuple(matrix.shape)} that is not symmetric and positive",
                "the covariance of the components: square, symmetric, all eigenvalues above zero",
                "Channels([[1.0, 0.5], [0.5, 1.0]])",
                code="channels-matrix",
            )
        )

    def _double(self) -> Tensor:
        return torch.as_tensor(self.matrix, dtype=torch.float64, device="cpu")

    @property
    def components(self) -> int:
        """Number of components."""
        return len(self._double())

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> ChannelsCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        space = Diagonal(1.0) if self.space is None else self.space
        return ChannelsCovariance(self._double(), space.bind(grid, dtype=dtype, device=device))
