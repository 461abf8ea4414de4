"""Values gathered at indices, and the adjoint: sums with the same bits on every run, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xvar.core.linear_maps import linear

SMALLEST = 2.0**-64  # values that are all smaller sum to zero on a device


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Return values (window, component, point) at indices (window, place), as (window, component, place)."""
    expanded, points = index[:, None].expand(-1, values.shape[1], -1), values.shape[2]
    return linear(values, lambda field: field.gather(2, expanded), lambda taken: scatter(taken, index, points))


def scatter(values: Tensor, index: Tensor, points: int) -> Tensor:
    """Return the adjoint of `gather`: the sums (window, component, point) of the values with the same index."""
    expanded = index[:, None].expand(-1, values.shape[1], -1)
    if values.device.type == "cpu":
        return values.new_zeros(*values.shape[:2], points).scatter_add_(2, expanded, values)
    return sum_of_whole_numbers(values, expanded, points)


def sum_of_whole_numbers(values: Tensor, expanded: Tensor, points: int) -> Tensor:
    """Return the same sums in fixed point: threads add in any order, and whole numbers have the same sum in any."""
    bits = 62 - math.ceil(math.log2(max(values.shape[2], 1)))  # the sum of all fits 64 bits
    unit = values.abs().amax(2, keepdim=True).clamp_min(SMALLEST) * 2.0**-bits  # NaN stays
    whole = (values / unit).round().to(torch.int64)
    total = whole.new_zeros(*values.shape[:2], points).scatter_add_(2, expanded, whole)
    return total.to(values.dtype) * unit
