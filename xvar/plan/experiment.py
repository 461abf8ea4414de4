"""The plan of a call that states its own model, background, errors or observations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.alignment import on_grid
from xvar.cf.times import check_calendar
from xvar.cf.units import are_convertible, convert, normalise_units, rain_rate_factor, same_units
from xvar.errors import Faults
from xvar.execution.schedule import Schedule
from xvar.plan.bridge import Bridge, core_grid
from xvar.plan.configuration import Configuration
from xvar.plan.control import checked_parameters, checked_penalties, parameter_variables
from xvar.plan.covariances import check_covariances, errors_by_component
from xvar.plan.models import components_of, describe_model, named_models
from xvar.plan.record import Record
from xvar.plan.solver import Plan, Variable, backgrounds, diagnostics
from xvar.plan.state_solver import StateSolver

if TYPE_CHECKING:
    from xvar.core.cost_history import Minimisation
    from xvar.core.methods.experiment import Experiment, ForcingInterval
    from xvar.plan.options import Options

Components = dict[str, tuple[str, ...]]


def plan_experiment(
    record: Record,
    schedule: Schedule,
    configuration: Configuration,
    options: Options,
    faults: Faults,
) -> Plan | None:
    """Plan a 4D-Var of the user's own making: see `xvar.core.methods.experiment.Experiment`.

    Returns
    -------
    Plan or None
        None where a problem was added.
    """
    from xvar.core.methods.experiment import Experiment, Images, ModelError
    from xvar.core.minimize import LBFGS
    from xvar.core.models.advection import Advection

    before = len(faults)
    cost_history = "cost_history" in options.save
    fields_saved = tuple(word for word in options.save if word != "cost_history")
    name = str(record.name)
    model = _model(options.dynamics)
    notes: list[str] = []
    background = options.background
    own: Components = {} if background is None else {str(key): (str(key),) for key in background.data_vars}
    components = components_of(model, name) or own
    advection = "velocity" in components and isinstance(model, Advection)
    units = {name: record.units, **({"u": "m s-1", "v": "m s-1"} if advection else {})}
    fields = _background(record, background, components, units, faults, notes)
    if advection:
        _refuse_flight(record, schedule, fields, getattr(model, "step", None), faults)
        nothing = np.zeros(record.grid.shape)
        fields = {"u": nothing, "v": nothing, **fields}
    elif name not in components:
        faults.add(
            variable=name,
            found=f"a model of your own with a background of {list(components) or 'nothing'}",
            expected=f"a background of the whole state, {name!r} among it",
            fix="background=a Dataset with a variable (y, x) for each component of the state"
            if not configuration.cycled
            else "background=xvar.background.Cycled(first=a Dataset with a variable (y, x) for each component)",
        )
    errors = errors_by_component(options.background_error, "background_error", components, faults)
    measured: tuple[str, ...] = ()
    if advection and "velocity" not in errors:
        # It leaves the mean motion free, of which a step by the slope alone takes too much.
        errors["velocity"], measured = default_motion_error(record), ("velocity",)
    elif not advection and not errors:
        faults.add(
            found="no background_error for a model of your own",
            expected="the error of each component that is to be analysed",
            fix=f"background_error={{{name!r}: xvar.covariance.Diagonal(std=...)}}",
        )
    forcing_interval: ForcingInterval = "interval"
    model_error = options.model_error
    if isinstance(model_error, ModelError):
        forcing_interval, model_error = model_error.forcing_interval, model_error.covariance
    forced = errors_by_component(model_error, "model_error", components, faults)
    if options.constraint == "weak" and not forced:
        faults.add(
            found='constraint="weak" with a model of your own and no model_error',
            expected="the error of the model in a second, for each component that is forced",
            fix='model_error={"velocity": xvar.covariance.Tikhonov(...)}',
        )
    if options.constraint == "strong" and forced and not configuration.cycled:
        faults.add(
            found='model_error= with constraint="strong"', expected="the weak constraint", fix='constraint="weak"'
        )
    if configuration.cycled:
        _refuse_unfit_for_cycling(errors, forced, faults)
        notes.append(_growth_in_words(forced))
    given = {"background_error": errors, "model_error": forced}
    if len(faults) == before:
        check_covariances(record, given, components, faults)
    std = _observation_error(record, options.observation_error, faults, notes)
    estimated = checked_parameters(options.parameters, components, record.grid.shape, faults)
    filters = checked_penalties(options.penalties, components, faults)
    observation = options.observation
    if observation is not None and not isinstance(observation, Images):
        faults.add(
            found=f"observation of type {type(observation).__name__}",
            expected="how images are compared, or observations at points",
            fix="observation=xvar.observation.Images(), or Points(table)",
        )
        return None
    images = observation or Images()
    if estimated and advection:
        faults.add(
            found=f"parameters of advection: {', '.join(estimated)}",
            expected="a model that reads them from its state",
            fix="dynamics=a model of your own; a gain or an offset of the images is in observation=Images(gain=...)",
        )
    if configuration.cycled and (estimated or images.parameters):
        faults.add(
            found=f"parameters in windows that go on from one another: {', '.join({**estimated, **images.parameters})}",
            expected="windows with priors of their own",
            fix="leave the cycling out, or the parameters",
        )
    if len(faults) > before:
        return None
    experiment = Experiment(
        dynamics=model,
        observed="tracer" if advection else name,
        background_error=errors,
        model_error=forced if options.constraint == "weak" else {},
        growth=forced,
        forcing_interval=forcing_interval,
        observation=images,
        parameters=estimated,
        penalties=filters,
        step=getattr(model, "step", None),
        first_frame=name in fields,
        shared_error=advection,
        measured=measured,
        minimizer=options.minimizer or LBFGS(max_evaluations=200),
        cost_history=cost_history,
    )
    minimisations = experiment.minimisations(core_grid(record.grid)) if cost_history else ()
    parts = tuple(part for names in components.values() for part in names)
    outputs = _variables(name, components, experiment, configuration.dtype, minimisations)
    outputs |= _saved(name, parts, fields_saved, configuration.dtype)
    if configuration.cycled:
        outputs |= backgrounds(parts, configuration.dtype)
    per_frame = images.calibration == "frame"
    outputs |= parameter_variables(estimated, images.parameters, per_frame, record.units, configuration.dtype)
    solver = StateSolver(
        experiment=experiment,
        name=name,
        bridge=Bridge(record.grid, record.land, configuration.dtype, configuration.device),
        outputs=outputs,
        components=components,
        background=fields,
        std=std,
        cycled=configuration.frame if configuration.cycled else None,
        save=fields_saved,
    )
    return Plan(
        replace(
            configuration,
            dynamics=describe_model(model),
            parameters=tuple(estimated),
            notes=(*configuration.notes, *notes),
        ),
        solver,
        schedule,
        forced=_forced_shares(schedule, forcing_interval, experiment.step) if experiment.model_error else (),
        step=experiment.step,
        carried=parts if configuration.cycled else (),
        minimisations=minimisations,
    )


def _refuse_unfit_for_cycling(errors: Mapping[str, Any], forced: Mapping[str, Any], faults: Faults) -> None:
    """Refuse the growth of a B whose norm is no covariance's: the norm of a sum is not the sum of the norms."""
    for key in forced:
        for option, part in (("background_error", errors.get(key)), ("model_error", forced[key])):
            if getattr(part, "divergence", 0):
                faults.add(
                    found=f"{option} of {key!r} with a penalty on the divergence, in windows that form chains",
                    expected="a covariance that model error can grow: B + t Q",
                    fix="leave divergence out, or leave model_error out: B then stays as it is",
                )


