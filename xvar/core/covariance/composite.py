"""Covariances made of others, whose controls lie one after the other, and the sum of independent errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from xvar.core.conjugate_gradients import conjugate_gradients
from xvar.core.covariance.base import Covariance, Penalty, Shape, Specification
from xvar.core.covariance.diagonal import Diagonal
from xvar.core.covariance.linear import linear
from xvar.core.grid import Device, Grid
from xvar.errors import Fault, InputError

Operator = TypeVar("Operator", bound="CompositeCovariance")


class CompositeCovariance(Covariance):
    """A covariance made of parts (covariance, number of components), with the controls of all in one row (window, n).

    The inverse is iterative, in double precision, with :meth:`precondition` as its approximation.
    """

    #: Iterations of the inverse, at most.
    iterations: ClassVar[int] = 2000

    def __init__(self, parts: Sequence[tuple[Covariance, int]], points: Shape) -> None:
        self._parts = tuple(part for part, _ in parts)
        self._shapes = [part.control_shape((1, components, *points))[1:] for part, components in parts]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.dtype, self.device = self._parts[0].dtype, self._parts[0].device
        self._precise: CompositeCovariance | None = None

    def control_shape(self, shape: Shape) -> Shape:
        """Return (window, n)."""
        return shape[0], sum(self._sizes)

    def fields(self, control: Tensor) -> list[Tensor]:
        """Return the square root of each part times its own control."""
        controls = zip(self._parts, control.split(self._sizes, dim=1), self._shapes, strict=True)
        return [part.sqrt(own.reshape(len(control), *shape)) for part, own, shape in controls]

    @staticmethod
    def merge(controls: Iterable[Tensor]) -> Tensor:
        """Lay the controls of the parts one after the other."""
        return torch.cat([control.flatten(1) for control in controls], dim=1)

    def precondition(self, state: Tensor) -> Tensor:
        """Approximate `solve`."""
        return self._parts[0].solve(state)

    def solve(self, state: Tensor) -> Tensor:
        """Invert by conjugate gradients; NaN for a window for which they fail."""
        return linear(state, self._solve, self._solve)

    def _solve(self, state: Tensor) -> Tensor:
        precise = self._precise or self
        right = state.to(torch.float64)
        return conjugate_gradients(precise.apply, right, precise.precondition, self.iterations).to(self.dtype)

    def select(self: Operator, windows: Tensor) -> Operator:
        """Return the operator of some windows: the parts of these windows."""
        selected = copy(self)
        selected._parts = tuple(part.select(windows) for part in self._parts)
        selected._precise = None if self._precise is None else self._precise.select(windows)
        return selected


def with_precise(make: Callable[[torch.dtype, Device], Operator], dtype: torch.dtype, device: Device) -> Operator:
    """Make a composite, and the same in double precision for its inverse."""
    operator = make(dtype, device)
    if dtype != torch.float64 and operator.device.type != "meta":
        operator._precise = make(torch.float64, device)
    return operator


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
