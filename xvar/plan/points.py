"""Assimilation of observations at points: satellite tracks, drifters, gauges."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar import bridge
from xvar.cf.axes import Axes, find_axes
from xvar.cf.conventions import finish
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.grid.coordinates import measured
from xvar.cf.metadata import attributes, flag_attributes
from xvar.cf.positions import along_line, on_curvilinear
from xvar.cf.times import parse_duration
from xvar.configuration import ATTRIBUTE, Configuration, describe_model
from xvar.errors import Problems
from xvar.plan.base import diagnostics
from xvar.plan.control import checked_parameters, checked_penalties, parameter_variables
from xvar.plan.experiment import errors_by_component

if TYPE_CHECKING:
    from xvar.core.digital_filter import DigitalFilter
    from xvar.core.parameters import Parameter
    from xvar.core.points import PointExperiment

Array = NDArray[Any]

#: What became of an observation.
QUALITY = ("used", "outside_domain", "outside_window", "no_value", "on_land")

_OUTSIDE_WINDOW = QUALITY.index("outside_window")

#: A point is on land where the water around it has less than this share of what it is interpolated from.
WETTEST_LAND = 0.01

_NAMES = {
    "y": ("latitude", "lat", "y", "projection_y_coordinate", "northing"),
    "x": ("longitude", "lon", "x", "projection_x_coordinate", "easting"),
}


@dataclass(frozen=True, eq=False)
class Points:
    r"""Observations at points, each of one variable at its own time and place.

    .. math:: J_o = \tfrac12 \sum_p \left(\frac{x_{n(p)}(X_p, t_p) - y_p}{\sigma_p}\right)^2

    with the variable n of the state interpolated to the place and, between the two steps around it, to the time.

    Parameters
    ----------
    dataset : Dataset
        With one dimension, whose name does not matter: ``time`` (dates), the coordinates of the background's grid
        (``x`` and ``y``, or ``lat`` and ``lon``, by their names or their standard names; latitude and longitude where
        the grid has them in two dimensions), ``value``, ``std`` in the same units, and ``variable``, the name of what
        was observed: one table holds the temperature of a ship and the velocity of a drifter.
    std : float, optional
        Standard deviation where the Dataset has none.
    variable : str, optional
        What was observed, where the Dataset does not say.
    time_interpolation : {"linear", "nearest"}
        How the state is found between two steps.
    sampler : {"bilinear", "cubic", "monotone"}
        How it is found between grid points.
    threshold : float, optional
        c of the pseudo-Huber norm in standard deviations; without it the norm is quadratic.
    every : duration, optional
        Time between the states of the result, which begin with the window and end with it. Default: these two alone.
    """

    dataset: xr.Dataset
    std: float | None = None
    variable: str | None = None
    time_interpolation: Literal["linear", "nearest"] = "linear"
    sampler: Literal["bilinear", "cubic", "monotone"] = "bilinear"
    threshold: float | None = None
    every: Any = None


def pixels(images: xr.DataArray, std: float | xr.DataArray) -> xr.Dataset:
    """Every pixel of some images that has a value, as a table for `Points`: to go with other observations.

    Parameters
    ----------
    images : DataArray (time, y, x)
        With 1-D coordinates, in any order.
    std : float or DataArray
        Standard deviation of the errors, in the units of the images.

    Returns
    -------
    Dataset
        ``value``, ``std`` and ``variable``, the name of the images, on a dimension ``point`` with ``time`` and the
        coordinates of the grid; ``xarray.concat([pixels(...), drifters], "point")`` puts tables together.

    Raises
    ------
    InputError
        Where time, y and x are not found.
    """
    problems = Problems()
    axes = find_axes(images, problems)
    problems.refuse()
    assert axes is not None
    array = images.squeeze(drop=True).transpose(axes.time, axes.y, axes.x)
    spread = xr.broadcast(xr.DataArray(std), array)[0].transpose(*array.dims).values
    seen = np.isfinite(array.values)
    rows = dict(zip(array.dims, np.nonzero(seen), strict=True))
    return xr.Dataset(
        {
            "value": ("point", array.values[seen]),
            "std": ("point", spread[seen]),
            "variable": ("point", np.full(int(seen.sum()), str(images.name))),
        },
        coords={dim: ("point", array[dim].values[index], dict(array[dim].attrs)) for dim, index in rows.items()},
    )


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
        See `xvar.assimilation.assimilate`; only the descent can be saved.

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
    problems = Problems()
    points = observation if isinstance(observation, Points) else Points(observation)
    own = [str(name) for name in background.data_vars]
    carried = next((name for name in own if name not in ("u", "v")), "tracer")
    components = bridge.components_of(dynamics, carried) or {name: (name,) for name in own}
    names = [name for parts in components.values() for name in parts]
    starts = _starts(background)
    offsets = getattr(dynamics, "offsets", {})
    staggered = tuple(name for name in names if any(offsets.get(name, ())))
    states = [_background(start, names, staggered, problems) for start in starts]
    problems.refuse()
    plane = states[0][1]
    land = states[0][2]
    first = starts[0][names[0]].squeeze(drop=False)
    grid = horizontal_grid(first, Axes("time", *plane), problems, mapping=background)
    table = _read(points, names, problems)
    begins = [_beginning(start, problems) for start in starts]
    errors = errors_by_component(background_error, "background_error", components, problems)
    forced = errors_by_component(model_error, "model_error", components, problems)
    if not errors:
        problems.add(
            found="no background_error",
            expected="the error of each component that is to be analysed",
            fix=f"background_error={{{next(iter(components))!r}: xvar.covariance.Matern(std=..., length=...)}}",
        )
    every = None if points.every is None else parse_duration(points.every, "every", problems)
    length = None if window is None else parse_duration(window, "window", problems)
    if window is None and len(starts) > 1:
        problems.add(
            found=f"a background of {len(starts)} times without window=",
            expected="the length of the windows, one from each time on",
            fix='window="6h"',
        )
    estimated = checked_parameters(parameters, components, () if grid is None else grid.shape, problems)
    filters = checked_penalties(penalties, components, problems)
    problems.refuse()
    assert grid is not None
    dates = table["date"]
    table["row"] = np.arange(dates.size)
    if length is None:
        known = (dates - begins[0])[~np.isnat(dates)] / np.timedelta64(1, "s")
        length = float(known.max(initial=0.0))
    position = _positions(points.dataset, first, plane, grid, problems)
    if length <= 0:
        problems.add(
            found=f"no observation after the background's time {begins[0]}",
            expected="observations in the window, which begins there",
            fix="choose the background of an earlier time, background.sel(time=...)",
        )
    problems.refuse()
    shift = np.array([offsets.get(name, (0.0, 0.0)) for name in names]).T
    table["position"] = position
    table["dry"] = _dry(position, grid, land, np.isin(table["variable"], [names.index(name) for name in staggered]))
    seconds = _output_times(length, every)
    experiment = _experiment(points, dynamics, errors, forced, minimizer, estimated, filters, descent="descent" in save)
    solve = bound(
        bridge.solve_points,
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
        held["quality"] = _quality(held, length)
        rows = np.ones(dates.size, dtype=bool) if len(starts) == 1 else _in_time(held, length)
        seen |= rows
        parts.append(_solved(solve, window_fields, held, rows, shift))
    last = parts[-1][1]
    if not seen.all():  # in no window: said once, behind the last
        for key, values in _without_equivalents(held, ~seen).items():
            last[key] = np.concatenate([last[key], values], axis=-1)
    result = _joined(
        [
            _labelled(results, rows, start, points, names, plane, begin, seconds, experiment)
            for (results, rows), start, begin in zip(parts, starts, begins, strict=True)
        ]
    )
    if len(starts) > 1:
        index = np.concatenate([np.full(rows["value"].size, k) for k, (_, rows) in enumerate(parts)])
        index[index.size - int((~seen).sum()) :] = -1
        attrs = {"long_name": "window in which the observation lies, counted from zero; -1: in none"}
        result["observation_window"] = ("observation", index.astype("int32"), attrs)
    configuration = Configuration(
        variable=names[0],
        kind="other",
        transform="none",
        transient=None,
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
    return finish(result, background, action=action, configuration=configuration.to_json())


def _starts(background: xr.Dataset) -> list[xr.Dataset]:
    """The background of each window, by its times."""
    time = background.coords.get("time")
    if time is None or time.ndim != 1 or time.size < 2:
        return [background]
    return [background.isel({time.dims[0]: index}) for index in range(time.size)]


def _solved(
    solve: Any, fields: dict[str, Array], table: dict[str, Array], rows: NDArray[np.bool_], shift: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """A window solved, and the rows of its observations with what model and analysis say of them."""
    used = rows & (table["quality"] == 0)
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


def _joined(windows: list[xr.Dataset]) -> xr.Dataset:
    """Windows one after the other, and their observations."""
    if len(windows) == 1:
        return windows[0]
    first = windows[0]
    joined = {}
    for name, variable in first.variables.items():
        dim = next((dim for dim in ("window", "observation") if dim in variable.dims), None)
        parts = [window[name].variable for window in windows]
        joined[name] = variable if dim is None else xr.Variable.concat(parts, dim)
    return xr.Dataset({name: joined[name] for name in first.data_vars}, {name: joined[name] for name in first.coords})


def _dry(
    position: Array, grid: HorizontalGrid, land: NDArray[np.bool_] | None, staggered: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether all grid points around a point are land; a velocity between two of them is zero there, and known."""
    if land is None:
        return np.zeros(position.shape[1], dtype=bool)
    water = ~bridge.ascending(land, grid)
    corner = np.floor(np.nan_to_num(position)).astype(int)
    share = np.nan_to_num(position) - corner
    wet = np.zeros(position.shape[1])
    for right in (0, 1):
        for up in (0, 1):
            weight = np.abs(1 - right - share[0]) * np.abs(1 - up - share[1])
            column = np.minimum(corner[0] + right, water.shape[1] - 1)
            wet += weight * water[np.minimum(corner[1] + up, water.shape[0] - 1), column]
    return (wet < WETTEST_LAND) & ~staggered


