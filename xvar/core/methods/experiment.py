"""4D-Var with a model, covariances and observations that the user states, forward in time from the window's start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xvar.core.covariance import Diagonal
from xvar.core.covariance.composite import grown
from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import State, trajectory
from xvar.core.ensemble import Ensemble, assimilate_members, errors_of_members, grown_members, split_members
from xvar.core.grid import Grid, bind
from xvar.core.methods.background_check import checked, rejections
from xvar.core.methods.curvature import curvatures
from xvar.core.methods.frames import Frames, first_known
from xvar.core.methods.model_error import ForcingInterval, forced_steps
from xvar.core.methods.motion import diagnostics, fitting
from xvar.core.methods.outcome import Outcome, Source, equivalents, states_and_forcings
from xvar.core.methods.points import PointTable, Remember, present
from xvar.core.minimize import LBFGS
from xvar.core.parameters import Holding, Parameter
from xvar.core.posterior import Posterior, Sampling, degrees_of_freedom, standard_errors
from xvar.core.problem import Problem, frame_steps
from xvar.core.solve import Analysis, CostHistory, Minimisation, minimisations, solve
from xvar.core.step_check import check_operators, check_step
from xvar.errors import Fault, InputError

#: About what the adjoint of a step holds, over the size of the state: four stages of a dozen products each.
FIELDS_OF_STEP = 60
#: The adjoint of a window is recomputed by parts if it would hold more bytes than this, in more steps than this.
CHECKPOINT_BYTES, CHECKPOINT_STEPS = 2**29, 8


@dataclass(frozen=True)
class Experiment:
    """A 4D-Var with the user's model, statistics and observations: images, points, and several sources of each."""

    dynamics: Any  # the model: a specification, or a callable (state, seconds) -> state
    background_error: Mapping[str, Any]  # B of each component in the control
    model_error: Mapping[str, Any] = field(default_factory=dict)  # Q per second; empty for the strong constraint
    forcing_interval: ForcingInterval | float = "interval"  # see `ModelError`; a duration in seconds
    step: float | None = None  # longest in seconds; None: that of the model, else from frame to frame
    growth: Mapping[str, Any] = field(default_factory=dict)  # Q per second by which B has grown, see `following`
    elapsed: float = 0.0  # seconds for which it has grown
    #: Give an observed component without a stated error the one of `Frames.error_of_background`.
    shared_error: bool = False
    measured: tuple[str, ...] = ()  # components whose curvature is measured beforehand, see `Problem`
    #: Static parameters of the model, by the names under which its state holds them.
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    penalties: tuple[DigitalFilter, ...] = ()  # terms of J on the trajectory
    levels: tuple[int, ...] = (1,)  # see `solve`
    minimizer: LBFGS = field(default_factory=LBFGS)
    cost_history: bool = False  # record J and its terms at every evaluation
    sampling: Sampling | None = None  # draw errors of the analysis, see `xvar.core.posterior.Posterior`
    ensemble: Ensemble | None = None  # of assimilations; windows are then analysed one by one
    deviations: Mapping[str, Tensor] = field(default_factory=dict)  # of its members from their mean, by component
    handover: int = -1  # frame from which the next window begins

    def minimisations(self, grid: Grid) -> list[Minimisation]:
        """Return the minimisations of all levels."""
        return minimisations(fitting(self.levels, grid), self.minimizer)

    def following(
        self, state: State, lead: float, elapsed: float, frame: float, grid: Grid
    ) -> tuple[Experiment, State]:
        r"""Return the experiment of the next window of a chain, and its background.

        The background is the forecast, without model error, of the analysis of the window before, from its last frame
        to the first of this one, `lead` seconds later, in steps of at most `frame` seconds if the model states none. B,
        which is that of the analysis at the beginning of each window, has grown by the model error in between,

        .. math:: x_b^{k+1} = M(x_a^k), \quad B_{k+1} = B + (t_{k+1} - t_k)\, Q,

        with :math:`t_k` the first frame of window k, and `elapsed` :math:`t_{k+1} - t_k`. Only the mean is carried: B
        is neither moved by the model nor made smaller by observations, and grows from one window alone. The first frame
        is an observation like any other.
        """
        following = replace(self, elapsed=elapsed)
        if lead == 0:
            return following, state
        like = next(iter(state.values()))
        held = {name: part.background(len(like), 1, grid, like) for name, part in self.parameters.items()}
        model = bind(Holding(self.dynamics, self.parameters) if held else self.dynamics, grid, like)
        steps = frame_steps([0.0, lead], self._longest_step(bind(self.dynamics, grid, like)) or frame)
        *_, background = trajectory(model, {**state, **held}, steps)
        return following, {key: background[key] for key in state}

    def with_error_of(self, background: State) -> Experiment:
        """Return the same with B that functions state for a background (window, component, *grid)."""
        stated = {key: part for key, part in self.background_error.items() if not hasattr(part, "bind")}
        errors = {key: part(background) for key, part in stated.items()}
        return replace(self, background_error={**self.background_error, **errors}) if errors else self

    def following_ensemble(
        self, states: State, lead: float, elapsed: float, frame: float, grid: Grid, seed: int
    ) -> tuple[Experiment, State]:
        """Return the same with an ensemble: `states` (1 + member, ...) are the analysis before, and its members.

        Members have model error, with the weak constraint of the time since that window, else of the whole cycle: a
        perfect window has none. B is that of the ensemble, which has grown by itself.
        """
        assert self.ensemble is not None
        following, moved = self.following(states, lead, elapsed, frame, grid)
        background, deviations = split_members(moved)
        generator = torch.Generator().manual_seed(seed)
        seconds = lead if self.model_error else elapsed
        deviations = grown_members(deviations, self.growth if seconds > 0 else {}, seconds, grid, generator)
        static = self.with_error_of(background).background_error
        error = self.ensemble.background_error(static, deviations)
        return replace(following, background_error=error, growth={}, deviations=deviations), background

    def problem(self, sources: Sequence[Source], background: State, seconds: Sequence[float], grid: Grid) -> Problem:
        """Return the problem of a batch of windows with states at `seconds`, the times of the frames after the first.

        Observations after the last frame make the window longer, without model error there. The first of the images of
        a component that `background` (window, component, y, x) leaves out is its background. Observations that the
        background check rejects are left out. Raises InputError if points, which have times of their own, are given for
        several windows.
        """
        problem = self._unchecked(sources, background, seconds, grid)
        return checked(problem, [source.comparison.background_check for source in sources])

    def _unchecked(self, sources: Sequence[Source], background: State, seconds: Sequence[float], grid: Grid) -> Problem:
        """Return the problem before the background check."""
        sources, background, errors = self._prior(sources, background)
        like = next(iter(background.values()))
        if len(like) > 1 and any(isinstance(source, PointTable) for source in sources):
            found, fix = f"{len(like)} windows at once", "solve them one by one"
            expected = "one window: points have times of their own"
            raise InputError(Fault(found, expected, fix, code="points-of-several-windows"))
        last = max((source.last for source in sources), default=0.0)
        times = [*seconds, last] if last > seconds[-1] * (1 + 1e-6) + 1e-6 else seconds
        steps = frame_steps(times, self._longest_step(bind(self.dynamics, grid, like)))
        observations = [
            source.observations() if isinstance(source, Frames) else source.observations(steps, grid.water)
            for source in sources
        ]
        model, controlled, errors = self._with_parameters(sources, background, errors, grid)
        if any(isinstance(source, PointTable) and source.between_steps(steps) for source in sources):
            model = Remember(model)
        held = sum(values.numel() * values.element_size() for values in background.values())
        return Problem(
            grid=grid,
            dynamics=model,
            steps=steps,
            background=controlled,
            background_error=errors,
            parameters=tuple(self._static(sources)),
            penalties=self.penalties,
            observations=tuple(replace(part, source=k) for k, one in enumerate(observations) for part in one),
            model_error=forced_steps(self.model_error, self.forcing_interval, steps, seconds)
            if self.model_error
            else None,
            curvature=curvatures(sources, observations, controlled, self.background_error),
            measured=self.measured,
            checkpoint=len(steps) > CHECKPOINT_STEPS and held * FIELDS_OF_STEP * len(steps) > CHECKPOINT_BYTES,
        )

    def _longest_step(self, model: Any) -> float | None:
        return self.step or getattr(model, "step", None)

    def completed(self, sources: Sequence[Source], background: State) -> State:
        """Return the whole state: the background of a component that is left out is the first of its images."""
        whole = (source for source in reversed(sources) if isinstance(source, Frames) and source.shows_component)
        images = {source.component: first_known(source.values) for source in whole}
        return {**background, **{key: first for key, first in images.items() if key not in background}}

    def _prior(self, sources: Sequence[Source], background: State) -> tuple[list[Source], State, dict[str, Any]]:
        """Return the sources without images that are the background, the whole background, and its errors."""
        whole, errors, kept = self.completed(sources, background), dict(self.background_error), list[Source]()
        taken = set(background)
        for source in sources:
            if not isinstance(source, Frames) or not source.shows_component:
                kept.append(source)
                continue
            key = source.component
            if key not in errors and (self.shared_error or key not in background):
                errors[key] = Diagonal(
                    source.scaled_error(source.values) if self.elapsed > 0 else source.error_of_background(whole[key])
                )
            kept.append(source if key in taken else replace(source, first=1))
            taken.add(key)
        if self.elapsed > 0:
            errors |= {
                key: grown(errors.get(key), model, self.elapsed, whole[key].shape[1])
                for key, model in self.growth.items()
            }
        return kept, whole, errors

    def _with_parameters(
        self, sources: Sequence[Source], background: State, errors: Mapping[str, Any], grid: Grid
    ) -> tuple[Any, State, dict[str, Any]]:
        """Return model, background and its errors with the parameters that are in the control."""
        known = self._static(sources)
        if not known:
            return self.dynamics, background, dict(errors)
        like = next(iter(background.values()))
        priors = {
            name: parameter.background(len(like), count or 1, grid, like) for name, (parameter, count) in known.items()
        }
        return (
            Holding(self.dynamics, self.parameters, tuple(name for name in known if name not in self.parameters)),
            {**background, **priors},
            {**errors, **{name: parameter.specification for name, (parameter, _) in known.items()}},
        )

    def _static(self, sources: Sequence[Source]) -> dict[str, tuple[Parameter, int | None]]:
        """Return all static parameters by their keys in the state, each with the number of its values, None for one.

        Those of the model come first, then those of the observations.
        """
        known: dict[str, tuple[Parameter, int | None]] = {key: (part, None) for key, part in self.parameters.items()}
        for source in sources:
            known |= source.parameters
        return known

    def analyse(
        self,
        sources: Sequence[Source],
        background: State,
        seconds: Sequence[float],
        grid: Grid,
        save: Sequence[str] = (),
        seeds: Tensor | None = None,
    ) -> Outcome:
        """Analyse a batch of windows, see `problem`.

        `save` names the departures of images to return; `seeds` (window,) are those of the `sampling`.
        """
        stated = self._unchecked(sources, background, seconds, grid)
        check_step(stated)
        check_operators(stated, [source.operator for source in sources])
        problem = checked(stated, [source.comparison.background_check for source in sources])
        masks, rejected = rejections(stated, problem, len(sources))
        if self.ensemble is not None and seeds is not None:
            own = self._with_members(problem, self.ensemble, sources, seconds, save, int(seeds[0]))
            return self._outcome(problem, *own, sources, background, save, masks, rejected)
        cost_history = CostHistory(problem.windows, self.minimisations(grid)) if self.cost_history else None
        result = solve(problem, self.minimizer, levels=fitting(self.levels, grid), cost_history=cost_history)
        fields = states_and_forcings(problem, result.trajectory, result.forcing, seconds)
        parameters = self._estimated(sources, result.trajectory[0])
        errors, signal = dict[str, Tensor](), dict[str, Tensor]()
        if self.sampling is not None and seeds is not None:
            space = result.cost.space

            def member(control: Tensor) -> dict[str, Tensor]:
                moved, forcing = result.cost.trajectory(control), space.forcing(space.fields(control))
                return states_and_forcings(problem, moved, forcing, seconds) | self._estimated(sources, moved[0])

            posterior = Posterior(result.cost, result.minimum.control, self.sampling)
            errors = standard_errors(fields | parameters, map(member, posterior.members(seeds)), self.sampling)
            signal = degrees_of_freedom(posterior.signals)
        numbers = diagnostics([result], problem.number_of_observations(), cost_history=cost_history) | signal
        found = fields, parameters, errors, numbers
        return self._outcome(problem, result, found, sources, background, save, masks, rejected)

    def _with_members(
        self,
        problem: Problem,
        ensemble: Ensemble,
        sources: Sequence[Source],
        seconds: Sequence[float],
        save: Sequence[str],
        seed: int,
    ) -> tuple[Analysis, tuple[dict[str, Tensor], ...]]:
        """Analyse one window and its members; return the analysis, and its parts as of `_outcome`."""
        generator = torch.Generator().manual_seed(seed)
        found = assimilate_members(problem, ensemble, dict(self.deviations), self.minimizer, generator)
        result = found.analysis
        of_members = states_and_forcings(problem, found.trajectory, found.forcing, seconds)
        own = of_members | self._estimated(sources, found.trajectory[0])
        errors = errors_of_members(own, keep="samples" in save)
        states = ((key, values) for key, values in of_members.items() if key in problem.background)
        last = {f"{key}_members": values[None, :, self.handover] for key, values in states}
        fields = states_and_forcings(problem, result.trajectory, result.forcing, seconds) | last
        numbers = diagnostics([result], problem.number_of_observations())
        return result, (fields, self._estimated(sources, result.trajectory[0]), errors, numbers)

    def _outcome(
        self,
        problem: Problem,
        result: Analysis,
        found: tuple[dict[str, Tensor], ...],
        sources: Sequence[Source],
        background: State,
        save: Sequence[str],
        masks: Sequence[Sequence[Tensor]],
        rejected: Tensor,
    ) -> Outcome:
        """Return an analysis with its fields, parameters, errors of both, and numbers, in this order in `found`."""
        fields, parameters, errors, numbers = found
        of_parameters = {name for name in errors if name.rpartition("_")[0] in parameters}
        increment = {
            f"{key}_increment": result.increment.get(key, torch.zeros_like(values))
            for key, values in present(result.trajectory[0]).items()
        }
        return Outcome(
            fields=fields | increment | {name: part for name, part in errors.items() if name not in of_parameters},
            numbers={
                **numbers,
                **parameters,
                **{name: errors[name] for name in of_parameters},
                "background_check": rejected,
            },
            **equivalents(self._prior(sources, background)[0], result, problem, save, masks),
        )

    def _estimated(self, sources: Sequence[Source], state: State) -> dict[str, Tensor]:
        """Return the parameters of an analysis: (window,), (window, frame) or (window, y, x)."""
        found = {}
        for name, (parameter, count) in self._static(sources).items():
            values = parameter.value(state[name])
            whole = values[:, 0] if parameter.is_field else values.flatten()
            found[name] = whole if count is None else values.flatten(1)
        return found