def _growth_in_words(forced: Mapping[str, Any]) -> str:
    """How B of the windows of a chain came about, for the attributes of the output."""
    growth = f"B grown by the model error of {', '.join(forced)} since its beginning" if forced else "B as stated"
    return f"the background of a window is the forecast of the window before, with {growth}"


def _forced_shares(schedule: Schedule, forcing_interval: str, step: float | None) -> tuple[float, ...]:
    """Where the middles of the model errors lie, in intervals between frames since the first."""
    intervals = schedule.frames.shape[1] - 1
    if forcing_interval == "window":
        return (intervals / 2,)
    if forcing_interval == "interval":
        return tuple(index + 0.5 for index in range(intervals))
    longest = float(np.nanmax(np.diff(schedule.seconds, axis=1)))
    parts = 1 if step is None else max(1, math.ceil(longest / step - 1e-9))
    return tuple(index + (part + 0.5) / parts for index in range(intervals) for part in range(parts))


def default_motion_error(record: Record) -> Any:
    """B of a motion where none is stated: that of the steady motion of images."""
    from xvar.core.methods.image_motion import ImageMotion

    motion = ImageMotion()
    return motion.steady.in_metres(record.cadence, record.grid.spacing, motion.truncation)


def _model(dynamics: Any) -> Any:
    """Return the model; advection if none is stated."""
    known = named_models()
    return known[dynamics or "advection"] if dynamics is None or isinstance(dynamics, str) else dynamics