def _experiment(
    points: Points,
    dynamics: Any,
    errors: Any,
    forced: Any,
    minimizer: Any,
    parameters: Mapping[str, Parameter],
    penalties: tuple[DigitalFilter, ...],
    *,
    descent: bool,
) -> PointExperiment:
    from xvar.core.minimize import LBFGS
    from xvar.core.points import PointExperiment

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
        minimizer=minimizer or LBFGS(evaluations=200),
        descent=descent,
    )


def _background(
    background: xr.Dataset, names: list[str], staggered: tuple[str, ...], problems: Problems
) -> tuple[dict[str, Array], tuple[Hashable, Hashable], NDArray[np.bool_] | None]:
    """The fields (y, x) of the state, the names of their dimensions, and land: where there is no state at all."""
    fields: dict[str, Array] = {}
    plane: tuple[Hashable, ...] = ()
    for name in names:
        if name not in background:
            problems.add(
                found=f"a background without {name!r}",
                expected=f"the whole state: {', '.join(map(repr, names))}",
                fix="add it, or name the model's variables as the background does",
            )
            continue
        field = background[name].squeeze(drop=True)
        plane = plane or tuple(field.dims)
        if field.ndim != 2 or set(field.dims) != set(plane):
            problems.add(
                variable=f"background {name}",
                found=f"dimensions {field.dims}",
                expected="two, those of the grid (y, x)",
                fix="choose one time, background.isel(time=0)",
            )
            continue
        fields[name] = np.asarray(field.transpose(*plane).values, dtype="float64")
    missing = [~np.isfinite(values) for values in fields.values()]
    land = np.logical_and.reduce(missing) if missing else np.zeros((1, 1), dtype=bool)
    for name, values in fields.items():
        broken = ~np.isfinite(values)
        if (broken & ~land).any() and name not in staggered:
            problems.add(
                variable=f"background {name}",
                index=tuple(int(axis[0]) for axis in np.nonzero(broken & ~land)),
                found=f"{int((broken & ~land).sum())} values that are not finite where others of the state are",
                expected="a complete state, but on land",
                fix="fill them, background.fillna(...)",
            )
        elif land.all():
            problems.add(
                variable=f"background {name}",
                found="no value that is finite",
                expected="some water",
                fix="choose another time",
            )
            break
        elif broken.any():
            # No value of land is looked at, but a model may run there; nothing flows through its coasts.
            fields[name] = np.where(broken, 0.0 if name in staggered else values[~broken].mean(), values)
    known = land if land.any() else None
    return fields, plane[:2] if len(plane) > 1 else ("y", "x"), known  # type: ignore[return-value]


