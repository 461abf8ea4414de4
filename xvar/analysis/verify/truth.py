"""The truth at the points and the times of a result."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, canonical, find_axes, is_number
from xvar.cf.grid.coordinates import in_metres, positions_of_one_frame
from xvar.cf.kinds import Kind, kind
from xvar.cf.times import read_times
from xvar.cf.units import are_convertible, convert, length_factor, normalise_units, rain_rate_factor
from xvar.errors import Faults
from xvar.plan.configuration import Configuration

#: Of the spacing: what is farther apart is another point.
TOLERANCE = 1e-2
INTERPOLATE = "truth.interp_like(forecast), or the forecast of a record on the grid of the truth"


@dataclass(frozen=True)
class Truth:
    """True frames (time, y, x) on the points of a result, lazy if the file is; `frame` has the index of each time.

    `converted` takes values to the units of the result. A `steady` truth is one frame for all times.
    """

    frames: xr.DataArray
    frame: dict[Any, int]
    steady: bool
    converted: Callable[[NDArray[Any]], Any]

    def indices(self, times: NDArray[Any]) -> NDArray[np.intp]:
        """Return the frame of each time, -1 without one."""
        if self.steady:
            return np.zeros(times.shape, dtype=np.intp)
        found = [self.frame.get(key, -1) for key in keys(times).ravel()]
        return np.array(found, dtype=np.intp).reshape(times.shape)

    def at(self, times: NDArray[Any]) -> NDArray[np.float64]:
        """Return values (*times, y, x) in the units of the result, NaN without a truth."""
        indices = self.indices(times)
        needed, place = np.unique(indices[indices >= 0], return_inverse=True)
        result = np.full((*times.shape, *self.frames.shape[1:]), np.nan)
        if needed.size:
            values = np.asarray(self.frames[needed].values, dtype=np.float64)
            values[~np.isfinite(values)] = np.nan
            result[indices >= 0] = np.asarray(self.converted(values))[place]
        return result


def keys(times: NDArray[Any]) -> NDArray[Any]:
    """Return times that compare equal to the millisecond, whatever the unit of datetime64."""
    if times.dtype.kind != "M":
        return times
    rounded = times.astype("datetime64[us]") + np.timedelta64(500, "us")
    return np.asarray(rounded.astype("datetime64[ms]").astype(object))


def read_truth(
    array: xr.DataArray,
    like: xr.DataArray,
    axes: Axes,
    units: str,
    faults: Faults,
    *,
    frame: float | None = None,
    steady: bool = False,
) -> Truth | None:
    """Read a truth (time, y, x in any order) on the points of a result; None if a fault was added.

    `units` are those of the result `like`, `frame` the seconds over which amounts of rain fell. With `steady`, a truth
    without time is valid at all times. Other points, units and times are faults.
    """
    timeless = "time" not in array.dims and sum(size > 1 for size in array.shape) == 2
    if timeless and ("time" in array.coords or steady):
        array = array.expand_dims("time")
    own = find_axes(array, faults)
    frames = None if own is None else canonical(positions_of_one_frame(array, own, faults), own, faults)
    if own is None or frames is None:
        return None
    always = timeless and "time" not in array.coords
    frame_of = {} if always else _frames(frames, own, faults)
    count = len(faults)
    order = {theirs: _order(frames, theirs, like, ours, faults) for theirs, ours in ((own.y, axes.y), (own.x, axes.x))}
    frames = frames.isel(order)
    if len(faults) == count:
        _same_plane(frames, own, like, axes, faults)
    converted = _conversion(array, like, units, frame, faults)
    if frame_of is None or converted is None or len(faults) > count:
        return None
    return Truth(frames, frame_of, always, converted)


def _frames(frames: xr.DataArray, axes: Axes, faults: Faults) -> dict[Any, int] | None:
    """Return the index of the frame of each time."""
    if frames.sizes[axes.time] == 1 and axes.time in frames.coords:
        times = np.asarray(frames[axes.time].values)
        return {keys(times)[0]: 0}
    read = read_times(frames, axes, faults, sort=True)
    if read is None:
        return None
    order = range(read.values.size) if read.order is None else read.order
    return {key: int(index) for key, index in zip(keys(read.values), order, strict=True)}


def _order(
    truth: xr.DataArray, theirs: Hashable, like: xr.DataArray, ours: Hashable, faults: Faults
) -> NDArray[np.intp]:
    """Return the index in the truth of each point along one dimension."""
    size = like.sizes[ours]
    where: dict[str, Any] = {"code": "other-points", "fix": INTERPOLATE, "variable": truth.name, "dimension": theirs}
    if theirs not in truth.coords or ours not in like.coords:
        if truth.sizes[theirs] != size:
            where["fix"] = "cut the truth to the same points"
            found, expected = f"{truth.sizes[theirs]} points without a coordinate", f"the {size} points of the result"
            faults.add(**where, found=found, expected=expected)
        return np.arange(size)
    wanted, have = (  # lengths in metres
        np.asarray(part.values, dtype=np.float64) * (length_factor(str(part.attrs.get("units", ""))) or 1.0)
        for part in (like[ours], truth[theirs])
    )
    own = str(like[ours].attrs.get("units", "")).strip()
    distance = np.abs(have[None, :] - wanted[:, None])
    if "degree" in own:
        distance = np.minimum(distance % 360, 360 - distance % 360)
    difference = float(distance.min(axis=1).max())
    step = float(np.abs(np.diff(wanted)).min()) if size > 1 else 1.0
    if not difference <= TOLERANCE * step:
        units = own if length_factor(own) is None else "m"
        found = f"other points than those of the result: they differ by up to {difference:g} {units}"
        expected = f"a truth at the same {size} points, to {TOLERANCE:.0%} of their spacing"
        faults.add(**where, found=found, expected=expected)
    return np.asarray(distance.argmin(axis=1))


def _same_plane(truth: xr.DataArray, own: Axes, like: xr.DataArray, axes: Axes, faults: Faults) -> None:
    """Compare 2-D latitudes and longitudes, if both have them."""
    theirs, ours = (
        {
            part.attrs.get("standard_name"): part.transpose(plane.y, plane.x).values.astype(np.float64)
            for part in array.coords.values()
            if set(part.dims) == {plane.y, plane.x} and is_number(part)
        }
        for array, plane in ((truth, own), (like, axes))
    )
    for name in {"latitude", "longitude"} & set(theirs) & set(ours):
        difference = np.abs(theirs[name] - ours[name]) % 360
        largest = float(np.minimum(difference, 360 - difference).max())
        step = float(sum(np.abs(np.diff(ours[name], axis=axis)).mean() for axis in (0, 1)))
        if not largest <= TOLERANCE * step:
            found = f"other points than those of the result: their {name} differs by up to {largest:g} degrees"
            expected = "a truth at the same points"
            faults.add(code="other-points", variable=truth.name, found=found, expected=expected, fix=INTERPOLATE)


def _conversion(
    array: xr.DataArray, like: xr.DataArray, units: str, frame: float | None, faults: Faults
) -> Callable[[NDArray[Any]], Any] | None:
    """Return the conversion of a truth to units, also between two ways to state rain, of which UDUNITS knows none."""
    given = array.attrs.get("units")
    if given is None and array.name == like.name:
        return np.asarray  # a record whose units were stated by units=
    text = normalise_units(str(given))
    if given is not None and are_convertible(text, units):
        return np.asarray if text == units else lambda values: convert(values, text, units)
    theirs, ours = (None if given is None else rain_rate_factor(spelling, frame) for spelling in (text, units))
    if theirs is not None and ours is not None:
        factor = theirs / ours
        return lambda values: values * factor
    faults.add(
        variable=array.name,
        code="different-units",
        found="no units attribute" if given is None else f"units {str(given)!r}",
        expected=f"units that can be converted to those of the result, {units!r}",
        fix=f"convert the truth and write its attrs['units'] = {units!r}",
    )
    return None


def true_frames(
    truth: xr.Dataset | xr.DataArray,
    configuration: Configuration,
    like: xr.DataArray,
    axes: Axes,
    faults: Faults,
    frame: float | None,
) -> Truth | None:
    """Find and read the truth of a forecast; see `read_truth`."""
    variable = _find_truth(truth, configuration.variable, configuration.kind, faults)
    units = str(like.attrs.get("units", "1"))
    return None if variable is None else read_truth(variable, like, axes, units, faults, frame=frame)


def _find_truth(truth: xr.Dataset | xr.DataArray, name: str, what: Kind, faults: Faults) -> xr.DataArray | None:
    """Return the true variable of the same name, or the only one of the same kind; a DataArray is used as it is.

    A truth with none, or several, is a fault.
    """
    if isinstance(truth, xr.DataArray):
        return truth
    if name in truth.data_vars:
        return in_metres(truth, name, [])[name]
    numbers = [key for key, part in truth.data_vars.items() if is_number(part) and part.ndim >= 2]
    alike = [key for key in numbers if kind(truth[key], truth).removeprefix("sea_") == what.removeprefix("sea_")]
    if len(alike) == 1 and what != "other":
        return in_metres(truth, alike[0], [])[alike[0]]
    expected, fix = "a variable of the same name, or one of its kind", "give the variable itself, verify(truth[...])"
    refuse_missing(name, numbers, expected, fix, faults)
    return None


def refuse_missing(name: str, numbers: Iterable[Hashable], expected: str, fix: str, faults: Faults) -> None:
    """Add the fault of a truth that has other variables, `numbers`, than the one that is compared."""
    known = ", ".join(repr(str(key)) for key in numbers) or "none"
    found = f"a truth without it; its data variables are {known}"
    faults.add(code="truth-variable-missing", variable=name, found=found, expected=expected, fix=fix)
