"""Assimilation of a labelled record: windows of frames in, an analysis out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial as bound
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xvar.background import CYCLED, Cycled, read_background
from xvar.cf.axes import is_lazy
from xvar.cf.size import WORKING_FIELDS
from xvar.cf.units import convert
from xvar.errors import Faults
from xvar.execution.batch_sizes import batch_sizes
from xvar.execution.batches import Errors, Output
from xvar.execution.dispatch import is_deferred, run_batches
from xvar.execution.schedule import Partial, Schedule
from xvar.plan import Plan, plan_experiment, plan_motion
from xvar.plan.configuration import DEFAULTS, Configuration
from xvar.plan.guard import Guard, warn_of
from xvar.plan.labels import labelled
from xvar.plan.options import SAVED, Constraint, Saved, check_options
from xvar.plan.points import Points, assimilate_points
from xvar.plan.record import Record, as_dataset, read_record
from xvar.plan.windows import read_windows

if TYPE_CHECKING:
    from xvar.core.covariance.coast import Coast
    from xvar.core.minimize import LBFGS
    from xvar.core.parameters import Parameter

Duration = Any  # a number of frames, "15min", datetime.timedelta or numpy.timedelta64


def assimilate(
    data: xr.Dataset | xr.DataArray,
    variable: Hashable | None = None,
    *,
    window: Duration = None,
    stride: Duration = None,
    partial: Partial = "drop",
    constraint: Constraint = "strong",
    dynamics: Any = None,
    background: xr.Dataset | Literal["cycled"] | Cycled | None = None,
    background_error: Any = None,
    observation: Any = None,
    observation_error: Any = None,
    model_error: Any = None,
    parameters: Mapping[str, Parameter] | None = None,
    penalties: Any = None,
    land: Any = None,
    coast: Coast = "free",
    units: str | None = None,
    dx: float | None = None,
    dy: float | None = None,
    sort: bool = False,
    strict: bool = False,
    errors: Errors = "raise",
    batch: int | str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    minimizer: LBFGS | None = None,
    save: Sequence[Saved] = (),
) -> xr.Dataset:
    r"""Find the motion in a record of images, or the state of a model of your own, by 4D-Var in windows.

    .. math:: J = \tfrac12 \|x_0 - x_b\|^2_B + \tfrac12 \sum_k \|y_k - H(x_k)\|^2_{R_k}
        + \tfrac12 \sum_i \|\eta_i\|^2_{Q_i}

    is minimised in every window by itself. Where nothing but the data is given the problem is that of
    `xvar.core.methods.image_motion.ImageMotion`: the motion at the end of the window, with the growth of rain as a source. With a
    model, a background, errors or an observation of your own it is that of `xvar.core.methods.experiment.Experiment`.

    Parameters
    ----------
    data : Dataset or DataArray
        The record, (time, y, x) in any order. NaN is what was not observed. It is not changed; where it is lazy
        (dask) so is the result, and nothing is computed here.
    variable : hashable, optional
        Which variable, where there are several.
    window, stride : int or duration, optional
        Length of the windows and distance between their beginnings, in frames or as durations ("15min", "3D"; a window
        includes both its ends). Default: 4 frames, or all where there are fewer, and one frame less than the window.
    partial : {"drop", "keep"}
        What becomes of frames at the end, or before a gap, that do not fill a window.
    constraint : {"strong", "weak"}
        Whether the model is perfect, or its error is part of the control.
    dynamics : str, xvar.dynamics.Advection or callable, optional
        The model: ``"advection"`` (the motion carries itself, as in the paper), ``"steady"``, or your own
        ``model(state, seconds) -> state``, whose components are the variables of `background`. An attribute ``step`` is
        its longest time step in seconds.
    background : Dataset, "cycled" or xvar.background.Cycled, optional
        x_b, on the grid of the data. For advection ``u``, ``v`` and the variable itself, each optional: rest, and the
        first frame, which then is no observation. With ``"cycled"`` each window begins from the forecast of the one
        before, see `xvar.background.Cycled`: windows then share no frame, a duration leaves its end to the next
        ("3D" of daily frames is 3), and a model error also grows B.
    background_error, model_error : specification of xvar.covariance, or mapping of component to it, optional
        B, and Q in a second. A single one is that of the motion.
    observation : xvar.observation.Images, optional
        How frames are compared.
    observation_error : float or DataArray, optional
        Standard deviation of the errors of observation, in the units of the variable.
    parameters : mapping of str to xvar.control.Parameter, optional
        Static parameters of a model of your own that are estimated along, each with its prior: the model finds them in
        its state under these names, (window, 1, 1, 1) or (window, 1, y, x). Those of the observations, a gain and an
        offset, are in ``observation``.
    penalties : xvar.penalty.DigitalFilter or sequence of it, optional
        Terms of J on the trajectory.
    land : str, DataArray or "never_valid", optional
        Land, where nothing moves. Default: a mask of the file whose flags state its land, else none.
    coast : {"free", "no_flow"}
        What the currents of the sea know of land beside that: nothing, or that none goes through the coast. The flow
        through a face between water and land is the mean of the cells at its sides; with ``"no_flow"`` those on land
        are such that it is zero, and B's variances and correlations beside the coast are what follows from that.
    units : str, optional
        Units of the variable, where the file does not state them.
    dx, dy : float, optional
        Metres between columns and rows, where there are no coordinates; motion is then positive along the index.
    sort : bool
        Bring frames into order of time, instead of refusing them.
    strict : bool
        Refuse infinite values, instead of taking them as missing.
    errors : {"raise", "continue"}
        Whether a window that fails ends the run, or is marked in ``status``.
    batch : int or str, optional
        Windows of a task, or the memory of one, such as "500MiB"; the result does not depend on it. Default: about ten
        seconds of work, a tenth of the record at most.
    dtype : {"float32", "float64"}, optional
        In which precision the problem is solved and the result is given.
    device : str, optional
        Device of torch, such as "cuda".
    minimizer : xvar.minimize.LBFGS, optional
        How J is minimised.
    save : sequence of {"increment", "innovation", "residual", "cost_history"}
        What else is in the result: the increment of the motion (with a model of your own, of all variables of the
        state at the beginning of the window), observation minus background, observation minus analysis; how J and its
        terms fell by ``evaluation``, in one ``minimisation`` after the other.

    Returns
    -------
    Dataset
        Dimensions ``window``, ``step`` (the frames of a window) and those of the grid: the analysed variable in its own
        units, ``u`` and ``v`` in m s-1 towards increasing coordinates, the last frame as ``<name>_observed``,
        ``growth`` where the variable has sources, and for each window the terms of J before and after,
        ``gradient_norm``, ``evaluations``, ``number_of_observations``, ``number_of_rejected_observations`` (gross
        errors), ``deformation_number`` (trajectories cross above one) and ``status``.

    Warns
    -----
    InputWarning
        Where values in memory are taken as missing.
    AnalysisWarning
        Where windows did not converge, or trajectories cross; of lazy data ``status`` and ``deformation_number`` say
        so.

    Raises
    ------
    InputError
        With all that is wrong with the input or the options, and how to mend it.

    References
    ----------
    Filoche, Béréziat, Brajard and Charantonis (2021), "Variational assimilation of geophysical images leveraging deep
    learning tools".

    Examples
    --------
    >>> import xvar
    >>> analysis = xvar.datasets.sample().var4d.assimilate()
    >>> dict(analysis["u"].sizes)
    {'window': 2, 'step': 4, 'y': 128, 'x': 128}
    """
    faults = Faults()
    at_points = isinstance(observation, Points) or (observation is None and _is_table(data))
    check_options(
        faults,
        {
            "constraint": constraint,
            "coast": coast,
            "sort": sort,
            "strict": strict,
            "errors": errors,
            "batch": batch,
            "dtype": dtype,
            "device": device,
            "minimizer": minimizer,
            "save": save,
        },
        savable=("cost_history",) if at_points else SAVED,
    )
    cycled, background = read_background(background, faults)
    if at_points:
        return _assimilate_table(
            data,
            observation,
            {
                "dynamics": dynamics,
                "background": background,
                "background_error": background_error,
                "model_error": model_error,
                "parameters": parameters,
                "penalties": penalties,
                "window": window,
                "dtype": dtype,
                "device": device,
                "minimizer": minimizer,
                "save": save,
            },
            refused={
                "variable": variable,
                "stride": stride,
                "observation_error": observation_error,
                "land": land,
                "coast": None if coast == "free" else coast,
                "units": units,
                "dx": dx,
                "dy": dy,
                "batch": batch,
                "background": CYCLED if cycled else None,
            },
            constraint=constraint,
            faults=faults,
        )
    dataset, name = as_dataset(data, faults)
    record = read_record(
        dataset,
        variable if name is None else name,
        faults,
        land=land,
        units=units,
        dx=dx,
        dy=dy,
        sort=sort,
        strict=strict,
        own_model=dynamics is not None,
    )
    schedule = None
    if record is not None:
        seconds, axis = record.times.seconds, record.axes.time
        schedule = read_windows(seconds, axis, window, stride, partial, faults, cycled=cycled)
    faults.raise_if_any()
    assert record is not None
    assert schedule is not None
    default = DEFAULTS[record.kind]
    configuration = Configuration(
        variable=str(record.name),
        kind=record.kind,
        transform=default.transform,
        transient=None if default.transient is None else dict(default.transient),
        kelvin=float(convert(1.0, "K", record.units, difference=True)) if default.currents else None,
        model_error=default.currents and constraint == "weak",
        coast=coast,
        frame=record.cadence,
        interval=record.interval,
        dx=dx,
        dy=dy,
        dtype=dtype or "float32",
        device=device,
        cycled=cycled,
        notes=(*record.notes, *_left_out(record, schedule)),
    )
    own: dict[str, Any] = {
        "dynamics": dynamics,
        "background": background,
        "background_error": background_error,
        "observation": observation,
        "observation_error": observation_error,
        "model_error": model_error,
        "parameters": parameters,
        "penalties": penalties,
    }
    plan: Plan | None
    experiment = any(part is not None for part in own.values()) or (constraint == "weak" and not default.currents)
    if coast != "free" and (experiment or not default.currents):
        faults.add(
            variable=record.name,
            found=f"coast={coast!r} with {'a problem of your own' if experiment else 'images that are not of the sea'}",
            expected="currents from the temperature of the sea, without a model, errors or a background of your own",
            fix="leave it out; xvar.covariance.Helmholtz(coast='no_flow') of a motion and Diffusion know the coast",
        )
    if experiment:
        plan = plan_experiment(
            record, schedule, configuration, faults, constraint=constraint, minimizer=minimizer, save=save, **own
        )
    else:
        plan = plan_motion(record, schedule, configuration, minimizer, cost_history="cost_history" in save)
    faults.raise_if_any()
    assert plan is not None
    sizes = {
        "step": schedule.frames.shape[1],
        "interval": len(plan.forced),
        "y": record.grid.shape[0],
        "x": record.grid.shape[1],
        "stage": 2,
        "evaluation": plan.evaluations,
    }
    outputs = {
        name: Output(
            tuple(sizes[dim] for dim in part.dims),
            part.dtype,
            fill=np.nan if part.dtype.startswith("float") else 0,
        )
        for name, part in plan.variables.items()
    }
    points = int(np.prod(record.grid.shape))
    lazy = is_lazy(record.array) or is_deferred()
    size = batch_sizes(batch, len(schedule.frames), points, sizes["step"], WORKING_FIELDS, lazy=lazy)
    frames = record.array.data
    if plan.std is not None:
        kept = frames.dtype if frames.dtype.kind == "f" else np.dtype("float64")
        frames = np.stack([frames.astype(kept), plan.std.astype(kept)], axis=1)
    guard = Guard(
        plan.solve,
        record.screen,
        record.grid,
        step=plan.step,
        refuse=errors == "raise" and is_lazy(record.array),
        strict=strict,
        artefacts=plan.artefacts,
    )
    arrays = run_batches(
        guard,
        frames,
        schedule,
        outputs,
        size,
        errors,
        times=record.times.values,
        device=configuration.device,
        carried=plan.carried,
    )
    if not hasattr(arrays["status"], "dask"):
        step = record.cadence if plan.step is None else min(plan.step, record.cadence)
        reach = [n * d / step for n, d in zip(record.grid.shape, record.grid.spacing, strict=True)]
        warn_of(arrays, bound(_window_name, record, schedule), (reach[1], reach[0]))
    # A problem of the user's own has solved for what is saved; of images that were moved it follows from the result.
    return labelled(arrays, plan, dataset, record, schedule, () if experiment else save)


def _left_out(record: Record, schedule: Schedule) -> list[str]:
    """Gaps that no window reaches across, and frames that are in no window."""
    times, seconds = record.times.values, record.times.seconds
    held = np.unique(schedule.frames[schedule.frames >= 0])
    notes = []
    together = {(int(a), int(b)) for row in schedule.frames for a, b in pairwise(row) if b >= 0}
    after = [int(index) for index in np.flatnonzero(np.diff(seconds) > 1.5 * record.cadence)]
    gaps = [index for index in after if (index, index + 1) not in together]
    if gaps:
        words = ", ".join(f"{_moment(times[i])} to {_moment(times[i + 1])}" for i in gaps[:5])
        words += ", ..." if len(gaps) > 5 else ""
        notes.append(f"{len(gaps)} gaps that no window reaches across: {words}")
    missing = len(seconds) - held.size
    if missing:
        notes.append(f"{missing} of {len(seconds)} frames in no window")
    return notes


def _window_name(record: Record, schedule: Schedule, window: int) -> str:
    times = record.times.values[schedule.frames[window][[0, schedule.frames[window].argmax()]]]
    return f"window {window} ({_moment(times[0])} to {_moment(times[1])})"


def _moment(time: Any) -> str:
    return str(time).partition(".")[0]


def _is_table(data: xr.Dataset | xr.DataArray) -> bool:
    """Whether the data are observations at points, see `xvar.observation.Points`."""
    return isinstance(data, xr.Dataset) and "value" in data and data["value"].ndim == 1


def _assimilate_table(
    data: Any,
    observation: Points | None,
    options: Mapping[str, Any],
    *,
    refused: Mapping[str, Any],
    constraint: Constraint,
    faults: Faults,
) -> xr.Dataset:
    """Assimilate points, for which only some of the options have a meaning."""
    for name, value in refused.items():
        if value is not None:
            faults.add(
                found=f"{name}={value!r} with observations at points",
                expected="what has a meaning for them",
                fix=f"leave it out; these have: {', '.join(options)}",
            )
    for name in ("dynamics", "background"):
        if options[name] is None:
            faults.add(
                found=f"observations at points without {name}=",
                expected="a model, and the state at the beginning, which gives the grid",
                fix=f"{name}=...",
            )
    if constraint == "weak" and options["model_error"] is None:
        faults.add(found='constraint="weak" without model_error=', expected="Q, in a second", fix="model_error={...}")
    if not _is_table(data):
        faults.add(
            found="observations at points beside images",
            expected="one table of both",
            fix='xarray.concat([xvar.observation.pixels(ds["sst"], std=...), points], "point").var4d.assimilate(...)',
        )
    faults.raise_if_any()
    return assimilate_points(Points(data) if observation is None else replace(observation, dataset=data), **options)
