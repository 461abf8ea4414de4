"""Separable covariances: the product of one on the first axis and one on the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.grid import Device, Grid
from xvar.errors import Fault, Faults, InputError


class ProductCovariance(Covariance):
    r""":math:`B = B_1 \otimes B_2` on states (window, component, first, \*others).

    :math:`B^{1/2} = B_1^{1/2} \otimes B_2^{1/2}`: the levels of the first axis are components of the second operator,
    the points of the others those of the first. Both act on each component alone.
    """

    def __init__(self, first: Covariance, others: Covariance) -> None:
        self._first, self._others = first, others
        self.dtype, self.device = others.dtype, others.device

    def control_shape(self, shape: Shape) -> Shape:
        """Return (window, component, first, *others), each axis that of the control of its part."""
        levels = self._first.control_shape((shape[0], 1, shape[2]))[-1]
        return (*shape[:2], levels, *self._others.control_shape((shape[0], 1, *shape[3:]))[2:])

    def sqrt(self, control: Tensor) -> Tensor:
        """Apply the root of the first axis, then that of the others."""
        return self._along_others("sqrt", self._along_first("sqrt", control))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Return the adjoint of `sqrt`."""
        return self._along_first("sqrt_transpose", self._along_others("sqrt_transpose", state))

    def solve(self, state: Tensor) -> Tensor:
        """Invert each part."""
        return self._along_first("solve", self._along_others("solve", state))

    def _along_first(self, verb: str, values: Tensor) -> Tensor:
        last = values.movedim(2, -1)
        found: Tensor = getattr(self._first, verb)(last.reshape(len(last), -1, last.shape[-1]))
        return found.reshape(*last.shape[:-1], found.shape[-1]).movedim(-1, 2)

    def _along_others(self, verb: str, values: Tensor) -> Tensor:
        found: Tensor = getattr(self._others, verb)(values.flatten(1, 2))
        return found.reshape(*values.shape[:3], *found.shape[2:])


@dataclass(frozen=True, eq=False)
class Product(Specification):
    r"""Separable errors: :math:`B = B_1 \otimes B_2`, such as levels times planes.

    Parameters
    ----------
    first : specification
        :math:`B_1` on the first axis of the grid, such as the levels: `Matern` (1.0, length) or `Dense` (correlations).
    others : specification
        :math:`B_2` on the other axes, of each component alone. The variances are the products of both.
    """

    first: Specification
    others: Specification

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> ProductCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        faults = Faults()
        if len(grid.shape) < 2:
            faults.add(
                code="grid-axes",
                found=f"a product on a grid of shape {grid.shape}",
                expected="two axes or more",
                fix="one of its parts alone",
            )
        faults.raise_if_any()
        line = Grid(grid.shape[:1], grid.spacing[:1], edges=grid.edges)
        rest = Grid(
            grid.shape[1:],
            grid.spacing[1:],
            grid.metric if len(grid.shape) > 2 else None,
            grid.water if len(grid.shape) == 2 else None,
            grid.edges,
            grid.positions if len(grid.shape) > 2 else None,
        )
        parts = [self.first.bind(line, dtype=dtype, device=device), self.others.bind(rest, dtype=dtype, device=device)]
        for part, own in zip(parts, (line, rest), strict=True):
            one, two = (part.control_shape((1, count, *own.shape)) for count in (1, 2))
            if len(one) != len(own.shape) + 2 or one[2:] != two[2:] or (one[1], two[1]) != (1, 2):
                found = f"a product with {type(part).__name__}, whose control is not one of each component"
                expected = "parts that act on each component alone: Matern, Diagonal, Dense, Tikhonov"
                fix = "xvar.covariance.Dense of the whole state"
                raise InputError(Fault(found, expected, fix, code="product-part"))
        return ProductCovariance(*parts)
