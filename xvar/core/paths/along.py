"""The misfit of a problem whose observations are images along the paths of parcels."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from xvar.core.dynamics import State
from xvar.core.models.parcels import Drift, ImageAgainstLater, ImageAtParcels, Parcels, decay_integral
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Observation
from xvar.core.paths import is_compiled
from xvar.core.paths.comparisons import Comparisons
from xvar.core.problem import Problem


@dataclass(frozen=True)
class AlongPaths:
    """J_o as a function of the initial state, with its adjoint by hand."""

    comparisons: Comparisons
    change: str | None = None  # component that is the changing part of the motion
    source: str | None = None  # and the source; None: there is none
    #: The first of the later images and σ of its error, see `ImageAgainstLater`; None: the state has a tracer.
    last: Tensor | None = None
    error_std: Tensor | None = None

    def __call__(self, state: State) -> Tensor:
        """Return J_o of each window (window,)."""
        return self.gradient(state, ())[0]

    def gradient(self, state: State, names: Collection[str]) -> tuple[Tensor, State]:
        """Return J_o of each window (window,), and its gradient by the components of the state with these names."""
        value = state["tracer"] if self.last is None else self.last
        first = "tracer" if self.error_std is None else "error"
        if self.error_std is not None:
            value = torch.addcmul(value, self.error_std, state["error"])
        components = "velocity", self.change, first, self.source
        fields = [None if name is None else state[name] for name in components]
        fields[2] = value
        cost, gradients = self.comparisons.evaluate(fields, [name in names for name in components])
        pairs = zip(components, gradients, strict=True)
        found = {name: part for name, part in pairs if name is not None and part is not None}
        if self.error_std is not None and first in found:
            found[first] = self.error_std * found[first]
        return cost, found

    def select(self, windows: Tensor) -> AlongPaths:
        """Return J_o of some windows."""
        last, error_std = (None if part is None else part[windows] for part in (self.last, self.error_std))
        return replace(self, comparisons=self.comparisons.select(windows), last=last, error_std=error_std)


def along_paths(problem: Problem, dynamics: Any) -> AlongPaths | None:
    """Return J_o of a problem with an adjoint by hand; None for those that autograd differentiates.

    It needs numba, tensors on the CPU, parcels, and one image after each step, without model errors of the steps or
    penalties on the trajectory.
    """
    if not is_compiled() or problem.like.device.type != "cpu":
        return None
    observations = _one_after_each_step(problem)
    if observations is None or problem.model_error is not None or problem.penalties or min(problem.grid.shape) < 2:
        return None
    kinds = {type(one.operator) for one in observations}
    if type(dynamics) is Parcels and kinds == {ImageAtParcels} and dynamics.iterations == 1:
        return _of_parcels(dynamics, problem.steps, observations)
    if type(dynamics) is Drift and kinds == {ImageAgainstLater}:
        return _of_drift(dynamics, problem.steps, observations, has_change="model_error" in problem.background)
    return None


def _one_after_each_step(problem: Problem) -> list[Observation] | None:
    seen = problem.observations_by_step()
    if not seen or set(seen) != set(range(len(problem.steps))):
        return None
    if any(len(found) > 1 or found[0][1] != 1 for found in seen.values()):
        return None
    observations = [seen[step][0][0] for step in range(len(problem.steps))]
    alike = all(
        one.norm == observations[0].norm and one.covariance is None and one.replaces is None and not one.whole
        and (one.std.ndim == 0 or one.std.shape[-2:] == (1, 1))
        for one in observations
    )  # fmt: skip
    return observations if alike and isinstance(observations[0].norm, PseudoHuber) else None


def _of_parcels(model: Parcels, steps: Sequence[float], observations: Sequence[Observation]) -> AlongPaths:
    """Return J_o of images at the parcels of the last one, whose changing motion and source fade."""
    moved, grown, fading, growing = [], [0.0], 1.0, 1.0
    for seconds in steps:
        mean = 0.0 if model.transient is None else decay_integral(seconds, model.transient) / seconds
        moved.append(fading * mean)
        grown.append(grown[-1] + (0.0 if model.source is None else growing * decay_integral(seconds, model.source)))
        fading *= 0.0 if model.transient is None else math.exp(-abs(seconds) / model.transient)
        growing *= 0.0 if model.source is None else math.exp(-abs(seconds) / model.source)
    alike = all(torch.equal(one.mask, observations[0].mask) for one in observations)
    each = observations[:1] if alike else observations
    compared = Comparisons(
        per_metre=model.per_metre,
        steps=tuple(steps),
        mean=tuple(moved),
        begin=(moved[0],),
        reach=len(steps),
        keeps_drift=False,
        later=observations[0].values[:, :0],
        elapsed=(tuple(grown[1:]),),
        precision=torch.cat([_precision(one, torch.ones_like(one.std)) for one in each], dim=1),
        pairs=(tuple(0 if alike else step for step in range(len(steps))),),
        **_images(observations),
    )
    change, source = ("transient" if model.transient else None), ("source" if model.source else None)
    return AlongPaths(compared, change, source)


def _of_drift(
    model: Drift, steps: Sequence[float], observations: Sequence[Observation], *, has_change: bool
) -> AlongPaths:
    """Return J_o of images at the parcels of later ones, with a constant change of the motion."""
    times = list(accumulate(steps, initial=0.0))
    chains = 1 if model.reach is None else len(steps)
    pairs, elapsed = ([[0] * len(steps) for _ in range(chains)], [[0.0] * len(steps) for _ in range(chains)])
    precision, later = list[Tensor](), list[Tensor]()
    operators: list[Any] = [one.operator for one in observations]
    for step, (one, operator) in enumerate(zip(observations, operators, strict=True)):
        count = operator.later.shape[1]
        precision.append(_precision(one, operator.deviation()))
        for position, chain in enumerate(range(step + 1 - count, step + 1) if model.reach is not None else [0]):
            pairs[chain][step] = sum(part.shape[1] for part in precision[:-1]) + position
            elapsed[chain][step] = float(operator.elapsed[0, position])
        if 0 < step < chains:
            later.append(operator.later[:, -1:])
    first = operators[0]
    compared = Comparisons(
        per_metre=model.per_metre,
        steps=tuple(steps),
        mean=tuple(time + 0.5 * seconds for time, seconds in zip(times, steps, strict=False)),
        begin=tuple(times[:chains]),
        reach=len(steps) if model.reach is None else model.reach,
        keeps_drift=True,
        later=_joined(later) if later else first.later[:, :0],
        elapsed=tuple(map(tuple, elapsed)),
        precision=torch.cat(precision, dim=1),
        pairs=tuple(map(tuple, pairs)),
        **_images(observations),
    )
    change = "model_error" if has_change else None
    return AlongPaths(compared, change, "source", first.later[:, :1], first.error_std)


def _precision(observation: Observation, std: Tensor) -> Tensor:
    """Return 1 / σ of each comparison, zero where it is not observed; one number for each window if it is the same."""
    inverse = 1 / (observation.std * std)
    if observation.complete:
        whole = inverse.reshape(-1, *inverse.shape[-3:]) if inverse.ndim else inverse.reshape(1, 1, 1, 1)
        return whole.expand(len(observation.values), -1, -1, -1)
    return torch.where(observation.mask, inverse, 0.0)


def _images(observations: Sequence[Observation]) -> dict[str, Any]:
    """Return the images and their masks, one after each step, and the threshold of the norm."""
    operators: list[Any] = [one.operator for one in observations]
    found = {
        "images": _joined([one.image for one in operators]),
        "threshold": observations[0].norm.threshold,  # type: ignore[attr-defined]
    }
    if all(one.mask is None for one in operators):
        return found
    masks = [torch.ones_like(one.image) if one.mask is None else one.mask for one in operators]
    joined = _joined(masks)
    return found | {"masks": joined, "complete": (joined == 1).flatten(2).all(2)}


def _joined(images: Sequence[Tensor]) -> Tensor:
    """Return images (window, 1, y, x) as one tensor, without a copy if they lie one after the other in memory."""
    first, count = images[0], len(images)
    places = [first.data_ptr() + k * first.stride(1) * first.element_size() for k in range(count)]
    if [one.data_ptr() for one in images] == places and all(one.stride() == first.stride() for one in images):
        return first.as_strided((len(first), count, *first.shape[2:]), first.stride())
    return torch.cat(list(images), dim=1)