def _beginning(background: xr.Dataset, problems: Problems) -> np.datetime64:
    time = background.coords.get("time")
    if time is None or time.size != 1 or time.dtype.kind != "M":
        problems.add(
            variable="background",
            found="no one time" if time is None else f"time of size {time.size} and type {time.dtype}",
            expected="a scalar coordinate time, where the window begins",
            fix='background.isel(time=0), or background.assign_coords(time=np.datetime64("2024-01-01"))',
        )
        return np.datetime64("NaT")
    return np.datetime64(time.values.ravel()[0])


def _read(points: Points, names: list[str], problems: Problems) -> dict[str, Array]:
    """The table of the points: date, value, std and the index of the variable."""
    dataset = points.dataset
    table: dict[str, Array] = {}
    if "value" not in dataset or dataset["value"].ndim != 1:
        problems.add(
            found=f"points with the variables {', '.join(map(str, dataset.variables)) or 'none'}",
            expected="value, std, variable, time and the coordinates of the grid along one dimension",
            fix="see xvar.observation.Points",
        )
        return table
    value = dataset["value"]
    table["value"] = np.asarray(value.values, dtype="float64")
    count = value.size
    if "time" not in dataset.variables or dataset["time"].dtype.kind != "M" or dataset["time"].dims != value.dims:
        problems.add(
            variable="time",
            found="no date of each point",
            expected="time, datetime64, along the dimension of value",
            fix="points.assign_coords(time=(dim, dates))",
        )
    else:
        table["date"] = np.asarray(dataset["time"].values)
    std = dataset["std"].values if "std" in dataset else np.nan if points.std is None else points.std
    table["std"] = np.broadcast_to(np.asarray(std, dtype="float64"), count).copy()
    wrong = np.isfinite(table["value"]) & ~(table["std"] > 0)
    if wrong.any():
        problems.add(
            variable="std",
            index=int(np.flatnonzero(wrong)[0]),
            found=f"{int(wrong.sum())} points with a value and no positive standard deviation",
            expected="that of the error of observation, in the units of the value",
            fix="a variable std of the points, or Points(points, std=0.02)",
        )
    said = (
        dataset["variable"].values
        if "variable" in dataset
        else points.variable or (names[0] if len(names) == 1 else None)
    )
    if said is None:
        problems.add(
            found="points that do not say what was observed",
            expected=f"a variable of the state: {', '.join(map(repr, names))}",
            fix=f"Points(points, variable={names[0]!r}), or a variable of the points named variable",
        )
        return table
    words = np.broadcast_to(np.asarray(said).astype(str), count)
    unknown = sorted(set(words.tolist()) - set(names))
    if unknown:
        problems.add(
            variable="variable",
            index=int(np.flatnonzero(np.isin(words, unknown))[0]),
            found=f"observations of {', '.join(map(repr, unknown))}",
            expected=f"a variable of the state: {', '.join(map(repr, names))}",
            fix="rename them, or leave them out",
        )
        return table
    table["variable"] = np.array([names.index(word) for word in words.tolist()], dtype="int64")
    return table


