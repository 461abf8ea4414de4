"""J of the windows of a batch that have not converged."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from xvar.core.cost import Cost
from xvar.core.cost_history import CostHistory
from xvar.core.linearisation import CoarseLinearisation, Linearisation
from xvar.core.problem import Problem


class CostOfBatch:
    """J for a minimiser: fewer windows are evaluated once some have converged; `cost_history` records the terms."""

    def __init__(self, problem: Problem, cost_history: CostHistory | None = None) -> None:
        self.whole = Cost(problem)
        self.cost_history = cost_history
        self._part, self._windows = self.whole, torch.arange(problem.windows)
        self._coarse: dict[int, Cost] = {}

    def __call__(self, control: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return J and its gradient for some windows of the batch."""
        callback = None if self.cost_history is None else partial(self.cost_history.note, windows)
        return self._of(windows).gradient(control, callback)

    def linearise(self, control: Tensor, windows: Tensor, factor: int = 1) -> Linearisation:
        """Return the quadratic about a control of some windows, with the model on a grid of blocks of cells."""
        cost = self._of(windows)
        if factor == 1:
            return Linearisation(cost, control)
        if factor not in self._coarse:
            self._coarse[factor] = Cost(self.whole.problem.with_coarse_model(factor))
        coarse = self._coarse[factor]
        every = len(windows) == self.whole.problem.windows
        return CoarseLinearisation(cost, coarse if every else coarse.select(windows), control, factor)

    def _of(self, windows: Tensor) -> Cost:
        if not torch.equal(windows, self._windows):
            whole = len(windows) == self.whole.problem.windows
            self._part = self.whole if whole else self.whole.select(windows)
            self._windows = windows
        return self._part
