"""Sums of independent errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Penalty, Shape, Specification
from xvar.core.covariance.composite import CompositeCovariance, with_precise
from xvar.core.covariance.diagonal import Diagonal
from xvar.core.grid import Device, Grid
from xvar.errors import Fault, InputError


class SumCovariance(CompositeCovariance):
    r""":math:`B = \sum_i f_i^2 B_i` on states (component, \*grid); the first term preconditions its inverse."""

    def __init__(self, parts: tuple[Covariance, ...], factors: tuple[float, ...], shape: Shape) -> None:
        super().__init__([(part, shape[0]) for part in parts], shape[1:])
        self._factors = factors

    def sqrt(self, control: Tensor) -> Tensor:
        r"""Return :math:`\sum_i f_i B_i^{1/2} v_i`."""
        first, *others = (factor * field for factor, field in zip(self._factors, self.fields(control), strict=True))
        return sum(others, first)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Return the adjoint of `sqrt`."""
        pairs = zip(self._parts, self._factors, strict=True)
        return self.merge(factor * part.sqrt_transpose(state) for part, factor in pairs)

    def precondition(self, state: Tensor) -> Tensor:
        """Invert the first term."""
        return self._parts[0].solve(state) / self._factors[0] ** 2

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:
        """Approximate each term as if it were alone."""
        diagonals = []
        for part, factor, own in zip(self._parts, self._factors, self._shapes, strict=True):
            found = part.inverse_hessian(factor**2 * curvature, shape)
            like = torch.ones((), dtype=self.dtype, device=self.device) if found is None else found
            diagonals.append(like.expand(shape[0], *own))
        return self.merge(diagonals)


@dataclass(frozen=True, eq=False)
class Sum(Specification):
    r"""Independent errors that add up: :math:`B = \sum_i f_i^2 B_i`, for states of this many components."""

    parts: tuple[Specification, ...]
    factors: tuple[float, ...]
    components: int

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> SumCovariance:
        """Return the operator on a grid."""

        def make(dtype: torch.dtype, device: Device) -> SumCovariance:
            bound = tuple(part.bind(grid, dtype=dtype, device=device) for part in self.parts)
            return SumCovariance(bound, self.factors, (self.components, *grid.shape))

        return with_precise(make, dtype, device)

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:
        """Return none. Raises InputError if a part has penalties: the norm of a sum is not the sum of the norms."""
        names = sorted({name for part in self.parts for name in part.penalties(grid)})
        if names:
            raise InputError(
                Fault(
                    f"a sum with a covariance whose penalty {', '.join(names)} has no square root",
                    "covariances without penalties",
                    'Tikhonov(..., divergence=0.0) or edges="periodic"',
                    code="sum-with-penalty",
                )
            )
        return {}


def grown(analysis: Specification | None, model: Specification, seconds: float, components: int) -> Specification:
    r"""Return B (None: no error) grown by the error of a model, Q per second, over T seconds: :math:`B + T\,Q`."""
    if analysis is None:
        return Sum((model,), (math.sqrt(seconds),), components)
    if isinstance(analysis, Diagonal) and isinstance(model, Diagonal):
        one, other = (torch.as_tensor(part.std, dtype=torch.float64) for part in (analysis, model))
        return Diagonal((one.square() + seconds * other.square()).sqrt())
    return Sum((analysis, model), (1.0, math.sqrt(seconds)), components)
