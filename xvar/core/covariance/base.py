"""What a covariance operator does, and what its specification in physical units says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from xvar.core.grid import Grid

Shape = tuple[int, ...]
Penalty = Callable[[Tensor], Tensor]


class Covariance(ABC):
    r"""Symmetric positive operator :math:`B = B^{1/2} B^{T/2}` on states (window, component, \*grid).

    Every method is linear and acts on each window alone, with the same bits whatever else is in the batch (one
    thread). Operators hold plain tensors of one dtype on one device; bind the specification again for others.

    Attributes
    ----------
    dtype : torch.dtype
        Of every tensor of the operator, and of the states it acts on.
    device : torch.device
        Where they lie.
    """

    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def sqrt(self, control: Tensor) -> Tensor:
        r""":math:`B^{1/2} v`: from the control (of `control_shape`) to the state (window, component, \*grid)."""

    @abstractmethod
    def sqrt_transpose(self, state: Tensor) -> Tensor:
        r""":math:`B^{T/2} x`: the adjoint of `sqrt`, from the state to the control."""

    @abstractmethod
    def solve(self, state: Tensor) -> Tensor:
        r""":math:`B^{-1} x`, the inverse of `apply`."""

    def apply(self, state: Tensor) -> Tensor:
        r""":math:`B x`."""
        return self.sqrt(self.sqrt_transpose(state))

    def control_shape(self, shape: Shape) -> Shape:
        r"""Shape of the control whose state has the shape (window, component, \*grid)."""
        return tuple(shape)

    def log_determinant(self, shape: Shape) -> Tensor | None:  # noqa: ARG002 -- the signature of them all
        r""":math:`\ln \det B` for each window of a state of this shape, (window,); None where it is not cheap."""
        return None

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:  # noqa: ARG002 -- as above
        r"""Diagonal of :math:`(I + B^{T/2} C B^{1/2})^{-1}` in the control, about; None where it is not known.

        C is the curvature of J_o by each value of the state, broadcastable to (window, component, \*grid).
        """
        return None

    def refine(self, coarse: Covariance, control: Tensor) -> Tensor | None:  # noqa: ARG002 -- for those that can
        """The control of a field from its control on a coarser grid; None where that is found by way of the field."""
        return None

    def embed(self, coarse: Covariance, control: Tensor) -> Tensor | None:  # noqa: ARG002 -- for those that can
        """The control of the same waves, as it is on a coarser grid; None where that is found by way of the field."""
        return None

    def select(self, windows: Tensor) -> Covariance:  # noqa: ARG002 -- the signature of them all
        """The operator of some windows of the batch; itself where it does not tell windows apart."""
        return self

    def sample(self, shape: Shape, generator: torch.Generator) -> Tensor:
        r"""States of this shape drawn from N(0, B).

        The numbers are drawn where the generator lives, so that a seed gives the same draw on any device.
        """
        size = self.control_shape(shape)
        control = torch.randn(size, generator=generator, dtype=self.dtype, device=generator.device)
        return self.sqrt(control.to(self.device))


class Specification(ABC):
    """A covariance in physical units (metres, seconds, the variable's units), before it knows its grid."""

    @abstractmethod
    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> Covariance:
        """Operator on this grid, every tensor of it of this dtype on this device."""

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:  # noqa: ARG002 -- the signature of them all
        r"""Terms of J that the specification asks for beside :math:`\frac12 x^T B^{-1} x` of the bound operator.

        A map from the name of the term to a function of the increment (window, component, \*grid) that returns its
        value for each window, (window,). Empty but where an exact square root of the whole does not exist.
        """
        return {}
