"""Variable and dimensions of a sequence of images, by CF attributes first, by customary names second."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.metadata import NAMES, NAMES_OF_FIELDS
from xvar.cf.units import are_convertible, normalise_units
from xvar.errors import Faults

#: Rows and columns below which no motion can be found: the stencil of a cubic sampler.
MINIMUM_POINTS = 4

# Keys of cf_xarray's criteria and the axis of each.
_CRITERIA = {"T": "T", "latitude": "Y", "Y": "Y", "longitude": "X", "X": "X", "Z": "Z"}
_NAMES = {
    "T": ("time", "t", "times", "date", "datetime", "ocean_time", "valid_time", "time_counter", "xtime"),
    "Y": (
        *("y", "lat", "latitude", "rlat", "south_north", "yc", "nj", "j", "row", "rows", "northing", "eta_rho"),
        *("nav_lat", "y_c", "yt_ocean", "jmax", "north", "ny"),
    ),
    "X": (
        *("x", "lon", "longitude", "rlon", "west_east", "xc", "ni", "i", "col", "cols", "column", "columns"),
        *("easting", "xi_rho", "nav_lon", "x_c", "xt_ocean", "imax", "east", "nx", "long"),
    ),
}
_WORDS = {"T": "time", "Y": "y (latitude)", "X": "x (longitude)"}
_VELOCITY = re.compile(r"_(velocity|wind)(_|$)")
_VELOCITY_NAMES = re.compile(
    r"^(u|v|uo|vo|u10|v10|ugos|vgos|ugosa|vgosa|us|vs|uu|vv|water_[uv]|u_eastward|v_northward|[uv]_?(vel|wind)\w*)$"
)
_MASK_NAMES = re.compile(r"(^|_)(mask|lsm|landmask|flag|flags|quality|qc|valid)(_|$)|mask$")
_MASK_STANDARD_NAMES = frozenset(
    {"area_type", "land_binary_mask", "sea_binary_mask", "status_flag", "quality_flag", "region"}
)
_VERTICAL = frozenset({"depth", "height", "altitude", "depth_below_geoid", "height_above_geoid"})
_LINKS = ("grid_mapping", "bounds", "climatology", "ancillary_variables", "cell_measures", "formula_terms", "mesh")


@dataclass(frozen=True)
class Axes:
    """Names of the three dimensions of a sequence of images."""

    time: Hashable
    y: Hashable
    x: Hashable


def attribute(variable: xr.Variable | xr.DataArray, name: str) -> object:
    """Return an attribute that xarray may have moved to the encoding when it decoded the file."""
    value = variable.attrs.get(name)
    return variable.encoding.get(name) if value is None else value


def is_lazy(array: xr.DataArray | xr.Variable) -> bool:
    """Return True for values that are a dask graph."""
    return array.chunks is not None


def in_memory(array: xr.DataArray | xr.Variable) -> np.ndarray[Any, np.dtype[Any]]:
    """Return values of a coordinate or a mask, read in this thread if they are lazy.

    They describe the grid and are small: the scheduler that runs the windows need not see them.
    """
    if is_lazy(array):
        return np.asarray(array.data.compute(scheduler="synchronous"))
    return np.asarray(array.values)


def is_date(coordinate: xr.DataArray) -> bool:
    """Return True for dates of numpy or of cftime."""
    if coordinate.dtype.kind == "M":
        return True
    return coordinate.dtype == object and coordinate.size > 0 and hasattr(coordinate.values.flat[0], "calendar")


def _has_repeated_dims(variable: xr.Variable | xr.DataArray) -> bool:
    return len(set(variable.dims)) != len(variable.dims)


def _closest(name: object, names: Iterable[Hashable]) -> str | None:
    folded = {str(candidate).lower(): str(candidate) for candidate in names}
    match = difflib.get_close_matches(str(name).lower(), list(folded), n=1, cutoff=0.5)
    return folded[match[0]] if match else None


def _axis_by_attributes(coordinate: xr.DataArray) -> str | None:
    """Return T, Y, X or Z of a 1-D coordinate by cf_xarray's criteria, or by its dates."""
    units = normalise_units(str(coordinate.attrs.get("units")))
    attrs = {**coordinate.attrs, "units": units, "axis": str(coordinate.attrs.get("axis")).upper()}
    axis = _by_criteria(attrs, "axis", "standard_name", "units")
    if axis is None and (" since " in units or is_date(coordinate)):
        return "T"
    return axis or _by_criteria(attrs, "_CoordinateAxisType", "cartesian_axis", "grads_dim", "long_name")