def _positions(
    dataset: xr.Dataset,
    field: xr.DataArray,
    plane: tuple[Hashable, Hashable],
    grid: HorizontalGrid,
    problems: Problems,
) -> Array:
    """Grid units (2, point) along ascending x and y; NaN outside the grid."""
    table = _curvilinear(dataset, field, plane, grid, problems)
    if table is not None:
        return table
    found = []
    for axis, dim, up in zip(("x", "y"), plane[::-1], grid.ascending[::-1], strict=True):
        coordinate = field.coords.get(dim)
        place = None if coordinate is None else _like(dataset, coordinate, axis)
        if coordinate is None or place is None:
            known = ", ".join(map(str, dataset.variables))
            problems.add(
                dimension=dim,
                found=f"no place of the points along {str(dim)!r} among {known}"
                if coordinate is not None
                else f"a background without a coordinate along {str(dim)!r}",
                expected="one coordinate of the grid along each of its dimensions, and the points in the same",
                fix=f"name it {str(dim)!r} in both, in the same units",
            )
            continue
        along = np.asarray(coordinate.values, dtype="float64")[:: 1 if up else -1]
        where = np.asarray(place.values, dtype="float64")
        if axis == "x" and "degree" in str(coordinate.attrs.get("units", "")):
            where = along[0] + (where - along[0]) % 360.0
        found.append(along_line(along, where))
    return np.stack(found) if len(found) == 2 else np.empty((2, 0))