def _background(
    record: Record,
    background: xr.Dataset | None,
    components: Components,
    units: Mapping[str, str],
    faults: Faults,
    notes: list[str],
) -> dict[str, NDArray[Any]]:
    """Fields (y, x) of the background by variable, on the points and in the units of the record."""
    if background is None:
        return {}
    fields: dict[str, NDArray[Any]] = {}
    for name in (name for names in components.values() for name in names):
        if name not in background:
            continue
        label = f"background {name}"
        check_calendar(background[name], record.times.values, faults, label)
        field = on_grid(background[name], record.array, record.axes, faults, label)
        if field is None:
            continue
        values = np.asarray(field.values, dtype="float64")
        if name in units:
            values = _in_units(values, background[name], units[name], label, faults, notes)
        land = np.zeros(record.grid.shape, dtype=bool) if record.land is None else record.land
        broken = ~np.isfinite(values)
        if (broken & ~land).any():
            index = tuple(int(axis[0]) for axis in np.nonzero(broken & ~land))
            faults.add(
                variable=label,
                index=index,
                found=f"{int((broken & ~land).sum())} values that are not finite",
                expected="a complete state",
                fix="fill them, background.fillna(...)",
            )
        elif broken.any():  # on land nothing is looked at, but a sampler at the coast needs numbers
            values = np.where(broken, values[~broken].mean(), values)
        fields[name] = values
    return fields


def _in_units(
    values: NDArray[Any],
    field: xr.DataArray,
    wanted: str,
    label: str,
    faults: Faults,
    notes: list[str],
    *,
    difference: bool = False,
) -> NDArray[Any]:
    """Values in the units of the record; what was converted, or assumed, is noted."""
    given = field.attrs.get("units")
    if given is None:
        notes.append(f"{label} has no units: taken to be in {wanted!r}")
        return values
    own = normalise_units(str(given))
    if are_convertible(own, wanted):
        if not same_units(own, wanted):
            notes.append(f"{label} converted from {own!r} to {wanted!r}" + (", as a difference" if difference else ""))
        return np.asarray(convert(values, own, wanted, difference=difference)).reshape(values.shape)
    factors = [rain_rate_factor(unit, None) for unit in (own, wanted)]
    fix = f"convert it, and write its attrs['units'] = {wanted!r}"
    if factors[0] is not None and factors[1] is not None:
        # A mass of water and a depth: one is the other by a density that the user states.
        fix = (
            f"xvar.rain_rate(field, convert='liquid_water') takes a litre of liquid water for a kilogram: 1 {own} is "
            f"{factors[0] / factors[1]:.6g} {wanted}"
        )
    elif "dBZ" in (own, wanted):
        fix = "reflectivity is no rain: xvar.rain_rate(reflectivity) makes it one"
    faults.add(
        variable=label,
        found=f"units {str(given)!r}",
        expected=f"units that can be converted to {wanted!r}",
        fix=fix,
    )
    return values


