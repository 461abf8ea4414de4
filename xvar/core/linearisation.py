"""The quadratic approximation of J that the inner loops of Gauss-Newton minimise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xvar.core.cost import Cost
from xvar.core.grid import coarser


class Linearisation:
    r"""J about a control (window, n), by its Gauss-Newton Hessian :math:`I + B^{T/2} G^T W G B^{1/2}`.

    G is the tangent linear of the residuals with respect to the fields of the control, and W their weight: one for a
    quadratic norm, else :math:`\rho'(r) / r`, which makes the quadratic an upper bound, or :math:`\rho''(r)` if it is
    to be `exact`. Each product uses the graph of one integration, once forward, as the derivative of a backward pass,
    and once backward.
    """

    def __init__(self, cost: Cost, control: Tensor, *, exact: bool = False) -> None:
        with torch.no_grad():
            stacked = cost.space.sqrt(control)
        self._linearise(cost, stacked, exact=exact)

    def _linearise(self, cost: Cost, stacked: Sequence[Tensor], *, exact: bool = False) -> None:
        """Keep the graph of the residuals, and of their derivative, at some fields."""
        self._cost = cost
        self._fields = [part.requires_grad_() for part in stacked]
        with torch.enable_grad():
            # Some observations may depend on no part of the control.
            found = [pair for pair in cost.residuals(cost.space.split(self._fields)) if pair[1].requires_grad]
            self._residuals = [residual for _, residual in found]
            self._weights = [
                (one.norm.curvature if exact else one.norm.weight)(residual.detach()) for one, residual in found
            ]
            self.observations = [(observation, residual.detach()) for observation, residual in found]
            self._probes = [torch.zeros_like(residual).requires_grad_() for residual in self._residuals]
            if found:
                self._backward = torch.autograd.grad(
                    self._residuals, self._fields, self._probes, create_graph=True, materialize_grads=True
                )

    def restrict(self, gradient: Tensor) -> Tensor:
        """Return a gradient in the space of the inner loop."""
        return gradient

    def prolong(self, step: Tensor) -> Tensor:
        """Return a step of the inner loop in the control."""
        return step

    def product(self, control: Tensor) -> Tensor:
        """Return the Gauss-Newton Hessian times a control (window, n)."""
        return control + self._misfit_product(control)

    def _misfit_product(self, control: Tensor) -> Tensor:
        """Return the same without the prior."""
        space = self._cost.space
        fields = space.sqrt(control)
        adjoints = self._transposed(self.weighted(self._tangents(fields)))
        return space.sqrt_transpose([a + b for a, b in zip(adjoints, self._penalised(fields), strict=True)])

    def weighted(self, residuals: Sequence[Tensor]) -> list[Tensor]:
        """Return W times residuals."""
        return [weight * residual for weight, residual in zip(self._weights, residuals, strict=True)]

    def tangent(self, control: Tensor) -> Sequence[Tensor]:
        """Return G B^{1/2} times a control: a change of each residual."""
        return self._tangents(self._cost.space.sqrt(control))

    def adjoint(self, residuals: Sequence[Tensor]) -> Tensor:
        """Return B^{T/2} G^T times residuals."""
        return self._cost.space.sqrt_transpose(self._transposed(residuals))

    def _tangents(self, fields: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self._residuals:  # no observations
            return []
        return torch.autograd.grad(self._backward, self._probes, fields, retain_graph=True, materialize_grads=True)

    def _transposed(self, residuals: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self._residuals:
            return [torch.zeros_like(field) for field in self._fields]
        return torch.autograd.grad(self._residuals, self._fields, residuals, retain_graph=True, materialize_grads=True)

    def _penalised(self, fields: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the Hessian of the penalties times fields: their gradient, as they are quadratic."""
        with torch.enable_grad():
            leaves = [field.detach().requires_grad_() for field in fields]
            values = [value.sum() for _, value in self._cost.penalties(self._cost.space.split(leaves))]
            if not values:
                return [torch.zeros_like(field) for field in fields]
            return torch.autograd.grad(values, leaves, materialize_grads=True)


class CoarseLinearisation(Linearisation):
    """J about a control with the tangent linear model on a coarser grid: :math:`L^T L + B^{T/2} G^T W G B^{1/2}`.

    L maps the control of the coarse grid to that of the same waves on the fine one. Coarse states are interpolated to
    the fine grid and compared there: the gradient is that of J (`fine`), only the Hessian is that of the coarse model
    (`coarse`, see `xvar.core.problem.Problem.with_coarse_model`).
    """

    def __init__(self, fine: Cost, coarse: Cost, control: Tensor, factor: int) -> None:
        self._fine, self._factor = fine, factor
        with torch.no_grad():
            fields = [coarser(field, factor) for field in fine.space.fields(control)]
            stacked = coarse.space.merge(fields)
        self._linearise(coarse, stacked)

    def restrict(self, gradient: Tensor) -> Tensor:
        """Apply the adjoint of L."""
        with torch.enable_grad():
            leaf = self._cost.zero().requires_grad_()
            return torch.autograd.grad(self._embed(leaf), leaf, gradient)[0]

    def prolong(self, step: Tensor) -> Tensor:
        """Apply L."""
        with torch.no_grad():
            return self._embed(step)

    def _embed(self, control: Tensor) -> Tensor:
        return self._fine.space.embed(self._cost.space, control, self._factor)

    def product(self, control: Tensor) -> Tensor:
        """Return the Hessian times a control of the coarse grid."""
        return self.restrict(self.prolong(control)) + self._misfit_product(control)
