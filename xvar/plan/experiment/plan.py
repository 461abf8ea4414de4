"""Methods advection and model: the plan of the state at the beginning of windows, from any observations; its solver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from xvar.cf.times import parse_duration
from xvar.core.grid import bind
from xvar.core.methods.experiment import Experiment
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.model_error import FORCING_INTERVALS, ModelError
from xvar.core.minimize import LBFGS
from xvar.errors import Faults
from xvar.execution.schedule import Schedule
from xvar.plan.call import Call, Plan
from xvar.plan.control import check_covariances, errors_by_component, read_parameters, read_penalties
from xvar.plan.ensemble import MEMBERS, read_ensemble, with_members
from xvar.plan.experiment.observations import Observed, read_observed
from xvar.plan.experiment.outputs import label_observations, output_variables
from xvar.plan.experiment.record import PointRecord
from xvar.plan.experiment.solver import ExperimentSolver
from xvar.plan.experiment.state import Background, State, read_background
from xvar.plan.method import describe_model
from xvar.plan.uncertainty import read_sampling, with_errors


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
    return _plan(call, experiment, state, background, observed)


def _plan(call: Call, experiment: Experiment, state: State, background: Background, observed: Observed) -> Plan:
    """Return the plan of an experiment."""
    sampling, ensemble, parameters = experiment.sampling, experiment.ensemble, experiment.parameters
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
    of_window = [name for name, (_, dims, _) in observed.calibrations.items() if not dims]
    solver = ExperimentSolver(
        experiment=experiment,
        bridge=call.bridge,
        outputs=with_members(with_errors(outputs, sampling, *state.names), ensemble, state.names, call),
        state=state,
        background=background,
        observed=observed,
        windows=call.windows if observed.beside_record else (),
        cycled=configuration.frame if call.cycled else None,
        save=call.options.save,
    )
    call.notes.extend(_notes(observed, experiment, cycled=call.cycled))
    return Plan(
        configuration,
        solver,
        call.schedule,
        forced=_forced_shares(call.schedule, experiment) if experiment.model_error else (),
        step=experiment.step,
        carried=(*state.names, *members, *parameters, *of_window) if call.cycled else (),
        minimisations=minimisations,
        sizes=observed.sizes,
        sources=tuple(observed.labels),
        sampling=sampling,
        ensemble=ensemble,
        label_observations=partial(label_observations, call=call, observed=observed),
    )


def _check_conflicts(observed: Observed, call: Call) -> None:
    """Report standard errors beside direct insertion."""
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
