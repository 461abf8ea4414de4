"""The inverse problem: a batch of windows that share a grid, a model and their observation times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import State, between
from xvar.core.grid import Box, Grid, coarser, crop, finer
from xvar.core.observation import Observation, TimeInterpolation, of_each


@dataclass(frozen=True)
class ForcedSteps:
    r"""The weak constraint: :math:`x_{i+1} = M_i(x_i) + \eta_i` with :math:`\eta_i \sim N(0, Q_i)`."""

    covariance: Mapping[str, Any]  # Q of each forced component, per second
    steps: tuple[tuple[int, ...], ...]  # in which each forcing acts


@dataclass(frozen=True)
class Problem:
    """Inverse problem of a batch of windows.

    Specifications (of the model, of covariances) are in physical units and are bound to the grid when the problem is
    solved, at each resolution anew.
    """

    grid: Grid
    dynamics: Any  # M: a specification with ``bind``, or a model
    steps: tuple[float, ...]  # of the model, in seconds from the time of the control; negative backward in time
    background: State  # x_b, all components of the state
    background_error: Mapping[str, Any]  # B of each component in the control; the others stay at the background
    observations: tuple[Observation, ...]
    model_error: ForcedSteps | None = None
    #: Components of the initial state that are a model error, constant over the window; their prior is in its term.
    held_errors: tuple[str, ...] = ()
    #: Estimate of the second derivative of J_o by each value of a component, broadcastable to it. It scales the
    #: control, so that a well observed value does not slow down the others, and changes the path, not the minimum.
    curvature: Mapping[str, Tensor] = field(default_factory=dict)
    #: Components whose curvature is measured first, along the slope of J: those whose prior is so weak that a step
    #: along the slope alone would carry the images off the grid.
    measured: tuple[str, ...] = ()
    #: Components of the initial state that are static parameters, see `xvar.core.parameters`; their prior has its term.
    parameters: tuple[str, ...] = ()
    penalties: tuple[DigitalFilter, ...] = ()  # terms of J on the trajectory
    prior: Tensor | None = None  # (window, n), the mean of the control before any observation; None: zero
    checkpoint: bool = False  # trade time for memory in the adjoint, see `integrate`

    @property
    def like(self) -> Tensor:
        """A tensor with the dtype and the device of all others."""
        return next(iter(self.background.values()))

    @property
    def windows(self) -> int:
        """Number of windows of the batch."""
        return len(self.like)

    def number_of_observations(self) -> Tensor:
        """Return the number of observed values of each window (window,)."""
        counts = [observation.count() for observation in self.observations]
        return sum(counts, torch.zeros(self.windows, dtype=torch.int64, device=self.like.device))

    def times(self) -> list[float]:
        """Return the time of every state of the trajectory, in seconds from the control."""
        return list(accumulate(self.steps, initial=0.0))

    def observations_by_step(self) -> dict[int, list[tuple[Observation, float]]]:
        """Return the observations by their step, each with its share of that step; -1 is the control's time."""
        seen: dict[int, list[tuple[Observation, float]]] = {}
        for observation in self.observations:
            index, share = self.step_at(observation.time, observation.time_interpolation)
            seen.setdefault(index, []).append((observation, share))
        return seen

    def step_at(self, time: float, interpolation: TimeInterpolation = "linear") -> tuple[int, float]:
        """Return the step that holds a time, and the share of it that has passed then; (-1, 1) at the control's time.

        With "nearest" the share is 1: the nearer end of the step. Raises ValueError if the time is outside the window.
        """
        times = self.times()
        tolerance = 1e-6 * max(abs(times[-1]), 1.0)
        if abs(time) <= tolerance:
            return -1, 1.0
        for index, (begin, end) in enumerate(pairwise(times)):
            share = (time - begin) / (end - begin)
            if 0 < share <= 1 + tolerance / abs(end - begin):
                share = 1.0 if share > 1 - tolerance / abs(end - begin) else share
                if share < 1 and interpolation == "nearest":
                    return (index, 1.0) if share >= 0.5 else (index - 1, 1.0)
                return index, share
        raise ValueError(f"an observation at {time} s lies outside the window of {times[-1]} s")

    def state_at(self, trajectory: Sequence[State], time: float, interpolation: TimeInterpolation = "linear") -> State:
        """Return the state at a time, from the states at all steps."""
        index, share = self.step_at(time, interpolation)
        return trajectory[index + 1] if share == 1 else between(trajectory[index], trajectory[index + 1], share)

    def select(self, windows: Tensor) -> Problem:
        """Return the problem of some windows of the batch."""
        return replace(
            self,
            background={key: values[windows] for key, values in self.background.items()},
            observations=tuple(observation.select(windows) for observation in self.observations),
            curvature={key: part[windows] if len(part) > 1 else part for key, part in self.curvature.items()},
            prior=None if self.prior is None else self.prior[windows],
        )

    def coarsen(self, factor: int) -> Problem:
        """Return the problem on a grid of blocks of `factor` cells a side."""
        if factor == 1:
            return self
        return replace(
            self,
            grid=self.grid.coarsen(factor),
            background={key: coarser(values, factor) for key, values in self.background.items()},
            observations=tuple(
                self._prolonged(part, factor) if part.whole else part.coarsen(factor) for part in self.observations
            ),
            curvature={key: coarser(part, factor) for key, part in self.curvature.items()},
        )

    def crop(self, box: Box) -> Problem:
        """Return the problem on a part of the grid, with images as its observations."""
        return replace(
            self,
            grid=self.grid.crop(box),
            background={key: crop(values, box) for key, values in self.background.items()},
            observations=tuple(observation.crop(box) for observation in self.observations),
            curvature={key: crop(part, box) for key, part in self.curvature.items()},
        )

    def with_coarse_model(self, factor: int) -> Problem:
        """Return the problem with its model on a grid of blocks of cells, and its observations unchanged."""
        coarse = self.coarsen(factor)
        return replace(
            coarse,
            observations=tuple(self._prolonged(part, factor) for part in self.observations),
            # A sum over fewer points.
            penalties=tuple(
                replace(
                    part, std={key: coarser(torch.as_tensor(std), factor) / factor for key, std in part.std.items()}
                )
                for part in self.penalties
            ),
        )

    def _prolonged(self, observation: Observation, factor: int) -> Observation:
        """Return an observation of a state on blocks of cells, compared on this grid."""
        return replace(observation, operator=Prolonged(observation.operator, factor, self.grid.shape), replaces=None)


@dataclass(frozen=True)
class Prolonged:
    """Observation operator of a state on a coarser grid, interpolated to the grid of the operator."""

    operator: Any
    factor: int
    shape: tuple[int, ...]

    def __call__(self, state: State) -> Tensor:
        """Return the equivalents of the observations."""
        equivalent: Tensor = self.operator(
            {key: finer(values, self.factor, self.shape) for key, values in state.items()}
        )
        return equivalent

    def select(self, windows: Tensor) -> Prolonged:
        """Return the operator of some windows of the batch."""
        return replace(self, operator=of_each("select", self.operator, windows))


def frame_steps(times: Sequence[float], longest: float | None = None) -> tuple[float, ...]:
    """Return steps that meet every time of a monotonic sequence, which begins with the time of the control.

    Intervals longer than `longest` are cut into equal parts.
    """
    steps: list[float] = []
    for begin, end in pairwise(times):
        parts = 1 if longest is None else max(1, math.ceil(abs(end - begin) / longest - 1e-9))
        steps.extend([(end - begin) / parts] * parts)
    return tuple(steps)
