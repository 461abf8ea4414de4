"""Thresholds and squares of events, and the names of scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.grid import HorizontalGrid
from xvar.cf.units import length_factor, rain_rate_factor
from xvar.errors import Faults
from xvar.plan.configuration import Configuration

#: Of rain, in mm h-1.
THRESHOLDS: tuple[float, ...] = (0.5, 1, 5)

#: Side of the squares of the FSS.
SCALE = "10km"

RATE = "mm h-1"

EACH_WINDOW = "_by_window"  # end of the name of a score of each window


@dataclass(frozen=True)
class Events:
    """Thresholds of events in their stated units, and `limits`, the same in the units of the variable.

    `note` is the reason if there are none.
    """

    thresholds: tuple[float, ...] = ()
    units: str = "1"
    limits: tuple[float, ...] = ()
    note: str = ""


def make_events(thresholds: Sequence[float], units: str, configuration: Configuration, faults: Faults) -> Events:
    """Return the thresholds in the units of the variable; they are in mm h-1 for rain, else in `units`.

    The default values are of rain alone. Thresholds that are no numbers, and rain without a rate, are faults.
    """
    name = configuration.variable
    values = np.atleast_1d(np.asarray(thresholds))
    if values.size == 0:
        return Events(note="no scores of events: no thresholds")
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        found, fix = f"thresholds={thresholds!r}", f"thresholds={THRESHOLDS}, or leave it out"
        faults.add(code="thresholds-invalid", found=found, expected="finite numbers", fix=fix)
        return Events()
    chosen = tuple(float(value) for value in dict.fromkeys(values.tolist()))
    if configuration.kind != "rain":
        if thresholds is THRESHOLDS:
            return Events(note=f"no scores of events: they need thresholds=, in the units of {name} ({units})")
        return Events(chosen, units, chosen)
    factor = rain_rate_factor(units, configuration.interval)
    if factor is None:
        found = f"units {units!r}, of which no rain rate can be made for thresholds in {RATE}"
        expected = "a rate, or an amount over an interval that is regular or stated"
        fix = f"ds[{name!r}].attrs['cell_methods'] = 'time: sum (interval: 5 minutes)' states it; thresholds=()"
        faults.add(code="rain-without-rate", variable=name, found=found, expected=expected, fix=fix)
        return Events()
    # A value that equals the threshold in single precision is an event.
    return Events(chosen, RATE, tuple(value / factor * (1 - 2.0**-22) for value in chosen))


def parse_length(value: float | str, name: str, faults: Faults) -> float:
    """Return the metres of a length such as "10km"; NaN if a fault was added."""
    metres = np.nan
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)\s*([A-Za-z]+)\s*", value)
        factor = None if match is None else length_factor(match[2])
        if match is not None and factor is not None:
            metres = float(match[1]) * factor
    elif isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        metres = float(value)
    if not (np.isfinite(metres) and metres > 0):
        expected = "a length such as '10km', or metres"
        faults.add(code="not-a-length", found=f"{name}={value!r}", expected=expected, fix=f"{name}='10km'")
        return np.nan
    return metres


def square(metres: float, grid: HorizontalGrid, faults: Faults, *, stated: bool) -> tuple[int, int] | None:
    """Return rows and columns of a square, at least one; None if the grid is smaller, a fault if it was stated."""
    rows, columns = (max(1, round(metres / step)) for step in grid.spacing)
    if rows <= grid.shape[0] and columns <= grid.shape[1]:
        return rows, columns
    if stated:
        height, width = (size * step for size, step in zip(grid.shape, grid.spacing, strict=True))
        found = f"a scale of {metres:g} m on a grid of {height:g} m by {width:g} m"
        expected, fix = "squares that fit into the grid", f"scale={min(height, width) / 4:.3g}"
        faults.add(code="scale-too-large", found=found, expected=expected, fix=fix)
    return None


def label_scores(
    data: xr.Dataset,
    fields: Mapping[str, xr.DataArray],
    coordinates: dict[Hashable, Any],
    describe: Callable[[str], dict[str, Any]],
) -> xr.Dataset:
    """Return scores of a result with their attributes and the ends of its windows."""
    scores: dict[Hashable, Any] = {}
    for name, part in fields.items():
        row = name.replace(EACH_WINDOW, "")
        attrs = describe(row)
        if name != row:
            attrs["long_name"] += ", in each window"
        scores[name] = (part.dims, part.values.astype("int64" if part.dtype.kind in "iu" else "float64"), attrs)
    if "forecast_reference_time" in data.coords:
        reference = data["forecast_reference_time"]
        coordinates["forecast_reference_time"] = ("window", np.atleast_1d(reference.values), dict(reference.attrs))
    return xr.Dataset(scores, coordinates, dict(data.attrs))
