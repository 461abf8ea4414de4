"""Windows that are minimised together: their analyses, J, the cost of their forecasts, and gradients by the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xvar.core.cost import Cost
from xvar.core.dynamics import integrate
from xvar.core.problem import Problem, frame_steps
from xvar.core.solve import CostOfBatch
from xvar.core.step_check import check_step
from xvar.execution.batches import WindowBatch
from xvar.execution.workers import one_torch_thread, refuse_fork, take_device

if TYPE_CHECKING:
    from xvar.plan.pipeline import Pipeline


@dataclass(frozen=True)
class Group:
    """Windows with the same frame times, and the windows that follow them, with the same frame times and lead."""

    numbers: NDArray[np.intp]  # (window,), of the windows of the record
    batch: WindowBatch  # without the values of its frames
    following: WindowBatch | None = None  # likewise, window by window; None: no forecast is compared
    lead: float = 0.0  # seconds from the last frame of a window to the first of the one that follows

    @property
    def frames(self) -> NDArray[np.intp]:
        """Numbers of the frames that the windows need, ascending."""
        parts = [self.batch] if self.following is None else [self.batch, self.following]
        return np.unique(np.concatenate([part.numbers.ravel() for part in parts]))

    def problem(self, pipeline: Pipeline, block: Any, *, following: bool = False) -> Problem:
        """Return the problem of the windows, or of those that follow, from the frames that they need (frame, ...)."""
        batch = self.following if following else self.batch
        assert batch is not None
        frames, _ = pipeline.quality(block[np.searchsorted(self.frames, batch.numbers)])
        return pipeline.solver.problem(replace(batch, frames=frames))


@dataclass(frozen=True)
class Evaluation:
    """Analyses of the windows of a group; a window whose J is not finite has no part in gradients."""

    numbers: NDArray[np.intp]  # (window,)
    controls: Tensor  # (window, n); zero if J is not finite
    cost: Tensor  # J at the analysis (window,)
    forecast: Tensor  # misfit of the forecast over the next window (window,), NaN if none is compared
    evaluations: Tensor  # of J (window,)
    gradients: tuple[Tensor, ...] = ()  # of the sum of J and of the weighted forecasts, by each weight


@dataclass(frozen=True)
class Evaluate:
    """Analysis of a group of windows, and the gradient by the weights of the model: a task for a worker."""

    pipeline: Pipeline
    group: Group
    starts: Sequence[Tensor | None]  # first guess of the control of each window (n,); None: the background
    weight: float | None = None  # of the forecasts in the gradient; None: no gradient
    device: str | None = None

    def __call__(self, block: Any) -> Evaluation:
        """Evaluate the group, given the frames that it needs (frame, y, x)."""
        refuse_fork()
        with one_torch_thread():
            take_device(self.device)
            return self._evaluate(np.asarray(block))

    def _evaluate(self, block: Any) -> Evaluation:
        problem, experiment = self.group.problem(self.pipeline, block), self.pipeline.solver.experiment  # type: ignore[attr-defined]
        if any(start is None for start in self.starts):
            check_step(problem)
        function = CostOfBatch(problem)
        cost = function.whole
        begin = cost.zero()
        for row, start in enumerate(self.starts):
            if start is not None:
                begin[row] = start.to(begin)
        minimum = experiment.minimizer(function, begin, cost.inverse_hessian)
        finite = minimum.cost.isfinite()
        rows = torch.nonzero(finite).flatten()
        forecast = torch.full_like(minimum.cost, torch.nan)
        objective = minimum.cost.new_zeros(())
        with torch.set_grad_enabled(self.weight is not None):
            if self.weight is not None and len(rows):
                objective = cost.select(rows).value(minimum.control[rows]).sum()
            if self.group.following is not None:
                following = self.group.problem(self.pipeline, block, following=True)
                rows, values = self._forecasts(cost, minimum.control, rows, following)
                forecast[rows] = values.detach()
                objective = objective + (self.weight or 0.0) * values.sum()
        return Evaluation(
            numbers=self.group.numbers,
            controls=torch.where(finite[:, None], minimum.control, 0.0).cpu(),
            cost=minimum.cost.cpu(),
            forecast=forecast.cpu(),
            evaluations=minimum.evaluations.cpu(),
            gradients=() if self.weight is None else _gradients(objective, experiment.dynamics),
        )

    def _forecasts(self, cost: Cost, control: Tensor, rows: Tensor, following: Problem) -> tuple[Tensor, Tensor]:
        """Return the windows with a finite forecast, and its misfit; another one would spoil the gradient of all."""
        seconds = self.group.batch.seconds[-1]
        while True:
            values = forecast_misfit(cost.select(rows), control[rows], seconds, following.select(rows), self.group.lead)
            finite = values.isfinite()
            if bool(finite.all()):
                return rows, values
            rows = rows[finite]


def _gradients(objective: Tensor, model: torch.nn.Module) -> tuple[Tensor, ...]:
    weights = trainable(model)
    if not objective.requires_grad:
        return tuple(torch.zeros_like(weight).cpu() for weight in weights)
    found = torch.autograd.grad(objective, weights, materialize_grads=True)
    return tuple(gradient.cpu() for gradient in found)


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the weights of a module that are trained."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def forecast_misfit(cost: Cost, control: Tensor, end: float, following: Problem, lead: float) -> Tensor:
    r"""Return the misfit of forecasts to the observations of the windows that follow (window,).

    They start from the analysed state `end` seconds after the beginning of the windows, which is a constant: gradients
    are those of the forecast alone. Observations at its beginning, which the analysis knows, are left out.
    """
    state = cost.problem.state_at(cost.trajectory(control), end)
    if lead > 0:
        steps = frame_steps([0.0, lead], max(abs(step) for step in following.steps))
        state, _ = integrate(cost.dynamics, state, steps, lambda index, before, after: (after, None))
    background = {key: state.get(key, values) for key, values in following.background.items()}
    later = tuple(one for one in following.observations if abs(one.time) > 1e-6 * abs(following.times()[-1]))
    forecast = Cost(replace(following, background=background, observations=later))
    return forecast.terms(forecast.zero())["observation"]
