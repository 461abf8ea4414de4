"""Sources of observations of a batch of windows: images on the grid, and tables of points with their own times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from xvar.core.dynamics import State, start
from xvar.core.grid import Grid, bind, block_mean
from xvar.core.interpolate import Sampler, sample
from xvar.core.methods.motion import deviation, observed_mean
from xvar.core.observation import Component, Compose, Observation, Operator, TimeInterpolation
from xvar.core.parameters import Calibrated, Parameter
from xvar.core.problem import Problem
from xvar.errors import Faults


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    r"""Comparison of images: :math:`\rho((T(a\, x + b) - T(y)) / \sigma)`, see `xvar.observation.Images`."""

    transform: Any = None
    threshold: float | None = None
    reset: Literal["observation"] | None = None
    time_interpolation: TimeInterpolation = "linear"
    gain: Parameter | None = None
    offset: Parameter | None = None
    calibration: Literal["frame", "window"] = "frame"

    def __post_init__(self) -> None:
        """Reject unknown choices, and calibrations that cannot be estimated."""
        faults = Faults()
        faults.check_choice("calibration", self.calibration, ("frame", "window"), "frame")
        faults.check_choice("reset", self.reset, (None, "observation"), "observation")
        faults.check_choice("time_interpolation", self.time_interpolation, ("linear", "nearest"), "linear")
        for name, parameter in (("gain", self.gain), ("offset", self.offset)):
            if parameter is not None and (not isinstance(parameter, Parameter) or parameter.is_field):
                faults.add(
                    code="calibration-not-a-number",
                    found=f"{name}={parameter!r}",
                    expected="a Parameter that is a number",
                    fix=f"{name}=xvar.control.Parameter(prior={1.0 if name == 'gain' else 0.0}, error=...)",
                )
        if self.reset and not (self.gain is None and self.offset is None):
            faults.add(
                code="calibration-with-reset",
                found='a gain or an offset with reset="observation"',
                expected="states that stay in the units of the model",
                fix="leave reset out",
            )
        faults.raise_if_any()

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The gain and the offset that are estimated."""
        both = {"gain": self.gain, "offset": self.offset}
        return {name: parameter for name, parameter in both.items() if parameter is not None}


