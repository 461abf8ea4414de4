"""Observations at points, each at its own time and place, of whatever component of the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xvar.core.cost_history import CostHistory, Minimisation, minimisations
from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import Dynamics, State, start
from xvar.core.grid import Grid, bind, block_mean
from xvar.core.interpolate import Sampler, sample
from xvar.core.methods.image_motion import costs_of, status_of
from xvar.core.minimize import LBFGS
from xvar.core.observation import Observation
from xvar.core.parameters import Holding, Parameter
from xvar.core.problem import ForcedSteps, Problem, TimeInterpolation, frame_steps
from xvar.core.solve import solve
from xvar.errors import Fault, InputError

BEFORE = " before"

#: What the adjoint of a step holds, about, over the size of the state: four stages of a dozen products each.
FIELDS_OF_STEP = 60
#: Bytes.
CHECKPOINT_BYTES = 2**29


@dataclass(frozen=True)
class Remember:
    """A model whose state holds the step before, between which and the present one may interpolate in time."""

    model: Any

    def bind(self, grid: Grid, *, dtype: torch.dtype, device: torch.device) -> Remembered:
        """The model on a grid."""
        model = self.model
        return Remembered(model.bind(grid, dtype=dtype, device=device) if hasattr(model, "bind") else model)


@dataclass(frozen=True)
class Remembered:
    """`Remember` on a grid: to each component its value a step earlier, without a copy."""

    model: Dynamics

    def start(self, state: State) -> State:
        """The initial state, before which there is nothing but itself."""
        now = start(self.model, state)
        return {**now, **{key + BEFORE: values for key, values in now.items()}}

    def __call__(self, state: State, seconds: float) -> State:
        """One step."""
        now = {key: values for key, values in state.items() if not key.endswith(BEFORE)}
        return {**self.model(now, seconds), **{key + BEFORE: values for key, values in now.items()}}


@dataclass(frozen=True)
class PointTable:
    """Points as they were observed.

    Attributes
    ----------
    time : Tensor (point,)
        Seconds from the time of the control, in float64.
    position : Tensor (2, point)
        Along x and along y, in grid units of the component, which may be staggered.
    source : Tensor (point,)
        Which of `sources` was observed.
    value, std : Tensor (point,)
        In the units of the component.
    sources : tuple of (str, int)
        Key of the state and index of its component.
    staggered : tuple of (str, int)
        Those that lie between the grid points: velocities that are zero through coasts.
    """

    time: Tensor
    position: Tensor
    source: Tensor
    value: Tensor
    std: Tensor
    sources: tuple[tuple[str, int], ...]
    staggered: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class PointValues:
    r"""Observation operator: values at points between two steps.

    .. math:: H(x_{i-1}, x_i) = (1 - s)\, x_{i-1}(X) + s\, x_i(X)

    of a state that remembers the step before, with the share s of the step that has passed at each point's own time.

    Parameters
    ----------
    sources : tuple of (str, int)
        Key and component of each part.
    positions : tuple of Tensor (2, point)
        Of the points of each part, in grid units.
    shares : tuple of Tensor (point,)
        Of the step.
    water : tuple of Tensor (1, 1, y, x) or None
        Where each part exists, one or zero: at a coast a point has the value of the grid points around it that are
        water. None: everywhere.
    sampler : {"bilinear", "cubic", "monotone"}
    """

    sources: tuple[tuple[str, int], ...]
    positions: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]
    water: tuple[Tensor | None, ...]
    sampler: Sampler = "bilinear"

    def __call__(self, state: State) -> Tensor:
        """(window, 1, point), part by part."""
        found = []
        parts = zip(self.sources, self.positions, self.shares, self.water, strict=True)
        for (key, component), position, share, water in parts:
            now = state[key][:, component : component + 1]
            levels = torch.cat([state[key + BEFORE][:, component : component + 1], now], dim=1)
            where = position.expand(len(now), -1, -1)
            if water is None:
                before, after = sample(levels, where, self.sampler).split(1, dim=1)
            else:
                sums = sample(levels * water, where).split(1, dim=1)
                before, after = (part / sample(water, position[None]) for part in sums)
            found.append(torch.lerp(before, after, share))
        return torch.cat(found, dim=-1)

    def coarsen(self, factor: int) -> PointValues:
        """The same points in units of a grid whose cells hold `factor` cells a side."""
        return replace(
            self,
            positions=tuple((position + 0.5) / factor - 0.5 for position in self.positions),
            water=tuple(None if part is None else block_mean(part, factor) for part in self.water),
        )


@dataclass(frozen=True)
class Placed:
    """Points in the steps of a window.

    Attributes
    ----------
    observations : tuple of Observation
        One for each step that has points.
    steps : tuple of int
        The state, counted from the initial one, at which each is compared.
    points : tuple of Tensor of int
        Which points of the table each holds, in its own order.
    """

    observations: tuple[Observation, ...]
    steps: tuple[int, ...]
    points: tuple[Tensor, ...]


def place(
    table: PointTable,
    steps: Sequence[float],
    *,
    time_interpolation: TimeInterpolation = "linear",
    sampler: Sampler = "bilinear",
    threshold: float | None = None,
    water: Tensor | None = None,
) -> Placed:
    """Sort points into the steps of a model.

    Parameters
    ----------
    table : PointTable
        All its times lie in the window.
    steps : sequence of float
        The model's steps in seconds, all positive.
    time_interpolation : {"linear", "nearest"}
        Whether a point between two steps is compared with both, or with the nearer one.
    sampler : {"bilinear", "cubic", "monotone"}
    threshold : float, optional
        See `Observation`.
    water : Tensor of bool (y, x), optional
        Where what is not staggered exists; near land points are read bilinearly.
    """
    wet = None if water is None else water.to(table.value)[None, None]
    ends = torch.tensor(steps, dtype=torch.float64).cumsum(0)
    times = torch.cat([ends.new_zeros(1), ends])
    tolerance = 1e-6 * float(ends[-1])
    step = torch.searchsorted(times, table.time.cpu() - tolerance).clamp(0, len(steps))  # the state that ends it
    length = torch.cat([ends.new_ones(1), torch.tensor(steps, dtype=torch.float64)])[step]
    share = ((table.time.cpu() - (times[step] - length)) / length).clamp(0, 1)
    share[step == 0] = 1.0
    if time_interpolation == "nearest":
        step = torch.where((share < 0.5) & (step > 0), step - 1, step)
        share = torch.ones_like(share)
    observations, at_steps, points = [], [], []
    for index in step.unique().tolist():
        parts = [
            ((step == index) & (table.source.cpu() == source)).nonzero().flatten()
            for source in range(len(table.sources))
        ]
        held = [source for source, part in enumerate(parts) if len(part)]
        order = torch.cat([parts[source] for source in held]).to(table.value.device)
        operator = PointValues(
            tuple(table.sources[source] for source in held),
            tuple(table.position[:, parts[source].to(table.value.device)] for source in held),
            tuple(share[parts[source]].to(table.value) for source in held),
            tuple(None if table.sources[source] in table.staggered else wet for source in held),
            sampler,
        )
        observations.append(
            Observation(
                time=float(times[index]),
                operator=operator,
                values=table.value[order][None, None],
                std=table.std[order][None, None],
                threshold=threshold,
            )
        )
        at_steps.append(index)
        points.append(order)
    return Placed(tuple(observations), tuple(at_steps), tuple(points))


@dataclass(frozen=True)
class PointExperiment:
    """A 4D-Var of one window with observations at points, and of other kinds beside them.

    Parameters
    ----------
    dynamics : specification or callable (state, seconds) -> state
        The model.
    background_error : mapping of str to specification
        B of each component in the control.
    model_error : mapping of str to specification
        Q of each forced component, per second, one field for all steps between two times of the result; empty for the
        strong constraint.
    time_interpolation, sampler, threshold
        See `place`.
    step : float, optional
        Longest step in seconds.
    parameters : mapping of str to Parameter
        Static parameters of the model, by the names under which its state holds them.
    penalties : tuple of DigitalFilter
        Terms of J on the trajectory.
    checkpoint : bool, optional
        Trade time for memory. Default: where the adjoint would otherwise hold more than `CHECKPOINT_BYTES`.
    minimizer : LBFGS
    cost_history : bool
        Whether J is told by evaluation.
    """

    dynamics: Any
    background_error: Mapping[str, Any]
    model_error: Mapping[str, Any] = field(default_factory=dict)
    time_interpolation: TimeInterpolation = "linear"
    sampler: Sampler = "bilinear"
    threshold: float | None = None
    step: float | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    penalties: tuple[DigitalFilter, ...] = ()
    checkpoint: bool | None = None
    minimizer: LBFGS = field(default_factory=LBFGS)
    cost_history: bool = False

    def minimisations(self) -> list[Minimisation]:
        """The one that there is."""
        return minimisations((1,), self.minimizer)

    def problem(
        self, background: State, table: PointTable, seconds: Sequence[float], grid: Grid
    ) -> tuple[Problem, Placed]:
        """The problem of a window, and where its points went; see `analyse` for the parameters."""
        if len(next(iter(background.values()))) != 1:
            found = f"{len(next(iter(background.values())))} windows at once"
            raise InputError(Fault(found, "one window: points have times of their own", "solve them one by one"))
        like = next(iter(background.values()))
        model = bind(self.dynamics, grid, like)
        steps = frame_steps(seconds, self.step or getattr(model, "step", None))
        placed = place(
            table,
            steps,
            time_interpolation=self.time_interpolation,
            sampler=self.sampler,
            threshold=self.threshold,
            water=grid.water,
        )
        held = {name: parameter.background(1, 1, grid, like) for name, parameter in self.parameters.items()}
        errors = {name: parameter.specification for name, parameter in self.parameters.items()}
        problem = Problem(
            grid=grid,
            dynamics=Remember(Holding(self.dynamics, self.parameters) if self.parameters else self.dynamics),
            steps=steps,
            background={**background, **held},
            background_error={**self.background_error, **errors},
            parameters=tuple(self.parameters),
            penalties=self.penalties,
            observations=placed.observations,
            model_error=ForcedSteps(self.model_error, _intervals(steps, seconds)) if self.model_error else None,
            checkpoint=self._checkpoint(steps, background),
        )
        return problem, placed

    def _checkpoint(self, steps: Sequence[float], background: State) -> bool:
        if self.checkpoint is not None:
            return self.checkpoint
        held = sum(values.numel() * values.element_size() for values in background.values())
        return held * FIELDS_OF_STEP * len(steps) > CHECKPOINT_BYTES

    def analyse(
        self, background: State, table: PointTable, seconds: Sequence[float], grid: Grid
    ) -> tuple[list[State], list[State], dict[str, Tensor], dict[str, Tensor]]:
        """Analyse a window.

        Parameters
        ----------
        background : dict of Tensor (1, component, *grid)
            The state at the beginning.
        table : PointTable
            The points, all of them in the window.
        seconds : sequence of float
            Times of the states of the result, the first zero.
        grid : Grid

        Returns
        -------
        states : list of dict of Tensor
            The state at each time.
        forcing : list of dict of Tensor
            The model error of each interval between them, per second; empty for the strong constraint.
        equivalents : dict of Tensor (point,)
            ``background`` and ``analysis``: what the model says of each point before and after.
        numbers : dict of Tensor (1, ...)
            As of `xvar.core.methods.experiment.Experiment.analyse`, parameters among them.
        """
        problem, placed = self.problem(background, table, seconds, grid)
        cost_history = CostHistory(1, self.minimisations()) if self.cost_history else None
        result = solve(problem, self.minimizer, cost_history=cost_history)
        before = result.cost.trajectory(result.cost.zero())
        equivalents = {
            name: _equivalents(states, placed, table)
            for name, states in (("background", before), ("analysis", result.trajectory))
        }
        count = problem.number_of_observations()
        times = torch.tensor(problem.times(), dtype=torch.float64)
        states = torch.searchsorted(times + 1e-6, torch.tensor(seconds, dtype=torch.float64)).tolist()
        groups = () if problem.model_error is None else problem.model_error.steps
        return (
            [_present(result.trajectory[index]) for index in states],
            [
                {key: error / problem.steps[group[0]] for key, error in result.forcing[group[0]].items()}
                for group in groups
            ],
            equivalents,
            {
                **costs_of(result),
                "gradient_norm": result.minimum.gradient_norm,
                "evaluations": result.minimum.evaluations,
                "number_of_observations": count,
                "status": status_of(result, count == 0),
                **{
                    name: parameter.value(result.trajectory[0][name])[:, 0]
                    if parameter.is_field
                    else parameter.value(result.trajectory[0][name]).flatten()
                    for name, parameter in self.parameters.items()
                },
                **({} if cost_history is None else cost_history.numbers()),
            },
        )


def _present(state: State) -> State:
    return {key: values for key, values in state.items() if not key.endswith(BEFORE)}


def _equivalents(trajectory: Sequence[State], placed: Placed, table: PointTable) -> Tensor:
    found = torch.full_like(table.value, torch.nan)
    for observation, step, points in zip(placed.observations, placed.steps, placed.points, strict=True):
        found[points] = observation.operator(trajectory[step])[0, 0]
    return found


def _intervals(steps: Sequence[float], seconds: Sequence[float]) -> tuple[tuple[int, ...], ...]:
    """The steps between each two times."""
    ends = torch.tensor(steps, dtype=torch.float64).cumsum(0)
    interval = torch.searchsorted(torch.tensor(seconds[1:], dtype=torch.float64) + 1e-6, ends)
    return tuple(tuple((interval == index).nonzero().flatten().tolist()) for index in range(len(seconds) - 1))
