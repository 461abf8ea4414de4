"""Observations at points as a table: what was observed, when, how well, and what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import find_axes
from xvar.errors import Faults

Array = NDArray[Any]

#: What became of an observation.
QUALITY = ("used", "outside_domain", "outside_window", "no_value", "on_land")


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
    faults = Faults()
    axes = find_axes(images, faults)
    faults.raise_if_any()
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


def read_table(points: Points, names: list[str], faults: Faults) -> dict[str, Array]:
    """The table of the points: date, value, std and the index of the variable."""
    dataset = points.dataset
    table: dict[str, Array] = {}
    if "value" not in dataset or dataset["value"].ndim != 1:
        faults.add(
            found=f"points with the variables {', '.join(map(str, dataset.variables)) or 'none'}",
            expected="value, std, variable, time and the coordinates of the grid along one dimension",
            fix="see xvar.observation.Points",
        )
        return table
    value = dataset["value"]
    table["value"] = np.asarray(value.values, dtype="float64")
    count = value.size
    if "time" not in dataset.variables or dataset["time"].dtype.kind != "M" or dataset["time"].dims != value.dims:
        faults.add(
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
        faults.add(
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
        faults.add(
            found="points that do not say what was observed",
            expected=f"a variable of the state: {', '.join(map(repr, names))}",
            fix=f"Points(points, variable={names[0]!r}), or a variable of the points named variable",
        )
        return table
    words = np.broadcast_to(np.asarray(said).astype(str), count)
    unknown = sorted(set(words.tolist()) - set(names))
    if unknown:
        faults.add(
            variable="variable",
            index=int(np.flatnonzero(np.isin(words, unknown))[0]),
            found=f"observations of {', '.join(map(repr, unknown))}",
            expected=f"a variable of the state: {', '.join(map(repr, names))}",
            fix="rename them, or leave them out",
        )
        return table
    table["variable"] = np.array([names.index(word) for word in words.tolist()], dtype="int64")
    return table


def quality_of(table: Mapping[str, Array], length: float) -> Array:
    """What becomes of each point, by its number in `QUALITY`."""
    quality = np.full(table["value"].size, QUALITY.index("used"), dtype="int8")
    quality[table["dry"]] = QUALITY.index("on_land")
    outside = ~np.isfinite(table["position"]).all(axis=0)
    quality[outside] = QUALITY.index("outside_domain")
    quality[~in_time(table, length) & ~outside] = QUALITY.index("outside_window")
    quality[~np.isfinite(table["value"])] = QUALITY.index("no_value")
    return quality


def in_time(table: Mapping[str, Array], length: float) -> NDArray[np.bool_]:
    """Whether each point lies in a window of some seconds, both ends included."""
    return np.asarray((table["time"] >= 0) & (table["time"] <= length * (1 + 1e-9)))
