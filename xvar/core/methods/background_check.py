r"""Background check of observations: reject those with :math:`|H(x_b) - y| > k \sigma`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from xvar.core.cost import Cost
from xvar.core.problem import Problem


def checked(problem: Problem, limits: Sequence[float | None]) -> Problem:
    r"""Return the problem without the observations that are farther from the background than their limit.

    `limits` are the k of each source, in standard deviations :math:`\sigma` of its errors of observation; None leaves
    a source as it is. An equivalent of the background that is not finite is rejected, too.
    """
    if all(limit is None for limit in limits):
        return problem
    cost = Cost(problem)
    states = cost.trajectory(cost.zero(), as_observed=True)
    found = []
    for one in problem.observations:
        limit = limits[one.source]
        if limit is not None:
            with torch.no_grad():
                state = problem.state_at(states, one.time, one.time_interpolation)
                near = (one.operator(state) - one.values).abs() <= limit * one.std
            one = replace(one, valid=one.mask & near)
        found.append(one)
    return replace(problem, observations=tuple(found))


def rejections(before: Problem, after: Problem, sources: int) -> tuple[list[list[Tensor]], Tensor]:
    """Return the masks of rejected values of each source, observation by observation, and their counts.

    The counts are (window, source).
    """
    masks: list[list[Tensor]] = [[] for _ in range(sources)]
    counts = torch.zeros(before.windows, sources, dtype=torch.int64, device=before.like.device)
    for one, kept in zip(before.observations, after.observations, strict=True):
        masks[one.source].append(one.mask & ~kept.mask)
        counts[:, one.source] += masks[one.source][-1].flatten(1).sum(1)
    return masks, counts
