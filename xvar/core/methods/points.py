"""Points as a source of observations of one window: places and times of their own, between grid points and steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xvar.core.comparison import Comparison, OfVariables, calibrated
from xvar.core.covariance.base import Covariance
from xvar.core.covariance.matrix import MatrixCovariance, root_and_inverse
from xvar.core.dynamics import State, start
from xvar.core.grid import Edges, Grid, bind, block_mean
from xvar.core.interpolate import Sampler, sample
from xvar.core.observation import Compose, Observation, Operator
from xvar.core.parameters import Parameter

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


def step_before(state: State) -> State:
    """Return the step before of a state that holds it."""
    return {key.removesuffix(BEFORE): values for key, values in state.items() if key.endswith(BEFORE)}


@dataclass(frozen=True)
class PointValues:
    r"""Observation operator: values at points between two steps.

    .. math:: H(x_{i-1}, x_i) = (1 - s)\, x_{i-1}(X) + s\, x_i(X)

    with the share s of the step that has passed at the time of each point; without `shares` all points are at its end,
    and the state need not hold the step before. Each part has a key and a component of the state, positions (axis,
    point) in grid units, along the last axis first, and `water` (1, 1, y, x), one or zero: at a coast a point has the
    value of the grid points around it that are water. Interpolation near land is bilinear.
    """

    components: tuple[tuple[str, int], ...]
    positions: tuple[Tensor, ...]
    shares: tuple[Tensor, ...] | None
    water: tuple[Tensor | None, ...]
    sampler: Sampler = "bilinear"
    edges: Edges = "free"  # of the grid
    #: Makes the field (window, 1, *grid) that is sampled, in place of the one part, of the state at either step.
    operator: Operator | None = None

    def __call__(self, state: State) -> Tensor:
        """Return the equivalents (window, 1, point), part by part."""
        found = []
        for number in range(len(self.positions)):
            if self.shares is None:
                found.append(self._sampled(self._field(present(state), number), number))
            else:
                levels = torch.cat([self._field(step, number) for step in (step_before(state), present(state))], dim=1)
                before, after = self._sampled(levels, number).split(1, dim=1)
                found.append(torch.lerp(before, after, self.shares[number]))
        return torch.cat(found, dim=-1)

    def _field(self, state: State, number: int) -> Tensor:
        """Return the field (window, 1, *grid) of one part."""
        if self.operator is not None:
            return self.operator(state)
        key, component = self.components[number]
        return state[key][:, component, None]

    def _sampled(self, levels: Tensor, number: int) -> Tensor:
        """Return the values of one part at its points (window, level, point)."""
        position, water = self.positions[number], self.water[number]
        where = position.expand(len(levels), -1, -1)
        if water is None:
            return sample(levels, where, self.sampler, self.edges)
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
    position: Tensor  # (axis, point), along x, y, ..., in grid units of the component, which may be staggered
    which: Tensor  # (point,), int: which of `components` was observed
    value: Tensor  # (point,), in the units of the component
    std: Tensor  # (point,), standard deviation of the error of observation, likewise
    components: tuple[tuple[str, int], ...]  # key of the state and index of its component
    staggered: tuple[tuple[str, int], ...] = ()  # components between the grid points: velocities, zero through coasts
    sampler: Sampler = "bilinear"  # see `PointValues`
    edges: Edges = "free"  # of the grid
    comparison: Comparison = field(default_factory=Comparison)
    prefix: str = ""  # of the names of parameters, to distinguish sources
    operator: OfVariables | None = None  # H that a user wrote: a field that is sampled; `components` is then one of any
    predictors: Mapping[str, Any] = field(default_factory=dict)  # of the bias: (point,), or an operator
    #: Correlation of errors at a distance in metres, of points of one component at the same time; None: there is none.
    correlation: Callable[[Tensor], Tensor] | None = None
    places: Tensor | None = None  # (axis, point), in metres in a space of straight lines, with `correlation`

    @property
    def parameters(self) -> dict[str, tuple[Parameter, int | None]]:
        """Parameters by their keys in the state, each with the number of its values, None for one."""
        return {self.prefix + name: (part, None) for name, part in self.comparison.parameters.items()}

    @property
    def last(self) -> float:
        """Time of the last point; 0 if there is none."""
        return float(self.time.max()) if len(self.time) else 0.0

    def observations(self, steps: Sequence[float], water: Tensor | None) -> tuple[Observation, ...]:
        """Return one observation for each state that has points; `steps` in seconds are positive.

        Components that are not staggered exist on `water` (y, x) only.
        """
        comparison, found = self.comparison, []
        for _, time, points, operator in self._by_step(steps, water):
            value, std = (part[points][None, None] for part in (self.value, self.std))
            if comparison.transform is not None:
                operator, value = Compose(operator, comparison.transform), comparison.transform(value)
            whole = comparison.operator is not None
            covariance = self._covariance(points)
            found.append(Observation(time, operator, value, std, comparison.rho, whole=whole, covariance=covariance))
        return tuple(found)

    def _covariance(self, points: Tensor) -> Covariance | None:
        """Return R of some points, in double precision; None if their errors are uncorrelated."""
        if self.correlation is None or self.places is None:
            return None
        places, time, which = (
            self.places[:, points].T,
            self.time.to(points.device)[points],
            self.which.to(points.device),
        )
        distance = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
        std = self.std[points].to(torch.float64)
        alike = (time[:, None] == time) & (which[points][:, None] == which[points])
        matrix = torch.where(alike, self.correlation(distance), 0.0) * std[:, None] * std
        return MatrixCovariance(*root_and_inverse(matrix))

    def equivalents(self, trajectory: Sequence[State], steps: Sequence[float], water: Tensor | None) -> Tensor:
        """Return the equivalent of each point (point,), before any transform, from the states at all steps."""
        found = torch.full_like(self.value, torch.nan)
        for step, _, points, operator in self._by_step(steps, water):
            found[points] = operator(trajectory[step])[0, 0]
        return found

    def by_row(self, masks: Sequence[Tensor], steps: Sequence[float], water: Tensor | None) -> Tensor:
        """Return masks of the `observations` as one of the points (point,)."""
        found = torch.zeros_like(self.value, dtype=torch.bool)
        for (_, _, points, _), mask in zip(self._by_step(steps, water), masks, strict=True):
            found[points] = mask[0, 0]
        return found

    def between_steps(self, steps: Sequence[float]) -> bool:
        """Return whether a point is compared with two states."""
        return bool((self._shares(steps)[2] != 1).any())

    def _by_step(self, steps: Sequence[float], water: Tensor | None) -> Iterator[tuple[int, float, Tensor, Operator]]:
        """Yield number and time of each state that has points, these points by their rows, and their operator."""
        times, step, share = self._shares(steps)
        wet = None if water is None else water.to(self.value)[None, None]
        which = self.which.cpu() if self.operator is None else torch.zeros_like(step)
        for index in step.unique().tolist():
            parts = [
                ((step == index) & (which == number)).nonzero().flatten() for number in range(len(self.components))
            ]
            held = [number for number, part in enumerate(parts) if len(part)]
            operator = PointValues(
                components=tuple(self.components[number] for number in held),
                **self._places([parts[number] for number in held], share),
                water=tuple(None if self.components[number] in self.staggered else wet for number in held),
                sampler=self.sampler,
                edges=self.edges,
                operator=self.operator,
            )
            rows = torch.cat([parts[number] for number in held])
            points = rows.to(self.value.device)
            fields = PointValues(
                (), **self._places([rows], share), water=(wet,), sampler=self.sampler, edges=self.edges
            )
            predictors = {
                name: part[points][None, None] if isinstance(part, Tensor) else replace(fields, operator=part)
                for name, part in self.predictors.items()
                if part is not None
            }
            yield index, times[index], points, calibrated(operator, self.comparison, self.prefix, predictors)

    def _places(self, parts: Sequence[Tensor], share: Tensor) -> dict[str, Any]:
        """Return positions and shares of some rows, part by part."""
        at_end = bool((share[torch.cat(list(parts))] == 1).all())
        return {
            "positions": tuple(self.position[:, part.to(self.value.device)] for part in parts),
            "shares": None if at_end else tuple(share[part].to(self.value) for part in parts),
        }

    def _shares(self, steps: Sequence[float]) -> tuple[list[float], Tensor, Tensor]:
        """Return the time of each state, and for each point the state that ends its step and the share of it."""
        lengths = torch.tensor(steps, dtype=torch.float64)
        times = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        own = self.time.cpu()
        step = torch.searchsorted(times, own - 1e-6 * float(times[-1])).clamp(0, len(steps))
        length = torch.cat([lengths.new_ones(1), lengths])[step]
        share = ((own - (times[step] - length)) / length).clamp(0, 1)
        share[step == 0] = 1.0
        if self.comparison.time_interpolation == "nearest":
            step = torch.where((share < 0.5) & (step > 0), step - 1, step)
            share = torch.ones_like(share)
        return times.tolist(), step, share
