"""Assimilation of observations at points: satellite tracks, drifters, gauges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial as bound
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes
from xvar.cf.conventions import to_cf
from xvar.cf.grid import horizontal_grid
from xvar.cf.times import parse_duration
from xvar.errors import Faults
from xvar.execution.devices import take_device
from xvar.plan.configuration import ATTRIBUTE, Configuration
from xvar.plan.control import checked_parameters, checked_penalties
from xvar.plan.covariances import errors_by_component
from xvar.plan.diagnostics import warn_about_windows
from xvar.plan.models import components_of, describe_model
from xvar.plan.points.background import beginning_of, starts_of, state_of
from xvar.plan.points.labels import joined, labelled, output_times
from xvar.plan.points.places import is_dry, positions
from xvar.plan.points.solve import solve_points
from xvar.plan.points.table import QUALITY, Array, Points, in_time, quality_of, read_table

if TYPE_CHECKING:
    from xvar.core.digital_filter import DigitalFilter
    from xvar.core.methods.points import PointExperiment
    from xvar.core.parameters import Parameter


def assimilate_points(
    observation: Points | xr.Dataset,
    *,
    dynamics: Any,
    background: xr.Dataset,
    background_error: Any,
    model_error: Any = None,
    window: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    minimizer: Any = None,
    parameters: Any = None,
    penalties: Any = None,
    save: Sequence[str] = (),
) -> xr.Dataset:
    r"""Find the state of a model from observations at points, by 4D-Var in a window, or in several.

    The background is the state at the beginning of the window: its grid is that of the result, and its ``time`` is
    where the window begins. A background of several times makes as many windows, each by itself.

    Parameters
    ----------
    observation : Points or Dataset
        The points; of a Dataset, see `Points`.
    dynamics : specification or callable (state, seconds) -> state
        The model. Its attribute ``components``, a mapping of each component of the state to the variables that it
        holds, stands for one component a variable where there is none; ``offsets``, a mapping of variables to where
        they lie in cells along x and y from the grid points (C grids), for the grid points themselves; ``step`` is its
        longest step in seconds.
    background : Dataset
        x_b, variables (y, x) and a scalar coordinate ``time``; or (time, y, x), a window for each time. Where all its
        variables are NaN is land: a point at a coast is compared with the grid points around it that are water, and
        B, Q and models that know of coasts see it.
    background_error, model_error : specification, or mapping of component or variable to it
        B, and Q in a second: a model error makes the weak constraint.
    window : duration, optional
        Length of the windows. Default: to the last observation, where there is one window.
    dtype : {"float32", "float64"}, optional
    device : str, optional
    minimizer : xvar.minimize.LBFGS, optional
    parameters, penalties, save
        See `xvar.assimilation.assimilate`; only the cost_history can be saved.

    Returns
    -------
    Dataset
        Dimensions ``window``, ``step``, those of the grid, and ``observation``: the analysed variables; what the
        analysis says of its windows; and of every observation ``observation_value``, ``observation_background`` and
        ``observation_analysis`` (what the model says there and then, before and after), ``observation_std``,
        ``observation_variable`` and ``observation_quality``, by which alone those that were ``used`` entered J, with
        its time and place as coordinates. Of several windows also ``observation_window``; an observation that lies in
        two of them is there twice.

    Raises
    ------
    InputError
        With all that is wrong with the points, the background or the options.
    """
    faults = Faults()
    points = observation if isinstance(observation, Points) else Points(observation)
    own = [str(name) for name in background.data_vars]
    carried = next((name for name in own if name not in ("u", "v")), "tracer")
    components = components_of(dynamics, carried) or {name: (name,) for name in own}
    names = [name for parts in components.values() for name in parts]
    starts = starts_of(background)
    offsets = getattr(dynamics, "offsets", {})
    staggered = tuple(name for name in names if any(offsets.get(name, ())))
    states = [state_of(start, names, staggered, faults) for start in starts]
    faults.raise_if_any()
    plane = states[0][1]
    land = states[0][2]
    first = starts[0][names[0]].squeeze(drop=False)
    grid = horizontal_grid(first, Axes("time", *plane), faults, mapping=background)
    table = read_table(points, names, faults)
    begins = [beginning_of(start, faults) for start in starts]
    errors = errors_by_component(background_error, "background_error", components, faults)
    forced = errors_by_component(model_error, "model_error", components, faults)
    if not errors:
        faults.add(
            found="no background_error",
            expected="the error of each component that is to be analysed",
            fix=f"background_error={{{next(iter(components))!r}: xvar.covariance.Matern(std=..., length=...)}}",
        )
    every = None if points.every is None else parse_duration(points.every, "every", faults)
    length = None if window is None else parse_duration(window, "window", faults)
    if window is None and len(starts) > 1:
        faults.add(
            found=f"a background of {len(starts)} times without window=",
            expected="the length of the windows, one from each time on",
            fix='window="6h"',
        )
    estimated = checked_parameters(parameters, components, () if grid is None else grid.shape, faults)
    filters = checked_penalties(penalties, components, faults)
    faults.raise_if_any()
    assert grid is not None
    dates = table["date"]
    table["row"] = np.arange(dates.size)
    if length is None:
        known = (dates - begins[0])[~np.isnat(dates)] / np.timedelta64(1, "s")
        length = float(known.max(initial=0.0))
    position = positions(points.dataset, first, plane, grid, faults)
    if length <= 0:
        faults.add(
            found=f"no observation after the background's time {begins[0]}",
            expected="observations in the window, which begins there",
            fix="choose the background of an earlier time, background.sel(time=...)",
        )
    faults.raise_if_any()
    shift = np.array([offsets.get(name, (0.0, 0.0)) for name in names]).T
    table["position"] = position
    table["dry"] = is_dry(position, grid, land, np.isin(table["variable"], [names.index(name) for name in staggered]))
    take_device(device)
    seconds = output_times(length, every)
    experiment = _experiment(
        points, dynamics, errors, forced, minimizer, estimated, filters, cost_history="cost_history" in save
    )
    solve = bound(
        solve_points,
        seconds=seconds,
        grid=grid,
        land=land,
        experiment=experiment,
        components=components,
        dtype=dtype or "float32",
        device=device,
        staggered=staggered,
    )
    parts, seen = [], np.zeros(dates.size, dtype=bool)
    for window_fields, begin in zip((state[0] for state in states), begins, strict=True):
        held = {**table, "time": (dates - begin) / np.timedelta64(1, "s")}
        held["quality"] = quality_of(held, length)
        rows = np.ones(dates.size, dtype=bool) if len(starts) == 1 else in_time(held, length)
        seen |= rows
        parts.append(_solved(solve, window_fields, held, rows, shift))
    last = parts[-1][1]
    if not seen.all():  # in no window: said once, behind the last
        for key, values in _without_equivalents(held, ~seen).items():
            last[key] = np.concatenate([last[key], values], axis=-1)
    result = joined(
        [
            labelled(results, rows, start, points, names, plane, begin, seconds, experiment)
            for (results, rows), start, begin in zip(parts, starts, begins, strict=True)
        ]
    )
    ends = {name: result[name].values.reshape(-1) for name in ("status", "evaluations", "gradient_norm")}
    warn_about_windows(ends, lambda window: f"window {window} from {np.datetime_as_string(begins[window], 's')}")
    if len(starts) > 1:
        counts = [rows["value"].size for _, rows in parts]
        result["observation_window"] = _windows_of(counts, int((~seen).sum()))
    configuration = Configuration(
        variable=names[0],
        kind="other",
        method="advection" if "velocity" in components else "model",
        frame=every or length,
        dtype=dtype or "float32",
        device=device,
        dynamics=describe_model(dynamics),
        parameters=tuple(estimated),
        notes=(
            f"observations at points, {points.time_interpolation} in time, {points.sampler} in space",
            f"windows of {length:g} s, {'weak' if forced else 'strong'} constraint",
        ),
    )
    result.attrs = {ATTRIBUTE: configuration.to_json()}
    action = "assimilate(observation=Points)"
    return to_cf(result, background, action=action, configuration=configuration.to_json())


def _windows_of(counts: list[int], in_none: int) -> xr.Variable:
    """The window of each observation, of which the last lie in none."""
    index = np.repeat(np.arange(len(counts)), counts)
    index[index.size - in_none :] = -1
    attrs = {"long_name": "window in which the observation lies, counted from zero; -1: in none"}
    return xr.Variable("observation", index.astype("int32"), attrs)


def _experiment(
    points: Points,
    dynamics: Any,
    errors: Any,
    forced: Any,
    minimizer: Any,
    parameters: Mapping[str, Parameter],
    penalties: tuple[DigitalFilter, ...],
    *,
    cost_history: bool,
) -> PointExperiment:
    from xvar.core.methods.points import PointExperiment
    from xvar.core.minimize import LBFGS

    return PointExperiment(
        dynamics=dynamics,
        background_error=errors,
        model_error=forced,
        parameters=parameters,
        penalties=penalties,
        time_interpolation=points.time_interpolation,
        sampler=points.sampler,
        threshold=points.threshold,
        step=getattr(dynamics, "step", None),
        minimizer=minimizer or LBFGS(max_evaluations=200),
        cost_history=cost_history,
    )


def _solved(
    solve: Any, fields: dict[str, Array], table: dict[str, Array], rows: NDArray[np.bool_], shift: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """A window solved, and the rows of its observations with what model and analysis say of them."""
    used = rows & (table["quality"] == QUALITY.index("used"))
    chosen = {name: table[name][used] for name in ("time", "value", "std", "variable")}
    chosen["position"] = table["position"][:, used] - shift[:, chosen["variable"]]
    results, found = solve(fields, chosen)
    kept = _without_equivalents(table, rows)
    for name, values in found.items():
        kept[name] = kept[name].astype(values.dtype)
        kept[name][used[rows]] = values
    return results, kept


def _without_equivalents(table: Mapping[str, Array], rows: NDArray[np.bool_]) -> dict[str, Array]:
    kept = {name: table[name][rows] for name in ("value", "std", "variable", "quality", "date", "row")}
    return {**kept, **{name: np.full(int(rows.sum()), np.nan) for name in ("background", "analysis")}}
