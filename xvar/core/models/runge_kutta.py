"""The classical fourth-order method of Runge and Kutta."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def runge_kutta(tendency: Callable[[Tensor], Tensor], values: Tensor, seconds: float) -> Tensor:
    r"""Advance :math:`\dot x = F(x)` by one step."""
    first = tendency(values)
    second = tendency(torch.add(values, first, alpha=0.5 * seconds))
    third = tendency(torch.add(values, second, alpha=0.5 * seconds))
    fourth = tendency(torch.add(values, third, alpha=seconds))
    return torch.add(values, first + 2 * (second + third) + fourth, alpha=seconds / 6)
