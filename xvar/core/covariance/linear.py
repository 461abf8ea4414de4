"""Linear maps whose adjoint is known: nothing is saved for the backward pass, and it has the forward pass's care."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


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
    """Apply a linear map; derivatives of any order take it and its adjoint, not the graph of its steps."""
    if not (torch.is_grad_enabled() and field.requires_grad):
        return forward(field)
    return cast("Tensor", _Linear.apply(field, forward, adjoint))  # type: ignore[no-untyped-call]