def _geographic(field: xr.DataArray, plane: tuple[Hashable, Hashable]) -> dict[str, xr.DataArray]:
    """Latitude and longitude in two dimensions."""
    known: dict[str, xr.DataArray] = {}
    for coordinate in field.coords.values():
        kind = measured(coordinate)
        if set(coordinate.dims) == set(plane) and kind in ("latitude", "longitude"):
            known.setdefault(kind, coordinate)
    return known if len(known) == 2 else {}


def _places(
    dataset: xr.Dataset, field: xr.DataArray, plane: tuple[Hashable, Hashable]
) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """Coordinates of the grid, along y and along x, each with that of the points; empty where one is missing."""
    lines = [(field.coords.get(dim), axis) for dim, axis in zip(plane, ("y", "x"), strict=True)]
    geographic = _geographic(field, plane)
    tables = [(geographic.get(kind), axis) for kind, axis in (("latitude", "y"), ("longitude", "x"))]
    for choice in (lines, tables):
        pairs = [(c, None if c is None else _like(dataset, c, axis)) for c, axis in choice]
        if all(c is not None and place is not None for c, place in pairs):
            return pairs  # type: ignore[return-value]
    return []


def _curvilinear(
    dataset: xr.Dataset,
    field: xr.DataArray,
    plane: tuple[Hashable, Hashable],
    grid: HorizontalGrid,
    problems: Problems,
) -> Array | None:
    """Positions by 2-D latitude and longitude; None where the points are in the grid's own coordinates."""
    pairs = _places(dataset, field, plane)
    if not pairs or pairs[0][0].ndim != 2:
        return None
    (latitude, north), (longitude, east) = pairs
    tables = [
        bridge.ascending(np.asarray(c.transpose(*plane).values, dtype="float64"), grid) for c in (latitude, longitude)
    ]
    if not all(np.isfinite(table).all() for table in tables):
        problems.add(
            found="latitudes or longitudes of the background that are not finite",
            expected="a place for every grid point",
            fix="fill them, on land too",
        )
        return np.full((2, north.size), np.nan)
    return on_curvilinear(*tables, *(np.asarray(place.values, dtype="float64") for place in (north, east)))


def _like(dataset: xr.Dataset, coordinate: xr.DataArray, axis: str) -> xr.DataArray | None:
    """The variable of the points that is the coordinate of the grid: by name, by standard name, by custom."""
    if coordinate.name in dataset.variables:
        return dataset[coordinate.name]
    kind = measured(coordinate)
    own = coordinate.attrs.get("standard_name")
    for name in dataset.variables:
        if own is not None and dataset[name].attrs.get("standard_name") == own:
            return dataset[name]
    folded = {str(name).lower(): name for name in dataset.variables}
    geographic = kind in ("latitude", "longitude") or str(coordinate.name).lower()[:3] in ("lat", "lon")
    usual = _NAMES[axis][:2] if geographic else _NAMES[axis][2:]
    return next((dataset[folded[name]] for name in usual if name in folded), None)


def _quality(table: Mapping[str, Array], length: float) -> Array:
    """What becomes of each point, by its number in `QUALITY`."""
    quality = np.zeros(table["value"].size, dtype="int8")
    quality[table["dry"]] = 4
    quality[~np.isfinite(table["position"]).all(axis=0)] = 1
    quality[~_in_time(table, length) & (quality != 1)] = _OUTSIDE_WINDOW
    quality[~np.isfinite(table["value"])] = 3
    return quality


def _in_time(table: Mapping[str, Array], length: float) -> NDArray[np.bool_]:
    return np.asarray((table["time"] >= 0) & (table["time"] <= length * (1 + 1e-9)))


def _output_times(length: float, every: float | None) -> tuple[float, ...]:
    if every is None:
        return 0.0, length
    times = np.arange(0.0, length * (1 - 1e-9), every)
    return (*(float(time) for time in times), length)


