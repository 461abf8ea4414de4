"""Methods advection and model: the plan of the state at the beginning of windows, from any observations; its solver."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xvar.cf.times import parse_duration
from xvar.core.grid import bind
from xvar.core.methods.experiment import FORCING_INTERVALS, Experiment, ModelError, Outcome, Source
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.minimize import LBFGS
from xvar.core.parameters import Parameter
from xvar.core.problem import Problem
from xvar.errors import Faults
from xvar.execution.batches import CycleState, WindowBatch
from xvar.execution.schedule import Schedule
from xvar.plan.bridge import Array, Bridge, ascending
from xvar.plan.call import Call, Plan, Variable
from xvar.plan.control import check_covariances, errors_by_component, read_parameters, read_penalties
from xvar.plan.ensemble import MEMBERS, read_ensemble, with_members
from xvar.plan.experiment.observations import Observed, read_observed
from xvar.plan.experiment.outputs import label_observations, output_variables
from xvar.plan.experiment.record import PointRecord
from xvar.plan.experiment.state import Background, State, read_background
from xvar.plan.method import describe_model
from xvar.plan.uncertainty import ERRORS, read_sampling, seeds_of, with_errors

_SUFFIXES = (*ERRORS, "_increment", "_forcing", *(f"_forcing{suffix}" for suffix in ERRORS))


def plan_experiment(call: Call) -> Plan | None:
    """Plan a 4D-Var for the state at the beginning of windows, see `Experiment`; None if a fault was added."""
    record, options, faults, before = call.record, call.options, call.faults, len(call.faults)
    state = State.read(record, options.dynamics, call.background)
    background = read_background(call, state)
    statistics = _read_statistics(call, state)
    observed = read_observed(call, state)
    parameters = read_parameters(options.parameters, state.components, record, faults)
    penalties = read_penalties(options.penalties, state.components, faults)
    _check_conflicts(observed, call)
    if len(faults) > before:
        return None
    sampling = read_sampling(call, statistics["background_error"] | statistics["model_error"])
    ensemble = read_ensemble(call, observed)
    if len(faults) > before:
        return None
    experiment = Experiment(
        dynamics=state.model,
        **statistics,
        step=_longest_step(call, state),
        parameters=parameters,
        penalties=penalties,
        sampling=sampling,
        ensemble=ensemble,
        shared_error=state.advection or call.name not in background.fields,
        minimizer=options.minimizer or LBFGS(max_evaluations=200),
        cost_history="cost_history" in options.save,
    )
    minimisations = experiment.minimisations(call.bridge.core_grid()) if experiment.cost_history else ()
    configuration = replace(
        call.configuration,
        dynamics=describe_model(state.model),
        components=dict(state.components),
        parameters=tuple(parameters),
        gaussian=observed.gaussian,
    )
    outputs = output_variables(call, state, experiment, observed, minimisations)
    members = [f"{name}{MEMBERS}" for name in state.names] if ensemble is not None else []
    solver = ExperimentSolver(
        experiment=experiment,
        bridge=call.bridge,
        outputs=with_members(with_errors(outputs, sampling, *state.names), ensemble, state.names, call),
        state=state,
        background=background,
        observed=observed,
        windows=call.windows if observed.beside_record else (),
        cycled=configuration.frame if call.cycled else None,
        save=options.save,
    )
    call.notes.extend(_notes(observed, experiment, cycled=call.cycled))
    return Plan(
        configuration,
        solver,
        call.schedule,
        forced=_forced_shares(call.schedule, experiment) if experiment.model_error else (),
        step=experiment.step,
        carried=(*state.names, *members, *parameters) if call.cycled else (),
        minimisations=minimisations,
        sizes=observed.sizes,
        sources=tuple(observed.labels),
        sampling=sampling,
        ensemble=ensemble,
        label_observations=partial(label_observations, call=call, observed=observed),
    )


def _check_conflicts(observed: Observed, call: Call) -> None:
    """Report gains and offsets in cycled windows, and standard errors beside direct insertion."""
    estimated = list(observed.calibrations)
    if call.cycled and estimated:
        call.faults.add(
            code="parameters-in-cycled-windows",
            variable="parameters",
            found=f"gains or offsets of images in cycled windows: {', '.join(estimated)}",
            expected="windows with priors of their own",
            fix="leave background='cycled' out, or the gains and offsets",
        )
    if call.schedule.shared is not None and observed.beside_record:
        call.faults.add(
            code="overlap-beside-record",
            variable="stride",
            found="cycled windows that overlap, with observations beside the record",
            expected="observations of the record alone, each of which is used once",
            fix="leave stride out",
        )
    if call.options.uncertainty is not None and any(source.stated.reset for source in observed.images):
        call.faults.add(
            code="uncertainty-with-reset",
            variable="uncertainty",
            found='uncertainty="posterior" with reset="observation": values that replace the state have errors too',
            expected="images that are compared with the state",
            fix="leave reset out",
        )


def _longest_step(call: Call, state: State) -> float | None:
    """Return the longest step of the model: the one it states, else the one that its grid allows."""
    step: float | None = state.step
    if step is None and hasattr(state.model, "bind"):
        bound = bind(state.model, call.bridge.core_grid(), torch.zeros(1, dtype=torch.float64))
        step = getattr(bound, "step", None)
    return step


def _notes(observed: Observed, experiment: Experiment, *, cycled: bool) -> list[str]:
    """Return notes about the observations, and about B of cycled windows."""
    notes = [
        f"{label}: observations at points, {table.time_interpolation} in time, {table.sampler} in space"
        for label, table in ({} if observed.points is None else observed.points.tables).items()
    ]
    if cycled:
        forced = ", ".join(experiment.growth)
        growth = f"B grown by the model error of {forced} since its beginning" if forced else "B as stated"
        notes.append(f"the background of a window is the forecast of the window before, with {growth}")
    return notes


def _forced_shares(schedule: Schedule, experiment: Experiment) -> tuple[float, ...]:
    """Return the middles of the model errors, in intervals between frames since the first."""
    intervals, acting = schedule.frames.shape[1] - 1, experiment.forcing_interval
    if acting == "window":
        return (intervals / 2,)
    if isinstance(acting, float):
        longest = schedule.seconds[int(np.nanargmax(np.nanmax(schedule.seconds, axis=1)))]
        times = longest[np.isfinite(longest)]
        edges = np.append(np.arange(0.0, times[-1] * (1 - 1e-9), acting), times[-1])
        return tuple(np.interp((edges[1:] + edges[:-1]) / 2, times, np.arange(len(times))).tolist())
    parts = 1
    if acting == "step" and experiment.step is not None:
        longest = float(np.nanmax(np.diff(schedule.seconds, axis=1)))
        parts = max(1, math.ceil(longest / experiment.step - 1e-9))
    return tuple(index + (part + 0.5) / parts for index in range(intervals) for part in range(parts))


def _read_statistics(call: Call, state: State) -> dict[str, Any]:
    """Return B and Q of an experiment; B of a motion without a stated one is the default of image motion."""
    record, options, faults, before = call.record, call.options, call.faults, len(call.faults)
    errors = errors_by_component(options.background_error, "background_error", state.components, faults, of_state=True)
    measured: tuple[str, ...] = ()
    if state.advection and "velocity" not in errors:
        motion = ImageMotion()
        errors["velocity"] = motion.steady.in_metres(record.cadence, record.grid.spacing, motion.truncation)
        # It leaves the mean motion free, of which a step by the slope alone takes too much.
        measured = ("velocity",)
    elif not errors:
        first = next(iter(state.components), call.name)
        faults.add(
            code="background-error-missing",
            variable="background_error",
            found="a model of your own without background_error=",
            expected="the error of each component that is to be analysed",
            fix=f"background_error={{{first!r}: xvar.covariance.Diagonal(std=...)}}",
        )
    stated = options.model_error
    stated = stated if isinstance(stated, ModelError) else ModelError(stated)
    forced = errors_by_component(stated.covariance, "model_error", state.components, faults)
    weak = options.constraint == "weak"
    if weak and not forced:
        faults.add(
            code="model-error-missing",
            variable="model_error",
            found='constraint="weak" without model_error=',
            expected="the error of the model per second, for each component that is forced",
            fix='model_error={"velocity": xvar.covariance.Tikhonov(...)}',
        )
    if forced and not weak and not call.cycled:
        faults.add(
            code="model-error-with-strong-constraint",
            variable="constraint",
            found='model_error= with constraint="strong"',
            expected="the weak constraint",
            fix='constraint="weak"',
        )
    given = {"background_error": errors, "model_error": forced}
    if call.cycled:
        _check_growth(given, faults)
    if len(faults) == before:
        check_covariances(call, given, state.components)
    return {
        "background_error": errors,
        "model_error": forced if weak else {},
        "growth": forced,
        "forcing_interval": _forcing_interval(stated.forcing_interval, call),
        "measured": measured,
    }


def _forcing_interval(stated: Any, call: Call) -> Any:
    """Return the interval of the model error, a duration in seconds; that of a table of points is the whole window."""
    if not isinstance(stated, str) or stated not in FORCING_INTERVALS:
        return parse_duration(stated, "forcing_interval", call.faults)
    return "window" if stated == "interval" and isinstance(call.record, PointRecord) else stated


def _check_growth(given: Mapping[str, Mapping[str, Any]], faults: Faults) -> None:
    """Report penalties in a B that model error is to grow: the norm of a sum is not the sum of the norms."""
    for key in given["model_error"]:
        for option, parts in given.items():
            if getattr(parts.get(key), "divergence", 0):
                faults.add(
                    code="divergence-in-cycled-windows",
                    variable=option,
                    found=f"{option} of {key!r} with a penalty on the divergence, in cycled windows",
                    expected="a covariance that model error can grow: B + t Q",
                    fix="leave divergence out, or leave model_error out: B then stays as it is",
                )


@dataclass(frozen=True)
class ExperimentSolver:
    """Solver of the state at the beginning of windows.

    Windows with observations beside the record are solved one by one, as each has its own times.
    """

    experiment: Experiment
    bridge: Bridge
    outputs: Mapping[str, Variable]
    state: State
    background: Background
    observed: Observed
    windows: Sequence[tuple[float, float]]  # every window of the call, see `Call.windows`
    cycled: float | None = None  # if windows are: longest step of a forecast by a model that states none
    save: tuple[str, ...] = ()

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Return every variable of the state at every frame, forcings, equivalents of points, and diagnostics."""
        if len(batch) == 1 or not (self.observed.beside_record or self.experiment.ensemble):
            return self._solve(batch)
        alone = [slice(index, index + 1) for index in range(len(batch))]
        parts = [self._solve(batch.select(one)) for one in alone]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def problem(self, batch: WindowBatch) -> Problem:
        """Return the problem of a batch."""
        experiment, background = self._prior(batch)
        sources, _ = self._sources(batch, self.bridge.without_land(batch.frames))
        return experiment.problem(sources, background, batch.seconds, self.bridge.core_grid())

    def _solve(self, batch: WindowBatch) -> dict[str, Array]:
        frames = _unshared(self.bridge.without_land(batch.frames), batch)
        experiment, background = self._prior(batch)
        sources, rejected = self._sources(batch, frames)
        departures = [word for word in self.save if word in ("innovation", "residual", "samples")]
        seeds = seeds_of(batch, experiment.sampling or experiment.ensemble, self.bridge)
        experiment = replace(experiment, handover=batch.handover)
        outcome = experiment.analyse(sources, background, batch.seconds, self.bridge.core_grid(), departures, seeds)
        results = {key: self.bridge.array(values) for key, values in outcome.numbers.items()}
        results |= self._variables(outcome.fields)
        if self.observed.record is not None:
            results[f"{self.observed.record.label}_observed"] = frames[:, -1]
        for word, fields in outcome.departures.items():
            for source, field in zip(self.observed.images, fields, strict=True):
                results[f"{source.label}_{word}"] = source.layout.array(field, self.bridge)
        if self.cycled is not None:
            results |= self._variables(experiment.completed(sources, background), "_background")
            results["background_source"] = np.full(len(batch), batch.cycle_state is not None, dtype="int8")
        if self.observed.points is not None:
            results |= self._equivalents(outcome, batch)
        if self.observed.checks:
            results["rejected_by_check"] = self._rejections(results.pop("background_check"), rejected)
        return self._padded(results)

    def _rejections(self, background_check: Array, rejected: Sequence[Mapping[str, int]]) -> Array:
        """Return the number of values that each check rejected, (window, source, check)."""
        checks = self.observed.checks
        found = np.zeros((*background_check.shape, len(checks)), dtype="int32")
        found[..., checks.index("background_check")] = background_check
        for number, counts in enumerate(rejected):
            for name, count in counts.items():
                found[:, number, checks.index(name)] += count
        return found

    def _window(self, batch: WindowBatch) -> tuple[float, float]:
        """Return the beginning and the length of the one window of a batch."""
        return min(self.windows, key=lambda window: abs(window[0] - batch.begin[0]))

    def _prior(self, batch: WindowBatch) -> tuple[Experiment, dict[str, Tensor]]:
        """Return the experiment and the background: as stated, or the forecast of the window before."""
        state, bridge = batch.cycle_state, self.bridge
        fields = self.background.at(batch.begin)
        if state is not None:
            fields = {name: self._filled(state.fields[name], name)[None] for name in self.state.names}
        if state is not None and self.experiment.ensemble is not None:
            pairs = [(name, self._filled(state.fields[f"{name}{MEMBERS}"], name)) for name in self.state.names]
            fields = {name: np.concatenate([fields[name], members]) for name, members in pairs}
        known = {
            key: bridge.tensor(np.stack([fields[name] for name in names], axis=1))
            for key, names in self.state.components.items()
            if set(names) <= set(fields)
        }
        if state is None:
            return self.experiment.with_error_of(known), known
        assert self.cycled is not None
        cycle = known, state.lead, state.elapsed, self.cycled, bridge.core_grid()
        experiment = replace(self.experiment, parameters=self._parameters(state))
        seeds = seeds_of(batch, self.experiment.ensemble, bridge)
        if seeds is None:
            following, background = experiment.following(*cycle)
            return following.with_error_of(background), background
        return experiment.following_ensemble(*cycle, int(seeds[0]) + 1)

    def _parameters(self, state: CycleState) -> dict[str, Parameter]:
        """Return the parameters with what the window before found as their prior; their error stays as stated."""
        found = {}
        for name, parameter in self.experiment.parameters.items():
            value = self._filled(state.fields[name], name)
            prior = ascending(value, self.bridge.grid) if value.ndim else float(value)
            found[name] = replace(parameter, prior=prior)
        return found

    def _filled(self, values: Array, name: str) -> Array:
        """Fill land with numbers, which a sampler at the coast needs: the mean of the sea; nothing flows through it."""
        land = self.bridge.land
        if land is None or not values.ndim:
            return values
        if name in self.state.staggered:
            return np.nan_to_num(values)
        return np.where(land, values[..., ~land].mean(dtype="float64"), values).astype(values.dtype)

    def _sources(self, batch: WindowBatch, frames: Array) -> tuple[list[Source], list[dict[str, int]]]:
        """Return the observations of the windows, and the number of values that each check rejected of a source."""
        observed = self.observed
        sources: list[Source] = []
        rejected: list[dict[str, int]] = []
        if observed.record is not None:
            sources.append(observed.record.frames(batch, frames, self.bridge))
            rejected.append({})
        if observed.beside_record:
            window = self._window(batch)
            for source in observed.beside:
                images, counts = source.frames(*window, self.bridge)
                sources.append(images)
                rejected.append({rule.name: int(n) for rule, n in zip(source.quality.rules, counts, strict=True)})
            if observed.points is not None:
                sources += observed.points.within_tables(*window, self.bridge)
                rejected += [{"range": count} for count in observed.points.out_of_range(*window)]
        return sources, rejected

    def _variables(self, fields: Mapping[str, Tensor], suffix: str = "") -> dict[str, Array]:
        """Return the variables of components (window, ..., component, *grid), each with any suffix of theirs."""
        return {
            name + key.removeprefix(component) + suffix: self.bridge.array(
                values.select(-1 - len(self.bridge.grid.shape), index)
            )
            for key, values in fields.items()
            for name, (component, index) in self.state.parts.items()
            if key == component or key.removeprefix(component) in _SUFFIXES
        }

    def _equivalents(self, outcome: Outcome, batch: WindowBatch) -> dict[str, Array]:
        """Return the equivalents of the points of a window, in the order of their rows."""
        points = self.observed.points
        assert points is not None
        by_source = np.argsort(points.source[points.used(*self._window(batch))], kind="stable")
        results = {}
        for name in ("background", "analysis", *(["rejected"] if points.background_check else [])):
            values = np.concatenate([self.bridge.array(part[name]) for part in outcome.points])
            found = np.full((1, points.size), np.nan, dtype=values.dtype if values.dtype.kind == "f" else "float32")
            found[0, by_source] = values
            results[f"observation_{name}"] = found
        return results

    def _padded(self, results: dict[str, Array]) -> dict[str, Array]:
        """Fill up what images beside the record give of each: windows hold different numbers of them."""
        sizes = self.observed.sizes
        for name, part in self.outputs.items():
            size = sizes.get(part.dims[0]) if part.dims else None
            if size is not None:
                values = results[name]
                edges = [(0, 0), (0, size - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
                results[name] = np.pad(values, edges, constant_values=np.nan)
        return results


def _unshared(frames: Array, batch: WindowBatch) -> Array:
    """Return frames (window, frame, ...) without those that the window before has observed."""
    if batch.cycle_state is None or not batch.cycle_state.shared:
        return frames
    frames = np.array(frames, dtype=frames.dtype if frames.dtype.kind == "f" else "float64")
    frames[:, : batch.cycle_state.shared] = np.nan
    return frames
