"""Outcome of an analysis: states and forcings, equivalents of the observations, departures of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xvar.core.dynamics import Forcing, State
from xvar.core.methods.frames import Frames
from xvar.core.methods.points import PointTable, present
from xvar.core.problem import Problem
from xvar.core.solve import Analysis

Source = Frames | PointTable

DEPARTURES = ("innovation", "residual")


@dataclass(frozen=True)
class Outcome:
    """Analysis of a batch of windows."""

    #: By component of the state and suffix, (window, ..., component, y, x): the state at each frame, ``_forcing``, the
    #: model error of each interval or step in which it acts, per second, and ``_increment``, x_a - x_b at the beginning
    #: of the window, zero for components that are not in the control; of state and forcing the `standard_errors`.
    fields: State
    #: ``cost`` and its terms (window, stage), ``gradient_norm``, ``evaluations``, ``number_of_observations`` and
    #: ``status`` (window,); parameters by their names, (window,), (window, frame) or (window, y, x), with their
    #: `standard_errors`; ``background_check`` (window, source), the number of rejected values; of a cost history, see
    #: `CostHistory.numbers`.
    numbers: dict[str, Tensor]
    #: By source, (point,): ``background`` and ``analysis``, the equivalents of the points before and after, and
    #: ``rejected``, those that the background check left out.
    points: list[dict[str, Tensor]]
    #: By source, (window, frame, y, x): ``innovation`` and ``residual`` of the images, before any transform, as far as
    #: they were asked for; with both ``observation_error`` (window, frame), see `Frames.stated_error`.
    departures: dict[str, list[Tensor]]


def states_and_forcings(
    problem: Problem, trajectory: Sequence[State], forcing: Forcing, seconds: Sequence[float]
) -> dict[str, Tensor]:
    """Return the states at the frames and the model errors per second, (window, ..., component, y, x)."""
    times = torch.tensor(problem.times(), dtype=torch.float64)
    at_frames = torch.searchsorted(times + 1e-6, torch.tensor(seconds, dtype=torch.float64)).tolist()
    groups = () if problem.model_error is None else problem.model_error.steps
    components = (key for key in present(trajectory[0]) if key not in problem.parameters)
    fields = {key: [trajectory[index][key] for index in at_frames] for key in components}
    for group in groups:
        for key, error in forcing[group[0]].items():
            fields.setdefault(f"{key}_forcing", []).append(error / abs(problem.steps[group[0]]))
    return {key: torch.stack(parts, dim=1) for key, parts in fields.items()}


def equivalents(
    sources: Sequence[Source],
    result: Analysis,
    problem: Problem,
    save: Sequence[str],
    masks: Sequence[Sequence[Tensor]],
) -> dict[str, Any]:
    """Return `Outcome.points` and `Outcome.departures`; `masks` are those of the values that were rejected."""
    points = [(source, own) for source, own in zip(sources, masks, strict=True) if isinstance(source, PointTable)]
    images = [(source, own) for source, own in zip(sources, masks, strict=True) if isinstance(source, Frames)]
    before, after = list[State](), list[State]()
    if points or "innovation" in save:
        before = result.cost.trajectory(result.cost.zero(), as_observed=True)
    if points or "residual" in save:
        after = result.cost.trajectory(result.minimum.control, as_observed=True)
    steps, water = problem.steps, problem.grid.water
    return {
        "points": [
            {
                "background": table.equivalents(before, steps, water),
                "analysis": table.equivalents(after, steps, water),
                "rejected": table.by_row(own, steps, water),
            }
            for table, own in points
        ],
        "departures": {
            word: [frames.departures(problem, states, own) for frames, own in images]
            for word, states in (("innovation", before), ("residual", after))
            if word in save
        }
        | ({"observation_error": [one.stated_error() for one, _ in images]} if set(DEPARTURES) <= set(save) else {}),
    }