def _by_criteria(attrs: Mapping[str, Any], *keys: str) -> str | None:
    from cf_xarray.criteria import coordinate_criteria

    return next(
        (
            axis
            for key in keys
            for name, axis in _CRITERIA.items()
            if str(attrs.get(key)) in coordinate_criteria[name].get(key, ())
        ),
        None,
    )


def _classify(array: xr.DataArray) -> dict[str, list[Hashable]]:
    """Return the dimensions that may be each of T, Y, X: stated by attributes, else by name."""
    stated: dict[Hashable, str] = {}
    for dim in array.dims:
        along = [array.coords[dim]] if dim in array.coords else []
        along += [c for name, c in array.coords.items() if name != dim and c.dims == (dim,)]
        for coordinate in along:
            axis = _axis_by_attributes(coordinate)
            if axis is not None:
                stated[dim] = axis
                break
    result: dict[str, list[Hashable]] = {}
    for axis, names in _NAMES.items():
        dims = [dim for dim in array.dims if stated.get(dim) == axis]
        if not dims:
            dims = [dim for dim in array.dims if dim not in stated and str(dim).lower() in names]
        if not dims and axis == "T":  # durations, as decoders of GRIB name the steps of a forecast
            dims = [dim for dim in array.dims if dim not in stated and array[dim].dtype.kind == "m"]
        if len(dims) > 1:
            # A dimension of one value is not what a sequence runs along.
            dims = [dim for dim in dims if array.sizes[dim] > 1] or dims
        result[axis] = dims
    return result


def find_axes(array: xr.DataArray, faults: Faults) -> Axes | None:
    """Return the time, y and x dimensions of a variable, None if one is missing or ambiguous.

    Attributes of the coordinates come first (``axis``, ``standard_name``, ``units``, the misspelt ones too), then
    customary names, also of dimensions without a coordinate.
    """
    found = _classify(array)
    dims = ", ".join(f"{dim}: {size}" for dim, size in array.sizes.items())
    count = len(faults)
    for axis, word in _WORDS.items():
        choices = found[axis]
        if len(choices) > 1:
            names = ", ".join(repr(str(dim)) for dim in choices)
            faults.add(
                code="axis-ambiguous",
                variable=array.name,
                found=f"several dimensions that may be {word}: {names}",
                expected=f"one {word} dimension",
                fix=f"choose one value of the others, isel({choices[-1]}=0), or set coordinate attrs['axis']",
            )
        if not choices:
            faults.add(
                code="axis-missing",
                variable=array.name,
                found=f"no {word} dimension among ({dims})",
                expected=f"a dimension with axis={axis!r}, a CF standard_name, or a name such as "
                + ", ".join(repr(name) for name in _NAMES[axis][:3]),
                fix=f"rename the dimension, or set attrs['axis'] = {axis!r} on its coordinate",
            )
    if len(faults) > count:
        return None
    return Axes(time=found["T"][0], y=found["Y"][0], x=found["X"][0])


def plane_of(array: xr.DataArray) -> tuple[Hashable, Hashable] | None:
    """Return the dimensions of y and x of a field that may have no time; None if missing or ambiguous."""
    found = _classify(array)
    return (found["Y"][0], found["X"][0]) if len(found["Y"]) == len(found["X"]) == 1 else None