@dataclass(frozen=True)
class Frames:
    """Images of one component in a batch of windows that share their times."""

    component: str  # key of the state
    values: Tensor  # (window, frame, y, x), NaN if nothing was observed
    seconds: Sequence[float]  # time of each image after the beginning of the window
    #: Standard deviation σ of the error of observation in the units of what is compared, broadcastable to `values`.
    #: None: `share` of the deviation of the window's images.
    std: Tensor | None = None
    comparison: Comparison = field(default_factory=Comparison)
    share: float = 0.2
    first: int = 0  # image that is compared: 1 if image 0 is the background
    prefix: str = ""  # of the names of gain and offset, to distinguish sources
    part: int | None = None  # which variable of the component, if it holds several

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Gain and offset by their keys in the state."""
        return {self.prefix + name: parameter for name, parameter in self.comparison.parameters.items()}

    @property
    def last(self) -> float:
        """Time of the last image."""
        return self.seconds[-1]

    @property
    def calibrations(self) -> int | None:
        """Number of gains, and of offsets, of a window; None for one that all frames share."""
        return len(self.seconds) if self.comparison.calibration == "frame" else None

    def observations(self) -> tuple[Observation, ...]:
        """Return one observation for each image that is compared."""
        comparison, transform = self.comparison, self.comparison.transform
        compared = self.values if transform is None else transform(self.values)
        std = self.scaled_error(compared) if self.std is None else self.std
        std = std.expand(compared.shape)
        return tuple(
            Observation(
                time=self.seconds[index],
                operator=self._image(index) if transform is None else Compose(self._image(index), transform),
                values=compared[:, index, None],
                std=std[:, index, None],
                threshold=comparison.threshold,
                replaces=None if comparison.reset is None else self.component,
                time_interpolation=comparison.time_interpolation,
            )
            for index in range(self.first, len(self.seconds))
        )

    def _image(self, index: int) -> Operator:
        """From a state to an image, in the units of the variable."""
        operator = Component(self.component, None if self.part is None else (self.part,))
        comparison = self.comparison
        if not comparison.parameters:
            return operator
        number = index if comparison.calibration == "frame" else 0
        return Calibrated(operator, comparison.gain, comparison.offset, number, self.prefix)

    def departures(self, problem: Problem, trajectory: Sequence[State]) -> Tensor:
        """Return observation minus equivalent (window, frame, y, x), before any transform."""
        states = (problem.state_at(trajectory, time, self.comparison.time_interpolation) for time in self.seconds)
        shown = [self._image(index)(state)[:, 0] for index, state in enumerate(states)]
        return self.values - torch.stack(shown, dim=1)

    def stated_error(self) -> Tensor:
        """Return the root mean square of σ over the compared values (window, frame), NaN if they are transformed."""
        found = self.values.new_full(self.values.shape[:2], torch.nan)
        for index, one in enumerate(self.observations(), self.first) if self.comparison.transform is None else ():
            squares = torch.where(one.mask, one.std.square(), 0.0)
            found[:, index] = (squares.flatten(1).sum(1) / one.count()).sqrt()
        return found

    def scaled_error(self, values: Tensor) -> Tensor:
        """Return `share` of the deviation of each window (window, 1, 1, 1); 1 if nothing varies."""
        spread = deviation(values)
        return torch.where(spread > 0, self.share * spread, torch.ones_like(spread))

    def error_of_background(self, background: Tensor) -> Tensor:
        """Return a standard deviation (window, 1, 1, 1) of a background of the component for which none is stated.

        This is the error of the images, or, if larger, the deviation of the background from the first image: a
        background that is held, or trusted too much, would have to be carried to the images by the motion.
        """
        scaled = self.scaled_error(self.values)
        valid = self.values.isfinite().any(dim=1, keepdim=True)
        off = torch.where(valid, first_known(self.values) - background, torch.zeros_like(background)).square()
        count = valid.flatten(1).sum(1).clamp_min(1)
        return torch.maximum(scaled, (off.flatten(1).sum(1) / count).sqrt().reshape(scaled.shape))

    def curvature(self, observations: Sequence[Observation]) -> dict[str, Tensor]:
        """Return the second derivative of J_o by the component and by gain and offset, for a component at rest.

        After a reset only the first observation depends on the initial state. Of a transform none is known.
        """
        if self.comparison.transform is not None or not observations:
            return {}
        weights = [torch.where(o.mask, o.std**-2, 0.0) for o in observations]
        seen = weights[:1] if self.comparison.reset else weights
        known: dict[str, Tensor] = {self.component: sum(seen[1:], seen[0])} if self.part is None else {}
        for name, parameter in self.comparison.parameters.items():
            squares = [o.values.square() if name == "gain" else torch.ones_like(o.values) for o in observations]
            sums = [(w * part).flatten(1).sum(1) for w, part in zip(weights, squares, strict=True)]
            if self.comparison.calibration == "frame":
                by_value = torch.stack([*[torch.zeros_like(sums[0])] * self.first, *sums], dim=1)
            else:
                by_value = torch.stack(sums, dim=1).sum(1, keepdim=True)
            # Of the logarithm, if that is estimated.
            scale = parameter.prior**2 if parameter.positive else 1.0
            known[self.prefix + name] = scale * by_value.reshape(*by_value.shape, *(1,) * (weights[0].ndim - 2))
        return known


def first_known(frames: Tensor) -> Tensor:
    """Return the first frame (window, 1, y, x), holes filled from later ones, then by the mean."""
    known = frames[:, :1]
    for index in range(1, frames.shape[1]):
        known = torch.where(known.isfinite(), known, frames[:, index, None])
    valid, _, _, mean = observed_mean(known)
    return torch.where(valid, known, mean.reshape(-1, *(1,) * (known.ndim - 1)))


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
