"""The interface of covariance operators, and of their specifications in physical units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from xvar.core.grid import Device, Grid

Shape = tuple[int, ...]
Penalty = Callable[[Tensor], Tensor]


class Covariance(ABC):
    r"""Symmetric positive operator :math:`B = B^{1/2} B^{T/2}` on states (window, component, \*grid).

    Every method is linear and acts on each window alone, with the same bits whatever else is in the batch (one
    thread). An operator holds tensors of one dtype on one device; bind the specification again for others.

    Attributes
    ----------
    dtype : torch.dtype
    device : torch.device
    """

    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def sqrt(self, control: Tensor) -> Tensor:
        r"""Return :math:`B^{1/2} v`: from the control (of `control_shape`) to the state (window, component, \*grid)."""

    @abstractmethod
    def sqrt_transpose(self, state: Tensor) -> Tensor:
        r"""Return :math:`B^{T/2} x`: the adjoint of `sqrt`, from the state to the control."""

    @abstractmethod
    def solve(self, state: Tensor) -> Tensor:
        r"""Return :math:`B^{-1} x`, the inverse of `apply`."""

    def apply(self, state: Tensor) -> Tensor:
        r"""Return :math:`B x`."""
        return self.sqrt(self.sqrt_transpose(state))

    def control_shape(self, shape: Shape) -> Shape:
        r"""Return the shape of the control of states of the shape (window, component, \*grid)."""
        return tuple(shape)

    def log_determinant(self, shape: Shape) -> Tensor | None:  # noqa: ARG002 -- interface
        r"""Return :math:`\ln \det B` for each window of states of this shape, (window,); None if it is expensive."""
        return None

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:  # noqa: ARG002 -- interface
        r"""Approximate the diagonal of :math:`(I + B^{T/2} C B^{1/2})^{-1}` in the control; None if it is unknown.

        C is the curvature of J_o by each value of the state, broadcastable to (window, component, \*grid).
        """
        return None

    def refine(self, coarse: Covariance, control: Tensor) -> Tensor | None:  # noqa: ARG002 -- interface
        """Return the control of the field of a control on a coarser grid; None if the field has to be interpolated."""
        return None

    def embed(self, coarse: Covariance, control: Tensor) -> Tensor | None:  # noqa: ARG002 -- interface
        """Return the control of the same waves on this grid; None if the field has to be interpolated."""
        return None

    def select(self, windows: Tensor) -> Covariance:  # noqa: ARG002 -- interface
        """Return the operator of some windows of the batch; itself if all windows have the same."""
        return self

    def sample(self, shape: Shape, generator: torch.Generator) -> Tensor:
        r"""Draw states of this shape from N(0, B).

        Random numbers are drawn on the device of the generator, so a seed gives the same draw on any device.
        """
        size = self.control_shape(shape)
        control = torch.randn(size, generator=generator, dtype=self.dtype, device=generator.device)
        return self.sqrt(control.to(self.device))


class Specification(ABC):
    """A covariance in physical units (metres, seconds, the variable's units), independent of a grid."""

    @abstractmethod
    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> Covariance:
        """Return the operator on a grid, all its tensors of this dtype on this device.

        Raises
        ------
        InputError
            A number is out of range, or does not fit the grid.
        """

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:  # noqa: ARG002 -- interface
        r"""Return terms of J beside :math:`\frac12 x^T B^{-1} x` of the bound operator, by name.

        Each is a function of the increment (window, component, \*grid) that returns its value for each window,
        (window,). Empty unless the whole has no exact square root.
        """
        return {}