def is_number(variable: xr.Variable | xr.DataArray) -> bool:
    """Return True for real numbers: integers or floats."""
    return isinstance(variable.dtype, np.dtype) and variable.dtype.kind in "iuf"


def _linked(dataset: xr.Dataset) -> set[str]:
    """Return the names that other variables link: grid mappings, bounds, ancillary variables, areas."""
    names: set[str] = set()
    for variable in dataset.variables.values():
        for link in _LINKS:
            value = attribute(variable, link)
            if isinstance(value, str):
                names.update(word for word in re.split(r"[\s:]+", value) if word)
    return names


def _is_mask(name: Hashable, array: xr.DataArray) -> bool:
    attrs = array.attrs
    flagged = "flag_values" in attrs or "flag_masks" in attrs
    named = str(attrs.get("standard_name")) in _MASK_STANDARD_NAMES
    return flagged or named or bool(_MASK_NAMES.search(str(name).lower()))


def _is_velocity(name: Hashable, array: xr.DataArray) -> bool:
    standard = str(array.attrs.get("standard_name", ""))
    if standard:
        return bool(_VELOCITY.search(standard))
    return bool(_VELOCITY_NAMES.match(str(name).lower()))


def _call_with(candidates: list[Hashable]) -> str:
    """Return a call with the first candidate whose name the output leaves free, or with one renamed."""
    free = [key for key in candidates if str(key) not in NAMES | NAMES_OF_FIELDS]
    if free:
        return f'assimilate("{free[0]}")'
    return f'rename one, ds.rename({{"{candidates[0]}": "image"}}).var4d.assimilate("image")'


def find_variable(dataset: xr.Dataset, name: Hashable | None, faults: Faults) -> Hashable | None:
    """Return the variable to assimilate: the named one, or the only one; None if a fault was added.

    Coordinates, bounds, grid mappings, masks, text and linked variables are no candidates; components of velocity are
    left aside if that leaves one variable.
    """
    usable = [key for key, variable in dataset.data_vars.items() if not _has_repeated_dims(variable)]
    if name is not None:
        if name in dataset.data_vars:
            if name in usable:
                return name
            faults.add(
                code="repeated-dimension",
                variable=name,
                found=f"dimensions {dataset[name].dims}, one of them twice",
                expected="a variable with time, y and x dimensions",
                fix="choose another variable",
            )
            return None
        closest = _closest(name, usable)
        known = ", ".join(repr(str(key)) for key in usable) or "none"
        faults.add(
            code="unknown-variable",
            variable=name,
            found=f"no variable of that name; the data variables are {known}",
            expected="the name of a data variable",
            fix=f'did you mean assimilate("{closest}")?' if closest else "give one of these names",
        )
        return None

    linked = _linked(dataset)
    candidates: list[Hashable] = []
    rejected: list[str] = []
    for key in usable:
        array = dataset[key]
        if not is_number(array):
            if array.ndim >= 3:
                rejected.append(f"{str(key)!r} is {array.dtype}")
        elif str(key) in linked or _is_mask(key, array):
            continue
        elif not all(len(dims) for dims in _classify(array).values()):
            rejected.append(f"{str(key)!r} has dimensions {tuple(str(dim) for dim in array.dims)}")
        else:
            candidates.append(key)
    scalars = [key for key in candidates if not _is_velocity(key, dataset[key])]
    for one in (scalars, candidates):
        if len(one) == 1:
            return one[0]
    if candidates:
        names = ", ".join(repr(str(key)) for key in candidates)
        faults.add(
            code="variable-ambiguous",
            found=f"{len(candidates)} variables with time, y and x dimensions: {names}",
            expected="the name of one of them",
            fix=_call_with(scalars or candidates),
        )
    else:
        single = next((key for key in usable if is_number(dataset[key]) and _is_single_image(dataset[key])), None)
        faults.add(
            code="variable-missing",
            found="no numeric variable with time, y and x dimensions"
            + (f" ({'; '.join(rejected[:5])})" if rejected else ""),
            expected="one data variable (time, y, x)",
            fix=f"{str(single)!r} is one image, and motion is what changes between images: give all files of the "
            "record, or xarray.concat(images, 'time')"
            if single is not None
            else 'name the dimensions "time", "y", "x", or give their coordinates attrs["axis"] = "T", "Y", "X"',
        )
    return None


