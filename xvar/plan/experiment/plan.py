"""Plan of the methods advection and model: the state at the beginning of windows, from any observations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xvar.core.grid import bind
from xvar.core.methods.experiment import Experiment, ForcingInterval, ModelError
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.minimize import LBFGS
from xvar.errors import Faults
from xvar.plan.bridge import Bridge, core_grid
from xvar.plan.control import read_parameters, read_penalties
from xvar.plan.covariances import check_covariances, errors_by_component
from xvar.plan.experiment.observations import Observed, read_observed
from xvar.plan.experiment.outputs import ObservationLabels, output_variables
from xvar.plan.experiment.solver import ExperimentSolver
from xvar.plan.experiment.state import State, read_background
from xvar.plan.models import describe_model
from xvar.plan.solver import Plan
from xvar.plan.windows import windows_of

if TYPE_CHECKING:
    from xvar.cf.record import Record
    from xvar.core.parameters import Parameter
    from xvar.execution.schedule import Schedule
    from xvar.plan.configuration import Configuration
    from xvar.plan.options import Options


@dataclass(frozen=True)
class Statistics:
    """Covariances of a call by component: B, and Q per second; `measured` as in `Problem`."""

    background_error: dict[str, Any]
    model_error: dict[str, Any]
    forcing_interval: ForcingInterval = "interval"
    measured: tuple[str, ...] = ()


def plan_experiment(
    record: Record, schedule: Schedule, configuration: Configuration, options: Options, faults: Faults
) -> Plan | None:
    """Plan a 4D-Var for the state at the beginning of windows, see `Experiment`; None if a fault was added."""
    before, notes, cycled = len(faults), list[str](), configuration.cycled
    given = options.background
    state = State.read(record, options.dynamics, given)
    background = read_background(record, schedule, state, given, faults, notes, cycled=cycled)
    statistics = _read_statistics(record, state, options, faults, cycled=cycled)
    observed = read_observed(record, schedule, state, options, faults, notes, cycled=cycled)
    parameters = read_parameters(options.parameters, state.components, record.grid.shape, faults)
    penalties = read_penalties(options.penalties, state.components, faults)
    _check_parameters(parameters, observed, faults, cycled=cycled)
    if len(faults) > before:
        return None
    experiment = replace(
        _experiment(record, state, statistics, options),
        parameters=parameters,
        penalties=penalties,
        shared_error=state.advection or str(record.name) not in background.fields,
    )
    minimisations = experiment.minimisations(core_grid(record.grid)) if experiment.cost_history else ()
    save = tuple(word for word in options.save if word != "cost_history")
    dtype = configuration.dtype
    solver = ExperimentSolver(
        experiment=experiment,
        name=str(record.name),
        bridge=Bridge(record.grid, record.land, dtype, configuration.device),
        outputs=output_variables(record, state, given, experiment, observed, save, dtype, minimisations, cycled=cycled),
        state=state,
        background=background,
        observed=observed,
        windows=windows_of(schedule, record) if observed.beside_record else (),
        cycled=configuration.frame if cycled else None,
        save=save,
    )
    notes += _notes(observed, statistics, cycled=cycled)
    return Plan(
        replace(
            configuration,
            dynamics=describe_model(state.model),
            components=dict(state.components),
            parameters=tuple(parameters),
            notes=(*configuration.notes, *notes),
        ),
        solver,
        schedule,
        forced=_forced_shares(schedule, experiment) if experiment.model_error else (),
        step=experiment.step,
        carried=state.names if cycled else (),
        minimisations=minimisations,
        sizes=observed.sizes,
        observations=ObservationLabels(record, schedule, state, observed),
    )


def _experiment(record: Record, state: State, statistics: Statistics, options: Options) -> Experiment:
    """Return the experiment without parameters and penalties."""
    return Experiment(
        dynamics=state.model,
        background_error=statistics.background_error,
        model_error=statistics.model_error if options.constraint == "weak" else {},
        growth=statistics.model_error,
        forcing_interval=statistics.forcing_interval,
        step=_longest_step(state, record),
        measured=statistics.measured,
        minimizer=options.minimizer or LBFGS(max_evaluations=200),
        cost_history="cost_history" in options.save,
    )


def _check_parameters(parameters: Mapping[str, Parameter], observed: Observed, faults: Faults, *, cycled: bool) -> None:
    estimated = [*parameters, *observed.calibrations]
    if cycled and estimated:
        faults.add(
            code="parameters-in-cycled-windows",
            variable="parameters",
            found=f"parameters in cycled windows: {', '.join(estimated)}",
            expected="windows with priors of their own",
            fix="leave background='cycled' out, or the parameters",
        )


def _longest_step(state: State, record: Record) -> float | None:
    """Return the longest step of the model: the one it states, else the one that its grid allows."""
    if state.step is not None or not hasattr(state.model, "bind"):
        return state.step
    bound = bind(state.model, core_grid(record.grid, record.land), torch.zeros(1, dtype=torch.float64))
    step: float | None = getattr(bound, "step", None)
    return step


def _notes(observed: Observed, statistics: Statistics, *, cycled: bool) -> list[str]:
    """Return notes about the observations, and about B of cycled windows."""
    notes = [
        f"{label}: observations at points, {table.time_interpolation} in time, {table.sampler} in space"
        for label, table in observed.sources.points.items()
    ]
    if cycled:
        forced = ", ".join(statistics.model_error)
        growth = f"B grown by the model error of {forced} since its beginning" if forced else "B as stated"
        notes.append(f"the background of a window is the forecast of the window before, with {growth}")
    return notes


def _forced_shares(schedule: Schedule, experiment: Experiment) -> tuple[float, ...]:
    """Return the middles of the model errors, in intervals between frames since the first."""
    intervals = schedule.frames.shape[1] - 1
    if experiment.forcing_interval == "window":
        return (intervals / 2,)
    if experiment.forcing_interval == "interval":
        return tuple(index + 0.5 for index in range(intervals))
    longest = float(np.nanmax(np.diff(schedule.seconds, axis=1)))
    parts = 1 if experiment.step is None else max(1, math.ceil(longest / experiment.step - 1e-9))
    return tuple(index + (part + 0.5) / parts for index in range(intervals) for part in range(parts))


def _read_statistics(record: Record, state: State, options: Options, faults: Faults, *, cycled: bool) -> Statistics:
    """Read `background_error` and `model_error`; that of a motion without one is the default of image motion."""
    before = len(faults)
    errors = errors_by_component(options.background_error, "background_error", state.components, faults)
    measured: tuple[str, ...] = ()
    if state.advection and "velocity" not in errors:
        # It leaves the mean motion free, of which a step by the slope alone takes too much.
        errors["velocity"], measured = _default_motion_error(record), ("velocity",)
    elif not errors:
        first = next(iter(state.components), str(record.name))
        faults.add(
            code="background-error-missing",
            variable="background_error",
            found="a model of your own without background_error=",
            expected="the error of each component that is to be analysed",
            fix=f"background_error={{{first!r}: xvar.covariance.Diagonal(std=...)}}",
        )
    forcing_interval: ForcingInterval = "interval"
    stated = options.model_error
    if isinstance(stated, ModelError):
        forcing_interval, stated = stated.forcing_interval, stated.covariance
    forced = errors_by_component(stated, "model_error", state.components, faults)
    _check_constraint(options.constraint, forced, faults, cycled=cycled)
    given = {"background_error": errors, "model_error": forced}
    if cycled:
        _check_growth(errors, forced, faults)
    if len(faults) == before:
        check_covariances(record, given, state.components, faults)
    return Statistics(errors, forced, forcing_interval, measured)


def _default_motion_error(record: Record) -> Any:
    """Return B of the steady motion of images."""
    motion = ImageMotion()
    return motion.steady.in_metres(record.cadence, record.grid.spacing, motion.truncation)


def _check_constraint(constraint: str, forced: Mapping[str, Any], faults: Faults, *, cycled: bool) -> None:
    if constraint == "weak" and not forced:
        faults.add(
            code="model-error-missing",
            variable="model_error",
            found='constraint="weak" without model_error=',
            expected="the error of the model per second, for each component that is forced",
            fix='model_error={"velocity": xvar.covariance.Tikhonov(...)}',
        )
    if constraint == "strong" and forced and not cycled:
        faults.add(
            code="model-error-with-strong-constraint",
            variable="constraint",
            found='model_error= with constraint="strong"',
            expected="the weak constraint",
            fix='constraint="weak"',
        )


def _check_growth(errors: Mapping[str, Any], forced: Mapping[str, Any], faults: Faults) -> None:
    """Report penalties in a B that model error is to grow: the norm of a sum is not the sum of the norms."""
    for key in forced:
        for option, part in (("background_error", errors.get(key)), ("model_error", forced[key])):
            if getattr(part, "divergence", 0):
                faults.add(
                    code="divergence-in-cycled-windows",
                    variable=option,
                    found=f"{option} of {key!r} with a penalty on the divergence, in cycled windows",
                    expected="a covariance that model error can grow: B + t Q",
                    fix="leave divergence out, or leave model_error out: B then stays as it is",
                )
