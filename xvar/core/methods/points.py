"""Observations at points, each at its own time and place, of any component of the state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xvar.core.dynamics import State, start
from xvar.core.grid import Grid, bind, block_mean
from xvar.core.interpolate import Sampler, sample
from xvar.core.observation import Observation, TimeInterpolation

BEFORE = " before"


@dataclass(frozen=True)
class Remember:
    """A model whose state also holds each component a step earlier, for interpolation in time; nothing is copied."""

    model: Any

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> Remember:
        """Bind the model to a grid."""
        return Remember(bind(self.model, grid, torch.empty(0, dtype=dtype, device=device)))

    def start(self, state: State) -> State:
        """Complete the initial state, which has no step before but itself."""
        now = start(self.model, state)
        return {**now, **{key + BEFORE: values for key, values in now.items()}}

    def __call__(self, state: State, seconds: float) -> State:
        """Advance the state by one step."""
        now = present(state)
        return {**self.model(now, seconds), **{key + BEFORE: values for key, values in now.items()}}


def present(state: State) -> State:
    """Return a state without the step before."""
    return {key: values for key, values in state.items() if not key.endswith(BEFORE)}


@dataclass(frozen=True)
class PointValues:
    r"""Observation operator: values at points between two steps.

    .. math:: H(x_{i-1}, x_i) = (1 - s)\, x_{i-1}(X) + s\, x_i(X)

    with the share s of the step that has passed at the time of each point; without `shares` all points are at its end,
    and the state need not hold the step before. Each part has a key and a component of the state, positions (2, point)
    in grid units, and `water` (1, 1, y, x), one or zero: at a coast a point has the value of the grid points around it
    that are water. Interpolation near land is bilinear.
    """

    components: tuple[tuple[str, int], ...]
    positions: tuple[Tensor, ...]
    shares: tuple[Tensor, ...] | None
    water: tuple[Tensor | None, ...]
    sampler: Sampler = "bilinear"

    def __call__(self, state: State) -> Tensor:
        """Return the equivalents (window, 1, point), part by part."""
        found = []
        for number, (key, component) in enumerate(self.components):
            one = slice(component, component + 1)
            if self.shares is None:
                found.append(self._sampled(state[key][:, one], number))
            else:
                levels = torch.cat([state[key + BEFORE][:, one], state[key][:, one]], dim=1)
                before, after = self._sampled(levels, number).split(1, dim=1)
                found.append(torch.lerp(before, after, self.shares[number]))
        return torch.cat(found, dim=-1)

    def _sampled(self, levels: Tensor, number: int) -> Tensor:
        """Return the values of one part at its points (window, level, point)."""
        position, water = self.positions[number], self.water[number]
        where = position.expand(len(levels), -1, -1)
        if water is None:
            return sample(levels, where, self.sampler)
        return sample(levels * water, where) / sample(water, position[None])

    def coarsen(self, factor: int) -> PointValues:
        """Return the same points in units of a grid whose cells hold `factor` cells a side."""
        return replace(
            self,
            positions=tuple((position + 0.5) / factor - 0.5 for position in self.positions),
            water=tuple(None if part is None else block_mean(part, factor) for part in self.water),
        )


@dataclass(frozen=True)
class PointTable:
    """Points of one window, as they were observed."""

    time: Tensor  # (point,), seconds from the beginning of the window, in float64, all within it
    position: Tensor  # (2, point), along x and along y, in grid units of the component, which may be staggered
    which: Tensor  # (point,), int: which of `components` was observed
    value: Tensor  # (point,), in the units of the component
    std: Tensor  # (point,), standard deviation of the error of observation, likewise
    components: tuple[tuple[str, int], ...]  # key of the state and index of its component
    staggered: tuple[tuple[str, int], ...] = ()  # components between the grid points: velocities, zero through coasts
    time_interpolation: TimeInterpolation = "linear"  # compare a point between two steps with both, or the nearer one
    sampler: Sampler = "bilinear"  # see `PointValues`
    threshold: float | None = None  # see `Observation`

    @property
    def last(self) -> float:
        """Time of the last point; 0 if there is none."""
        return float(self.time.max()) if len(self.time) else 0.0

    def observations(self, steps: Sequence[float], water: Tensor | None) -> tuple[Observation, ...]:
        """Return one observation for each state that has points; `steps` in seconds are positive.

        Components that are not staggered exist on `water` (y, x) only.
        """
        return tuple(observation for _, _, observation in self._by_step(steps, water))

    def equivalents(self, trajectory: Sequence[State], steps: Sequence[float], water: Tensor | None) -> Tensor:
        """Return the equivalent of each point (point,), from the states at all steps."""
        found = torch.full_like(self.value, torch.nan)
        for step, points, observation in self._by_step(steps, water):
            found[points] = observation.operator(trajectory[step])[0, 0]
        return found

    def _by_step(self, steps: Sequence[float], water: Tensor | None) -> Iterator[tuple[int, Tensor, Observation]]:
        """Yield the number of each state that has points, these points by their rows, and their observation."""
        times, step, share = self._shares(steps)
        wet = None if water is None else water.to(self.value)[None, None]
        which, device = self.which.cpu(), self.value.device
        for index in step.unique().tolist():
            parts = [
                ((step == index) & (which == number)).nonzero().flatten() for number in range(len(self.components))
            ]
            held = [number for number, part in enumerate(parts) if len(part)]
            rows = torch.cat([parts[number] for number in held])
            points = rows.to(device)
            operator = PointValues(
                components=tuple(self.components[number] for number in held),
                positions=tuple(self.position[:, parts[number].to(device)] for number in held),
                shares=None
                if bool((share[rows] == 1).all())
                else tuple(share[parts[number]].to(self.value) for number in held),
                water=tuple(None if self.components[number] in self.staggered else wet for number in held),
                sampler=self.sampler,
            )
            values, std = (part[points][None, None] for part in (self.value, self.std))
            yield index, points, Observation(times[index], operator, values, std, self.threshold)

    def _shares(self, steps: Sequence[float]) -> tuple[list[float], Tensor, Tensor]:
        """Return the time of each state, and for each point the state that ends its step and the share of it."""
        lengths = torch.tensor(steps, dtype=torch.float64)
        times = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        own = self.time.cpu()
        step = torch.searchsorted(times, own - 1e-6 * float(times[-1])).clamp(0, len(steps))
        length = torch.cat([lengths.new_ones(1), lengths])[step]
        share = ((own - (times[step] - length)) / length).clamp(0, 1)
        share[step == 0] = 1.0
        if self.time_interpolation == "nearest":
            step = torch.where((share < 0.5) & (step > 0), step - 1, step)
            share = torch.ones_like(share)
        return times.tolist(), step, share
