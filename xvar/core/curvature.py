"""The diagonal of the inverse Hessian of J at the background, approximately."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xvar.core.control import Block
from xvar.core.cost import Cost

#: Step of the difference for the curvature of J along its gradient, in standard deviations.
DIFFERENCE = 1e-3


def inverse_hessian(cost: Cost) -> Tensor | None:
    """Approximate the diagonal of the inverse Hessian of J (window, n); None if no curvature is known or measured."""
    problem = cost.problem
    known = problem.curvature
    wanted = {*problem.parameters, *problem.measured} - set(known)
    if not known and not problem.measured:
        return None
    diagonal = torch.ones_like(cost.zero())
    for block in cost.space.blocks:
        if not block.steps and block.name in known:
            shape = tuple(problem.background[block.name].shape)
            part = block.covariance.inverse_hessian(known[block.name], shape)
            if part is not None:
                diagonal[:, block.begin : block.end] = part.flatten(1)
    unknown = [block for block in cost.space.blocks if not block.steps and block.name in wanted]
    if unknown:
        _measure(cost, unknown, diagonal)
    return diagonal


def _measure(cost: Cost, blocks: Sequence[Block], diagonal: Tensor) -> None:
    """Measure the curvature of blocks along their gradient by a difference.

    A negative curvature counts by its size, as a limit of the first step: a step by the gradient alone may move images
    off the grid, where the gradient is zero (Dauphin et al. 2014, arXiv:1406.2572).
    """
    start = cost.zero()
    _, slopes = cost.gradient(start)
    for block in blocks:
        own = slice(block.begin, block.end)
        slope = slopes[:, own]
        along = slope / slope.square().sum(1, keepdim=True).sqrt().clamp_min(torch.finfo(slope.dtype).tiny)
        moved = start.clone()
        moved[:, own] = DIFFERENCE * along
        _, found = cost.gradient(moved)
        bent = ((found[:, own] - slope) * along).sum(1, keepdim=True) / DIFFERENCE
        diagonal[:, own] = torch.where(bent.isfinite(), 1 / bent.abs().clamp_min(1.0), 1.0)
