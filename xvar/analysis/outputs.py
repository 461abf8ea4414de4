"""Recognise an output of xvar, and read its grid, its motion and its last images."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, plane_of
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.lattice import lattice_grid
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import ATTRIBUTE, Configuration
from xvar.plan.images import STEADY

Output = Literal["analysis", "forecast"]
#: Output -> code of its fault, what is expected, and the fix.
_MADE_BY: dict[Output, tuple[str, str, str]] = {
    "analysis": ("not-an-analysis", "an analysis, as assimilate() returns it", "analysis = ds.var4d.assimilate()"),
    "forecast": (
        "not-a-forecast",
        "a forecast, as forecast() returns it",
        'forecast = analysis.var4d.forecast("30min")',
    ),
}

Part = Literal["steady", "total"]
PARTS: tuple[Part, ...] = ("steady", "total")
#: Motion that maps and exports show by default: of rain the transient part of the total follows the noise of one pair.
SHOWN: Part = "steady"


def configuration_of(data: xr.Dataset, *needed: str, output: Output = "analysis") -> Configuration:
    """Return the configuration of the call that made an output, an analysis or a forecast.

    InputError if the attribute ``xvar_configuration`` or one of the `needed` variables or dimensions is missing;
    ``{variable}`` in them is the name of the variable.
    """
    known = Configuration.from_json(data.attrs[ATTRIBUTE]) if ATTRIBUTE in data.attrs else None
    names = [] if known is None else [name.format(variable=known.variable) for name in needed]
    missing = [name for name in names if name not in data and name not in data.dims]
    if known is None or missing:
        code, expected, fix = _MADE_BY[output]
        found = f"a Dataset without {', '.join(missing) or f'the attribute {ATTRIBUTE}'}"
        raise InputError(Fault(found, expected, fix, code=code))
    return known


def motion_of(data: xr.Dataset, part: Part = SHOWN) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the components of the motion: the steady ones (window, y, x), or the total at each step.

    Methods without a steady part, and version 0.1, have the total alone. InputError if there is no such part.
    """
    faults = Faults()
    faults.check_choice("part", part, PARTS, SHOWN)
    faults.raise_if_any()
    u, v = STEADY if part == "steady" and set(STEADY) <= set(data.data_vars) else ("u", "v")
    return data[u], data[v]


@dataclass(frozen=True)
class Analysed:
    """Configuration and grid of an analysis, and the dimensions of the grid."""

    configuration: Configuration
    grid: HorizontalGrid
    plane: tuple[Hashable, ...]


def read_analysis(data: xr.Dataset, faults: Faults) -> Analysed | None:
    """Read the configuration and the grid of an analysis."""
    configuration = configuration_of(data)
    # An analysis by a model from points has no last image.
    name = configuration.variable if configuration.has_state else f"{configuration.variable}_observed"
    configuration_of(data, name)
    observed = data[name].isel(step=-1, missing_dims="ignore")
    space = [dim for dim in observed.dims if dim != "window"]
    axes = Axes(time="window", y=space[-2] if len(space) > 1 else None, x=space[-1], others=tuple(space[:-2]))
    if configuration.method == "model" and (len(space) != 2 or plane_of(observed) is None):
        grid = lattice_grid(observed.isel(window=0, drop=True), axes, faults, data)
    else:
        grid = horizontal_grid(observed, axes, faults, configuration.dx, configuration.dy, mapping=data)
    return None if grid is None else Analysed(configuration, grid, axes.space)


def with_windows(data: xr.Dataset) -> xr.Dataset:
    """Return an analysis with its dimension of windows, also if one window was selected."""
    if "window" in data.dims or "forecast_reference_time" not in data.coords:
        return data
    moments = {name: data[name].expand_dims("window") for name in ("time", "forecast_reference_time")}
    return data.drop_vars("window", errors="ignore").expand_dims("window").assign_coords(moments)


def at_end(data: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable at the last frame of each window; some may have fewer frames than others."""
    missing = data["time"].isnull().values
    if not missing.any():
        return data[name].isel(step=-1)
    last = missing.shape[1] - 1 - (~missing)[:, ::-1].argmax(axis=1)
    at_end = xr.DataArray(np.arange(missing.shape[1]) == last[:, None], dims=("window", "step"))
    return data[name].where(at_end).max("step")
