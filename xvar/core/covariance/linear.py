"""Linear maps with a known adjoint, for autograd: no tensor is saved for the backward pass."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from xvar.core.conjugate_gradients import Map


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(field: Tensor, forward: Map, adjoint: Map) -> Tensor:  # noqa: ARG004 -- kept by setup_context
        return forward(field)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Map, Map], output: Tensor) -> None:  # noqa: ARG004
        _, ctx.forward_map, ctx.adjoint_map = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return linear(gradient, ctx.adjoint_map, ctx.forward_map), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return linear(tangent, ctx.forward_map, ctx.adjoint_map)


def linear(field: Tensor, forward: Map, adjoint: Map) -> Tensor:
    """Apply a linear map, whose derivatives of any order are computed with itself and its adjoint."""
    if not (torch.is_grad_enabled() and field.requires_grad):
        return forward(field)
    return cast("Tensor", _Linear.apply(field, forward, adjoint))  # type: ignore[no-untyped-call]
