"""Plan of the methods advection and model: the state at the beginning of windows, from any observations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from xvar.core.grid import bind
from xvar.core.methods.experiment import Experiment
from xvar.core.minimize import LBFGS
from xvar.errors import Faults
from xvar.plan.bridge import Bridge, core_grid
from xvar.plan.control import read_parameters, read_penalties
from xvar.plan.experiment.background import Background, read_fields
from xvar.plan.experiment.labels import ObservationLabels
from xvar.plan.experiment.observed import Observed, read_observed
from xvar.plan.experiment.outputs import output_variables
from xvar.plan.experiment.points import windows_of
from xvar.plan.experiment.record import PointRecord
from xvar.plan.experiment.solver import ExperimentSolver
from xvar.plan.experiment.state import State, converted_units, read_state
from xvar.plan.experiment.statistics import Statistics, read_statistics
from xvar.plan.models import describe_model
from xvar.plan.solver import Plan

if TYPE_CHECKING:
    import xarray as xr

    from xvar.cf.record import Record
    from xvar.core.parameters import Parameter
    from xvar.execution.schedule import Schedule
    from xvar.plan.configuration import Configuration
    from xvar.plan.options import Options


def plan_experiment(
    record: Record, schedule: Schedule, configuration: Configuration, options: Options, faults: Faults
) -> Plan | None:
    """Plan a 4D-Var for the state at the beginning of windows, see `xvar.core.methods.experiment.Experiment`.

    Returns
    -------
    Plan or None
        None if a fault was added.
    """
    before, notes, cycled = len(faults), list[str](), configuration.cycled
    given = options.background
    state = read_state(record, options.dynamics, given)
    background = _background(record, schedule, state, given, faults, notes, cycled=cycled)
    statistics = read_statistics(record, state, options, faults, cycled=cycled)
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
        components=state.components,
        staggered=state.staggered,
        background=background,
        record=observed.record,
        images=observed.images,
        points=observed.points,
        windows=windows_of(schedule, record) if observed.images or observed.points is not None else (),
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
        sizes=solver.sizes,
        observations=ObservationLabels(
            record, schedule, state, observed.images, observed.points, observed.sources.points
        ),
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


def _background(
    record: Record,
    schedule: Schedule,
    state: State,
    given: xr.Dataset | None,
    faults: Faults,
    notes: list[str],
    *,
    cycled: bool,
) -> Background:
    """Return the background of the whole state; rest for a motion, and the first frame for its images, if left out."""
    units = converted_units(state, record)
    background = read_fields(record, schedule, given, state.names, units, state.staggered, faults, notes)
    name, of_table = str(record.name), isinstance(record, PointRecord)
    first_frame = {name} if not of_table and (name,) in state.components.values() else set[str]()
    missing = [key for key in state.names if (given is None or key not in given) and key not in first_frame]
    if state.advection:
        _check_speed(record, schedule, background, state.step, faults)
        rest = np.zeros((1, *record.grid.shape))
        background = replace(background, fields={"u": rest, "v": rest, **background.fields})
        missing = [key for key in missing if key not in ("u", "v")]
    elif name not in state.names:
        missing.append(name)
    if missing:
        held = [] if given is None else list(map(str, given.data_vars))
        faults.add(
            code="background-incomplete-state",
            variable="background",
            found=f"a background of {', '.join(map(repr, held)) or 'nothing'}, without {', '.join(map(repr, missing))}",
            expected=f"the whole state: {', '.join(map(repr, dict.fromkeys([*state.names, name])))}",
            fix="background=xvar.background.Cycled(first=a Dataset with a variable (y, x) for each)"
            if cycled
            else "background=a Dataset with a variable (y, x) for each",
        )
    return background


def _check_speed(
    record: Record, schedule: Schedule, background: Background, step: float | None, faults: Faults
) -> None:
    """Report a first guess that carries everything off the grid within one step."""
    frame = float(np.nanmax(np.diff(schedule.seconds, axis=1)))
    seconds = frame if step is None else min(step, frame)
    for name, axis in (("u", 1), ("v", 0)):
        if name not in background.fields:
            continue
        spacing, size = record.grid.spacing[axis], record.grid.shape[axis]
        fastest = float(np.nanmax(np.abs(background.fields[name])))
        if fastest * seconds > spacing * size:
            faults.add(
                code="background-too-fast",
                variable=f"background {name}",
                found=f"a speed of {fastest:g} m/s: {fastest * seconds / spacing:.4g} cells of {spacing:g} m in a "
                f"step of {seconds:g} s",
                expected=f"less than the {size} cells of the grid, {spacing * size / seconds:.4g} m/s",
                fix="check its units (m s-1), or give the model a shorter step",
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
