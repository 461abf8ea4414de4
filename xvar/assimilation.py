"""Assimilation of a labelled record: windows of frames in, an analysis out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial as bound
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar import bridge
from xvar.batches import Errors, Output, run_batches
from xvar.cf.conventions import finish
from xvar.cf.metadata import attributes
from xvar.cf.record import Record, as_dataset, read_record
from xvar.configuration import ATTRIBUTE, DEFAULTS, Configuration
from xvar.errors import Problems
from xvar.windows import Partial, Schedule, make_schedule

if TYPE_CHECKING:
    from xvar.core.minimize import LBFGS

Duration = Any  # a number of frames, "15min", datetime.timedelta or numpy.timedelta64
Saved = Literal["increment", "innovation", "residual"]

SAVED: tuple[Saved, ...] = ("increment", "innovation", "residual")
ERRORS: tuple[Errors, ...] = ("raise", "continue")
DTYPES = ("float32", "float64")
BATCH_POINTS = 2**18  # of the images of a batch: beyond this its fields no longer fit a cache


def assimilate(
    data: xr.Dataset | xr.DataArray,
    variable: Hashable | None = None,
    *,
    window: Duration = None,
    stride: Duration = None,
    partial: Partial = "drop",
    land: Any = None,
    units: str | None = None,
    dx: float | None = None,
    dy: float | None = None,
    sort: bool = False,
    strict: bool = False,
    errors: Errors = "raise",
    batch: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    minimizer: LBFGS | None = None,
    save: Sequence[Saved] = (),
) -> xr.Dataset:
    r"""Find the motion in a record of images, by 4D-Var in windows.

    In each window the motion :math:`w` at its end minimises

    .. math:: J = \tfrac12 \|w\|^2_B + \tfrac12 \|s\|^2_{B_s} + J_o

    as `xvar.core.motion.ImageMotion` states it; every window is minimised on its own.

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
    land : str, DataArray or "never_valid", optional
        Where nothing moves. Default: a mask of the file, else what is never valid.
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
    batch : int, optional
        Windows that are minimised together; the result does not depend on it.
    dtype : {"float32", "float64"}, optional
        In which precision the problem is solved and the result is given.
    device : str, optional
        Device of torch, such as "cuda".
    minimizer : xvar.minimize.LBFGS, optional
        How J is minimised.
    save : sequence of {"increment", "innovation", "residual"}
        Further fields of the result: the increment of the motion, observation minus background, observation minus
        analysis.

    Returns
    -------
    Dataset
        Dimensions ``window``, ``step`` (the frames of a window) and those of the grid: the analysed variable in its own
        units, ``u`` and ``v`` in m s-1 towards increasing coordinates, the last frame as ``<name>_observed``, ``growth``
        where the variable has sources, and for each window the terms of J before and after, ``gradient_norm``,
        ``evaluations``, ``number_of_observations`` and ``status``.

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
    problems = Problems()
    dataset, name = as_dataset(data, problems)
    _check_options(problems, errors=errors, dtype=dtype, batch=batch, save=save, device=device)
    record = read_record(
        dataset,
        variable if name is None else name,
        problems,
        land=land,
        units=units,
        dx=dx,
        dy=dy,
        sort=sort,
        strict=strict,
    )
    schedule = None
    if record is not None:
        schedule = make_schedule(record.times.seconds, record.axes.time, window, stride, partial, problems)
    problems.refuse()
    assert record is not None
    assert schedule is not None
    transform, sources = DEFAULTS[record.kind]
    configuration = Configuration(
        variable=str(record.name),
        kind=record.kind,
        transform=transform,
        sources=sources,
        frame=record.cadence,
        dx=dx,
        dy=dy,
        dtype=dtype or "float32",
        device=device,
        notes=record.notes,
    )
    outputs = _outputs(record, schedule, configuration)
    points = int(np.prod(record.grid.shape)) * schedule.frames.shape[1]
    size = batch or max(1, min(BATCH_POINTS // points, -(-len(schedule.frames) // 10)))
    solve = bound(
        bridge.solve_windows,
        grid=record.grid,
        motion=configuration.motion(minimizer),
        dtype=configuration.dtype,
        device=device,
    )
    arrays = run_batches(solve, record.array.data, schedule, outputs, size, errors)
    return _labelled(arrays, dataset, record, schedule, configuration, save)


def _check_options(problems: Problems, **options: Any) -> None:
    """Refuse values that an option does not take."""
    choices: Mapping[str, tuple[Any, ...]] = {"errors": ERRORS, "dtype": (None, *DTYPES)}
    for name, allowed in choices.items():
        if options[name] not in allowed:
            words = ", ".join(map(repr, allowed))
            problems.add(
                found=f"{name}={options[name]!r}", expected=f"one of {words}", fix=f"{name}={allowed[-1]!r}"
            )
    batch = options["batch"]
    if batch is not None and not (isinstance(batch, int) and batch >= 1):
        problems.add(found=f"batch={batch!r}", expected="a number of windows, 1 or more", fix="batch=8, or leave it out")
    save = options["save"]
    unknown = [word for word in ([save] if isinstance(save, str) else save) if word not in SAVED]
    if isinstance(save, str) or unknown:
        problems.add(
            found=f"save={save!r}", expected=f"a sequence of {', '.join(SAVED)}", fix=f"save=({SAVED[0]!r},)"
        )


def _outputs(record: Record, schedule: Schedule, configuration: Configuration) -> dict[str, Output]:
    """Shapes and types of what a window gives, known before any is solved."""
    steps, shape, dtype = schedule.frames.shape[1], record.grid.shape, configuration.dtype
    terms = ("cost", "cost_background", "cost_observation")
    return {
        **{name: Output((steps, *shape), dtype, steps=True) for name in ("analysis", "u", "v")},
        "observed": Output(shape, dtype),
        "growth": Output((len(configuration.sources), *shape), dtype),
        "image_scale": Output((), dtype),
        **{name: Output((2,), "float64") for name in terms},
        "gradient_norm": Output((), "float64"),
        "evaluations": Output((), "int32", fill=0),
        "number_of_observations": Output((), "int32", fill=0),
        "status": Output((), "int8", fill=0),
    }


def _labelled(
    arrays: Mapping[str, Any],
    dataset: xr.Dataset,
    record: Record,
    schedule: Schedule,
    configuration: Configuration,
    save: Sequence[Saved],
) -> xr.Dataset:
    """The output contract: names, dimensions, coordinates and attributes."""
    plane = (record.axes.y, record.axes.x)
    name = record.name
    describe = bound(
        attributes,
        variable=str(name),
        units=record.units,
        kind=record.kind,
        grid_kind=record.grid.kind,
        standard_name=record.array.attrs.get("standard_name"),
    )
    kept = {"units": record.units} | {k: v for k, v in record.array.attrs.items() if k != "units"}
    mapping = {key: value for key, value in kept.items() if key == "grid_mapping"}
    fields: dict[Hashable, Any] = {name: (("window", "step", *plane), arrays["analysis"], kept)}
    for component in ("u", "v"):
        fields[component] = (("window", "step", *plane), arrays[component], {**describe(component), **mapping})
    observed = f"{name}_observed"
    fields[observed] = (("window", *plane), arrays["observed"], {**describe("observed"), **mapping})
    if configuration.sources:
        fields["growth"] = (("window", "source", *plane), arrays["growth"], {**describe("growth"), **mapping})
    fields["image_scale"] = (("window",), arrays["image_scale"], describe("image_scale"))
    for term in (key for key in arrays if key.startswith("cost")):
        fields[term] = (("window", "stage"), arrays[term], describe(term))
    for single in ("gradient_norm", "evaluations", "number_of_observations", "status"):
        fields[single] = (("window",), arrays[single], describe(single))
    result = xr.Dataset(fields, _coordinates(record, schedule, configuration))
    if save:
        result = _with_saved(result, record, schedule, save, describe)
    result.attrs = {ATTRIBUTE: configuration.to_json()}
    return finish(result, dataset, action=f'assimilate("{name}")', configuration=configuration.to_json())


def _coordinates(record: Record, schedule: Schedule, configuration: Configuration) -> dict[Hashable, Any]:
    """Coordinates of the grid as they are in the input, and those of the windows."""
    plane = {record.axes.y, record.axes.x}
    time = record.array.coords[record.axes.time] if record.axes.time in record.array.coords else None
    kept = {key: part for key, part in record.array.coords.items() if set(part.dims) <= plane}
    attrs = dict(time.attrs) if time is not None else {}
    coordinates: dict[Hashable, Any] = {
        **kept,
        "time": (("window", "step"), window_times(record.times.values, schedule), {**attrs, **attributes("time")}),
        "forecast_reference_time": (
            "window",
            record.times.values[schedule.frames.max(axis=1)],
            attributes("forecast_reference_time"),
        ),
        "stage": ("stage", np.array([0, 1], dtype="int8"), attributes("stage")),
    }
    if configuration.sources:
        lifetimes = np.array([lifetime * configuration.frame for _, _, lifetime in configuration.sources])
        coordinates["lifetime"] = ("source", lifetimes, attributes("lifetime"))
    return coordinates


def window_times(times: NDArray[Any], schedule: Schedule) -> NDArray[Any]:
    """Time of each step of each window; not a time where a window has fewer frames than the longest."""
    table = times[schedule.frames]
    missing = schedule.frames < 0
    if missing.any():
        table = table.copy()
        table[missing] = np.datetime64("NaT") if table.dtype.kind == "M" else None
    return table


def _with_saved(
    result: xr.Dataset, record: Record, schedule: Schedule, save: Sequence[Saved], describe: Any
) -> xr.Dataset:
    """Add what was asked for beside the analysis."""
    plane = (record.axes.y, record.axes.x)
    frames = record.array.data[np.maximum(schedule.frames, 0).ravel()].reshape(*schedule.frames.shape, *record.grid.shape)
    observed = xr.DataArray(frames, dims=("window", "step", *plane)).where(
        xr.DataArray(schedule.frames >= 0, dims=("window", "step"))
    )
    name = record.name
    if "increment" in save:
        for component in ("u", "v"):
            # The background is rest.
            result[f"{component}_increment"] = result[component].isel(step=-1).assign_attrs(
                long_name=f"increment of the {result[component].attrs['long_name']}"
            )
            result[f"{component}_increment"].attrs.pop("standard_name", None)
    for word, reference in (("innovation", result[f"{name}_observed"]), ("residual", result[name])):
        if word in save:
            difference = (observed - reference).transpose("window", "step", *plane).astype(result[name].dtype)
            result[f"{name}_{word}"] = difference.assign_attrs(describe(word))
    return result