def _labelled(
    results: Mapping[str, Array],
    table: Mapping[str, Array],
    background: xr.Dataset,
    points: Points,
    names: list[str],
    plane: tuple[Hashable, Hashable],
    begin: np.datetime64,
    seconds: tuple[float, ...],
    experiment: PointExperiment,
) -> xr.Dataset:
    times = begin + (np.array(seconds) * 1e9).astype("int64").astype("timedelta64[ns]")
    fields: dict[Hashable, Any] = {}
    for name in names:
        own = dict(background[name].attrs)
        fields[name] = (("window", "step", *plane), results[name], {"long_name": f"analysis of {name}", **own})
        if f"{name}_forcing" in results:
            units = f"{own['units']} s-1" if "units" in own else None
            attrs = attributes("forcing", variable=name, units=units)
            fields[f"{name}_forcing"] = (("window", "interval", *plane), results[f"{name}_forcing"], attrs)
    for name, part in parameter_variables(experiment.parameters, {}, False, None, "float32").items():
        attrs = {**attributes("parameter", variable=name), **part.attrs}
        fields[name] = (("window", *(plane if part.dims else ())), results[name], attrs)
    terms = [name.removeprefix("cost_") for name in results if name.startswith("cost_")]
    minimisations = experiment.minimisations() if experiment.descent else ()
    for name, part in diagnostics(tuple(terms), minimisations=minimisations).items():
        if name in results:
            attrs = attributes(name) | dict(part.attrs)
            fields[name] = (("window", *part.dims), np.asarray(results[name]).astype(part.dtype), attrs)
    words = {
        "value": "value as observed",
        "background": "equivalent of the background",
        "analysis": "equivalent of the analysis",
        "std": "standard deviation of the error of observation",
    }
    # One column may hold several variables; where it holds one, it has its units.
    held = sorted({names[index] for index in np.unique(table["variable"])})
    known = {background[name].attrs.get("units") for name in held}
    shared = {"units": known.pop()} if len(known) == 1 and None not in known else {}
    for name, text in words.items():
        fields[f"observation_{name}"] = (
            "observation",
            table[name],
            {"long_name": text, "ancillary_variables": "observation_quality observation_variable", **shared},
        )
    fields["observation_variable"] = (
        "observation",
        table["variable"].astype("int8"),
        {"long_name": "what was observed", **flag_attributes(tuple(names))},
    )
    fields["observation_quality"] = (
        "observation",
        table["quality"],
        {"long_name": "what became of the observation", "standard_name": "quality_flag", **flag_attributes(QUALITY)},
    )
    coordinates: dict[Hashable, Any] = {
        key: part for key, part in background[names[0]].coords.items() if set(part.dims) <= set(plane) and part.ndim
    }
    dates = np.where(np.isnat(table["date"]), begin, table["date"])
    coordinates |= {
        "time": (("window", "step"), times[None].astype("datetime64[ns]"), attributes("time")),
        "forecast_reference_time": (
            "window",
            times[-1:].astype("datetime64[ns]"),
            attributes("forecast_reference_time"),
        ),
        "stage": ("stage", np.array([0, 1], dtype="int8"), attributes("stage")),
        "observation_time": ("observation", dates.astype("datetime64[ns]"), attributes("time")),
    }
    if "descent" in fields:
        numbers = np.arange(1, np.shape(results["descent"])[1] + 1, dtype="int32")
        coordinates["evaluation"] = ("evaluation", numbers, attributes("evaluation"))
    if any(name.endswith("_forcing") for name in results):
        middle = times[:-1] + (times[1:] - times[:-1]) / 2
        attrs = attributes("forcing_time")
        coordinates["forcing_time"] = (("window", "interval"), middle[None].astype("datetime64[ns]"), attrs)
    for coordinate, place in _places(points.dataset, background[names[0]], plane):
        kept = {key: value for key, value in coordinate.attrs.items() if key in ("units", "standard_name")}
        coordinates[f"observation_{coordinate.name}"] = (
            "observation",
            np.asarray(place.values, dtype="float64")[table["row"]],
            {"long_name": f"{coordinate.name} of the observation", **kept},
        )
    return xr.Dataset(fields, coordinates)