def _refuse_flight(
    record: Record, schedule: Schedule, fields: Mapping[str, NDArray[Any]], step: float | None, faults: Faults
) -> None:
    """Refuse a first guess that carries everything off the grid within one step."""
    frame = float(np.nanmax(np.diff(schedule.seconds, axis=1)))
    seconds = frame if step is None else min(step, frame)
    for name, axis in (("u", 1), ("v", 0)):
        if name not in fields:
            continue
        spacing, size = record.grid.spacing[axis], record.grid.shape[axis]
        fastest = float(np.nanmax(np.abs(fields[name])))
        if fastest * seconds > spacing * size:
            faults.add(
                variable=f"background {name}",
                found=f"a speed of {fastest:g} m/s: {fastest * seconds / spacing:.4g} cells of {spacing:g} m in a "
                f"step of {seconds:g} s",
                expected=f"less than the {size} cells of the grid, {spacing * size / seconds:.4g} m/s",
                fix="check its units (m s-1), or give the model a shorter step",
            )


def _observation_error(record: Record, given: Any, faults: Faults, notes: list[str]) -> NDArray[Any] | None:
    """Standard deviation of each observation (time, y, x); None where it is a share of the window's own."""
    if given is None:
        return None
    shape = record.array.shape
    if isinstance(given, xr.DataArray):
        dims = record.array.dims
        if not set(given.dims) <= set(dims) or any(given.sizes[dim] != record.array.sizes[dim] for dim in given.dims):
            faults.add(
                variable="observation_error",
                found=f"dimensions {dict(given.sizes)}",
                expected=f"those of the record, {dict(record.array.sizes)}, or some of them",
                fix="give a standard deviation for every observation, or one number",
            )
            return None
        if record.times.order is not None and record.axes.time in given.dims:
            given = given.isel({record.axes.time: record.times.order})
        missing = {dim: record.array.sizes[dim] for dim in dims if dim not in given.dims}
        values = np.asarray(given.expand_dims(missing).transpose(*dims).values, dtype="float64")
        label = "observation_error"
        values = _in_units(values, given, record.units, label, faults, notes, difference=True)
    else:
        try:
            values = np.broadcast_to(np.asarray(given, dtype="float64"), shape)
        except (TypeError, ValueError):
            faults.add(
                found=f"observation_error={given!r}",
                expected="a number, in the units of the variable, or a DataArray",
                fix="observation_error=0.1",
            )
            return None
    wrong = ~(values > 0)
    if wrong.any():
        index = tuple(int(axis[0]) for axis in np.nonzero(wrong))
        faults.add(
            variable="observation_error",
            index=index,
            found=f"{int(wrong.sum())} standard deviations that are not positive, the first {values[index]:g}",
            expected="positive numbers in the units of the variable",
            fix="NaN in the data takes an observation out; a small number stands for no error to speak of",
        )
    return values


def _saved(name: str, parts: tuple[str, ...], save: Sequence[str], dtype: str) -> dict[str, Variable]:
    """What is written on request: the increment of the state, and the departures of the images."""
    variables = {f"{name}_{word}": Variable(("step", "y", "x"), dtype, word) for word in save if word != "increment"}
    if "increment" in save:
        variables |= {f"{part}_increment": Variable(("y", "x"), dtype, "increment", of=part) for part in parts}
    return variables


def _variables(
    name: str, components: Components, experiment: Experiment, dtype: str, minimisations: Sequence[Minimisation]
) -> dict[str, Variable]:
    known = {name: "analysis", "u": "u", "v": "v"}
    variables = {f"{name}_observed": Variable(("y", "x"), dtype, "observed")}
    for key, names in components.items():
        for part in names:
            variables[part] = Variable(("step", "y", "x"), dtype, known.get(part, "state"), of=part)
            if key in experiment.model_error:
                variables[f"{part}_forcing"] = Variable(("interval", "y", "x"), dtype, "forcing", of=part)
    terms = ["background", *(["model_error"] if experiment.model_error else [])]
    terms += ["parameters"] if experiment.parameters or experiment.observation.parameters else []
    terms += [penalty.name for penalty in experiment.penalties]
    terms += ["divergence" for part in experiment.background_error.values() if getattr(part, "divergence", 0)]
    motion = {"u", "v"} <= set(variables)
    named = (*dict.fromkeys(terms), "observation")
    return {**variables, **diagnostics(named, motion=motion, minimisations=minimisations)}