def _is_single_image(array: xr.DataArray) -> bool:
    """Return True for a variable with y and x and no other dimension."""
    found = _classify(array)
    return array.ndim == 2 and not found["T"] and bool(found["Y"]) and bool(found["X"])


def canonical(array: xr.DataArray, axes: Axes, faults: Faults) -> xr.DataArray | None:
    """Return a variable as (time, y, x), values untouched; None if a fault was added.

    Faults are values that are no numbers or not decoded, extra dimensions and too small grids. Extra dimensions of size
    one become scalar coordinates.
    """
    count = len(faults)
    _check_values(array, faults)
    order = (axes.time, axes.y, axes.x)
    single: dict[Hashable, int] = {}
    for dim, size in array.sizes.items():
        if dim in order:
            continue
        if size == 1:
            single[dim] = 0
            continue
        faults.add(
            code="extra-dimension",
            variable=array.name,
            dimension=dim,
            found=f"an extra dimension {str(dim)!r} of size {size}",
            expected=f"dimensions ({', '.join(str(name) for name in order)})",
            fix=_one_of(array, dim),
        )
    for label, dim in (("rows", axes.y), ("columns", axes.x)):
        if array.sizes[dim] < MINIMUM_POINTS:
            faults.add(
                code="grid-too-small",
                variable=array.name,
                dimension=dim,
                found=f"a grid of {array.sizes[dim]} {label} along {str(dim)!r}",
                expected=f"at least {MINIMUM_POINTS}",
                fix="give a larger domain",
            )
    if len(faults) > count:
        return None
    return array.isel(single).transpose(*order)


def _one_of(array: xr.DataArray, dim: Hashable) -> str:
    """Return the line that chooses one of several images: of levels, the one nearest the surface."""
    if dim not in array.coords:
        return f"choose one, ds = ds.isel({dim}=0)"
    level = array.coords[dim]
    if not is_number(level) or not np.isfinite(level.values).all():
        return f"choose one, ds = ds.isel({dim}=0)"
    standard, units = (str(level.attrs.get(key, "")) for key in ("standard_name", "units"))
    if standard.startswith("atmosphere_") or "pressure" in standard or are_convertible(units, "Pa"):
        nearest = int(level.values.argmax())
    elif level.attrs.get("positive") in ("up", "down") or level.attrs.get("axis") == "Z" or standard in _VERTICAL:
        # Depths, heights and the ocean's own coordinates are zero at the surface, whichever way they count.
        nearest = int(np.abs(level.values).argmin())
    else:
        return f"choose one, ds = ds.isel({dim}=0)"
    value = f"{float(level.values[nearest]):g} {units}".strip()
    return f"choose one, ds = ds.isel({dim}={nearest}) for that nearest the surface ({value})"


def _check_values(array: xr.DataArray, faults: Faults) -> None:
    if not is_number(array):
        faults.add(
            code="not-numeric",
            variable=array.name,
            found=f"values of dtype {array.dtype}",
            expected="real numbers (integers or floats)",
            fix="choose a variable of numbers, or convert this one",
        )
    packed = [key for key in ("scale_factor", "add_offset", "_FillValue", "missing_value") if key in array.attrs]
    if packed and isinstance(array.dtype, np.dtype) and array.dtype.kind in "iu":
        faults.add(
            code="not-decoded",
            variable=array.name,
            found=f"{array.dtype} values that are not decoded: {', '.join(packed)} still in the attributes",
            expected="decoded values",
            fix="open with mask_and_scale=True, or ds = xarray.decode_cf(ds)",
        )
