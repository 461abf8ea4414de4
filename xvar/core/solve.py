"""Minimise J from coarse grids to the full grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from xvar.core.control import ControlSpace
from xvar.core.cost import Cost
from xvar.core.cost_history import CostHistory, minimizer_of
from xvar.core.cost_of_batch import CostOfBatch
from xvar.core.curvature import inverse_hessian
from xvar.core.dynamics import Forcing, State
from xvar.core.memory import keep_freed_memory
from xvar.core.minimize import LBFGS, Minimum
from xvar.core.problem import Problem
from xvar.errors import Fault, InputError


@dataclass(frozen=True)
class Analysis:
    """The analysis of a batch of windows.

    `trajectory` holds the state at every step, the first at the time of the control, `increment` :math:`x_a - x_b`
    there, and `forcing` the model error by step. `cost_background` and `cost_analysis` are the terms of J (window,).
    `minimum` is that on the full grid, with the evaluations on coarse grids included; `cost` is J on the full grid,
    where the zero control is the background.
    """

    trajectory: list[State]
    increment: State
    forcing: Forcing
    cost_background: dict[str, Tensor]
    cost_analysis: dict[str, Tensor]
    minimum: Minimum
    cost: Cost


def solve(
    problem: Problem,
    minimizer: LBFGS | None = None,
    *,
    levels: Sequence[int] = (1,),
    coarse: LBFGS | None = None,
    cost_history: CostHistory | None = None,
) -> Analysis:
    """Minimise J for every window of a problem.

    Parameters
    ----------
    problem : Problem
    minimizer, coarse : LBFGS, optional
        Minimisers of J at the last level, and at the levels before. Default of the latter: the former.
    levels : sequence of int
        Side of the blocks of averaged cells, level by level; the last is 1. Displacements larger than the structures of
        the image need coarse levels. Each starts from the analysis of the level before.
    cost_history : CostHistory, optional
        Records the terms of J at every evaluation.

    Returns
    -------
    Analysis
        A window that fails keeps its best iterate, with the reason in ``minimum.reason``.

    Raises
    ------
    InputError
        The levels do not divide one another down to 1.
    """
    if not levels or levels[-1] != 1 or any(coarse % fine for coarse, fine in pairwise(levels)):
        expected = "block sides that divide one another down to 1"
        raise InputError(Fault(f"levels={tuple(levels)}", expected, "levels=(4, 2, 1)", code="levels"))
    keep_freed_memory()
    minimizer = minimizer or LBFGS()
    evaluations = torch.zeros((), dtype=torch.int64)
    found: tuple[ControlSpace, Tensor] | None = None
    for coarser, level in zip((0, *levels), levels, strict=False):
        if cost_history is not None:
            cost_history.begin()
        function = CostOfBatch(problem.coarsen(level), cost_history)
        cost = function.whole
        control = cost.zero() if found is None else cost.space.refine(*found, coarser // level)
        minimum = minimizer_of(level, levels, minimizer, coarse)(function, control, inverse_hessian(cost))
        evaluations = minimum.evaluations + evaluations
        found = cost.space, minimum.control
    with torch.no_grad():
        fields = cost.space.fields(minimum.control)
        return Analysis(
            trajectory=cost.trajectory(minimum.control),
            increment=cost.space.increment(fields),
            forcing=cost.space.forcing(fields),
            cost_background=cost.terms(cost.zero()),
            cost_analysis=cost.terms(minimum.control),
            minimum=replace(minimum, evaluations=evaluations),
            cost=cost,
        )
