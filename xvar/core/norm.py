r"""Norms :math:`\rho` of residuals in standard deviations, with the weights of their quadratic approximations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Norm(Protocol):
    r"""A norm :math:`\rho(r)` of each residual, about :math:`\tfrac12 r^2` for small ones."""

    def __call__(self, residual: Tensor) -> Tensor:
        r"""Return :math:`\rho(r)`."""
        ...

    def weight(self, residual: Tensor) -> Tensor:
        r"""Return :math:`\rho'(r) / r`, the weight of a quadratic that bounds the norm from above."""
        ...

    def curvature(self, residual: Tensor) -> Tensor:
        r"""Return :math:`\rho''(r)`."""
        ...


@dataclass(frozen=True)
class Quadratic:
    r""":math:`\rho(r) = \tfrac12 r^2`, of Gaussian errors."""

    def __call__(self, residual: Tensor) -> Tensor:
        """Return half the square of each residual."""
        return 0.5 * residual.square()

    def weight(self, residual: Tensor) -> Tensor:
        """Return one."""
        return torch.ones_like(residual)

    curvature = weight


@dataclass(frozen=True)
class Huber:
    r""":math:`\rho(r) = \tfrac12 r^2` up to :math:`|r| = c`, and :math:`c |r| - \tfrac12 c^2` beyond."""

    threshold: float  # c

    def __call__(self, residual: Tensor) -> Tensor:
        r"""Return :math:`r \bar r - \tfrac12 \bar r^2`, with the residual limited to c on both sides."""
        limited = residual.clamp(-self.threshold, self.threshold)
        return limited * (residual - 0.5 * limited)

    def weight(self, residual: Tensor) -> Tensor:
        """Return min(1, c / |r|)."""
        return self.threshold / residual.abs().clamp_min(self.threshold)

    def curvature(self, residual: Tensor) -> Tensor:
        """Return one up to the threshold, and zero beyond."""
        return (residual.abs() <= self.threshold).to(residual.dtype)


@dataclass(frozen=True)
class PseudoHuber:
    r""":math:`\rho(r) = c^2 (\sqrt{1 + (r/c)^2} - 1)`, which approaches `Huber` with all its derivatives."""

    threshold: float  # c

    def __call__(self, residual: Tensor) -> Tensor:
        """Return the norm of each residual."""
        norm: Tensor = _PseudoHuber.apply(residual, self.threshold)  # type: ignore[no-untyped-call]
        return norm

    def weight(self, residual: Tensor) -> Tensor:
        """Return (1 + (r / c)^2)^(-1/2)."""
        return (1 + (residual / self.threshold).square()).rsqrt()

    def curvature(self, residual: Tensor) -> Tensor:
        """Return (1 + (r / c)^2)^(-3/2)."""
        return self.weight(residual) ** 3


class _PseudoHuber(torch.autograd.Function):
    """The norm with its derivative, which autograd finds in twice as many passes."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(residual)
        ctx.threshold = threshold
        squared = (residual / threshold).square_()
        # c² (√(1 + s) - 1) = c² s / (√(1 + s) + 1) loses no digits where s is small
        return squared.div_((1 + squared).sqrt_().add_(1)).mul_(threshold**2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (residual,) = ctx.saved_tensors
        root = residual.square().mul_(ctx.threshold**-2).add_(1).rsqrt_()
        return (root * residual).mul_(gradient), None
