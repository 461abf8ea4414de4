"""Covariances made of others, whose controls lie one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from xvar.core.conjugate_gradients import conjugate_gradients
from xvar.core.covariance.base import Covariance, Shape
from xvar.core.covariance.linear import linear
from xvar.core.grid import Device

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
